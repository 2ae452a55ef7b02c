use serde_json::{Value, json};

use crate::{
    fake::{Fake, status},
    plugin::Plugin,
};

const PATH: &str = "GET /apis/rbac.authorization.k8s.io/v1/clusterroles/mirrord-operator-auditor";

fn role(rules: &Value) -> String {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": "mirrord-operator-auditor" }, "rules": rules,
    })
    .to_string()
}

/// As of kubectl diff: a script tells a difference from what couldn't be looked at.
#[test]
fn a_difference_and_a_failure_have_exit_codes_of_their_own() {
    let denied = "clusterroles.rbac.authorization.k8s.io \"mirrord-operator-auditor\" is forbidden: User \"dev\" cannot get resource \"clusterroles\" in API group \"rbac.authorization.k8s.io\" at the cluster scope";
    let forbidden = status(403, "Forbidden", denied, &json!({}));
    for (name, code, body, expected) in [
        ("differs", 200, role(&json!([])), 1),
        ("forbidden", 403, forbidden, 2),
        ("nonsense", 200, role(&json!("x")), 2),
    ] {
        let server = Fake::new().answer(PATH, code, body).start();
        let ran = server.run("auditor diff");
        assert_eq!(ran.code, Some(expected), "{name}: {ran:?}");
        assert_eq!(ran.out.is_empty(), expected == 2, "{name}: {ran:?}");
        let messages = ran.messages.lines().count();
        assert_eq!(messages, usize::from(expected == 2), "{name}: {ran:?}");
        // Other commands fail with 1.
        let code = server.run("auditor status").code;
        assert_eq!(code, Some(i32::from(expected == 2)), "{name}");
    }
    for (arguments, expected) in [
        ("auditor diff", 2),
        ("auditor diff --nope", 2),
        ("auditor diff --help", 0),
        ("auditor status --nope", 1),
    ] {
        let ran = Plugin::with("a: [").run(arguments);
        assert_eq!(ran.code, Some(expected), "{arguments}: {ran:?}");
    }
}
