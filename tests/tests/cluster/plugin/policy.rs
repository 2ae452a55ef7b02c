//! The plugin's command `policy test`, compared with the decisions of the cluster.

use serde_json::json;

use crate::support::{create_namespace, shared};

#[tokio::test]
async fn policy_test_matches_cluster() {
    let cluster = shared();
    let namespace = create_namespace(cluster, "policy-test").await;
    let [dev, eve] = ["ptest-dev", "ptest-eve"].map(|name| namespace.user(name, &["ptests"]));
    for user in [&dev, &eve] {
        namespace.bind_role("mirrord-operator-user", &user.name).await;
    }
    dev.create_session("a", "deployment/shop").await;
    dev.create_session("b", "deployment/payments").await;
    eve.create_session("c", "deployment/payments").await;
    dev.wait_for_sessions(&["a", "b", "c"]).await;
    let policy = json!({
        "apiVersion": "operator.metalbear.co/v1alpha1", "kind": "SessionPolicy",
        "metadata": { "name": "policy-test" },
        "spec": {
            "subjects": [{ "kind": "User", "name": "ptest-eve" }],
            "deny": { "rules": [{
                "resources": ["session_tracker"], "verbs": ["list", "read"],
                "where": "equals(tracker.target, \"deployment/payments\") && !contains(tracker.participants, user.metadata.name)",
            }]},
        },
    });
    let file = cluster.plane.folder().join("policy-test.json");
    std::fs::write(&file, policy.to_string()).unwrap();
    let file = file.to_str().unwrap();
    // A user who sees all sessions tests the policy for eve.
    let args = ["policy", "test", "-f", file, "--as", "ptest-eve", "--as-group", "ptests"];
    let output = dev.plugin(&args).await;
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.contains("by policy-test spec.deny.rules[0]"), "{output:?}");
    let names = dev.plugin(&[&args[..], &["-o", "name"]].concat()).await.stdout;
    assert_eq!(names, "session.operator.metalbear.co/a\nsession.operator.metalbear.co/c\n");
    // The same test runs offline with sessions from a file.
    let saved = dev.kubectl(&["get", "sessiontrackers", "-o", "yaml"], "").await.stdout;
    let sessions = cluster.plane.folder().join("policy-test-sessions.yaml");
    std::fs::write(&sessions, saved).unwrap();
    let offline = [&args[..], &["-o", "name", "--sessions", sessions.to_str().unwrap()]].concat();
    assert_eq!(dev.plugin(&offline).await.stdout, names);

    cluster.admin(&["apply", "-f", file], "").await.unwrap();
    eve.wait_for_sessions(&["a", "c"]).await;
    let hidden = eve.plugin(&["describe", "b"]).await;
    assert!(hidden.stderr.contains("\"b\" not found"), "{hidden:?}");
    cluster.admin(&["delete", "-f", file], "").await.unwrap();
    eve.wait_for_sessions(&["a", "b", "c"]).await;

    // Admission and the plugin reject an invalid policy with the same message.
    let broken = policy.to_string().replace("tracker.target", "tracker.targets");
    let refused = cluster.admin(&["apply", "-f", "-"], &broken).await;
    let refused = format!("{:?}", refused.unwrap_err());
    let broken_file = cluster.plane.folder().join("policy-test-broken.json");
    std::fs::write(&broken_file, broken).unwrap();
    let output = dev
        .plugin(&["policy", "test", "-f", broken_file.to_str().unwrap(), "--as", "x"])
        .await
        .stderr;
    let problem = output.split_once("is invalid: ").unwrap().1.trim();
    assert!(problem.contains("column "), "{output}");
    let escaped = problem.replace('"', "\\\"");
    assert!(refused.contains(problem) || refused.contains(&escaped), "{refused}\n{problem}");
}
