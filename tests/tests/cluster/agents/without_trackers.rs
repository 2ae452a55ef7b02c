//! Agents on a cluster that serves no trackers.

use mirrord_sessions_tests::{
    agents::{job_path, targeted_job},
    cluster::{Cluster, Webhook},
};

use super::{
    concurrent_sessions::dry_run_warnings,
    fixtures::{
        admin_client, create_deployment, create_node, developer_client, start_agent,
        wait_for_binding, wait_for_deletion, wait_for_event, wait_for_guard, wait_for_session,
        wait_for_sessions,
    },
};
use crate::support::{create_namespace, eventually, name_of};

#[tokio::test]
async fn warns_and_stops_runs_without_trackers() {
    let cluster = Cluster::start().await.unwrap();
    cluster.webhook.terminate().unwrap();
    let webhook = Webhook::start_without_trackers(&cluster.plane, &cluster.programs).await.unwrap();
    let api = mirrord_sessions_crds::TRACKER_API_SERVICE;
    cluster.admin(&["delete", "apiservice", api], "").await.unwrap();
    cluster.route_to(&webhook).await.unwrap();
    wait_for_guard(&cluster).await;
    let client = admin_client(&cluster).await;
    let shop = create_namespace(&cluster, "trackerless").await;
    let node = create_node(&client, "trackerless-1").await;
    let target = create_deployment(&client, &shop.name, "web", &node).await;
    let job = targeted_job(&target.container, &node);
    let alice = developer_client(&cluster, "alice@example.com", &[&shop.name]).await;
    let first = start_agent(&alice, &shop.name, &job).await;
    let stopped = wait_for_session(&shop).await;
    wait_for_binding(&client, &shop.name, name_of(&first)).await;

    eventually("admin is warned of alice's session", || async {
        let agent = targeted_job(&target.container, &node);
        let warnings = dry_run_warnings(&cluster, &shop.name, &agent).await;
        warnings
            .contains("Warning: another user already has a session on deployment/web")
            .then_some(())
    })
    .await;
    let bob = developer_client(&cluster, "bob@example.com", &[&shop.name]).await;
    start_agent(&bob, &shop.name, &targeted_job(&target.container, &node)).await;
    wait_for_sessions(&shop, 2).await;
    wait_for_event(&shop, "TargetShared").await;

    let delete = ["delete", "session", name_of(&stopped), "-n", &shop.name];
    cluster.admin(&delete, "").await.unwrap();
    wait_for_deletion(&client, &job_path(&shop.name, name_of(&first))).await;
    let event_note = wait_for_event(&shop, "SessionStopped").await;
    assert!(event_note.contains("it was stopped by admin"), "{event_note}");
}
