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

/// Like kubectl diff, scripts can distinguish a difference from a failure.
#[test]
fn diff_distinguishes_differences_from_failures() {
    let denied = "clusterroles.rbac.authorization.k8s.io \"mirrord-operator-auditor\" is forbidden: User \"dev\" cannot get resource \"clusterroles\" in API group \"rbac.authorization.k8s.io\" at the cluster scope";
    let forbidden = status(403, "Forbidden", denied, &json!({}));
    for (name, code, body, expected) in [
        ("differs", 200, role(&json!([])), 1),
        ("forbidden", 403, forbidden, 2),
        ("nonsense", 200, role(&json!("x")), 2),
    ] {
        let server = Fake::new().respond(PATH, code, body).start();
        let output = server.run("auditor diff");
        assert_eq!(output.code, Some(expected), "{name}: {output:?}");
        assert_eq!(output.out.is_empty(), expected == 2, "{name}: {output:?}");
        let messages = output.messages.lines().count();
        assert_eq!(messages, usize::from(expected == 2), "{name}: {output:?}");
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
        let output = Plugin::with_kubeconfig("a: [").run(arguments);
        assert_eq!(output.code, Some(expected), "{arguments}: {output:?}");
    }
}
