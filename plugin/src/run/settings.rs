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
    pub(crate) kubeconfig: Option<String>,
    pub(crate) context: Option<String>,
    pub(crate) key: Option<String>,
}

/// The properties of a new session. Without namespace or context, those of the kubeconfig apply.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Settings {
    pub(crate) target: String,
    pub(crate) namespace: Option<String>,
    /// Paths of kubeconfig files, as mirrord separates and expands them.
    pub(crate) kubeconfig: Option<String>,
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
    let kubeconfig =
        configured_value(&flags.kubeconfig, |_| &None, "MIRRORD_KUBECONFIG", &config.kubeconfig);
    let context = configured_value(
        &flags.context,
        |exec| &exec.context,
        "MIRRORD_KUBE_CONTEXT",
        &config.context,
    );
    let mut literal = |what: &str, value: Option<String>| {
        let value = value?;
        if !is_template(&value) {
            return Some(value);
        }
        warnings.push(format!(
            "Warning: the {what} of mirrord is a template that only mirrord renders: recording on the current {what}, which may be another cluster; --{what} says otherwise"
        ));
        None
    };
    let kubeconfig = literal("kubeconfig", kubeconfig);
    let context = literal("context", context);
    if let (Some(flag), Some(line)) = (&flags.context, exec.and_then(|exec| exec.context.as_ref()))
        && flag != line
    {
        warnings.push(format!(
            "Warning: mirrord uses context {line:?} of its command line, and the session is recorded with --context {flag}: name the same context twice"
        ));
    }
    Settings {
        target: target.unwrap_or_else(|| "targetless".to_owned()),
        namespace,
        kubeconfig,
        context,
        key,
        warnings,
    }
}

/// Expands `~` and variables in a path, as mirrord does.
///
/// # Errors
/// Returns the name of a variable that is not set.
pub(crate) fn expand_path(
    path: &str,
    home: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let (mut expanded, mut rest) = match (path.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            (home.to_owned(), rest)
        }
        _ => (String::new(), path),
    };
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, remainder) = match after.strip_prefix('{').and_then(|all| all.split_once('}')) {
            Some(braced) => braced,
            None => after.split_at(after.find(|c| !is_name(c)).unwrap_or(after.len())),
        };
        if name.is_empty() {
            expanded.push('$');
        } else {
            expanded.push_str(&variable(name).ok_or_else(|| name.to_owned())?);
        }
        rest = remainder;
    }
    expanded.push_str(rest);
    Ok(expanded)
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
    use crate::run::wrapped::Wrapped;

    fn exec(line: &str) -> Exec {
        let words: Vec<_> = line.split(' ').map(Into::into).collect();
        match Wrapped::find(&words) {
            Wrapped::Exec(exec) => exec,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn configured(target: &str, namespace: &str, key: &str) -> ConfiguredSession {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        ConfiguredSession {
            target: some(target),
            namespace: some(namespace),
            kubeconfig: some("/config/kube"),
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
                "MIRRORD_KUBECONFIG" => "/env/kube",
                "MIRRORD_KUBE_CONTEXT" => "envcontext",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let config = configured("pod/config", "config", "configkey");
        let flags = Flags {
            target: Some("pod/flag".into()),
            namespace: Some("flag".into()),
            kubeconfig: Some("/flag/kube".into()),
            context: Some("flagcontext".into()),
            key: Some("flagkey".into()),
        };
        let line = exec("mirrord exec -t pod/line -n line --key linekey --context linecontext x");
        let bare = exec("mirrord exec x");
        let of = |settings: Settings| {
            let Settings { target, namespace, key, context, kubeconfig, .. } = settings;
            [Some(target), namespace, key, context, kubeconfig].map(Option::unwrap_or_default)
        };
        let none = Flags::default();
        assert_eq!(
            of(merge_settings(&flags, Some(&line), variables, &config)),
            ["pod/flag", "flag", "flagkey", "flagcontext", "/flag/kube"]
        );
        assert_eq!(
            of(merge_settings(&none, Some(&line), variables, &config)),
            ["pod/line", "line", "linekey", "linecontext", "/env/kube"]
        );
        assert_eq!(
            of(merge_settings(&none, Some(&bare), variables, &config)),
            ["pod/env", "env", "envkey", "envcontext", "/env/kube"]
        );
        assert_eq!(
            of(merge_settings(&none, Some(&bare), nothing, &config)),
            ["pod/config", "config", "configkey", "", "/config/kube"]
        );
        // Variables of mirrord don't apply to other commands.
        assert_eq!(
            of(merge_settings(&none, None, variables, &ConfiguredSession::default())),
            ["targetless", "", "", "", ""]
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
    fn warns_if_the_cluster_of_mirrord_may_differ() {
        let template = |kubeconfig: &str, context: &str| ConfiguredSession {
            kubeconfig: Some(kubeconfig.into()),
            context: Some(context.into()),
            ..ConfiguredSession::default()
        };
        let bare = exec("mirrord exec x");
        let config = template("{{ get_env(name=\"K\") }}", "{% if x %}");
        let found = merge_settings(&Flags::default(), Some(&bare), |_| None, &config);
        assert_eq!((found.kubeconfig, found.context), (None, None));
        assert_eq!(found.warnings.len(), 2, "{:?}", found.warnings);
        assert!(found.warnings[0].contains("the kubeconfig of mirrord is a template"));
        assert!(found.warnings[1].contains("the context of mirrord is a template"));

        let line = exec("mirrord exec --context a x");
        let flags = |context: &str| Flags { context: Some(context.into()), ..Flags::default() };
        let config = ConfiguredSession::default();
        let found = merge_settings(&flags("b"), Some(&line), |_| None, &config);
        assert!(found.warnings[0].contains("mirrord uses context \"a\""), "{:?}", found.warnings);
        let found = merge_settings(&flags("a"), Some(&line), |_| None, &config);
        assert_eq!(found.warnings, [""; 0]);
    }

    #[test]
    fn expands_paths_as_mirrord() {
        let variable = |name: &str| (name == "DIR").then(|| "/dir".to_owned());
        for (path, expected) in [
            ("/a/b", Ok("/a/b")),
            ("~/bear", Ok("/home/u/bear")),
            ("~", Ok("/home/u")),
            ("~other/x", Ok("~other/x")),
            ("$DIR/x", Ok("/dir/x")),
            ("a${DIR}x$", Ok("a/dirx$")),
            ("$NONE/x", Err("NONE")),
        ] {
            let found = expand_path(path, Some("/home/u"), variable);
            let expected = expected.map(ToOwned::to_owned).map_err(ToOwned::to_owned);
            assert_eq!(found, expected, "{path}");
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
