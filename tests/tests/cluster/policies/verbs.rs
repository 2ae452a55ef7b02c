//! Policies for delete and join, in dry runs and real requests, for single sessions and
//! collections.

use super::*;
use crate::support::{SESSION_JOIN, tracker_path};

/// Sessions on which a requester may perform each verb.
pub(super) struct AllowedSessions {
    pub(super) lists: Letters,
    pub(super) reads: Letters,
    pub(super) deletes: Letters,
    pub(super) joins: Letters,
}

impl AllowedSessions {
    /// Returns the status code of a denial, or `None` if the request is allowed.
    ///
    /// Requests for a session that the requester cannot read return 404.
    fn denial_code(&self, letters: Letters, letter: &str) -> Option<u16> {
        match (letters.contains(letter), self.reads.contains(letter)) {
            (true, _) => None,
            (false, true) => Some(403),
            (false, false) => Some(404),
        }
    }
}

fn error_code<T>(result: &kube::Result<T>) -> Option<u16> {
    result.as_ref().err().map(status_code)
}

async fn join(
    requester: &Requester,
    namespace: &str,
    name: &str,
    query: &str,
) -> kube::Result<Value> {
    let path = tracker_path(namespace, name, &format!("/join{query}"));
    let body = SESSION_JOIN.as_bytes().to_vec();
    let request = http::Request::post(path).header("content-type", "application/json");
    requester.client.request(request.body(body).unwrap()).await
}

fn twins_of(value: &str) -> ListParams {
    ListParams::default().labels(&format!("twin={value}"))
}

pub(super) async fn check(
    case: &str,
    cluster: &Cluster,
    requester: &Requester,
    allowed: &AllowedSessions,
) {
    let name = requester.name;
    let dry_run = DeleteParams { dry_run: true, ..DeleteParams::default() };
    for (namespace, _, letter) in SESSIONS {
        let context = format!("{case}: {name}, {letter}");
        let sessions: Api<Session> = Api::namespaced(requester.client.clone(), namespace);
        let expected = allowed.denial_code(allowed.deletes, letter);
        let delete = sessions.delete(letter, &dry_run).await;
        assert_eq!(error_code(&delete), expected, "dry run of delete: {context}");
        if expected.is_some() {
            let delete = sessions.delete(letter, &DeleteParams::default()).await;
            assert_eq!(error_code(&delete), expected, "delete: {context}");
        }
        let expected = allowed.denial_code(allowed.joins, letter);
        let joined = join(requester, namespace, letter, "?dryRun=All").await;
        assert_eq!(error_code(&joined), expected, "dry run of join: {context}");
        if expected.is_some() {
            let joined = join(requester, namespace, letter, "").await;
            assert_eq!(error_code(&joined), expected, "join: {context}");
        }
    }
    for namespace in ["policy-dev", "policy-prod"] {
        check_delete_collection(case, cluster, requester, allowed, namespace).await;
    }
    check_allowed_requests(case, cluster, requester, allowed).await;
}

/// Checks delete-collection in a dry run on the sessions, and for real on twins of them.
async fn check_delete_collection(
    case: &str,
    cluster: &Cluster,
    requester: &Requester,
    allowed: &AllowedSessions,
    namespace: &str,
) {
    let name = requester.name;
    let in_namespace = || SESSIONS.iter().filter(|(other, ..)| *other == namespace);
    let all = in_namespace().all(|(_, _, letter)| {
        allowed.lists.contains(letter)
            && allowed.reads.contains(letter)
            && allowed.deletes.contains(letter)
    });
    let expected = (!all).then_some(403);
    let sessions: Api<Session> = Api::namespaced(requester.client.clone(), namespace);
    let ours = ListParams::default().labels("!twin");
    let dry_run = DeleteParams { dry_run: true, ..DeleteParams::default() };
    let delete = sessions.delete_collection(&dry_run, &ours).await;
    let context = format!("{case}: {name} in {namespace}");
    assert_eq!(error_code(&delete), expected, "dry run of delete-collection: {context}");
    let twins = twins_of("many");
    for (_, _, letter) in in_namespace() {
        create_twin(cluster, letter, &format!("many-{letter}"), &[("twin", "many")]).await;
    }
    let delete = sessions.delete_collection(&DeleteParams::default(), &twins).await;
    assert_eq!(error_code(&delete), expected, "delete-collection: {context}");
    let sessions: Api<Session> = Api::namespaced(controller_client(cluster).await, namespace);
    let remaining = sessions.list(&twins).await.unwrap().items.len();
    assert!(remaining == 0 || expected.is_some(), "{remaining} sessions remain: {context}");
    assert!(remaining > 0 || expected.is_none(), "deleted all sessions: {context}");
    sessions.delete_collection(&DeleteParams::default(), &twins).await.unwrap();
}

/// Checks that allowed joins and deletions succeed on twins of the sessions.
async fn check_allowed_requests(
    case: &str,
    cluster: &Cluster,
    requester: &Requester,
    allowed: &AllowedSessions,
) {
    let name = requester.name;
    for (namespace, owner, letter) in SESSIONS {
        let context = format!("{case}: {name}, {letter}");
        let sessions: Api<Session> = Api::namespaced(requester.client.clone(), namespace);
        let twin = format!("one-{letter}");
        if allowed.joins.contains(letter) && owner != name {
            create_twin(cluster, letter, &twin, &[("twin", "one")]).await;
            let joined = eventually(&format!("join: {context}"), || async {
                join(requester, namespace, &twin, "").await.ok()
            })
            .await;
            let participants = joined["status"]["participants"].as_array().unwrap();
            assert!(participants.contains(&json!(name)), "{context}: {joined}");
            let sessions: Api<Session> =
                Api::namespaced(controller_client(cluster).await, namespace);
            sessions.delete(&twin, &DeleteParams::default()).await.unwrap();
        }
        if allowed.deletes.contains(letter) {
            create_twin(cluster, letter, &twin, &[("twin", "one")]).await;
            let delete = sessions.delete(&twin, &DeleteParams::default()).await;
            assert_eq!(error_code(&delete), None, "delete: {context}");
        }
    }
}
