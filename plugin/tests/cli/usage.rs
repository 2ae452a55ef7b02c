use crate::{
    fake::Fake,
    plugin::{CommandOutput, Plugin},
};

#[test]
fn prints_help_like_kubectl() {
    let plugin = Plugin::with_kubeconfig("");
    for arguments in ["", "--help", "-h", "help"] {
        let text = plugin.run(arguments).succeeds();
        assert!(text.contains("Usage: kubectl mirrord-sessions"), "{arguments}: {text}");
        assert!(!text.contains("kubectl-mirrord_sessions"), "{arguments}: {text}");
        for command in ["list", "describe", "delete", "kill", "kill-all", "version"] {
            assert!(text.contains(&format!("\n  {command} ")), "{command}: {text}");
        }
    }
    for command in ["list", "describe", "delete", "kill", "kill-all", "version"] {
        let text = plugin.run(&format!("{command} --help")).succeeds();
        assert!(text.contains(&format!("Usage: kubectl mirrord-sessions {command}")), "{text}");
        assert!(text.contains("Examples:\n  kubectl mirrord-sessions "), "{text}");
        assert!(text.contains("--as-group"), "{text}");
    }
}

#[test]
fn rejects_invalid_usage_without_requests() {
    let server = Fake::new().session("default", "a").start();
    for arguments in [
        "nope",
        "list --nope",
        "list -o nope",
        "list a --mine",
        "list -o go-template={{.a}}",
        "delete a --now --grace-period=5",
        "delete a --cascade=orphan",
        "list -n Not/A/Namespace",
        "delete",
        "kill",
        "delete 487F4F2B6D2376AG",
        "delete a ../../secrets/b",
        "delete pods/a",
        "delete a --dry-run=maybe",
        "describe UPPER",
        "kill-all x",
        "version -o wide",
        "list --request-timeout soon",
        "-n",
    ] {
        let CommandOutput { code, out, messages } = server.run(arguments);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{arguments}");
        assert!(messages.starts_with("error: "), "{arguments}: {messages}");
    }
    assert!(server.all_requests().is_empty());
}
