use super::*;

/// The next event of a watch.
async fn next(body: &mut crate::server::body::Outgoing) -> Option<String> {
    let frame = body.frame().await?.unwrap();
    let lines = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
    let events = lines.lines().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        let name = event["object"]["metadata"]["name"]
            .as_str()
            .unwrap_or("-")
            .to_owned();
        format!("{} {name}", event["type"].as_str().unwrap())
    });
    Some(events.collect::<Vec<_>>().join(", "))
}

#[tokio::test]
async fn an_open_watch_follows_objects_policies_and_the_process() {
    let fixture = fixture(own_only());
    let path = format!("{SHOP}?watch=1&resourceVersion=10&allowWatchBookmarks=true");
    let head = head("GET", &path, &[("x-remote-user", "alice")]);
    let answer = fixture
        .api
        .handle(&head, nothing(), Some(&fixture.peer))
        .await;
    let mut body = answer.into_body();
    fixture
        .store
        .update(|index| index.apply(tracker("shop", "d", "alice", 11)));
    assert_eq!(next(&mut body).await.unwrap(), "ADDED d");
    fixture.store.decide_by(PolicySet::default(), false);
    assert_eq!(next(&mut body).await.unwrap(), "ADDED b");
    fixture.store.decide_by(own_only(), false);
    assert_eq!(next(&mut body).await.unwrap(), "DELETED b");
    tokio::time::pause();
    assert_eq!(next(&mut body).await.unwrap(), "BOOKMARK -");
    tokio::time::resume();
    fixture.store.close();
    assert_eq!(next(&mut body).await, None);
}

#[tokio::test]
async fn nothing_is_shown_before_it_is_known_what_may_be() {
    let authority = Authority::new();
    let store = Store::new();
    let fixture = Fixture {
        api: Api::new(
            Arc::clone(&store),
            Arc::new(FrontProxy::known_by(&authority)),
            None,
        ),
        store,
        peer: authority.issue("front-proxy-client", ExtendedKeyUsagePurpose::ClientAuth),
    };
    tokio::time::pause();
    for path in [LIST, &format!("{SHOP}/a"), &format!("{LIST}?watch=1")] {
        assert_eq!(fixture.get("alice", path).await.0, 503, "{path}");
    }
    fixture.store.decide_by(PolicySet::default(), false);
    assert_eq!(fixture.get("alice", LIST).await.0, 503);
    fixture.store.update(|index| index.replace(Vec::new(), 1));
    assert_eq!(fixture.get("alice", LIST).await.0, 200);
    // Discovery is there always: without it, namespaces can't be deleted.
    assert_eq!(fixture.get("alice", "/apis").await.0, 200);
}
