//! SessionPolicies: checked when they are written, and in force at once, for get, list and watch
//! alike.

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

use cases::{CASES, REQUESTERS, SESSIONS, Seen};

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        error => panic!("{error}"),
    }
}

/// Others come and go: see `verbs`.
fn is_ours(name: &str) -> bool {
    SESSIONS.iter().any(|(_, _, ours)| *ours == name)
}

/// Somebody who gets, lists, and keeps a watch open all the time.
struct Requester {
    name: &'static str,
    trackers: Api<SessionTracker>,
    client: Client,
    watched: Arc<Mutex<Watched>>,
    watch: JoinHandle<()>,
}

/// What somebody knows by a watch.
struct Watched {
    /// The letters of sessions, or `!`; none while it isn't complete.
    seen: Option<String>,
    /// Since when.
    since: Instant,
}

/// The longest that a client of `kube` has a watch go on, less some seconds. Before that only a
/// refusal ends one: anew it would tell everything, and hide that something wasn't told.
const WATCH: Duration = Duration::from_secs(280);

impl Requester {
    async fn new(cluster: &Cluster, name: &'static str, groups: &[&str]) -> Self {
        let client = cluster.plane.client(name, groups).await.unwrap();
        let watched = Arc::new(Mutex::new(Watched { seen: None, since: Instant::now() }));
        let watch = tokio::spawn(watch(Api::all(client.clone()), Arc::clone(&watched)));
        Self { name, trackers: Api::all(client.clone()), client, watched, watch }
    }

    async fn lists(&self) -> String {
        match self.trackers.list(&ListParams::default()).await {
            Ok(list) => {
                let names = list.items.into_iter().filter_map(|item| item.metadata.name);
                let names = names.filter(|name| is_ours(name));
                names.collect::<BTreeSet<_>>().into_iter().collect()
            }
            Err(error) if is_forbidden(&error) => "!".into(),
            Err(error) => error.to_string(),
        }
    }

    async fn reads(&self) -> String {
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

    fn watches(&self) -> Option<String> {
        self.watched.lock().unwrap().seen.clone()
    }

    /// Nothing was told that contradicts what had been.
    async fn goes_on(&mut self) {
        if self.watch.is_finished() {
            (&mut self.watch).await.unwrap();
        }
    }
}

/// Holds what one watch after the other tells; none while it isn't complete.
async fn watch(trackers: Api<SessionTracker>, watched: Arc<Mutex<Watched>>) {
    let params = WatchParams::default().initial_events();
    loop {
        let mut names = BTreeSet::new();
        let mut complete = false;
        let started = Instant::now();
        let tell = |seen: Option<String>| {
            let mut watched = watched.lock().unwrap();
            if watched.seen != seen {
                let since = Instant::now();
                *watched = Watched { seen, since };
            }
        };
        let mut events = match trackers.watch(&params, "").await {
            Ok(events) => Box::pin(events),
            Err(error) => {
                assert!(is_forbidden(&error), "{error}");
                tell(Some("!".into()));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let mut refused = false;
        while let Some(event) = events.try_next().await.unwrap() {
            match event {
                WatchEvent::Added(tracker)
                | WatchEvent::Modified(tracker)
                | WatchEvent::Deleted(tracker)
                    if !is_ours(tracker.metadata.name.as_deref().unwrap()) => {}
                WatchEvent::Added(tracker) => {
                    let name = tracker.metadata.name.unwrap();
                    assert!(names.insert(name), "added twice");
                }
                WatchEvent::Modified(tracker) => {
                    let name = tracker.metadata.name.unwrap();
                    assert!(names.contains(&name), "modified and not there");
                }
                WatchEvent::Deleted(tracker) => {
                    let name = tracker.metadata.name.unwrap();
                    assert!(names.remove(&name), "deleted and not there");
                }
                WatchEvent::Bookmark(_) => complete = true,
                WatchEvent::Error(status) => {
                    assert_eq!(status.code, 403, "{status:?}");
                    assert!(names.is_empty(), "{names:?} were never taken back");
                    refused = true;
                    break;
                }
            }
            tell(complete.then(|| names.iter().map(String::as_str).collect()));
        }
        let lasted = started.elapsed();
        assert!(refused || lasted > WATCH, "just ended after {lasted:?}");
        tell(None);
    }
}

async fn sessions(cluster: &Cluster) {
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
        session_manifest(cluster, letter, letter, &[]).await;
    }
}

/// Creates a session like the one of that letter.
async fn session_manifest(cluster: &Cluster, letter: &str, name: &str, labels: &[(&str, &str)]) {
    let like = SESSIONS.iter().find(|(_, _, name)| *name == letter);
    let (namespace, owner, _) = *like.unwrap();
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
    let sessions: Api<Session> = Api::namespaced(controller(cluster).await, namespace);
    sessions.patch_status(name, &PatchParams::default(), &Patch::Merge(joined)).await.unwrap();
}

async fn controller(cluster: &Cluster) -> Client {
    let groups = ["system:masters"];
    let client = cluster.plane.client(CONTROLLER_USERNAME, &groups).await;
    client.unwrap()
}

#[tokio::test]
async fn enforces_policies_for_every_requester_and_verb() {
    let cluster = Cluster::start().await.unwrap();
    sessions(&cluster).await;
    let admin = cluster.plane.client("admin", &["system:masters"]).await.unwrap();
    let policies: Api<SessionPolicy> = Api::all(admin);
    let mut requesters = Vec::new();
    for (name, groups) in REQUESTERS {
        requesters.push(Requester::new(&cluster, name, groups).await);
    }
    let mut took = Vec::new();
    for case in CASES {
        let before: Vec<_> = requesters.iter().map(Requester::watches).collect();
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
            let what = format!("{}: {name} lists {list:?}, reads {read:?}", case.name);
            eventually(&what, || async {
                let seen = (requester.lists().await, requester.reads().await);
                (seen == (list.into(), read.into())).then_some(())
            })
            .await;
            eventually(&format!("{}: {name} watches {list:?}", case.name), || async {
                (requester.watches()? == list).then_some(())
            })
            .await;
            // A watch that was open all the time, and to which the last of these policies made a
            // difference.
            let since = requester.watched.lock().unwrap().since;
            let open = before[at].as_ref().is_some_and(|before| before != "!") && list != "!";
            if let Some(after) = since.checked_duration_since(written).filter(|_| open) {
                println!("{}: {name} was told after {after:?}", case.name);
                took.push(after);
            }
            // The watch has come to rest at what a list says, and stays there.
            assert_eq!(requester.lists().await, list, "{}: {name}", case.name);
            assert_eq!(requester.reads().await, read, "{}: {name}", case.name);
        }
        for (at, requester) in requesters.iter().enumerate() {
            let may = verbs::May {
                lists: case.lists[at],
                reads: case.reads[at],
                deletes: case.deletes[at],
                joins: case.joins[at],
            };
            verbs::check(case.name, &cluster, requester, &may).await;
        }
        for requester in &mut requesters {
            requester.goes_on().await;
        }
    }
    took.sort_unstable();
    let longest = took.last().copied().unwrap();
    println!(
        "open watches were told {} times, after {:?} in the middle and {longest:?} at most",
        took.len(),
        took[took.len() / 2]
    );
    assert!(longest < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn rejects_invalid_policies() {
    let cluster = shared();
    let rule = |rule: Value| {
        json!({
            "apiVersion": "operator.metalbear.co/v1alpha1",
            "kind": "SessionPolicy",
            "metadata": { "name": "refused" },
            // Where it passed after all, it would be nobody's.
            "spec": {
                "subjects": [{ "kind": "User", "name": "nobody-at-all" }],
                "allow": { "rules": [rule] },
            },
        })
    };
    let admin = cluster.plane.admin().path();
    for (name, policy, expected) in [
        (
            "one that can be read",
            rule(
                json!({ "resources": ["session_tracker"], "verbs": ["list"], "where": "tracker.kind == 'job'" }),
            ),
            "",
        ),
        (
            "an expression",
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
        // Not every client asks the API server to be strict: kubectl does.
        let args = ["create", "--dry-run=server", "--validate=false", "-f", "-"];
        let output =
            cluster.plane.kubectl_with_input(admin, &args, &policy.to_string()).await.unwrap();
        assert_eq!(output.status.success(), expected.is_empty(), "{name}: {output:?}");
        assert!(output.stderr.contains(expected), "{name}: {output:?}");
    }
}
