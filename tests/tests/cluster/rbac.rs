//! Permissions that an installation grants to users and to the webhook.

use std::collections::BTreeSet;

use mirrord_sessions_crds::CONTROLLER_USERNAME;
use serde_json::Value;

use crate::support::{create_namespace, shared};

#[tokio::test]
async fn user_role_grants_only_sessions_and_trackers() {
    let namespace = create_namespace(shared(), "roles").await;
    let dev = namespace.user("role-dev", &[]);
    namespace.bind_role("mirrord-operator-user", &dev.name).await;
    let unprivileged = namespace.user("role-nobody", &[]);
    for (verb, resource, allowed) in [
        ("create", "sessions", true),
        ("get", "sessions", false),
        ("list", "sessions", false),
        ("watch", "sessions", false),
        ("delete", "sessions", true),
        ("deletecollection", "sessions", true),
        ("get", "sessiontrackers", true),
        ("list", "sessiontrackers", true),
        ("watch", "sessiontrackers", true),
        ("create", "sessiontrackers/join", true),
        ("create", "sessiontrackers/report", true),
        ("create", "sessiontrackers", false),
        ("delete", "sessiontrackers", false),
        ("update", "sessions", false),
        ("patch", "sessions", false),
        ("get", "sessions/status", false),
        ("update", "sessions/status", false),
        ("patch", "sessions/status", false),
        ("get", "secrets", false),
        ("create", "jobs.batch", false),
    ] {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let subresource = format!("--subresource={subresource}");
        let args = ["auth", "can-i", verb, resource, &subresource, "-q"];
        assert_eq!(
            dev.kubectl(&args, "").await.status.success(),
            allowed,
            "{verb} {resource} {subresource}"
        );
        assert!(
            !unprivileged.kubectl(&args, "").await.status.success(),
            "unprivileged: {verb} {resource}"
        );
    }
}

/// Checks for the rule of mirrord's documentation, so that its restrictions can be applied here.
#[tokio::test]
async fn user_role_contains_rule_of_mirrord_docs() {
    let role = shared()
        .admin(&["get", "clusterrole", "mirrord-operator-user", "-o", "json"], "")
        .await
        .unwrap();
    let role: Value = serde_json::from_str(&role).unwrap();
    assert_eq!(
        role["rules"][0],
        serde_json::json!({
            "apiGroups": ["operator.metalbear.co"],
            "resources": ["sessions"],
            "verbs": ["deletecollection", "delete"],
        })
    );
}

/// Permissions of the webhook in every namespace, as `kubectl auth can-i --list` prints them.
const CLUSTER_WIDE: [&str; 18] = [
    "apiservices.apiregistration.k8s.io [] [v1.visibility.operator.metalbear.co] [get list patch watch]",
    "clusterroles.rbac.authorization.k8s.io [] [mirrord-operator-auditor] [create get patch]",
    "customresourcedefinitions.apiextensions.k8s.io [] [sessions.operator.metalbear.co] [get]",
    "events [] [] [create]",
    "jobs.batch [] [] [delete get list patch watch]",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io [] [mirrord-sessions-webhook] [get list patch watch]",
    "pods [] [] [get list watch]",
    "replicasets.apps [] [] [get]",
    "sessionpolicies.operator.metalbear.co [] [] [get list watch]",
    "sessions.operator.metalbear.co [] [] [create delete get list watch]",
    "sessions.operator.metalbear.co/status [] [] [patch]",
    "sessiontrackers.visibility.operator.metalbear.co [] [] [get list watch]",
    "subjectaccessreviews.authorization.k8s.io [] [] [create]",
    "validatingadmissionpolicies.admissionregistration.k8s.io [] [agents.mirrord-sessions] [get]",
    "validatingadmissionpolicies.admissionregistration.k8s.io [] [ephemeral-agents.mirrord-sessions] [get]",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io [] [agents.mirrord-sessions] [get]",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io [] [ephemeral-agents.mirrord-sessions] [get]",
    "validatingwebhookconfigurations.admissionregistration.k8s.io [] [mirrord-sessions-webhook] [get list patch watch]",
];

/// Compares the permissions of the webhook's service account with those of any authenticated user.
#[tokio::test]
async fn webhook_holds_minimal_permissions() {
    let cluster = shared();
    let user = format!("--as={CONTROLLER_USERNAME}");
    for (namespace, in_namespace) in [
        (
            "mirrord-sessions",
            &[
                "configmaps [] [] [delete list]",
                "configmaps [] [mirrord-sessions-auditor] [patch]",
                "leases.coordination.k8s.io [] [mirrord-sessions-webhook] [create get patch update]",
                "secrets [] [] [create delete list patch watch]",
                "secrets [] [mirrord-sessions-webhook-ca] [get list update watch]",
            ][..],
        ),
        ("default", &[]),
        ("kube-system", &["configmaps [] [extension-apiserver-authentication] [get list watch]"]),
    ] {
        let group = "--as-group=system:authenticated";
        let rules = |user: &str| {
            let args = ["auth", "can-i", "--list", "--no-headers", "-n", namespace, user, group];
            let args = args.map(str::to_owned);
            async move {
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                let list = cluster.admin(&args, "").await.unwrap();
                list.lines().map(normalize_rule).collect::<BTreeSet<_>>()
            }
        };
        let (webhook_rules, default_rules) = (rules(&user).await, rules("--as=anybody").await);
        let granted: BTreeSet<&str> =
            webhook_rules.difference(&default_rules).map(String::as_str).collect();
        let expected = CLUSTER_WIDE.iter().chain(in_namespace).copied().collect();
        assert_eq!(granted, expected, "in {namespace}");
    }
}

/// Normalizes whitespace and the order of verbs in a line of `kubectl auth can-i --list`.
fn normalize_rule(line: &str) -> String {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((resource, verbs)) = line.trim_end_matches(']').rsplit_once('[') else {
        return line;
    };
    let mut verbs: Vec<&str> = verbs.split(' ').collect();
    verbs.sort_unstable();
    format!("{resource}[{}]", verbs.join(" "))
}
