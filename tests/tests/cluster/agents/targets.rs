//! Resolution of an agent's target from a container id.

use mirrord_sessions_tests::agents::{container_id, job_path, send_request, targeted_job};
use serde_json::{Value, json};

use super::fixtures::{
    Target, admin_client, create_node, pod_spec, report_running, wait_for_event, wait_for_guard,
    wait_for_session, wait_for_sessions, workload,
};
use crate::support::{create_namespace, eventually, name_of, shared};

const ROLLOUTS: &str = r#"{
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": { "name": "rollouts.argoproj.io" },
    "spec": {
        "group": "argoproj.io", "scope": "Namespaced",
        "names": { "plural": "rollouts", "singular": "rollout", "kind": "Rollout" },
        "versions": [{ "name": "v1alpha1", "served": true, "storage": true,
            "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }]
    }
}"#;

#[tokio::test]
async fn resolves_every_workload_kind() {
    let cluster = shared();
    wait_for_guard(cluster).await;
    let client = admin_client(cluster).await;
    let shop = create_namespace(cluster, "targets").await;
    let node = create_node(&client, "targets-1").await;
    cluster.admin(&["apply", "-f", "-"], ROLLOUTS).await.unwrap();
    let established = ["wait", "--for=condition=Established", "crd/rollouts.argoproj.io"];
    cluster.admin(&established, "").await.unwrap();
    let create = async |path: &str, object: Value| {
        let (group, plural) = path.rsplit_once('/').unwrap();
        let path = format!("/{group}/namespaces/{}/{plural}", shop.name);
        send_request(&client, "POST", &path, &object).await.unwrap()
    };
    create("apis/apps/v1/deployments", workload("apps/v1", "Deployment", "web", &node)).await;
    create("apis/apps/v1/statefulsets", {
        let mut set = workload("apps/v1", "StatefulSet", "db", &node);
        set["spec"]["serviceName"] = json!("db");
        set
    })
    .await;
    create("apis/apps/v1/daemonsets", workload("apps/v1", "DaemonSet", "log", &node)).await;
    create("apis/apps/v1/replicasets", workload("apps/v1", "ReplicaSet", "bare-set", &node)).await;
    let rollout = create("apis/argoproj.io/v1alpha1/rollouts", json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": { "name": "canary" },
    }))
    .await;
    let owner = |object: &Value| {
        json!([{
            "apiVersion": object["apiVersion"], "kind": object["kind"], "name": object["metadata"]["name"],
            "uid": object["metadata"]["uid"], "controller": true,
        }])
    };
    let mut set = workload("apps/v1", "ReplicaSet", "canary-1", &node);
    set["metadata"]["ownerReferences"] = owner(&rollout);
    create("apis/apps/v1/replicasets", set).await;
    let job_spec = |run: &str| {
        json!({ "template": {
        "metadata": { "labels": { "run": run } },
        "spec": { "restartPolicy": "Never", "nodeName": node, "containers": [{ "name": "main", "image": "x" }] },
    } })
    };
    create("apis/batch/v1/jobs", json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "migrate" }, "spec": job_spec("migrate"),
    }))
    .await;
    let cron = create(
        "apis/batch/v1/cronjobs",
        json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": "nightly" },
            "spec": { "schedule": "0 0 1 1 *", "jobTemplate": { "spec": job_spec("nightly") } },
        }),
    )
    .await;
    create("apis/batch/v1/jobs", json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": { "name": "nightly-1", "ownerReferences": owner(&cron) }, "spec": job_spec("nightly"),
    }))
    .await;
    create(
        "api/v1/pods",
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "alone", "labels": { "run": "alone" } },
            "spec": pod_spec(&node, &["main"]),
        }),
    )
    .await;

    let mut expected = Vec::new();
    for (run, container, path) in [
        ("web", 0, "deployment/web"),
        ("web", 1, "deployment/web/container/sidecar"),
        ("db", 0, "statefulset/db"),
        ("log", 0, "daemonset/log"),
        ("bare-set", 0, "replicaset/bare-set"),
        ("canary", 0, "rollout/canary"),
        ("migrate", 0, "job/migrate"),
        ("nightly", 0, "cronjob/nightly"),
        ("alone", 0, "pod/alone"),
    ] {
        let selector = match run {
            "canary" => "run=canary-1".to_owned(),
            run => format!("run={run}"),
        };
        let (_, ids) = report_running(&client, &shop.name, &selector).await;
        let job = targeted_job(&ids[container], &node);
        send_request(&client, "POST", &job_path(&shop.name, ""), &job).await.unwrap();
        expected.push((name_of(&job).to_owned(), path));
        // Wait for each Session, because the next iteration may report new ids for the same Pod.
        wait_for_sessions(&shop, expected.len()).await;
    }
    let sessions = shop.sessions().await;
    for (agent, path) in expected {
        let session = sessions.iter().find(|session| session["status"]["agent"]["name"] == agent);
        assert_eq!(session.unwrap()["spec"]["target"], path);
    }
}

#[tokio::test]
async fn reports_unresolved_targets() {
    let cluster = shared();
    wait_for_guard(cluster).await;
    let client = admin_client(cluster).await;
    let node = create_node(&client, "targets-2").await;
    let shop = create_namespace(cluster, "twins").await;
    let pod = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "run": name } },
            "spec": pod_spec(&node, &["main"]),
        })
    };
    let path = format!("/api/v1/namespaces/{}/pods", shop.name);
    for name in ["one", "two"] {
        send_request(&client, "POST", &path, &pod(name)).await.unwrap();
    }
    let (_, ids) = report_running(&client, &shop.name, "run=one").await;
    let duplicate = Target { pod: "two".into(), container: ids[0].clone(), node: node.clone() };
    // Another Pod reports the same container id.
    let status = json!({ "status": { "containerStatuses": [{
        "name": "main", "image": "x", "imageID": "x", "ready": true, "restartCount": 0,
        "containerID": format!("containerd://{}", duplicate.container),
    }] } });
    send_request(&client, "PATCH", &format!("{path}/{}/status", duplicate.pod), &status)
        .await
        .unwrap();

    let with_args = |change: fn(&mut Vec<Value>)| {
        let mut job = targeted_job(&container_id(), "targets-2");
        let args = &mut job["spec"]["template"]["spec"]["containers"][0]["args"];
        change(args.as_array_mut().unwrap());
        job
    };
    let cases = [
        (
            "unknown container",
            targeted_job(&container_id(), &duplicate.node),
            "no Pod has its container",
        ),
        (
            "container of two Pods",
            targeted_job(&duplicate.container, &duplicate.node),
            "more than one Pod",
        ),
        (
            "another node",
            targeted_job(&duplicate.container, "elsewhere"),
            "no Pod has its container",
        ),
        ("no arguments", with_args(Vec::clear), "must name one mode"),
        ("unknown runtime", with_args(|args| args[8] = json!("podman")), "\"podman\" is unknown"),
        (
            "repeated flag",
            with_args(|args| args.extend([json!("--container-id"), json!("b")])),
            "--container-id occurs twice",
        ),
        (
            "invalid container id",
            with_args(|args| args[6] = json!("../../etc\u{1b}[2J")),
            "is invalid",
        ),
    ];
    for (name, mut job, reason) in cases {
        let home = create_namespace(cluster, "unresolved").await;
        job["metadata"]["annotations"]["operator.metalbear.co/username"] =
            json!("\u{0}\u{1b}]0;x\u{7}/".repeat(99));
        job["metadata"]["annotations"]["operator.metalbear.co/hostname"] =
            json!("x".repeat(200_000));
        send_request(&client, "POST", &job_path(&home.name, ""), &job).await.unwrap();
        let session = wait_for_session(&home).await;
        assert_eq!(session["spec"]["target"], "unresolved", "{name}");
        assert_eq!(session["spec"]["client"]["hostname"], "x".repeat(253), "{name}");
        let message = session["status"]["message"].as_str().unwrap();
        assert!(message.contains(reason), "{name}: {message}");
        let event_note = wait_for_event(&home, "TargetUnresolved").await;
        assert!(event_note.contains(reason), "{name}: {event_note}");
    }

    // The API server itself denies larger annotations and Jobs without containers.
    let home = create_namespace(cluster, "refused").await;
    for (change, message) in [
        (
            (|job| job["metadata"]["annotations"]["a"] = json!("x".repeat(1 << 20)))
                as fn(&mut Value),
            "metadata.annotations: Too long",
        ),
        (
            |job| job["spec"]["template"]["spec"]["containers"] = json!([]),
            "containers: Required value",
        ),
    ] {
        let mut job = targeted_job(&container_id(), &node);
        change(&mut job);
        let result = send_request(&client, "POST", &job_path(&home.name, ""), &job).await;
        let error = result.unwrap_err().to_string();
        assert!(error.contains(message) && !error.contains("webhook"), "{error}");
    }

    // Jobs that are not agents are neither recorded nor modified.
    let home = create_namespace(cluster, "lookalikes").await;
    let lookalikes: [fn(&mut Value); 3] = [
        |job| job["metadata"]["name"] = json!("mirrord-operator-thing"),
        |job| job["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["sh"]),
        |job| {
            let env = &mut job["spec"]["template"]["spec"]["containers"][0]["env"];
            env[0]["name"] = json!("AGENT_OPERATOR_CERT_ENV");
        },
    ];
    for change in lookalikes {
        let mut job = targeted_job(&container_id(), &node);
        change(&mut job);
        let stored = send_request(&client, "POST", &job_path(&home.name, ""), &job).await.unwrap();
        assert_eq!(stored["metadata"]["annotations"], job["metadata"]["annotations"]);
    }
    let agent = targeted_job(&container_id(), &node);
    send_request(&client, "POST", &job_path(&home.name, ""), &agent).await.unwrap();
    let session = eventually("the only agent among the Jobs is recorded", || async {
        home.sessions().await.pop()
    })
    .await;
    assert!(
        session["metadata"]["annotations"]["operator.metalbear.co/agent"]
            .as_str()
            .unwrap()
            .contains(name_of(&agent))
    );
    wait_for_sessions(&home, 1).await;
}
