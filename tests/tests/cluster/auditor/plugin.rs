//! The plugin's `auditor` and `rbac who-can` commands.

use std::path::Path;

use super::*;
use crate::support::run_command;

/// Runs the plugin and returns whether it succeeded, its standard output and its standard error.
pub(super) async fn plugin(
    cluster: &Cluster,
    kubeconfig: &Path,
    args: &[&str],
) -> (bool, String, String) {
    let mut command = tokio::process::Command::new(&cluster.programs.plugin);
    command.args(args).env("KUBECONFIG", kubeconfig);
    let output = run_command(&mut command).await;
    (output.status.success(), output.stdout, output.stderr)
}

/// Returns the rules of preset version 1 with modified verbs.
fn modified_rules() -> Value {
    let mut rules = rules(1);
    rules[0]["verbs"] = json!(["get", "delete"]);
    rules
}

#[tokio::test]
async fn prints_status_diff_and_role_manifest() {
    let fixture = Fixture::start().await;
    let admin = fixture.cluster.plane.admin().path();
    let run = |args: &'static [&'static str]| plugin(&fixture.cluster, admin, args);

    let (_, absent, _) = run(&["auditor", "status"]).await;
    assert!(absent.contains("(it does not exist)"), "{absent}");
    fixture.run_webhook_once(&[]).await;
    let (_, latest, _) = run(&["auditor", "status"]).await;
    for line in
        ["Version:      2, the latest", "Modified:     no", "Managed by:   no other manager"]
    {
        assert!(latest.lines().any(|found| found == line), "{line}\n{latest}");
    }
    assert_eq!(run(&["auditor", "diff"]).await, (true, String::new(), String::new()));

    // An administrator changes the role while no replica leads.
    let changed = json!([
        { "op": "replace", "path": "/rules/0/verbs", "value": ["get", "delete"] },
        { "op": "remove", "path": "/rules/1" },
    ]);
    fixture.patch_role("json", &changed).await;
    let expected = "--- ClusterRole mirrord-operator-auditor\n\
                    +++ preset version 2\n\
                    -sessionpolicies.operator.metalbear.co: delete\n\
                    +sessionpolicies.operator.metalbear.co: list, watch\n\
                    +sessiontrackers.visibility.operator.metalbear.co: get, list, watch\n";
    assert_eq!(run(&["auditor", "diff"]).await, (false, expected.to_owned(), String::new()));
    let (_, modified, _) = run(&["auditor", "status"]).await;
    assert!(
        modified.contains("Managed by:   kubectl-patch") && modified.ends_with(expected),
        "{modified}"
    );
    let (_, status, _) = run(&["auditor", "status", "-o", "json"]).await;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["role"]["modified"], true);
    assert_eq!(status["leader"]["version"], 2, "the report of the leader predates the change");

    // The manifest of an aggregated role contains the aggregation rule, with a warning.
    let aggregation = json!({ "aggregationRule": {
        "clusterRoleSelectors": [{ "matchLabels": { "auditor": "yes" } }],
    } });
    fixture.patch_role("merge", &aggregation).await;
    let (succeeded, role, warning) = run(&["auditor", "diff", "-o", "yaml"]).await;
    assert!(succeeded && role.contains("aggregationRule:") && !role.contains("\nrules:"), "{role}");
    assert!(warning.contains("the rules of other roles"), "{warning}");
    let remove_aggregation = json!({ "aggregationRule": null });
    fixture.patch_role("merge", &remove_aggregation).await;
    fixture.patch_role("merge", &json!({ "rules": modified_rules() })).await;

    // A role that is too large to compare is not printed in part.
    let many: Vec<String> = (0..250).map(|n| format!("r{n}")).collect();
    let huge = json!({ "rules": [{ "apiGroups": many, "resources": many, "verbs": ["get"] }] });
    fixture.patch_role("merge", &huge).await;
    for args in [&["auditor", "diff", "-o", "yaml"][..], &["auditor", "diff"]] {
        let (succeeded, out, error) = plugin(&fixture.cluster, admin, args).await;
        assert!(!succeeded && out.is_empty(), "{out}");
        assert!(error.contains("kubectl get clusterrole"), "{error}");
    }
    let (_, unknown, _) = run(&["auditor", "status"]).await;
    for line in ["Version:      <unknown>; the latest is 2", "Difference:   too large to compare"] {
        assert!(unknown.lines().any(|found| found == line), "{line}\n{unknown}");
    }
    fixture.patch_role("merge", &json!({ "rules": modified_rules() })).await;

    // The exported manifest can be applied from a repository.
    let (_, role, _) = run(&["auditor", "diff", "-o", "yaml"]).await;
    fixture.admin(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &role).await;
    let rest = "-sessionpolicies.operator.metalbear.co: delete\n";
    let (is_equal, diff, _) = run(&["auditor", "diff"]).await;
    assert!(!is_equal && diff.ends_with(&format!("version 2\n{rest}")), "{diff}");

    // A user who may read the report but not the role gets the status from the report.
    let reader =
        crate::support::create_namespace(&fixture.cluster, "readers").await.user("reader", &[]);
    let (succeeded, _, error) =
        plugin(&fixture.cluster, reader.kubeconfig(), &["auditor", "status"]).await;
    assert!(!succeeded && error.contains("cannot get clusterroles"), "{error}");
    for args in [
        &[
            "role",
            "reports",
            "--verb=get",
            "--resource=configmaps",
            "--resource-name=mirrord-sessions-auditor",
        ],
        &["rolebinding", "reports", "--role=reports", "--user=reader", "--validate=true"],
    ] {
        let args = [&["create", "-n", "mirrord-sessions"], &args[..]].concat();
        fixture.admin(&args, "").await;
    }
    let status = eventually("the user may read the report", || async {
        let (succeeded, status, _) =
            plugin(&fixture.cluster, reader.kubeconfig(), &["auditor", "status"]).await;
        succeeded.then_some(status)
    })
    .await;
    assert!(status.contains("2, the latest"), "{status}");
}

#[tokio::test]
async fn who_can_lists_subjects_and_bindings() {
    let cluster = shared();
    let namespace = crate::support::create_namespace(cluster, "who").await;
    let dev = namespace.user("who-dev", &[]);
    namespace.bind_role("mirrord-operator-user", &dev.name).await;
    let admin = cluster.plane.admin().path();
    let who_can = async |action: &str, flags: &[&str]| {
        let args = [&["rbac", "who-can", action, "-n", &namespace.name], flags].concat();
        let (succeeded, out, messages) = plugin(cluster, admin, &args).await;
        assert!(succeeded, "{messages}");
        out
    };
    let killers = who_can("kill", &[]).await;
    let line = killers.lines().find(|line| line.contains("who-dev")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        words[..6],
        ["User", "who-dev", "delete", "sessions.operator.metalbear.co", "<all>", &namespace.name]
    );
    assert!(words[6].starts_with("RoleBinding/test-"), "{line}");
    assert_eq!(words[7], "ClusterRole/mirrord-operator-user");
    // Every cluster has the default binding of cluster-admin.
    assert!(killers.contains("ClusterRoleBinding/cluster-admin"), "{killers}");
    assert!(who_can("list", &[]).await.contains("who-dev"));
    assert!(who_can("join", &[]).await.contains("who-dev"));
    // An auditor and a user who may only join are listed with their own bindings.
    let auditor = namespace.user("who-auditor", &[]);
    namespace.bind_role(ROLE, &auditor.name).await;
    let joins = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": { "name": "joins", "namespace": namespace.name },
        "rules": [{
            "apiGroups": ["visibility.operator.metalbear.co"],
            "resources": ["sessiontrackers/join"], "verbs": ["create"],
        }],
    });
    let create = ["create", "-f", "-"];
    cluster.admin(&create, &joins.to_string()).await.unwrap();
    let bind = ["create", "rolebinding", "joiners", "--role=joins", "--user=who-joins"];
    let bind = [&bind[..], &["-n", &namespace.name]].concat();
    cluster.admin(&bind, "").await.unwrap();
    for (action, name, expected) in [
        (
            "list",
            "who-auditor",
            Some(["list", "sessiontrackers", "ClusterRole/mirrord-operator-auditor"]),
        ),
        (
            "read",
            "who-auditor",
            Some(["get", "sessiontrackers", "ClusterRole/mirrord-operator-auditor"]),
        ),
        ("kill", "who-auditor", None),
        ("join", "who-auditor", None),
        ("join", "who-joins", Some(["create", "sessiontrackers/join", "Role/joins"])),
        ("list", "who-joins", None),
        ("kill", "who-joins", None),
    ] {
        let table = who_can(action, &[]).await;
        let found: Vec<Vec<&str>> = table
            .lines()
            .filter(|line| line.contains(name))
            .map(|line| line.split_whitespace().collect())
            .collect();
        let expected: Vec<Vec<String>> = expected
            .into_iter()
            .map(|[verb, resource, role]| {
                let resource = format!("{resource}.visibility.operator.metalbear.co");
                [verb, &resource, role].map(ToOwned::to_owned).to_vec()
            })
            .collect();
        let found: Vec<Vec<String>> = found
            .iter()
            .map(|words| [words[2], words[3], words[7]].map(ToOwned::to_owned).to_vec())
            .collect();
        assert_eq!(found, expected, "{action} {name}: {table}");
    }
    let joiners: Value = serde_json::from_str(&who_can("join", &["-o", "json"]).await).unwrap();
    assert_eq!(joiners["can"], "join");
    assert_eq!(joiners["who"][0]["name"], "system:masters");

    let (succeeded, _, error) =
        plugin(cluster, dev.kubeconfig(), &["rbac", "who-can", "kill"]).await;
    assert!(!succeeded && error.contains("cannot list clusterroles"), "{error}");
}
