use tokio::time::Instant;

use super::*;
use crate::testing::unreachable_client;

/// The next event of a watch.
async fn next(body: &mut crate::server::body::Outgoing) -> Option<String> {
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
async fn an_open_watch_follows_objects_policies_and_the_process() {
    let fixture = fixture(own_only());
    let path = format!("{SHOP}?watch=1&resourceVersion=10&allowWatchBookmarks=true");
    let head = head("GET", &path, &[("x-remote-user", "alice")]);
    let answer = fixture.api.handle(&head, nothing(), Some(&fixture.peer)).await;
    let mut body = answer.into_body();
    fixture.store.update(|index| index.apply(tracker("shop", "d", "alice", 11)));
    assert_eq!(next(&mut body).await.unwrap(), "ADDED d");
    fixture.store.set_policies(PolicySet::default(), false);
    assert_eq!(next(&mut body).await.unwrap(), "ADDED b");
    fixture.store.set_policies(own_only(), false);
    assert_eq!(next(&mut body).await.unwrap(), "DELETED b");
    tokio::time::pause();
    assert_eq!(next(&mut body).await.unwrap(), "BOOKMARK -");
    tokio::time::resume();
    fixture.store.shut_down();
    assert_eq!(next(&mut body).await, None);
}

#[tokio::test]
async fn nothing_is_shown_before_it_is_known_what_may_be() {
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
    // Discovery is there always: without it, namespaces can't be deleted.
    assert_eq!(fixture.get("alice", "/apis").await.0, 200);
}

/// What alice is told who goes on at a version: the kinds of the events that are there at once.
async fn resumed(fixture: &Fixture, version: u64) -> String {
    let path = format!("{SHOP}?watch=1&resourceVersion={version}&timeoutSeconds=1");
    let head = head("GET", &path, &[("x-remote-user", "alice")]);
    let answer = fixture.api.handle(&head, nothing(), Some(&fixture.peer)).await;
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let lines = String::from_utf8(body.to_vec()).unwrap();
    let events = lines.lines().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        format!("{} {}", event["type"], event["object"]["code"])
    });
    events.collect::<Vec<_>>().join(", ")
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_goes_on_after_a_change_of_policy() {
    let fixture = fixture(own_only());
    let store = &fixture.store;
    assert_eq!(resumed(&fixture, 10).await, "");
    // Where nothing is another's, nothing has changed for alice.
    store.update(|index| {
        index.remove(&TrackerKey { namespace: "shop".into(), name: "b".into() }, 11);
    });
    store.set_policies(PolicySet::default(), false);
    assert_eq!(resumed(&fixture, 11).await, "");
    assert_eq!(resumed(&fixture, 10).await, r#""ERROR" 410"#);
    store.update(|index| index.apply(tracker("shop", "b", "bob", 12)));
    assert_eq!(resumed(&fixture, 12).await, r#""ERROR" 410"#);
    // A list that began later tells who has seen what.
    let patience = tokio::time::Duration::from_secs(3);
    tokio::time::timeout(patience, store.wait_for_list_due()).await.unwrap();
    let began = Instant::now();
    store.record_list(began, 20);
    store.update(|index| index.advance(20));
    assert_eq!(resumed(&fixture, 12).await, r#""ERROR" 410"#);
    assert_eq!(resumed(&fixture, 20).await, "");
    // Policies that were listed anew may have been others in between.
    store.set_policies(PolicySet::default(), true);
    assert_eq!(resumed(&fixture, 20).await, r#""ERROR" 410"#);
}

/// While an API server hangs, events and policies are told all the same.
#[tokio::test(start_paused = true)]
async fn a_question_that_hangs_holds_nothing_up() {
    use crate::{sessions::join_rights::tests::review_response, testing::api_server};
    let (hangs, hung) = tokio::sync::watch::channel(false);
    let (client, asked) = api_server(|_, review| review_response(review, true));
    let client = {
        let service = tower::service_fn(move |request| {
            let (client, mut hung) = (client.clone(), hung.clone());
            async move {
                let _ = hung.wait_for(|hangs| !hangs).await;
                client.send(request).await
            }
        });
        Client::new(service, "default")
    };
    let fixture = with(client);
    let head = head("GET", &format!("{SHOP}?watch=1"), &[("x-remote-user", "alice")]);
    let answer = fixture.api.handle(&head, nothing(), Some(&fixture.peer)).await;
    let mut body = answer.into_body();
    assert_eq!(next(&mut body).await.unwrap(), "ADDED a, ADDED b");
    hangs.send_replace(true);
    let before = asked.lock().unwrap().len();
    // Until the question is open again.
    let quiet = tokio::time::timeout(tokio::time::Duration::from_secs(13), next(&mut body)).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let start = Instant::now();
    fixture.store.update(|index| index.apply(tracker("shop", "d", "bob", 11)));
    assert_eq!(next(&mut body).await.unwrap(), "ADDED d");
    fixture.store.set_policies(own_only(), false);
    assert_eq!(next(&mut body).await.unwrap(), "DELETED b, DELETED d");
    assert_eq!(start.elapsed(), tokio::time::Duration::ZERO);
    assert_eq!(asked.lock().unwrap().len(), before, "no answer since");
}

#[tokio::test]
async fn who_is_refused_is_told_what_went_piece_by_piece() {
    let fixture = fixture(PolicySet::default());
    fixture.store.update(|index| {
        for n in 0..2000 {
            index.apply(tracker("shop", &format!("n{n}"), "alice", 100 + n));
        }
    });
    let head = head("GET", &format!("{SHOP}?watch=1"), &[("x-remote-user", "barred")]);
    let answer = fixture.api.handle(&head, nothing(), Some(&fixture.peer)).await;
    let mut body = answer.into_body();
    let mut told = 0;
    while told < 2002 {
        told += next(&mut body).await.unwrap().matches("ADDED").count();
    }
    fixture.store.set_policies(own_only(), false);
    let (mut frames, mut gone, mut refused) = (0, 0, false);
    while let Some(frame) = body.frame().await {
        let bytes = frame.unwrap().into_data().unwrap();
        assert!(bytes.len() < 128 << 10, "{}", bytes.len());
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        frames += 1;
        gone += text.matches(r#""type":"DELETED""#).count();
        if text.contains(r#""code":403"#) {
            assert_eq!(gone, 2002, "last of all");
            refused = true;
        }
    }
    assert!(frames > 5 && refused, "{frames}");
}
