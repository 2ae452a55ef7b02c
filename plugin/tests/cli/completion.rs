//! Completion as requested by shells and by kubectl.

use serde_json::json;

use crate::{
    fake::{Fake, Response, Server, session},
    plugin::CommandOutput,
};

fn complete(server: &Server, line: &str) -> Vec<String> {
    let mut command = server.command("__complete");
    let output = command.args(line.split(' ')).output().unwrap();
    let text = CommandOutput::new(&output).succeeds();
    text.lines().map(ToOwned::to_owned).collect()
}

pub(crate) fn two_sessions() -> Fake {
    let mut other = session("shop", "c527fe7d9c30979e");
    other["spec"]["user"] = json!("Bo/bo@x@host\nsecond line");
    Fake::new().session("default", "487f4f2b6d2376ad").object(other)
}

#[test]
fn suggests_sessions_of_the_typed_namespace() {
    let server = two_sessions().start();
    assert_eq!(
        complete(&server, "delete "),
        ["487F4F2B6D2376AD\tAvi/avi@x@host, deployment/counter", ":4"]
    );
    assert_eq!(
        complete(&server, "-n shop describe c5"),
        ["c527fe7d9c30979e\tBo/bo@x@host_nsecond line, deployment/counter", ":4"]
    );
    assert_eq!(complete(&server, "delete -A ").len(), 3);
    assert_eq!(complete(&server, "delete 487F4F2B6D2376AD "), [":4"]);
    let paths = server.lines();
    assert_eq!(paths[0], "GET /namespaces/default/sessiontrackers");
    assert_eq!(paths[2], "GET /sessiontrackers");
}

#[test]
fn suggests_trackers_without_read_access_to_sessions() {
    let server = Fake::new()
        .forbid("GET /namespaces/default/sessions", "list", Some("default"))
        .rule(|request| {
            let is_trackers = request.path
                == "/apis/visibility.operator.metalbear.co/v1/namespaces/default/sessiontrackers";
            let item = json!({ "metadata": { "name": "a", "namespace": "default" }, "spec": { "user": "u", "target": "t" } });
            is_trackers.then(|| Response {
                code: 200,
                headers: "",
                body: json!({ "items": [item] }).to_string(),
            })
        })
        .start();
    assert_eq!(complete(&server, "delete "), ["a\tu, t", ":4"]);
}

#[test]
fn suggests_nothing_on_failure() {
    let denying_server =
        Fake::new().rule(|_| Some(Response { code: 403, headers: "", body: "no".into() })).start();
    for line in [
        "delete ",
        "list -n ",
        "delete --kubeconfig /none ",
        "nope ",
        "list --context=x --cluster ",
    ] {
        let lines = complete(&denying_server, line);
        assert_eq!(lines.last().unwrap(), ":4", "{line}");
        assert!(!line.ends_with("ete ") || lines.len() == 1, "{line}");
    }
}

#[test]
fn suggests_names_of_cluster_and_kubeconfig() {
    let server = Fake::new()
        .rule(|request| {
            let items = json!({ "items": [{ "metadata": { "name": "shop" } }, { "metadata": { "name": "default" } }] });
            (request.path == "/api/v1/namespaces").then(|| Response {
                code: 200,
                headers: "",
                body: items.to_string(),
            })
        })
        .start();
    assert_eq!(complete(&server, "list --namespace=s"), ["shop", ":4"]);
    assert_eq!(complete(&server, "--context "), ["here\there", ":4"]);
    assert!(complete(&server, "--cluster ")[0].starts_with("here\thttp://127.0.0.1:"));
    assert_eq!(complete(&server, "describe --user "), ["dev", ":4"]);
    assert_eq!(complete(&server, "list --kubeconfig "), [":0"]);
    assert_eq!(server.all_requests().len(), 1, "a kubeconfig needs no server");
}
