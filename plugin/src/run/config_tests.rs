use serde_json::json;

use super::*;

fn annotations() -> Annotations {
    [
        ("a/key", AnnotationValue::Key),
        ("a/user", AnnotationValue::Text("Avi {{ \"H\" }} \\ {% x".into())),
    ]
    .into()
}

/// Returns the annotations as mirrord would parse them, after checking the rest of the file.
fn parse_extended(format: Format, text: &str) -> Value {
    let derived = add_annotations(text, format, &annotations()).unwrap();
    for mark in ["{{", "{%", "{#"] {
        let own = usize::from(mark == "{{");
        assert_eq!(derived.matches(mark).count(), text.matches(mark).count() + own, "{derived}");
    }
    let value = format.parse(&derived).unwrap();
    let own = &value["agent"]["annotations"];
    assert_eq!(own["a/key"], "{{ key }}", "{derived}");
    assert_eq!(own["a/user"], "Avi {{ \"H\" }} \\ {% x", "{derived}");
    assert_eq!(without_agent(&value), without_agent(&format.parse(text).unwrap()), "{derived}");
    value
}

#[test]
fn keeps_existing_content() {
    for (format, text) in [
        (Format::Json, "{}"),
        (Format::Json, r#"{"agent": null, "target": "pod/a"}"#),
        (
            Format::Json,
            r#"{"target": "{{ get_env(name='T') }}", "feature": {"x": "a\\.b\u007b\u007b"}}"#,
        ),
        (Format::Toml, ""),
        (Format::Toml, "target = 'pod/a' # mine\n[feature]\nfs = 'read'\n"),
        (Format::Toml, "key = '{{ get_env(name=\"K\") }}'\n"),
        (Format::Yaml, ""),
        (Format::Yaml, "# nothing\n"),
        (Format::Yaml, "target: pod/a\nkey: '{{ get_env(name=\"K\") }}'"),
        (Format::Yaml, "target: pod/a\nagent:\n"),
        (Format::Yaml, "{target: pod/a}"),
    ] {
        parse_extended(format, text);
    }
    for (format, text) in [
        (
            Format::Json,
            r#"{"agent": {"ttl": 5, "annotations": {"b": "{{ key }}", "a/user": "x"}}}"#,
        ),
        (Format::Toml, "[agent]\nttl = 5\nannotations = { b = '{{ key }}', 'a/user' = 'x' }\n"),
        (Format::Toml, "agent.ttl = 5\n[agent.annotations]\nb = '{{ key }}'\n"),
    ] {
        let value = parse_extended(format, text);
        assert_eq!(value["agent"]["ttl"], 5, "{text}");
        assert_eq!(value["agent"]["annotations"]["b"], "{{ key }}", "{text}");
    }
    let value = parse_extended(Format::Yaml, "agent: {ttl: 5, annotations: {b: c}}\n");
    assert_eq!(value["agent"]["ttl"], 5);
    assert_eq!(value["agent"]["annotations"]["b"], "c");
    // The bytes stay verbatim, escapes included.
    let text = r#"{"feature": {"x": "\u007b\u007b y"} }"#;
    let derived = add_annotations(text, Format::Json, &annotations()).unwrap();
    assert!(derived.contains(r#"{"x": "\u007b\u007b y"}"#), "{derived}");
}

#[test]
fn rejects_files_that_can_not_be_extended() {
    for (format, text, reason) in [
        (Format::Json, "{% if x %}{}{% endif %}", "key must be"),
        (Format::Json, "[]", "expected an object"),
        (Format::Json, r#"{"agent": 1}"#, "no object"),
        (Format::Json, r#"{"agent": {}, "agent": {}}"#, "twice"),
        (Format::Toml, "agent = 1", "no table"),
        (Format::Toml, "{{ x }}", "no TOML"),
        (Format::Yaml, "- a", "no map"),
        (Format::Yaml, "agent: {ttl: 5}\nkey: '{{ get_env(name=\"K\") }}'", "templates"),
    ] {
        let error = add_annotations(text, format, &annotations()).unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn detects_formats() {
    for (path, expected) in [
        ("a.json", Some(Format::Json)),
        ("a", Some(Format::Json)),
        ("a.toml", Some(Format::Toml)),
        ("a.yaml", Some(Format::Yaml)),
        ("a.yml", Some(Format::Yaml)),
        ("a.txt", None),
    ] {
        assert_eq!(Format::from_path(Path::new(path)), expected, "{path}");
    }
}

#[test]
fn extracts_session_fields() {
    let named = |config: Value| ConfiguredSession::from_config(&config);
    for (target, expected) in [
        (json!("pod/a"), Some("pod/a")),
        (json!({"path": "deploy/a"}), Some("deploy/a")),
        (json!({"path": {"deployment": "a", "container": null}}), Some("deployment/a")),
        (json!({"stateful_set": "a", "container": "c"}), Some("statefulset/a/container/c")),
        (json!({"namespace": "shop"}), None),
        (json!(null), None),
        (json!([1]), None),
    ] {
        let found = named(json!({ "target": target }));
        assert_eq!(found.target.as_deref(), expected, "{target}");
    }
    let found = named(json!({
        "target": {"path": "pod/a", "namespace": "shop"}, "kube_context": "dev", "key": "avi",
    }));
    assert_eq!(found.namespace.as_deref(), Some("shop"));
    assert_eq!(found.context.as_deref(), Some("dev"));
    assert_eq!(found.key.as_deref(), Some("avi"));
    assert_eq!(named(json!({})), ConfiguredSession::default());
}
