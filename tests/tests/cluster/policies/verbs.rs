//! Stopping and joining, by the same policies as seeing: tried and for good, one by one and all at
//! once.

use super::*;

/// What a requester may do: letters of sessions, or `!` where it is refused as a whole.
pub(super) struct May {
    pub(super) lists: Seen,
    pub(super) reads: Seen,
    pub(super) deletes: Seen,
    pub(super) joins: Seen,
}

impl May {
    /// How doing this to a session is answered: what isn't seen isn't there.
    fn code(&self, letters: Seen, letter: &str) -> Option<u16> {
        match (letters.contains(letter), self.reads.contains(letter)) {
            (true, _) => None,
            (false, true) => Some(403),
            (false, false) => Some(404),
        }
    }
}

fn refused<T>(result: &kube::Result<T>) -> Option<u16> {
    result.as_ref().err().map(code)
}

async fn join(who: &Requester, namespace: &str, name: &str, query: &str) -> kube::Result<Value> {
    let path = crate::support::tracker_path(namespace, name, &format!("/join{query}"));
    let body = crate::support::SESSION_JOIN.as_bytes().to_vec();
    let request = http::Request::post(path).header("content-type", "application/json");
    who.client.request(request.body(body).unwrap()).await
}

fn labelled(value: &str) -> ListParams {
    ListParams::default().labels(&format!("twin={value}"))
}

pub(super) async fn check(case: &str, cluster: &Cluster, who: &Requester, may: &May) {
    let name = who.name;
    let tried = DeleteParams { dry_run: true, ..DeleteParams::default() };
    for (namespace, _, letter) in SESSIONS {
        let what = format!("{case}: {name}, {letter}");
        let sessions: Api<Session> = Api::namespaced(who.client.clone(), namespace);
        let expected = may.code(may.deletes, letter);
        let delete = sessions.delete(letter, &tried).await;
        assert_eq!(refused(&delete), expected, "tries to delete: {what}");
        if expected.is_some() {
            let delete = sessions.delete(letter, &DeleteParams::default()).await;
            assert_eq!(refused(&delete), expected, "deletes: {what}");
        }
        let expected = may.code(may.joins, letter);
        let joined = join(who, namespace, letter, "?dryRun=All").await;
        assert_eq!(refused(&joined), expected, "tries to join: {what}");
        if expected.is_some() {
            let joined = join(who, namespace, letter, "").await;
            assert_eq!(refused(&joined), expected, "joins: {what}");
        }
    }
    for namespace in ["policy-dev", "policy-prod"] {
        all_at_once(case, cluster, who, may, namespace).await;
    }
    for_good(case, cluster, who, may).await;
}

/// All of a namespace, tried on the sessions and done to others like them.
async fn all_at_once(case: &str, cluster: &Cluster, who: &Requester, may: &May, namespace: &str) {
    let name = who.name;
    let here = || SESSIONS.iter().filter(|(there, ..)| *there == namespace);
    let all = here().all(|(_, _, letter)| {
        may.lists.contains(letter) && may.reads.contains(letter) && may.deletes.contains(letter)
    });
    let expected = (!all).then_some(403);
    let sessions: Api<Session> = Api::namespaced(who.client.clone(), namespace);
    let ours = ListParams::default().labels("!twin");
    let tried = DeleteParams { dry_run: true, ..DeleteParams::default() };
    let delete = sessions.delete_collection(&tried, &ours).await;
    let what = format!("{case}: {name} in {namespace}");
    assert_eq!(refused(&delete), expected, "tries to delete all: {what}");
    let twins = labelled("many");
    for (_, _, letter) in here() {
        session_manifest(cluster, letter, &format!("many-{letter}"), &[("twin", "many")]).await;
    }
    let delete = sessions.delete_collection(&DeleteParams::default(), &twins).await;
    assert_eq!(refused(&delete), expected, "deletes all: {what}");
    let sessions: Api<Session> = Api::namespaced(controller(cluster).await, namespace);
    let left = sessions.list(&twins).await.unwrap().items.len();
    assert!(left == 0 || expected.is_some(), "{left} are left: {what}");
    assert!(left > 0 || expected.is_none(), "deleted all: {what}");
    sessions.delete_collection(&DeleteParams::default(), &twins).await.unwrap();
}

/// What may be stopped and joined is, in sessions like them.
async fn for_good(case: &str, cluster: &Cluster, who: &Requester, may: &May) {
    let name = who.name;
    for (namespace, owner, letter) in SESSIONS {
        let what = format!("{case}: {name}, {letter}");
        let sessions: Api<Session> = Api::namespaced(who.client.clone(), namespace);
        let twin = format!("one-{letter}");
        if may.joins.contains(letter) && owner != name {
            session_manifest(cluster, letter, &twin, &[("twin", "one")]).await;
            let joined = eventually(&format!("joins: {what}"), || async {
                join(who, namespace, &twin, "").await.ok()
            })
            .await;
            let participants = joined["status"]["participants"].as_array().unwrap();
            assert!(participants.contains(&json!(name)), "{what}: {joined}");
            let sessions: Api<Session> = Api::namespaced(controller(cluster).await, namespace);
            sessions.delete(&twin, &DeleteParams::default()).await.unwrap();
        }
        if may.deletes.contains(letter) {
            session_manifest(cluster, letter, &twin, &[("twin", "one")]).await;
            let delete = sessions.delete(&twin, &DeleteParams::default()).await;
            assert_eq!(refused(&delete), None, "deletes: {what}");
        }
    }
}
