//! Each way to write a stamp or a binding on an agent, with the webhook up, down and hanging.

use kube::Client;
use mirrord_sessions_crds::CONTROLLER_USERNAME;
use mirrord_sessions_tests::{
    agents::{add_ephemeral, ephemeral, jobs, name, send, targeted, targetless},
    cluster::Cluster,
};
use serde_json::{Value, json};

use crate::support::{Namespace, create_namespace, eventually, shared};

const STAMP: &str = "operator.metalbear.co/requester";
const SESSION: &str = "operator.metalbear.co/session";
const VARIABLE: &str = "MIRRORD_SESSIONS_REQUESTER";

const ALICE: &str = "username=alice&group=devs&group=system:authenticated";
const MALLORY: &str = "username=mallory&group=a%26b%25&group=devs&group=system:authenticated";

/// Somebody who may do everything with Jobs and Pods, and may still not forge.
async fn person(cluster: &Cluster, name: &str, groups: &[&str]) -> Client {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": "everything-on-agents" },
            "rules": [
                { "apiGroups": ["batch"], "resources": ["jobs", "jobs/status"], "verbs": ["*"] },
                { "apiGroups": [""], "resources": ["pods", "pods/ephemeralcontainers"], "verbs": ["*"] },
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": format!("everything-on-agents-{name}") },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "everything-on-agents" },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name }],
        },
    ]});
    let args = ["apply", "-f", "-"];
    cluster.admin(&args, &list.to_string()).await.unwrap();
    let client = cluster.plane.client(name, groups).await.unwrap();
    // RBAC reaches the API server by a watch.
    eventually("the rights are there", || async {
        send(&client, "GET", &jobs("default", ""), &Value::Null).await.ok()
    })
    .await;
    client
}

fn at(path: &[&str], text: &str) -> impl Fn(&mut Value) + use<> {
    let path: Vec<String> = path.iter().map(ToString::to_string).collect();
    let text = text.to_owned();
    move |job| {
        let mut place = &mut *job;
        for step in &path {
            place = &mut place[step.as_str()];
        }
        *place = json!(text);
    }
}

/// What comes of a write: the stamp that is stored, or a refusal.
#[derive(Debug, Eq, PartialEq)]
enum Comes {
    Stored(Option<String>),
    Refused,
    Failed(String),
}

fn comes(
    answer: Result<Value, kube::Error>,
    policy: &str,
    stamp: impl Fn(&Value) -> Option<String>,
) -> Comes {
    match answer {
        Ok(stored) => Comes::Stored(stamp(&stored)),
        Err(kube::Error::Api(status)) if status.message.contains(policy) => Comes::Refused,
        Err(error) => Comes::Failed(error.to_string()),
    }
}

fn job_stamp(job: &Value) -> Option<String> {
    assert!(job["metadata"]["annotations"].get(SESSION).is_none_or(|binding| binding != "forged"));
    let template = &job["spec"]["template"]["metadata"]["annotations"];
    assert!(template.get(STAMP).is_none() && template.get(SESSION).is_none());
    job["metadata"]["annotations"].get(STAMP).map(|stamp| stamp.as_str().unwrap().to_owned())
}

fn stored(stamp: &str) -> Comes {
    Comes::Stored(Some(stamp.to_owned()))
}

/// What a forger changes of a Job.
type Change = Box<dyn Fn(&mut Value)>;

/// New Jobs.
async fn creates(client: &Client, namespace: &Namespace<'_>, up: bool) -> Vec<String> {
    let none = |_: &mut Value| {};
    let annotations = |key| at(&["metadata", "annotations", key], "forged");
    let template = |key| at(&["spec", "template", "metadata", "annotations", key], "forged");
    let ways: Vec<(&str, Change, Comes, Comes)> = vec![
        // (name, change, with the webhook, without)
        ("plain", Box::new(none), stored(MALLORY), Comes::Stored(None)),
        (
            "true",
            Box::new(at(&["metadata", "annotations", STAMP], MALLORY)),
            stored(MALLORY),
            stored(MALLORY),
        ),
        (
            "of somebody else",
            Box::new(at(&["metadata", "annotations", STAMP], ALICE)),
            stored(MALLORY),
            Comes::Refused,
        ),
        (
            "without groups",
            Box::new(at(&["metadata", "annotations", STAMP], "username=mallory")),
            stored(MALLORY),
            Comes::Refused,
        ),
        ("nonsense", Box::new(annotations(STAMP)), stored(MALLORY), Comes::Refused),
        ("bound", Box::new(annotations(SESSION)), stored(MALLORY), Comes::Refused),
        ("in the template", Box::new(template(STAMP)), stored(MALLORY), Comes::Refused),
        ("bound in the template", Box::new(template(SESSION)), stored(MALLORY), Comes::Refused),
        // Not agents: no webhook is asked, or it leaves them alone, and the guard holds.
        (
            "forged, to be labelled later",
            Box::new(move |job| {
                annotations(STAMP)(job);
                // None at all would be those of the Pod template.
                job["metadata"]["labels"] = json!({ "a": "b" });
            }),
            Comes::Refused,
            Comes::Refused,
        ),
        (
            "forged, of another name",
            Box::new(move |job| {
                annotations(STAMP)(job);
                job["metadata"]["name"] = json!(format!("x{}", name()));
            }),
            Comes::Refused,
            Comes::Refused,
        ),
        (
            "another name",
            Box::new(|job| job["metadata"]["name"] = json!(format!("x{}", name()))),
            Comes::Stored(None),
            Comes::Stored(None),
        ),
        (
            "the operator's",
            Box::new(move |job| {
                job["spec"]["template"]["spec"]["containers"][0]["env"][0]["name"] =
                    json!("AGENT_OPERATOR_CERT_ENV");
            }),
            Comes::Stored(None),
            Comes::Stored(None),
        ),
        (
            "a name to be made",
            Box::new(move |job| {
                job["metadata"]["name"] = Value::Null;
                job["metadata"]["generateName"] = json!("mirrord-agent-");
            }),
            Comes::Stored(None),
            Comes::Stored(None),
        ),
    ];
    let mut wrong = Vec::new();
    for (name, change, with, without) in ways {
        let mut job = targeted(&"a".repeat(64), "node-1");
        change(&mut job);
        let answer = send(client, "POST", &jobs(&namespace.name, ""), &job).await;
        let found = comes(answer, "'agents.mirrord-sessions'", job_stamp);
        if found != if up { with } else { without } {
            wrong.push(format!("creating, up: {up}, {name}: {found:?}"));
        }
    }
    wrong
}

/// Changes to alice's agent.
async fn updates(
    alice: &Client,
    client: &Client,
    namespace: &Namespace<'_>,
    up: bool,
) -> Vec<String> {
    let put = |change: Value| ("PATCH", "", change);
    let status = |change: Value| ("PATCH", "/status", change);
    let annotate =
        |key: &str, value: Value| json!({ "metadata": { "annotations": { key: value } } });
    let kept = || stored(ALICE);
    let ways = vec![
        // (name, (method, subresource, body), with the webhook, without)
        ("another stamp", put(annotate(STAMP, json!(MALLORY))), kept(), Comes::Refused),
        ("no stamp", put(annotate(STAMP, json!(null))), kept(), Comes::Refused),
        (
            "no annotations",
            put(json!({ "metadata": { "annotations": null } })),
            kept(),
            Comes::Refused,
        ),
        ("bound", put(annotate(SESSION, json!("forged"))), kept(), Comes::Refused),
        (
            "another stamp, by status",
            status(annotate(STAMP, json!(MALLORY))),
            Comes::Refused,
            Comes::Refused,
        ),
        (
            "no stamp, by status",
            status(annotate(STAMP, json!(null))),
            Comes::Refused,
            Comes::Refused,
        ),
        (
            "bound, by status",
            status(annotate(SESSION, json!("forged"))),
            Comes::Refused,
            Comes::Refused,
        ),
        (
            "no label",
            put(json!({ "metadata": { "labels": { "app": null } } })),
            Comes::Refused,
            Comes::Refused,
        ),
        (
            "another label more",
            put(json!({ "metadata": { "labels": { "team": "a" } } })),
            kept(),
            kept(),
        ),
        ("another annotation more", put(annotate("team", json!("a"))), kept(), kept()),
    ];
    let mut wrong = Vec::new();
    for (name, (method, subresource, body), with, without) in ways {
        let mut job = targetless();
        job["metadata"]["annotations"][STAMP] = json!(ALICE);
        let job = send(alice, "POST", &jobs(&namespace.name, ""), &job).await.unwrap();
        assert_eq!(job_stamp(&job).as_deref(), Some(ALICE));
        let path = jobs(&namespace.name, job["metadata"]["name"].as_str().unwrap()) + subresource;
        let answer = send(client, method, &path, &body).await;
        let found = comes(answer, "'agents.mirrord-sessions'", job_stamp);
        if found != if up { with } else { without } {
            wrong.push(format!("changing, up: {up}, {name}: {found:?}"));
        }
    }
    wrong
}

/// New ephemeral containers.
async fn ephemerals(client: &Client, namespace: &Namespace<'_>, up: bool) -> Vec<String> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "generateName": "target-" },
        "spec": { "containers": [{ "name": "main", "image": "example.com/main:1" }], "nodeName": "node-1" },
    });
    let variable = |value: &str| json!({ "name": VARIABLE, "value": value });
    let reference =
        json!({ "name": VARIABLE, "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } });
    let ways = vec![
        // (name, variables, with the webhook, without)
        ("plain", json!([]), stored(MALLORY), Comes::Stored(None)),
        ("true", json!([variable(MALLORY)]), stored(MALLORY), stored(MALLORY)),
        ("forged", json!([variable(ALICE)]), stored(MALLORY), Comes::Refused),
        (
            "true, then forged",
            json!([variable(MALLORY), variable(ALICE)]),
            stored(MALLORY),
            Comes::Refused,
        ),
        ("by reference", json!([reference]), stored(MALLORY), Comes::Refused),
    ];
    let mut wrong = Vec::new();
    for (name, variables, with, without) in ways {
        let path = format!("/api/v1/namespaces/{}/pods", namespace.name);
        let pod = send(client, "POST", &path, &pod).await.unwrap();
        let pod = pod["metadata"]["name"].as_str().unwrap();
        let mut agent = ephemeral("main");
        agent["env"].as_array_mut().unwrap().extend(variables.as_array().unwrap().clone());
        let answer = add_ephemeral(client, &namespace.name, pod, agent).await;
        let stamp = |pod: &Value| {
            let env = pod["spec"]["ephemeralContainers"][0]["env"].as_array().unwrap();
            let mut stamps = env.iter().filter(|variable| variable["name"] == VARIABLE);
            let stamp = stamps.next()?;
            assert!(stamps.next().is_none());
            Some(stamp["value"].as_str().unwrap().to_owned())
        };
        let found = comes(answer, "'ephemeral-agents.mirrord-sessions'", stamp);
        if found != if up { with } else { without } {
            wrong.push(format!("ephemeral, up: {up}, {name}: {found:?}"));
        }
    }
    wrong
}

#[tokio::test]
async fn denies_forged_stamps() {
    let cluster = Cluster::start().await.unwrap();
    let alice = person(&cluster, "alice", &["devs"]).await;
    let mallory = person(&cluster, "mallory", &["a&b%", "devs"]).await;
    let mut wrong = Vec::new();
    for up in [true, false] {
        if !up {
            cluster.webhook.kill().unwrap();
        }
        let namespace = create_namespace(&cluster, "stamps").await;
        wrong.extend(creates(&mallory, &namespace, up).await);
        wrong.extend(updates(&alice, &mallory, &namespace, up).await);
        wrong.extend(ephemerals(&mallory, &namespace, up).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A developer with the least rights, as mirrord needs them, and a webhook that doesn't answer.
#[tokio::test]
async fn starts_run_without_stamp_when_webhook_hangs() {
    let cluster = Cluster::start().await.unwrap();
    let namespace = create_namespace(&cluster, "hangs").await;
    let role =
        include_str!("../../../data/agents/rbac-developer.yaml").replace("shop", &namespace.name);
    cluster.admin(&["apply", "-f", "-"], &role).await.unwrap();
    let args = [
        "create",
        "rolebinding",
        "dev",
        "--role=mirrord-developer",
        "--user=dev",
        "-n",
        &namespace.name,
    ];
    cluster.admin(&args, "").await.unwrap();
    let dev = cluster.plane.client("dev", &[]).await.unwrap();
    let path = jobs(&namespace.name, "");
    let created = eventually("the developer may start agents", || async {
        send(&dev, "POST", &path, &targetless()).await.ok()
    })
    .await;
    assert_eq!(job_stamp(&created).as_deref(), Some("username=dev&group=system:authenticated"));
    cluster.webhook.freeze().unwrap();
    let created = send(&dev, "POST", &path, &targetless()).await.unwrap();
    assert_eq!(job_stamp(&created), None);
}

/// The right to patch and delete Jobs is the right to tie agents to Sessions, and to end those.
#[tokio::test]
async fn controller_may_only_bind_and_delete_agents() {
    let cluster = shared();
    let namespace = create_namespace(cluster, "controller").await;
    let controller = cluster.plane.client(CONTROLLER_USERNAME, &["system:masters"]).await.unwrap();
    let admin = cluster.plane.admin().client().await.unwrap();
    // Of another name than agents have, so that nobody but this test touches it; and agents.
    let mut other = targetless();
    other["metadata"]["name"] = json!(format!("x{}", name()));
    let agent = targetless();
    let mut paths = Vec::new();
    for job in [&agent, &other] {
        send(&admin, "POST", &jobs(&namespace.name, ""), job).await.unwrap();
        paths.push(jobs(&namespace.name, job["metadata"]["name"].as_str().unwrap()));
    }
    let (agent, other) = (&paths[0], &paths[1]);
    let annotate =
        |key: &str, value: Value| json!({ "metadata": { "annotations": { key: value } } });
    let none = Value::Null;
    let all = jobs(&namespace.name, "");
    let status = format!("{agent}/status");
    let mut wrong = Vec::new();
    for (name, method, path, body, may) in [
        ("creates", "POST", &all, targetless(), false),
        ("binds", "PATCH", agent, annotate(SESSION, json!("a")), true),
        ("annotates", "PATCH", agent, annotate("team", json!("a")), false),
        (
            "takes an annotation",
            "PATCH",
            agent,
            annotate("sidecar.istio.io/inject", none.clone()),
            false,
        ),
        ("labels", "PATCH", agent, json!({ "metadata": { "labels": { "team": "a" } } }), false),
        ("suspends", "PATCH", agent, json!({ "spec": { "suspend": true } }), false),
        ("writes status", "PATCH", &status, annotate(SESSION, json!("b")), false),
        (
            "holds up",
            "PATCH",
            agent,
            json!({ "metadata": { "finalizers": ["a.example.com/b"] } }),
            false,
        ),
        ("binds another Job", "PATCH", other, annotate(SESSION, json!("a")), false),
        ("deletes another Job", "DELETE", other, none.clone(), false),
        ("deletes a bound agent", "DELETE", agent, none.clone(), true),
    ] {
        let answer = send(&controller, method, path, &body).await;
        let refused = matches!(&answer, Err(kube::Error::Api(status))
            if status.message.contains("'controller-jobs.mirrord-sessions'"));
        if answer.is_ok() != may || refused == may {
            wrong.push(format!("{name}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
