//! The properties of a new session: from flags, or else from a `mirrord exec`.

use mirrord_sessions_core::text::is_unsafe;

use super::{config::ConfiguredSession, wrapped::Exec};

/// The maximum length of a client field of a Session.
const MAX_CLIENT_FIELD: usize = 253;
/// The maximum length of a target.
const MAX_TARGET: usize = 400;

/// The values of the flags of `run`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    pub(crate) target: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) context: Option<String>,
    pub(crate) key: Option<String>,
}

/// The properties of a new session. Without namespace or context, those of the kubeconfig apply.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Settings {
    pub(crate) target: String,
    pub(crate) namespace: Option<String>,
    pub(crate) context: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) warnings: Vec<String>,
}

/// Merges the sources in mirrord's order: command line, environment, configuration.
pub(crate) fn merge_settings(
    flags: &Flags,
    exec: Option<&Exec>,
    variable: impl Fn(&str) -> Option<String>,
    config: &ConfiguredSession,
) -> Settings {
    let mut warnings = Vec::new();
    let configured_value = |flag: &Option<String>,
                            of: fn(&Exec) -> &Option<String>,
                            name: &str,
                            configured: &Option<String>| {
        let own = flag.clone().filter(|flag| !flag.is_empty());
        own.or_else(|| {
            let exec = exec?;
            of(exec)
                .clone()
                .or_else(|| variable(name))
                .or_else(|| configured.clone())
                .filter(|value| !value.is_empty())
        })
    };
    let mut validate = |what: &str,
                        value: Option<String>,
                        is_it: fn(&str) -> bool,
                        instead: &str| {
        let value = value?;
        if is_it(&value) {
            return Some(value);
        }
        warnings.push(format!(
            "Warning: the {what} {value:?} of mirrord is none that a session can have: recording {instead}"
        ));
        None
    };
    let found = configured_value(
        &flags.target,
        |exec| &exec.target,
        "MIRRORD_IMPERSONATED_TARGET",
        &config.target,
    );
    let found = found.map(|text| target(&text).unwrap_or(text));
    let target = validate("target", found, is_target, "it as targetless; --target says otherwise");
    let found = configured_value(
        &flags.namespace,
        |exec| &exec.namespace,
        "MIRRORD_TARGET_NAMESPACE",
        &config.namespace,
    );
    let namespace = validate("namespace", found, is_label, "it in the current one");
    let found = configured_value(&flags.key, |exec| &exec.key, "MIRRORD_KEY", &config.key);
    let key = validate("key", found, is_plain_key, "none");
    let context = configured_value(
        &flags.context,
        |exec| &exec.context,
        "MIRRORD_KUBE_CONTEXT",
        &config.context,
    );
    Settings {
        target: target.unwrap_or_else(|| "targetless".to_owned()),
        namespace,
        context: context.filter(|context| !is_template(context)),
        key,
        warnings,
    }
}

/// Returns the target in the form of a Session, if it is valid. mirrord accepts `deploy` for
/// `deployment`.
pub(crate) fn target(text: &str) -> Option<String> {
    let text = match text.strip_prefix("deploy/") {
        Some(rest) => format!("deployment/{rest}"),
        None => text.to_owned(),
    };
    is_target(&text).then_some(text)
}

/// Returns whether the schema of Sessions accepts a target.
fn is_target(text: &str) -> bool {
    if text == "targetless" {
        return true;
    }
    let is_kind = |kind: &str| !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_lowercase());
    let parts: Vec<&str> = text.split('/').collect();
    text.len() <= MAX_TARGET
        && match parts[..] {
            [kind, name] => is_kind(kind) && is_name(name, true),
            [kind, name, "container", container] => {
                is_kind(kind) && is_name(name, true) && is_name(container, false)
            }
            _ => false,
        }
}

fn is_name(text: &str, dots: bool) -> bool {
    let inner =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || (dots && b == b'.');
    let ends = |end: Option<u8>| end.is_some_and(|b| b != b'-' && b != b'.');
    text.bytes().all(inner) && ends(text.bytes().next()) && ends(text.bytes().last())
}

fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_name(text, false)
}

fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// Returns whether a Session accepts a key.
pub(crate) fn is_key(text: &str) -> bool {
    (1..=MAX_CLIENT_FIELD).contains(&text.chars().count()) && !text.contains(is_unsafe)
}

fn is_plain_key(text: &str) -> bool {
    is_key(text) && !is_template(text)
}

/// Returns a client field without the characters that would make `spec.user` ambiguous, truncated
/// to the limit.
pub(crate) fn client_field(text: &str, forbidden: &[char]) -> Option<String> {
    let allowed = |c: char| {
        if is_unsafe(c) || forbidden.contains(&c) { '-' } else { c }
    };
    let client_field: String = text.trim().chars().take(MAX_CLIENT_FIELD).map(allowed).collect();
    (!client_field.is_empty()).then_some(client_field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(line: &str) -> Exec {
        let words: Vec<_> = line.split(' ').map(Into::into).collect();
        Exec::parse(&words).unwrap()
    }

    fn configured(target: &str, namespace: &str, key: &str) -> ConfiguredSession {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        ConfiguredSession {
            target: some(target),
            namespace: some(namespace),
            context: None,
            key: some(key),
        }
    }

    #[test]
    fn merges_sources_by_precedence() {
        let nothing = |_: &str| None;
        let variables = |name: &str| {
            let value = match name {
                "MIRRORD_IMPERSONATED_TARGET" => "pod/env",
                "MIRRORD_TARGET_NAMESPACE" => "env",
                "MIRRORD_KEY" => "envkey",
                "MIRRORD_KUBE_CONTEXT" => "envcontext",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let config = configured("pod/config", "config", "configkey");
        let flags = Flags {
            target: Some("pod/flag".into()),
            namespace: Some("flag".into()),
            context: Some("flagcontext".into()),
            key: Some("flagkey".into()),
        };
        let line = exec("mirrord exec -t pod/line -n line --key linekey --context linecontext x");
        let bare = exec("mirrord exec x");
        let of = |settings: Settings| {
            assert_eq!(settings.warnings, [""; 0]);
            [Some(settings.target), settings.namespace, settings.key, settings.context]
                .map(Option::unwrap_or_default)
        };
        let none = Flags::default();
        assert_eq!(
            of(merge_settings(&flags, Some(&line), variables, &config)),
            ["pod/flag", "flag", "flagkey", "flagcontext"]
        );
        assert_eq!(
            of(merge_settings(&none, Some(&line), variables, &config)),
            ["pod/line", "line", "linekey", "linecontext"]
        );
        assert_eq!(
            of(merge_settings(&none, Some(&bare), variables, &config)),
            ["pod/env", "env", "envkey", "envcontext"]
        );
        assert_eq!(
            of(merge_settings(&none, Some(&bare), nothing, &config)),
            ["pod/config", "config", "configkey", ""]
        );
        // Variables of mirrord don't apply to other commands.
        assert_eq!(
            of(merge_settings(&none, None, variables, &ConfiguredSession::default())),
            ["targetless", "", "", ""]
        );
    }

    #[test]
    fn reports_invalid_values() {
        for (target, namespace, key, warning) in [
            ("label/app=x", "", "", "target \"label/app=x\""),
            ("pod/{{ x }}", "", "", "target"),
            ("", "{{ x }}", "", "namespace"),
            ("", "", "{{ git_branch }}", "key"),
            ("", "", "a\u{202e}", "key"),
        ] {
            let bare = exec("mirrord exec x");
            let config = configured(target, namespace, key);
            let found = merge_settings(&Flags::default(), Some(&bare), |_| None, &config);
            assert_eq!(found.warnings.len(), 1, "{found:?}");
            assert!(found.warnings[0].contains(warning), "{found:?}");
            assert_eq!(
                (found.target.as_str(), found.namespace, found.key),
                ("targetless", None, None)
            );
        }
    }

    #[test]
    fn validates_targets() {
        for (text, expected) in [
            ("targetless", Some("targetless")),
            ("deploy/a", Some("deployment/a")),
            ("pod/a.b-1", Some("pod/a.b-1")),
            ("pod/a/container/c", Some("pod/a/container/c")),
            ("pod/a/container/c.d", None),
            ("pod/a/c", None),
            ("pod/", None),
            ("pod/-a", None),
            ("pod/a.", None),
            ("/a", None),
            ("Pod/a", None),
            ("", None),
            ("a", None),
        ] {
            assert_eq!(target(text).as_deref(), expected, "{text}");
        }
        assert_eq!(target(&format!("pod/{}", "a".repeat(400))), None);
    }

    #[test]
    fn sanitizes_client_fields() {
        for (text, expected) in
            [(" Avi Hassan ", Some("Avi Hassan")), ("a/b\u{1b}@", Some("a-b-@")), ("", None)]
        {
            assert_eq!(client_field(text, &['/']).as_deref(), expected, "{text}");
        }
        assert_eq!(client_field(&"é".repeat(300), &[]).unwrap().chars().count(), 253);
    }
}
