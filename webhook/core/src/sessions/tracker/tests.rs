use super::*;
use crate::sessions::fixtures::session;

#[test]
fn serializes_with_and_without_secrets() {
    let tracker = session("shop", "487f4f2b6d2376ad")
        .owned_by("alice")
        .key("s3cret")
        .label("resourceVersion", "42")
        .port(80, Some("header=s3cret"))
        .tracker(42);
    for revealed in [true, false] {
        let encoded = tracker.encoded(revealed);
        let object: Value = serde_json::from_slice(&encoded.object()).unwrap();
        assert_eq!(encoded.object().len(), encoded.size());
        assert_eq!(object["metadata"]["resourceVersion"], "42");
        let mut later = Vec::new();
        encoded.put_object(&mut later, Some(1234));
        let later: Value = serde_json::from_slice(&later).unwrap();
        assert_eq!(later["metadata"]["resourceVersion"], "1234");
        assert_eq!(later["spec"], object["spec"]);
        let mut metadata = Vec::new();
        encoded.put_metadata(&mut metadata, None);
        let metadata: Value = serde_json::from_slice(&metadata).unwrap();
        assert_eq!(metadata, object["metadata"]);
        assert_eq!(object["metadata"]["labels"]["resourceVersion"], "42");
        assert_eq!(object["spec"]["sessionId"], "487F4F2B6D2376AD");
        assert_eq!(object["status"]["participants"][0], "alice");
        assert_eq!(object["status"]["ports"][0]["filtered"], true);
        let text = format!("{object} {}", encoded.cells_before());
        assert_eq!(text.contains("s3cret"), revealed, "{text}");
        let row = format!("[{},\"3m\",{}]", encoded.cells_before(), encoded.cells_after());
        let row: Vec<String> = serde_json::from_str(&row).unwrap();
        assert_eq!(row.len(), 10);
    }
    assert!(!session("a", "b").tracker(1).has_secrets());
}

#[test]
fn records_of_ended_sessions_hold_no_secrets() {
    let live = session("shop", "487f4f2b6d2376ad")
        .owned_by("alice")
        .key("s3cret")
        .label("team", "red")
        .port(80, Some("header=s3cret"))
        .tracker(42);
    let ending = Ending::stopped("bob", 1_700_000_000);
    let ended = live.terminated(&ending, 77).unwrap();
    let object: Value = serde_json::from_slice(&ended.encoded(true).object()).unwrap();
    assert!(!object.to_string().contains("s3cret"), "{object}");
    assert!(!ended.has_secrets());
    assert_eq!(object["metadata"]["resourceVersion"], "77");
    assert_eq!(object["metadata"]["labels"]["team"], "red");
    assert_eq!(object["status"]["ports"][0]["filtered"], true);
    assert_eq!(
        (&object["status"]["state"], &object["status"]["stoppedBy"]),
        (&"terminated".into(), &"bob".into())
    );
    assert_eq!(object["status"]["endedAt"], "2023-11-14T22:13:20Z");
    assert_eq!(ended.view().participants().count(), live.view().participants().count());

    let json = String::from_utf8(ended.encoded(false).object()).unwrap();
    let restored = Tracker::from_record(&json).unwrap();
    assert_eq!(restored.encoded(true).object(), ended.encoded(true).object());
    assert_eq!(restored.ending(), Some(ending));
    assert_eq!((restored.version, restored.created_at), (77, ended.created_at));
    assert_eq!(restored.recorded_for, None);
    let restored = restored.with_agent("Job/a/b/c");
    assert_eq!(restored.recorded_for.as_deref(), Some("Job/a/b/c"));
    assert_eq!(restored.with_agent(&"a".repeat(2000)).recorded_for, None);
    // Other JSON is rejected, and so is the tracker of a live session.
    let live = String::from_utf8(live.encoded(true).object()).unwrap();
    for other in ["", "{}", "[]", "null", r#"{"metadata":{}}"#, &live] {
        assert!(Tracker::from_record(other).is_err(), "{other}");
    }
}

#[test]
fn never_serves_annotations() {
    let mut session = session("shop", "x").key("s3cret").session(1);
    let annotations = [("last-applied", "s3cret"), (AGENT_ANNOTATION, "Job/a/s3cret/c")];
    let annotations = annotations.map(|(key, value)| (key.into(), value.into()));
    session.metadata.annotations = Some(annotations.into());
    let tracker = Tracker::new(&session).unwrap();
    assert_eq!(tracker.recorded_for.as_deref(), Some("Job/a/s3cret/c"));
    let text = String::from_utf8_lossy(&tracker.encoded(false).object()).into_owned();
    assert!(!text.contains("s3cret"), "{text}");
    let ended = tracker.terminated(&Ending::unknown(1), 2).unwrap();
    assert_eq!(ended.recorded_for, tracker.recorded_for);
}

/// A Session whose every field is as large as the API server accepts.
fn hostile() -> Session {
    let mut hostile = session("shop", "x")
        .owned_by(&"u".repeat(1 << 20))
        .key(&"k".repeat(253))
        .joined((0..256).map(|n| format!("{n:0>1000}")));
    for n in 0..1024 {
        hostile =
            hostile.port(80, Some(&"f".repeat(4096))).label(&format!("l{n}"), &"v".repeat(63));
    }
    let mut hostile = hostile.session(1);
    hostile.spec.owner.as_mut().unwrap().groups = (0..9999).map(|n| format!("{n:0>40}")).collect();
    hostile.status.as_mut().unwrap().message = Some("m".repeat(1 << 20));
    hostile.status.as_mut().unwrap().processes = vec!["p".repeat(1 << 20); 64];
    hostile
}

#[test]
fn bounds_every_field() {
    let tracker = Tracker::new(&hostile()).unwrap();
    let sum = 2 * (bounds::MAX_LABELS + bounds::MAX_GROUPS + MAX_PARTICIPANTS + bounds::MAX_PORTS)
        + 2 * (8 * MAX_IDENTITY + MAX_PROCESSES + 8 * MAX_TEXT);
    assert!(tracker.size() < sum, "{} of {sum}", tracker.size());
    assert!(tracker.status.ports.len() >= 3 && tracker.labels.len() > 50);
    assert!(tracker.spec.owner.as_ref().unwrap().groups.len() > 1000);
    let short = tracker.shortened().unwrap();
    assert_eq!(short.spec.owner, tracker.spec.owner, "policies decide the same");
    assert_eq!(short.status.participants, tracker.status.participants);
    assert!(short.labels.is_empty() && short.status.ports.is_empty() && !short.has_secrets());
    let object: Value = serde_json::from_slice(&short.encoded(true).object()).unwrap();
    assert_eq!(object["metadata"]["labels"], Value::Null);
    assert_eq!(object["metadata"]["resourceVersion"], "1");
    assert_eq!(object["status"]["message"], SHORTENED);
    assert!(short.size() < tracker.size());
}

#[test]
fn shares_bytes_of_both_forms() {
    let plain = session("shop", "x").owned_by("alice").tracker(1).size();
    let secret = session("shop", "x").owned_by("alice").key("s3cret").tracker(1);
    assert!(secret.size() - plain < 400, "{} and {plain}", secret.size());
}

#[test]
fn shows_session_that_is_being_deleted() {
    let mut deleted = session("shop", "x").session(1);
    deleted.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    let tracker = Tracker::new(&deleted).unwrap();
    assert_eq!(tracker.status.state, SessionState::Terminating);
}
