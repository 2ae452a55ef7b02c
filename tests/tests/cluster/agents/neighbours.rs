//! Two on one target are told of each other.

use mirrord_sessions_tests::agents::targetless;
use serde_json::json;

use crate::support::{eventually, namespace, session, shared};

#[tokio::test]
async fn who_starts_a_run_is_told_who_is_on_the_target() {
    let cluster = shared();
    let shop = namespace(cluster, "neighbours").await;
    let (alice, bob) = (
        shop.person("neighbour-a", &[]),
        shop.person("neighbour-b", &[]),
    );
    for person in [&alice, &bob] {
        shop.bind("mirrord-operator-user", &person.name).await;
    }
    let on = |target: &str| {
        let mut manifest = session("ignored", json!({ "target": target }));
        manifest["metadata"] = json!({ "generateName": "s-" });
        manifest.to_string()
    };
    let first = alice
        .kubectl(&["create", "-f", "-"], &on("deployment/web"))
        .await;
    assert!(
        first.status.success() && !first.stderr.contains("already"),
        "{first:?}"
    );
    let warning = "Warning: neighbour-a already has a session on deployment/web";
    eventually("bob is told of alice", || async {
        let second = bob
            .kubectl(&["create", "-f", "-"], &on("deployment/web/container/api"))
            .await;
        assert!(second.status.success(), "{second:?}");
        second.stderr.contains(warning).then_some(())
    })
    .await;
    for target in ["deployment/webs", "targetless"] {
        let other = bob.kubectl(&["create", "-f", "-"], &on(target)).await;
        assert!(
            other.status.success() && !other.stderr.contains("already"),
            "{other:?}"
        );
    }

    // Of an agent, what it targets is only known if the user says so.
    let mut agent = targetless();
    agent["metadata"]["annotations"]["operator.metalbear.co/target"] = json!("deployment/web");
    let admin = cluster.plane.admin().path();
    let create = ["create", "-n", &shop.name, "--dry-run=server", "-f", "-"];
    let output = cluster
        .plane
        .kubectl_with_input(admin, &create, &agent.to_string())
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.contains("neighbour-a"), "{output:?}");
}
