//! SessionPolicies: validated on admission, and enforced at once for get, list and watch.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::TryStreamExt;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use mirrord_sessions_crds::{
    CONTROLLER_USERNAME, Session, SessionPolicy, SessionPolicySpec, SessionSpec, SessionTracker,
};
use mirrord_sessions_tests::cluster::Cluster;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{eventually, shared};

mod cases;
mod verbs;

use cases::{CASES, Letters, REQUESTERS, SESSIONS};

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

fn status_code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        error => panic!("{error}"),
    }
}

/// Returns whether a session is part of the matrix, unlike the twins that `verbs` creates.
fn is_in_matrix(name: &str) -> bool {
    SESSIONS.iter().any(|(_, _, letter)| *letter == name)
}

/// Requester that gets, lists, and always keeps a watch open.
struct Requester {
    name: &'static str,
    trackers: Api<SessionTracker>,
    client: Client,
    watched: Arc<Mutex<WatchState>>,
    watch: JoinHandle<()>,
}

/// State that a watch has delivered.
struct WatchState {
    /// Letters of the sessions, or `!` for Forbidden; `None` until the initial events are complete.
    seen: Option<String>,
    /// Time of the last change.
    since: Instant,
}

/// Longest duration of a watch of the `kube` client, minus some seconds.
///
/// Earlier, only a denial may end a watch. A restarted watch would send all sessions again and hide
/// a missed event.
const MIN_WATCH_DURATION: Duration = Duration::from_secs(280);

impl Requester {
    async fn new(cluster: &Cluster, name: &'static str, groups: &[&str]) -> Self {
        let client = cluster.plane.client(name, groups).await.unwrap();
        let watched = Arc::new(Mutex::new(WatchState { seen: None, since: Instant::now() }));
        let watch = tokio::spawn(watch(Api::all(client.clone()), Arc::clone(&watched)));
        Self { name, trackers: Api::all(client.clone()), client, watched, watch }
    }

    async fn listed(&self) -> String {
        match self.trackers.list(&ListParams::default()).await {
            Ok(list) => {
                let names = list.items.into_iter().filter_map(|item| item.metadata.name);
                let names = names.filter(|name| is_in_matrix(name));
                names.collect::<BTreeSet<_>>().into_iter().collect()
            }
            Err(error) if is_forbidden(&error) => "!".into(),
            Err(error) => error.to_string(),
        }
    }

    async fn readable(&self) -> String {
        let mut seen = String::new();
        for (namespace, _, name) in SESSIONS {
            let trackers: Api<SessionTracker> = Api::namespaced(self.client.clone(), namespace);
            match trackers.get_opt(name).await {
                Ok(Some(_)) => seen.push_str(name),
                Ok(None) => {}
                Err(error) if is_forbidden(&error) => return "!".into(),
                Err(error) => return error.to_string(),
            }
        }
        let mut letters: Vec<char> = seen.chars().collect();
        letters.sort_unstable();
        letters.into_iter().collect()
    }

    fn watched_letters(&self) -> Option<String> {
        self.watched.lock().unwrap().seen.clone()
    }

    /// Propagates a panic of the watch task, which checks the consistency of events.
    async fn check_watch(&mut self) {
        if self.watch.is_finished() {
            (&mut self.watch).await.unwrap();
        }
    }
}

/// Watches trackers without end and publishes the delivered state.
async fn watch(trackers: Api<SessionTracker>, watched: Arc<Mutex<WatchState>>) {
    let params = WatchParams::default().initial_events();
    loop {
        let mut names = BTreeSet::new();
        let mut complete = false;
        let started = Instant::now();
        let publish = |seen: Option<String>| {
            let mut watched = watched.lock().unwrap();
            if watched.seen != seen {
                let since = Instant::now();
                *watched = WatchState { seen, since };
            }
        };
        let mut events = match trackers.watch(&params, "").await {
            Ok(events) => Box::pin(events),
            Err(error) => {
                assert!(is_forbidden(&error), "{error}");
                publish(Some("!".into()));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let mut is_denied = false;
        while let Some(event) = events.try_next().await.unwrap() {
            match event {
                WatchEvent::Added(tracker)
                | WatchEvent::Modified(tracker)
                | WatchEvent::Deleted(tracker)
                    if !is_in_matrix(tracker.metadata.name.as_deref().unwrap()) => {}
                WatchEvent::Added(tracker) => {
                    let name = tracker.metadata.name.unwrap();
                    assert!(names.insert(name), "added twice");
                }
                WatchEvent::Modified(tracker) => {
                    let name = tracker.metadata.name.unwrap();
                    assert!(names.contains(&name), "modified before it was added");
                }
                WatchEvent::Deleted(tracker) => {
                    let name = tracker.metadata.name.unwrap();
                    assert!(names.remove(&name), "deleted before it was added");
                }
                WatchEvent::Bookmark(_) => complete = true,
                WatchEvent::Error(status) => {
                    assert_eq!(status.code, 403, "{status:?}");
                    assert!(names.is_empty(), "no deletion event for {names:?}");
                    is_denied = true;
                    break;
                }
            }
            publish(complete.then(|| names.iter().map(String::as_str).collect()));
        }
        let duration = started.elapsed();
        assert!(is_denied || duration > MIN_WATCH_DURATION, "the watch ended after {duration:?}");
        publish(None);
    }
}

async fn create_matrix_sessions(cluster: &Cluster) {
    for namespace in ["policy-dev", "policy-prod"] {
        cluster.admin(&["create", "namespace", namespace], "").await.unwrap();
    }
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": "policies" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "mirrord-operator-user" },
        "subjects": [
            { "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "devs" },
            { "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:serviceaccounts" },
        ],
    });
    cluster.admin(&["create", "-f", "-"], &binding.to_string()).await.unwrap();
    for (_, _, letter) in SESSIONS {
        create_twin(cluster, letter, letter, &[]).await;
    }
}

/// Creates a session with the owner, namespace and participants of a session of the matrix.
async fn create_twin(cluster: &Cluster, letter: &str, name: &str, labels: &[(&str, &str)]) {
    let original = SESSIONS.iter().find(|(_, _, name)| *name == letter);
    let (namespace, owner, _) = *original.unwrap();
    let (_, groups) = REQUESTERS.iter().find(|(name, _)| *name == owner).unwrap();
    let client = cluster.plane.client(owner, groups).await.unwrap();
    let spec = SessionSpec { target: "targetless".into(), ..SessionSpec::default() };
    let mut session = Session::new(name, spec);
    let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into()));
    session.metadata.labels = Some(labels.collect());
    let sessions: Api<Session> = Api::namespaced(client, namespace);
    sessions.create(&PostParams::default(), &session).await.unwrap();
    if letter != "j" {
        return;
    }
    let joined = json!({ "status": { "state": "running", "participants": ["alice"] } });
    let sessions: Api<Session> = Api::namespaced(controller_client(cluster).await, namespace);
    sessions.patch_status(name, &PatchParams::default(), &Patch::Merge(joined)).await.unwrap();
}

async fn controller_client(cluster: &Cluster) -> Client {
    let groups = ["system:masters"];
    let client = cluster.plane.client(CONTROLLER_USERNAME, &groups).await;
    client.unwrap()
}

#[tokio::test]
async fn enforces_policies_for_every_requester_and_verb() {
    let cluster = Cluster::start().await.unwrap();
    create_matrix_sessions(&cluster).await;
    let admin = cluster.plane.client("admin", &["system:masters"]).await.unwrap();
    let policies: Api<SessionPolicy> = Api::all(admin);
    let mut requesters = Vec::new();
    for (name, groups) in REQUESTERS {
        requesters.push(Requester::new(&cluster, name, groups).await);
    }
    let mut delays = Vec::new();
    for case in CASES {
        let before: Vec<_> = requesters.iter().map(Requester::watched_letters).collect();
        let mut written = Instant::now();
        let existing = policies.list(&ListParams::default()).await.unwrap();
        for (index, yaml) in case.policies.iter().enumerate() {
            let spec: SessionPolicySpec = serde_saphyr::from_str(yaml).unwrap();
            let policy = SessionPolicy::new(&format!("p{index}"), spec);
            let name = policy.metadata.name.as_deref().unwrap();
            let params = PatchParams::apply("test").force();
            written = Instant::now();
            policies.patch(name, &params, &Patch::Apply(&policy)).await.unwrap();
        }
        for policy in existing.items.iter().skip(case.policies.len()) {
            let name = policy.metadata.name.as_deref().unwrap();
            written = Instant::now();
            policies.delete(name, &DeleteParams::default()).await.unwrap();
        }
        for (at, requester) in requesters.iter().enumerate() {
            let (list, read) = (case.lists[at], case.reads[at]);
            let name = requester.name;
            let condition = format!("{}: {name} lists {list:?} and reads {read:?}", case.name);
            eventually(&condition, || async {
                let seen = (requester.listed().await, requester.readable().await);
                (seen == (list.into(), read.into())).then_some(())
            })
            .await;
            eventually(&format!("{}: {name} watches {list:?}", case.name), || async {
                (requester.watched_letters()? == list).then_some(())
            })
            .await;
            // Measure the delay of watches that stayed open and that the last policy changed.
            let since = requester.watched.lock().unwrap().since;
            let open = before[at].as_ref().is_some_and(|before| before != "!") && list != "!";
            if let Some(delay) = since.checked_duration_since(written).filter(|_| open) {
                println!("{}: watch of {name} changed after {delay:?}", case.name);
                delays.push(delay);
            }
            // The watch agrees with lists and reads, which remain stable.
            assert_eq!(requester.listed().await, list, "{}: {name}", case.name);
            assert_eq!(requester.readable().await, read, "{}: {name}", case.name);
        }
        for (at, requester) in requesters.iter().enumerate() {
            let allowed = verbs::AllowedSessions {
                lists: case.lists[at],
                reads: case.reads[at],
                deletes: case.deletes[at],
                joins: case.joins[at],
            };
            verbs::check(case.name, &cluster, requester, &allowed).await;
        }
        for requester in &mut requesters {
            requester.check_watch().await;
        }
    }
    delays.sort_unstable();
    let longest = delays.last().copied().unwrap();
    println!(
        "open watches changed {} times: median {:?}, maximum {longest:?}",
        delays.len(),
        delays[delays.len() / 2]
    );
    assert!(longest < Duration::from_secs(10), "{delays:?}");
}

#[tokio::test]
async fn rejects_invalid_policies() {
    let cluster = shared();
    let rule = |rule: Value| {
        json!({
            "apiVersion": "operator.metalbear.co/v1alpha1",
            "kind": "SessionPolicy",
            "metadata": { "name": "refused" },
            // An accepted policy must not affect other tests.
            "spec": {
                "subjects": [{ "kind": "User", "name": "nobody-at-all" }],
                "allow": { "rules": [rule] },
            },
        })
    };
    let admin = cluster.plane.admin().path();
    for (name, policy, expected) in [
        (
            "a valid policy",
            rule(
                json!({ "resources": ["session_tracker"], "verbs": ["list"], "where": "tracker.kind == 'job'" }),
            ),
            "",
        ),
        (
            "an invalid expression",
            rule(
                json!({ "resources": ["session_tracker"], "verbs": ["list"], "where": "tracker.kind = 'job'" }),
            ),
            r#"spec.allow.rules[0].where: column 14: "="; expected "==""#,
        ),
        (
            "a misspelt field",
            rule(
                json!({ "resources": ["session_tracker"], "verbs": ["list"], "were": "tracker.kind == 'job'" }),
            ),
            "unknown field `were`",
        ),
        (
            "an unknown verb",
            rule(json!({ "resources": ["session_tracker"], "verbs": ["kill"] })),
            "Unsupported value: \"kill\"",
        ),
    ] {
        // Disable the strict field validation that kubectl requests, as other clients do not.
        let args = ["create", "--dry-run=server", "--validate=false", "-f", "-"];
        let output =
            cluster.plane.kubectl_with_input(admin, &args, &policy.to_string()).await.unwrap();
        assert_eq!(output.status.success(), expected.is_empty(), "{name}: {output:?}");
        assert!(output.stderr.contains(expected), "{name}: {output:?}");
    }
}
