use std::{fs, io::Write, path::PathBuf, process::Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    fake::{Fake, session},
    plugin::{CommandOutput, Plugin},
};

const OWN_ONLY: &str = r#"
apiVersion: operator.metalbear.co/v1alpha1
kind: SessionPolicy
metadata: {name: own-only}
spec:
  subjects: [{kind: Group, name: devs}]
  allow:
    rules:
    - resources: [session_tracker]
      verbs: [list, read]
      where: contains(tracker.participants, user.metadata.name)
    - resources: [session_tracker]
      verbs: [list]
      where: contains(user.spec.traits["team"], tracker.namespace)
---
apiVersion: operator.metalbear.co/v1alpha1
kind: SessionPolicy
metadata: {name: hands-off}
spec:
  deny:
    rules:
    - resources: [session_tracker]
      verbs: [delete, join]
"#;

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

fn sessions() -> Value {
    let mut eves = session("shop", "e");
    eves["spec"]["owner"]["username"] = json!("eve");
    json!({ "apiVersion": "v1", "kind": "List", "items": [session("default", "a"), eves] })
}

#[test]
fn tests_policies_offline() {
    let files = Files::new();
    let policy = files.write("policy.yaml", OWN_ONLY);
    let sessions = files.write("sessions.json", &sessions().to_string());
    // `policy test` on files needs neither a cluster nor a kubeconfig.
    let plugin = Plugin::with_kubeconfig("a: [");
    let test = |arguments: &str| {
        let line = format!(
            "policy test -f {} --sessions {} {arguments}",
            policy.display(),
            sessions.display()
        );
        plugin.run(&line)
    };
    assert_eq!(
        test("--as eve --as-group devs").succeeds(),
        "SESSION ID   TARGET               NAMESPACE   USER             VISIBLE   WHY\n\
         a            deployment/counter   default     Avi/avi@x@host   no        because no allow rule matches\n\
         e            deployment/counter   shop        Avi/avi@x@host   yes       by own-only spec.allow.rules[0]\n"
    );
    for (arguments, visible, why) in [
        ("--as eve", [true, true], "because no rule applies to it"),
        ("--as eve --as-group devs --verb read", [false, true], "by own-only spec.allow.rules[0]"),
        (
            "--as bob --as-group devs --as-user-extra team=shop",
            [false, true],
            "by own-only spec.allow.rules[1]",
        ),
        ("--as bob --verb delete", [false, false], "by hands-off spec.deny.rules[0]"),
    ] {
        let json: Value =
            serde_json::from_str(&test(&format!("{arguments} -o json")).succeeds()).unwrap();
        let sessions = json["sessions"].as_array().unwrap();
        let visibility: Vec<bool> =
            sessions.iter().map(|session| session["visible"].as_bool().unwrap()).collect();
        assert_eq!(visibility, visible, "{arguments}");
        assert_eq!(sessions[1]["why"], why, "{arguments}");
    }
    assert_eq!(
        test("--as eve --as-group devs -o name").succeeds(),
        "session.operator.metalbear.co/e\n"
    );
    assert!(test("--as eve -o yaml").succeeds().contains("  username: eve\n"));
}

#[test]
fn tests_policies_on_live_sessions_without_impersonation() {
    let files = Files::new();
    let policy = files.write("policy.yaml", OWN_ONLY);
    let server = Fake::new().session("default", "a").object(sessions()["items"][1].clone()).start();
    let line = format!("policy test -f {} --as eve --as-group devs", policy.display());
    let text = server.run(&line).succeeds();
    assert_eq!(
        text,
        "SESSION ID   TARGET               USER             VISIBLE   WHY\n\
         a            deployment/counter   Avi/avi@x@host   no        because no allow rule matches\n"
    );
    for request in server.all_requests() {
        assert!(request.header("impersonate-user").is_empty(), "the request impersonates a user");
        assert!(request.header("impersonate-group").is_empty());
    }
    assert_eq!(server.run(&format!("{line} -A")).succeeds().lines().count(), 3);
}

#[test]
fn reports_errors_like_admission() {
    let files = Files::new();
    let sessions = files.write("sessions.json", &sessions().to_string());
    let plugin = Plugin::with_kubeconfig("");
    let broken = OWN_ONLY.replace("user.metadata.name", "user.metadata.nam");
    let cases = [
        (
            broken.as_str(),
            "SessionPolicy \"own-only\" is invalid: spec.allow.rules[0].where: column ",
        ),
        ("kind: Pod", "expected a SessionPolicy, found kind \"Pod\""),
        ("kind: SessionPolicy", "is invalid: spec: Required value"),
        ("a: [", "error reading "),
        ("[1]", "expected a Kubernetes object"),
        ("kind: List", "it is a List without items"),
    ];
    for (text, expected) in cases {
        let policy = files.write("policy.yaml", text);
        let line = format!(
            "policy test -f {} --sessions {} --as eve",
            policy.display(),
            sessions.display()
        );
        let message = plugin.run(&line).fails();
        assert!(message.contains(expected), "{text}: {message}");
    }
    let policy = files.write("policy.yaml", OWN_ONLY);
    let policy = policy.display();
    // The operating system provides the text of this error.
    let missing = std::fs::read("/none").unwrap_err();
    let missing = format!("error: error reading /none: {missing}");
    for (arguments, expected) in [
        (
            format!("-f {policy} --sessions {policy} --as eve"),
            "expected a Session, a SessionTracker or a List of them",
        ),
        (format!("-f {policy} --sessions /none --as eve"), &missing),
        (format!("-f {policy} --sessions {}", sessions.display()), "name the user to test"),
        ("-f - --sessions - --as eve".to_owned(), "standard input can be read only once"),
    ] {
        let message = plugin.run(&format!("policy test {arguments}")).fails();
        assert!(message.contains(expected), "{arguments}: {message}");
    }
}

#[test]
fn reads_policies_from_standard_input() {
    let files = Files::new();
    let sessions = files.write("sessions.json", &sessions().to_string());
    let mut child = Plugin::with_kubeconfig("")
        .command(&format!(
            "policy test -f - --sessions {} --as eve --as-group devs -o name",
            sessions.display()
        ))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(OWN_ONLY.as_bytes()).unwrap();
    let output = CommandOutput::new(&child.wait_with_output().unwrap());
    assert_eq!(output.succeeds(), "session.operator.metalbear.co/e\n");
}
