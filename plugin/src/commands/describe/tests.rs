use jiff::tz::TimeZone;
use serde_json::json;

use super::*;

fn now() -> Zoned {
    Timestamp::from_second(63).unwrap().to_zoned(TimeZone::UTC)
}

fn context(events: Events) -> SessionContext {
    SessionContext { others: Some(vec!["zoe@x.co".into()]), events }
}

#[test]
fn describes_a_session() {
    let session = Session::from_object(&json!({
        "metadata": {
            "name": "487f4f2b6d2376ad", "namespace": "default",
            "creationTimestamp": "1970-01-01T00:00:00Z",
        },
        "spec": {
            "target": "deployment/ip-visit-counter",
            "user": "Avi/avi@x.co@avis-macbook",
            "owner": { "username": "avi@x.co", "groups": ["dev", "system:authenticated"] },
            "client": { "username": "Avi", "hostname": "avis\u{202e}-macbook", "version": "3.250.0" },
            "key": "avi",
        },
        "status": {
            "state": "running",
            "ports": [{ "port": 80, "type": "steal", "filter": "header=a" }, { "port": 81, "type": "mirror" }],
            "participants": ["eve@x.co"],
            "processes": ["node", "ev\u{1b}il"],
            "lastSeen": "1970-01-01T00:01:00Z",
            "agent": { "kind": "Job", "namespace": "m", "name": "mirrord-agent-a", "uid": "u", "node": "n1" },
        },
    }));
    let events = Events::Found(vec![
        json!({
            "type": "Normal", "reason": "Running", "message": "agent is up\n", "count": 3,
            "firstTimestamp": "1970-01-01T00:00:03Z", "lastTimestamp": "1970-01-01T00:00:53Z",
            "source": { "component": "mirrord-sessions" },
        }),
        json!({
            "type": "Warning", "reason": "Odd", "message": "\u{1b}[2J", "eventTime": "1970-01-01T00:00:01.000000Z",
            "reportingComponent": "x",
        }),
    ]);
    assert_eq!(
        render(&session, &context(events), &now()),
        "\
Name:              487f4f2b6d2376ad
Session ID:        487F4F2B6D2376AD
Namespace:         default
Target:            deployment/ip-visit-counter
Others On Target:  zoe@x.co
State:             running
Kind:              job
User:              Avi/avi@x.co@avis-macbook
Owner:             verified by the API server
  Username:        avi@x.co
  UID:             <none>
  Groups:          dev
                   system:authenticated
Client:            unverified
  Username:        Avi
  Hostname:        avis\\u{202e}-macbook
  Version:         3.250.0
Key:               avi
Started:           Thu, 01 Jan 1970 00:00:00 +0000 (63s ago)
Ports:             Port: 80, Type: steal, Filter: header=a
                   Port: 81, Type: mirror
Processes:         node
                   ev\\x1bil
Participants:      avi@x.co
                   eve@x.co
Agent:
  Kind:            Job
  Namespace:       m
  Name:            mirrord-agent-a
  Node:            n1
Last Seen:         Thu, 01 Jan 1970 00:01:00 +0000 (3s ago)
Events:
  Type     Reason   Age                From              Message
  ----     ------   ----               ----              -------
  Warning  Odd      62s                x                 \\x1b[2J
  Normal   Running  10s (x3 over 60s)  mirrord-sessions  agent is up
"
    );
}

#[test]
fn describes_the_end_of_a_session() {
    let session = Session::from_object(&json!({
        "metadata": { "name": "x", "creationTimestamp": "1970-01-01T00:00:00Z" },
        "status": {
            "state": "terminated", "reason": "Stopped", "stoppedBy": "boss@x.co",
            "endedAt": "1970-01-01T00:00:13Z",
        },
    }));
    let text = render(&session, &context(Events::Found(vec![])), &now());
    for line in [
        "  Reason:          Stopped\n",
        "  Stopped By:      boss@x.co\n",
        "  Ended:           Thu, 01 Jan 1970 00:00:13 +0000 (50s ago)\n",
        "Lasted:            13s\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}

#[test]
fn never_labels_an_unverified_owner_as_verified() {
    let session = Session::from_object(&json!({
        "metadata": { "name": "x", "namespace": "n" },
        "spec": { "owner": { "username": UNVERIFIED_USERNAME } },
        "status": { "message": "the agent carries no stamp" },
    }));
    let text = render(&session, &context(Events::Forbidden), &now());
    assert!(!text.contains("verified by"), "{text}");
    assert!(text.contains("Owner:             <unverified: "), "{text}");
    assert!(text.contains("  Message:         the agent carries no stamp"), "{text}");
}

#[test]
fn describes_absent_values() {
    let session = Session::from_object(&json!({ "metadata": { "name": "x", "namespace": "n" } }));
    let text = render(&session, &context(Events::Forbidden), &now());
    assert!(!text.contains("Key:"), "{text}");
    for line in [
        "Owner:             <none: the user is not verified>\n",
        "Started:           <none>\n",
        "Agent:             <none>\n",
        "Events:            <you may not list events in this namespace>\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    let text = render(&session, &context(Events::Failed("no\nway".into())), &now());
    assert!(text.ends_with("Events:            <not available: no\\nway>\n"), "{text}");
    assert!(
        render(&session, &context(Events::Found(vec![])), &now())
            .ends_with("Events:            <none>\n")
    );
}
