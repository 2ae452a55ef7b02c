//! Runs on a cluster that serves no trackers.

use mirrord_sessions_tests::{
    agents::{jobs, targeted},
    cluster::{Cluster, Webhook},
};

use super::{
    neighbours::tried,
    stage::{
        admin, bound, deployment, developer, event, gone, guarded, name_of, node, session,
        sessions, start,
    },
};
use crate::support::{eventually, namespace};

#[tokio::test]
async fn without_trackers_runs_are_told_of_all_the_same() {
    let cluster = Cluster::start().await.unwrap();
    cluster.webhook.terminate().unwrap();
    let webhook = Webhook::start_without_trackers(&cluster.plane, &cluster.programs).await.unwrap();
    let api = mirrord_sessions_crds::TRACKER_API_SERVICE;
    cluster.admin(&["delete", "apiservice", api], "").await.unwrap();
    cluster.route_to(&webhook).await.unwrap();
    guarded(&cluster).await;
    let client = admin(&cluster).await;
    let shop = namespace(&cluster, "trackerless").await;
    let node = node(&client, "trackerless-1").await;
    let target = deployment(&client, &shop.name, "web", &node).await;
    let job = targeted(&target.container, &node);
    let alice = developer(&cluster, "alice@example.com", &[&shop.name]).await;
    let first = start(&alice, &shop.name, &job).await;
    let stopped = session(&shop).await;
    bound(&client, &shop.name, name_of(&first)).await;

    eventually("admin is told of alice", || async {
        let agent = targeted(&target.container, &node);
        let told = tried(&cluster, &shop.name, &agent).await;
        told.contains("Warning: alice@example.com already has a session on deployment/web")
            .then_some(())
    })
    .await;
    let bob = developer(&cluster, "bob@example.com", &[&shop.name]).await;
    start(&bob, &shop.name, &targeted(&target.container, &node)).await;
    sessions(&shop, 2).await;
    event(&shop, "TargetShared").await;

    let delete = ["delete", "session", name_of(&stopped), "-n", &shop.name];
    cluster.admin(&delete, "").await.unwrap();
    gone(&client, &jobs(&shop.name, name_of(&first))).await;
    let told = event(&shop, "SessionStopped").await;
    assert!(told.contains("it was stopped by admin"), "{told}");
}
