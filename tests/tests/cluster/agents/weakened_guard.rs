//! Forged stamps on agents that are created while a guard policy is weakened.

use std::time::Duration;

use kube::Client;
use mirrord_sessions_core::guard::{JOB_GUARD, check_guard, guard_version, shipped_guards};
use mirrord_sessions_tests::{
    agents::{job_path, send_request, targetless_job},
    cluster::Cluster,
};
use serde_json::{Value, json};

use super::fixtures::{admin_client, wait_for_guard};
use crate::support::{create_namespace, eventually, eventually_within, shared};

const STAMP: &str = "operator.metalbear.co/requester";
const UNVERIFIED: &str = "system:mirrord-sessions:unverified";
const ADMIN: &str = "username=admin&group=system:masters&group=system:authenticated";

fn guard_path(resource: &str, name: &str) -> String {
    format!("/apis/admissionregistration.k8s.io/v1/validatingadmission{resource}/{name}")
}

async fn read_guard(client: &Client, resource: &str, name: &str) -> Value {
    send_request(client, "GET", &guard_path(resource, name), &Value::Null).await.unwrap()
}

/// Replaces the spec of a guard object.
async fn write_spec(client: &Client, resource: &str, spec: &Value) {
    let mut object = read_guard(client, resource, JOB_GUARD).await;
    object["spec"] = spec.clone();
    send_request(client, "PUT", &guard_path(resource, JOB_GUARD), &object).await.unwrap();
}

fn stamped_job(stamp: &str) -> Value {
    let mut job = targetless_job();
    job["metadata"]["annotations"][STAMP] = json!(stamp);
    job
}

/// Waits for the Session of an agent and returns the user name of its owner.
async fn owner_of(client: &Client, job: &Value) -> String {
    let uid = &job["metadata"]["uid"];
    let sessions = "/apis/operator.metalbear.co/v1/sessions";
    eventually("the agent is recorded", || async {
        let sessions = send_request(client, "GET", sessions, &Value::Null).await.ok()?;
        let mut sessions = sessions["items"].as_array()?.iter();
        let session = sessions.find(|session| session["status"]["agent"]["uid"] == *uid)?;
        Some(session["spec"]["owner"]["username"].as_str()?.to_owned())
    })
    .await
}

/// Compares the guards of a real API server, with its defaults, with the shipped ones.
#[tokio::test]
async fn stored_guards_equal_shipped_ones() {
    let client = admin_client(shared()).await;
    for guard in shipped_guards() {
        let name = &guard.name;
        let policy = read_guard(&client, "policies", name).await;
        let binding = read_guard(&client, "policybindings", name).await;
        assert_eq!(check_guard(name, Some(&policy), Some(&binding)), Ok(()), "{name}");
        let version = guard_version(&policy, &binding).unwrap();
        assert!(version.unchanged_since().is_some(), "{name}: {version:?}");
    }
}

/// A change of a policy or binding spec that lets forged stamps pass in the namespace.
type Weakening = fn(&mut Value, &str);

const WEAKENINGS: [(&str, &str, Weakening); 4] = [
    ("audit and warn", "policybindings", |spec, _| {
        spec["validationActions"] = json!(["Audit", "Warn"]);
    }),
    ("excluded namespace", "policybindings", |spec, namespace| {
        spec["matchResources"]["namespaceSelector"]["matchExpressions"] = json!([{
            "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [namespace],
        }]);
    }),
    ("match condition", "policies", |spec, namespace| {
        let expression = format!("request.namespace != '{namespace}'");
        spec["matchConditions"] = json!([{ "name": "a", "expression": expression }]);
    }),
    ("removed validation", "policies", |spec, _| {
        spec["validations"].as_array_mut().unwrap().remove(0);
    }),
];

#[tokio::test]
async fn agents_of_a_weakened_guard_are_never_verified() {
    let cluster = Cluster::start().await.unwrap();
    wait_for_guard(&cluster).await;
    // Without the webhook, only the guard denies forged stamps.
    cluster.delete_webhook_configuration().await.unwrap();
    let client = admin_client(&cluster).await;
    let home = create_namespace(&cluster, "weakened").await;
    let all = job_path(&home.name, "");
    let dry_run = format!("{all}?dryRun=All");
    let forged = || stamped_job("username=alice");
    let honest = send_request(&client, "POST", &all, &stamped_job(ADMIN)).await.unwrap();
    assert_eq!(owner_of(&client, &honest).await, "admin");

    for (name, resource, weaken) in WEAKENINGS {
        // The leader observes nothing until the guard is restored.
        cluster.webhook.freeze().unwrap();
        let shipped = read_guard(&client, resource, JOB_GUARD).await["spec"].clone();
        let mut spec = shipped.clone();
        weaken(&mut spec, &home.name);
        write_spec(&client, resource, &spec).await;
        let job = eventually(&format!("{name}: the guard is weakened"), || async {
            send_request(&client, "POST", &all, &forged()).await.ok()
        })
        .await;
        write_spec(&client, resource, &shipped).await;
        eventually(&format!("{name}: the guard is restored"), || async {
            send_request(&client, "POST", &dry_run, &forged()).await.is_err().then_some(())
        })
        .await;
        cluster.webhook.thaw().unwrap();
        assert_eq!(owner_of(&client, &job).await, UNVERIFIED, "{name}");
    }

    // Agents that start later are verified again.
    eventually_within(Duration::from_mins(1), "an agent is verified", || async {
        let job = send_request(&client, "POST", &all, &stamped_job(ADMIN)).await.ok()?;
        (owner_of(&client, &job).await == "admin").then_some(())
    })
    .await;
}
