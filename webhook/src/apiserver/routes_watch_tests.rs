use tokio::time::Instant;

use super::*;
use crate::testing::unreachable_client;

/// Returns type and name of each event in the next frame of a watch.
async fn next_events(body: &mut crate::server::body::Outgoing) -> Option<String> {
    let frame = body.frame().await?.unwrap();
    let lines = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
    let events = lines.lines().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or("-").to_owned();
        format!("{} {name}", event["type"].as_str().unwrap())
    });
    Some(events.collect::<Vec<_>>().join(", "))
}

#[tokio::test]
async fn open_watch_follows_trackers_policies_and_shutdown() {
    let fixture = fixture(own_sessions_only());
    let path = format!("{SHOP}?watch=1&resourceVersion=10&allowWatchBookmarks=true");
    let head = head("GET", &path, &[("x-remote-user", "alice")]);
    let response = fixture.api.handle(&head, empty_body(), Some(&fixture.peer)).await;
    let mut body = response.into_body();
    fixture.store.update(|index| index.apply(tracker("shop", "d", "alice", 11)));
    assert_eq!(next_events(&mut body).await.unwrap(), "ADDED d");
    fixture.store.set_policies(PolicySet::default(), false);
    assert_eq!(next_events(&mut body).await.unwrap(), "ADDED b");
    fixture.store.set_policies(own_sessions_only(), false);
    assert_eq!(next_events(&mut body).await.unwrap(), "DELETED b");
    tokio::time::pause();
    assert_eq!(next_events(&mut body).await.unwrap(), "BOOKMARK -");
    tokio::time::resume();
    fixture.store.shut_down();
    assert_eq!(next_events(&mut body).await, None);
}

#[tokio::test]
async fn returns_503_before_policies_and_sessions_are_read() {
    let authority = Authority::new();
    let store = Store::new();
    let fixture = Fixture {
        api: api(&store, &authority, unreachable_client()),
        store,
        peer: authority.issue("front-proxy-client", ExtendedKeyUsagePurpose::ClientAuth),
    };
    tokio::time::pause();
    for path in [LIST, &format!("{SHOP}/a"), &format!("{LIST}?watch=1")] {
        assert_eq!(fixture.get("alice", path).await.0, 503, "{path}");
    }
    fixture.store.set_policies(PolicySet::default(), false);
    assert_eq!(fixture.get("alice", LIST).await.0, 503);
    fixture.store.update(|index| index.replace(Vec::new(), 1));
    assert_eq!(fixture.get("alice", LIST).await.0, 200);
    // Discovery must always work: without it, namespaces can't be deleted.
    assert_eq!(fixture.get("alice", "/apis").await.0, 200);
}

/// Returns the events that alice receives at once when she resumes at a version.
async fn resume(fixture: &Fixture, version: u64) -> String {
    let path = format!("{SHOP}?watch=1&resourceVersion={version}&timeoutSeconds=1");
    let head = head("GET", &path, &[("x-remote-user", "alice")]);
    let response = fixture.api.handle(&head, empty_body(), Some(&fixture.peer)).await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let lines = String::from_utf8(body.to_vec()).unwrap();
    let events = lines.lines().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        format!("{} {}", event["type"], event["object"]["code"])
    });
    events.collect::<Vec<_>>().join(", ")
}

#[tokio::test(start_paused = true)]
async fn resumed_watch_returns_410_after_policy_change() {
    let fixture = fixture(own_sessions_only());
    let store = &fixture.store;
    assert_eq!(resume(&fixture, 10).await, "");
    // Alice sees the same under both policies, since no other user has a session.
    store.update(|index| {
        index.remove(&TrackerKey { namespace: "shop".into(), name: "b".into() }, 11);
    });
    store.set_policies(PolicySet::default(), false);
    assert_eq!(resume(&fixture, 11).await, "");
    assert_eq!(resume(&fixture, 10).await, r#""ERROR" 410"#);
    store.update(|index| index.apply(tracker("shop", "b", "bob", 12)));
    assert_eq!(resume(&fixture, 12).await, r#""ERROR" 410"#);
    // No client has received the version of a later list under the replaced policies.
    let limit = tokio::time::Duration::from_secs(3);
    tokio::time::timeout(limit, store.wait_for_list_due()).await.unwrap();
    let began = Instant::now();
    store.record_list(began, 20);
    store.update(|index| index.advance(20));
    assert_eq!(resume(&fixture, 12).await, r#""ERROR" 410"#);
    assert_eq!(resume(&fixture, 20).await, "");
    // Other policies may have been active before policies were listed again.
    store.set_policies(PolicySet::default(), true);
    assert_eq!(resume(&fixture, 20).await, r#""ERROR" 410"#);
}

#[tokio::test(start_paused = true)]
async fn hanging_review_does_not_delay_events() {
    use crate::{sessions::join_rights::tests::review_response, testing::api_server};
    let (set_hanging, hanging) = tokio::sync::watch::channel(false);
    let (client, requests) = api_server(|_, review| review_response(review, true));
    let client = {
        let service = tower::service_fn(move |request| {
            let (client, mut hanging) = (client.clone(), hanging.clone());
            async move {
                let _ = hanging.wait_for(|hanging| !hanging).await;
                client.send(request).await
            }
        });
        Client::new(service, "default")
    };
    let fixture = fixture_with_client(client);
    let head = head("GET", &format!("{SHOP}?watch=1"), &[("x-remote-user", "alice")]);
    let response = fixture.api.handle(&head, empty_body(), Some(&fixture.peer)).await;
    let mut body = response.into_body();
    assert_eq!(next_events(&mut body).await.unwrap(), "ADDED a, ADDED b");
    set_hanging.send_replace(true);
    let before = requests.lock().unwrap().len();
    // Wait until the next review is in flight.
    let quiet =
        tokio::time::timeout(tokio::time::Duration::from_secs(13), next_events(&mut body)).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let start = Instant::now();
    fixture.store.update(|index| index.apply(tracker("shop", "d", "bob", 11)));
    assert_eq!(next_events(&mut body).await.unwrap(), "ADDED d");
    fixture.store.set_policies(own_sessions_only(), false);
    assert_eq!(next_events(&mut body).await.unwrap(), "DELETED b, DELETED d");
    assert_eq!(start.elapsed(), tokio::time::Duration::ZERO);
    assert_eq!(requests.lock().unwrap().len(), before, "no review has completed");
}

#[tokio::test]
async fn forbidden_requester_receives_deleted_events_in_frames() {
    let fixture = fixture(PolicySet::default());
    fixture.store.update(|index| {
        for n in 0..2000 {
            index.apply(tracker("shop", &format!("n{n}"), "alice", 100 + n));
        }
    });
    let head = head("GET", &format!("{SHOP}?watch=1"), &[("x-remote-user", "barred")]);
    let response = fixture.api.handle(&head, empty_body(), Some(&fixture.peer)).await;
    let mut body = response.into_body();
    let mut added = 0;
    while added < 2002 {
        added += next_events(&mut body).await.unwrap().matches("ADDED").count();
    }
    fixture.store.set_policies(own_sessions_only(), false);
    let (mut frames, mut deleted, mut is_forbidden) = (0, 0, false);
    while let Some(frame) = body.frame().await {
        let bytes = frame.unwrap().into_data().unwrap();
        assert!(bytes.len() < 128 << 10, "{}", bytes.len());
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        frames += 1;
        deleted += text.matches(r#""type":"DELETED""#).count();
        if text.contains(r#""code":403"#) {
            assert_eq!(deleted, 2002, "the error is the last event");
            is_forbidden = true;
        }
    }
    assert!(frames > 5 && is_forbidden, "{frames}");
}
