//! What SECURITY.md lists beside the trackers: who can read a session elsewhere, and known attacks.

use kube::Client;
use mirrord_sessions_tests::{
    agents::send_request,
    cluster::{Cluster, Webhook},
};
use serde_json::{Value, json};

use crate::support::{
    Namespace, create_developer, create_session, eventually, session_manifest, session_spec,
    shared, wait_for_output,
};

const RECORD_LABEL: &str = "visibility.operator.metalbear.co/record";

/// Posts a review to the port of a webhook, as any client that reaches it can.
async fn post_review(webhook: &Webhook, path: &str, request: Value) -> Value {
    let url = format!("https://127.0.0.1:{}", webhook.port());
    let mut config = kube::Config::new(url.parse().unwrap());
    config.accept_invalid_certs = true;
    let client = Client::try_from(config).unwrap();
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request,
    });
    send_request(&client, "POST", path, &review).await.unwrap()["response"].clone()
}

/// Returns the path of the Sessions of a namespace.
fn sessions_path(namespace: &Namespace<'_>) -> String {
    format!("/apis/operator.metalbear.co/v1/namespaces/{}/sessions", namespace.name)
}

/// Hides the sessions of others in a namespace.
async fn hide_sessions_of_others(namespace: &Namespace<'_>) {
    let name = &namespace.name;
    let condition =
        format!("tracker.namespace == \"{name}\" && tracker.host_user != user.metadata.name");
    let rules = json!([{ "resources": ["*"], "verbs": ["read", "list"], "where": condition }]);
    let policy = json!({
        "apiVersion": "operator.metalbear.co/v1alpha1", "kind": "SessionPolicy",
        "metadata": { "name": name }, "spec": { "deny": { "rules": rules } },
    });
    namespace.cluster.admin(&["apply", "-f", "-"], &policy.to_string()).await.unwrap();
}

#[tokio::test]
async fn reviews_posted_to_the_port_name_no_user() {
    let cluster = shared();
    let (namespace, dev) = create_developer(cluster, "portname").await;
    create_session(&dev, "one", session_spec()).await;
    wait_for_output(&dev, &["get", "mst"], "one").await;
    let resource =
        json!({ "group": "operator.metalbear.co", "version": "v1", "resource": "sessions" });
    let stored = &namespace.sessions().await[0];
    let create = json!({
        "uid": "1", "operation": "CREATE", "namespace": namespace.name, "resource": resource,
        "userInfo": { "username": "mallory", "groups": ["system:masters"] },
        "object": session_manifest("two", json!({ "target": "deployment/ip-visit-counter" })),
    });
    let response = post_review(&cluster.webhook, "/admission/v1/sessions/stamp", create).await;
    let warning = "another user already has a session on deployment/ip-visit-counter";
    assert!(response["warnings"][0].as_str().unwrap().starts_with(warning), "{response}");
    assert!(!response.to_string().contains("portname@"), "{response}");

    // Whether a user may join has no influence on the answer.
    let dry_run = |user: &str, groups: Value| {
        json!({
            "uid": "1", "operation": "DELETE", "namespace": namespace.name, "resource": resource,
            "name": "one", "userInfo": { "username": user, "groups": groups },
            "oldObject": stored, "dryRun": true,
        })
    };
    for path in ["/admission/v1/sessions/stop", "/admission/v1/sessions/dry-run-stop"] {
        let mut answers = Vec::new();
        for (user, groups) in [("mallory", json!(["system:masters"])), ("mallory", json!([]))] {
            answers.push(post_review(&cluster.webhook, path, dry_run(user, groups)).await);
        }
        assert_eq!(answers[0], answers[1], "{path}");
        assert!(!answers[0].to_string().contains("s3cret"), "{answers:?}");
    }
}

#[tokio::test]
async fn hidden_session_differs_from_a_missing_one_by_the_prefix_alone() {
    let cluster = shared();
    let (namespace, dev) = create_developer(cluster, "prefix").await;
    create_session(&dev, "hidden", session_spec()).await;
    hide_sessions_of_others(&namespace).await;
    let other = namespace.user("prefix-other@example.com", &[]);
    namespace.bind_role("mirrord-operator-user", &other.name).await;
    let client = cluster.plane.client(&other.name, &[]).await.unwrap();
    let status = async |name: &str, query: &str| {
        let path = format!("{}/{name}{query}", sessions_path(&namespace));
        match send_request(&client, "DELETE", &path, &Value::Null).await {
            Err(kube::Error::Api(status)) => {
                serde_json::to_string(&status).unwrap().replace(name, "NAME")
            }
            response => panic!("{response:?}"),
        }
    };
    for query in ["?dryRun=All", ""] {
        let hidden = eventually("the session is hidden", || async {
            let hidden = status("hidden", query).await;
            hidden.contains("NotFound").then_some(hidden)
        })
        .await;
        // A dry run by a user who may join calls a webhook of its own.
        let webhook = if query.is_empty() { "stop" } else { "dry-run-stop" };
        let prefix = format!(
            "admission webhook \\\"{webhook}.sessions.operator.metalbear.co\\\" denied the request: "
        );
        assert!(hidden.contains(&prefix), "{hidden}");
        assert_eq!(hidden.replace(&prefix, ""), status("absent", query).await);
    }
    // The plugin prints the same for both.
    let mut outputs = Vec::new();
    for name in ["hidden", "absent"] {
        let output = other.plugin(&["delete", name]).await;
        assert!(!output.status.success());
        outputs.push(output.stderr.replace(name, "NAME"));
    }
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(namespace.sessions().await.len(), 1);
    cluster.admin(&["delete", "sessionpolicy", &namespace.name], "").await.unwrap();
}

/// Documents the attack that SECURITY.md answers with a role without `deletecollection`.
#[tokio::test]
async fn collections_of_hidden_sessions_can_be_probed() {
    let cluster = shared();
    let (namespace, dev) = create_developer(cluster, "probe").await;
    create_session(&dev, "hidden", session_spec()).await;
    hide_sessions_of_others(&namespace).await;
    let user = async |name: &str, role: &str| {
        namespace.bind_role(role, name).await;
        cluster.plane.client(name, &[]).await.unwrap()
    };
    let prober = user("probe-other@example.com", "mirrord-operator-user").await;
    let probe = async |client: &Client, selector: &str| {
        let path = format!("{}?dryRun=All&fieldSelector={selector}", sessions_path(&namespace));
        send_request(client, "DELETE", &path, &Value::Null).await.map_err(|error| error.to_string())
    };
    let refused = eventually("the session is hidden", || async {
        probe(&prober, "spec.owner.username=probe@example.com").await.err()
    })
    .await;
    assert!(refused.contains("delete them by name") && !refused.contains("ip-visit"), "{refused}");
    let none = probe(&prober, "spec.owner.username=nobody").await.unwrap();
    assert_eq!(none["items"].as_array().map_or(0, Vec::len), 0, "{none}");

    // The answer: a copy of the role without the verb.
    let role =
        cluster.admin(&["get", "clusterrole", "mirrord-operator-user", "-o", "json"], "").await;
    let mut role: Value = serde_json::from_str(&role.unwrap()).unwrap();
    role["metadata"] = json!({ "name": "probe-answer" });
    role["rules"][0]["verbs"] = json!(["delete"]);
    cluster.admin(&["create", "-f", "-"], &role.to_string()).await.unwrap();
    let user = user("probe-answered@example.com", "probe-answer").await;
    for owner in ["probe@example.com", "nobody"] {
        let refused = probe(&user, &format!("spec.owner.username={owner}")).await.unwrap_err();
        assert!(refused.contains("cannot deletecollection"), "{refused}");
    }
    cluster.admin(&["delete", "clusterrole", "probe-answer"], "").await.unwrap();
    cluster.admin(&["delete", "sessionpolicy", &namespace.name], "").await.unwrap();
}

/// Checks the built-in role `view`, in all namespaces.
#[tokio::test]
async fn view_reads_no_records() {
    let cluster = shared();
    let (namespace, dev) = create_developer(cluster, "viewed").await;
    create_session(&dev, "one", session_spec()).await;
    wait_for_output(&dev, &["get", "mst"], "one").await;
    let output = dev.kubectl(&["delete", "session", "one"], "").await;
    assert!(output.status.success(), "{output:?}");
    let records = ["get", "secret", "-n", "mirrord-sessions", "-l", RECORD_LABEL, "-o", "name"];
    eventually("the record is stored", || async {
        let records = cluster.admin(&records, "").await.unwrap();
        (!records.is_empty()).then_some(())
    })
    .await;

    let viewer = namespace.user("viewed-viewer@example.com", &[]);
    let user = format!("--user={}", viewer.name);
    let bind = ["create", "clusterrolebinding", "viewed", "--clusterrole=view", &user];
    cluster.admin(&bind, "").await.unwrap();
    wait_for_output(&viewer, &["get", "configmaps", "-A"], "kube-root-ca.crt").await;
    for resource in ["configmaps", "leases", "pods", "jobs", "events"] {
        let output =
            viewer.kubectl(&["get", resource, "-n", "mirrord-sessions", "-o", "json"], "").await;
        assert!(!output.stdout.contains(&dev.name), "{resource}: {}", output.stdout);
    }
    for resource in ["secrets", "sessions.operator.metalbear.co", "mst"] {
        let output = viewer.kubectl(&["get", resource, "-A"], "").await;
        assert!(output.stderr.contains("Forbidden"), "{resource}: {output:?}");
    }
    cluster.admin(&["delete", "clusterrolebinding", "viewed"], "").await.unwrap();
}

#[tokio::test]
async fn moves_earlier_records_and_records_anonymous_events() {
    let cluster = Cluster::start().await.unwrap();
    let (namespace, dev) = create_developer(&cluster, "anonymous").await;
    // A record as an earlier release stored it.
    let record = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": "terminated-x", "namespace": "mirrord-sessions",
            "labels": { RECORD_LABEL: "terminated" },
        },
        "data": { "tracker": "{}", "agent": "" },
    });
    cluster.admin(&["create", "-f", "-"], &record.to_string()).await.unwrap();
    cluster.webhook.terminate().unwrap();
    let next = Webhook::start_with(&cluster.plane, &cluster.programs, &["--events=anonymous"]);
    let next = next.await.unwrap();
    cluster.route_to(&next).await.unwrap();
    eventually("no ConfigMap is a record", || async {
        let maps = ["get", "configmap", "-n", "mirrord-sessions", "-l", RECORD_LABEL, "-o", "name"];
        cluster.admin(&maps, "").await.unwrap().is_empty().then_some(())
    })
    .await;

    let mut session = session_manifest("487f4f2b6d2376ad", session_spec());
    session["metadata"]["annotations"] = json!({ "operator.metalbear.co/reports": "true" });
    let output = dev.kubectl(&["create", "-f", "-"], &session.to_string()).await;
    assert!(output.status.success(), "{output:?}");
    wait_for_output(&dev, &["get", "mst", "-o", "name"], "487f4f2b6d2376ad").await;
    eventually("the replica leads", || async {
        next.log_text().contains(" acquired leadership ").then_some(())
    })
    .await;
    let output = dev.kubectl(&["delete", "session", "487f4f2b6d2376ad"], "").await;
    assert!(output.status.success(), "{output:?}");
    let events = eventually("the end is reported", || async {
        let args = ["get", "events", "-n", &namespace.name, "-o", "json"];
        let events = cluster.admin(&args, "").await.unwrap();
        events.contains("Session 487F4F2B6D2376AD ended").then_some(events)
    })
    .await;
    for name in [&*dev.name, "Aviram", "ip-visit-counter"] {
        assert!(!events.contains(name), "{name}: {events}");
    }
}
