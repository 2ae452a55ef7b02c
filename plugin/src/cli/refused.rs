//! Flags of kubectl that the plugin does not support, each with an alternative.

/// The commands that are modelled on kubectl's `get`, `describe` and `delete`.
const OBJECTS: &[&str] = &["list", "describe", "delete", "kill", "kill-all"];
const LIST: &[&str] = &["list"];
const STOPPING: &[&str] = &["delete", "kill", "kill-all"];
const EVERY: &[&str] = &[];

const FILES: &str =
    "this command reads no manifests: pass the file to kubectl get or kubectl delete";

/// A flag of kubectl that the plugin does not support.
struct UnsupportedFlag {
    /// The commands that lack the flag; all commands if empty.
    commands: &'static [&'static str],
    long: &'static str,
    short: Option<char>,
    reason: &'static str,
}

const fn refused(
    commands: &'static [&'static str],
    long: &'static str,
    reason: &'static str,
) -> UnsupportedFlag {
    UnsupportedFlag { commands, long, short: None, reason }
}

const ALL: &[UnsupportedFlag] = &[
    UnsupportedFlag { short: Some('f'), ..refused(OBJECTS, "filename", FILES) },
    UnsupportedFlag { short: Some('k'), ..refused(OBJECTS, "kustomize", FILES) },
    UnsupportedFlag { short: Some('R'), ..refused(OBJECTS, "recursive", FILES) },
    refused(LIST, "raw", "use \"kubectl get --raw\""),
    refused(STOPPING, "raw", "use \"kubectl delete --raw\""),
    refused(
        LIST,
        "subresource",
        "the output contains the status already: use -o jsonpath={.status} to select it",
    ),
    refused(
        LIST,
        "server-print",
        "the plugin always prints its own columns: use -o custom-columns=HEADER:PATH for others",
    ),
    refused(
        EVERY,
        "kuberc",
        "kubectl's preferences don't apply to plugins: use flags or a shell alias",
    ),
    refused(
        EVERY,
        "match-server-version",
        "the plugin's version is independent of the cluster's: use \"kubectl mirrord-sessions version\" to compare them",
    ),
    refused(
        EVERY,
        "warnings-as-errors",
        "warnings are printed, and the exit code depends on the request alone",
    ),
    refused(EVERY, "profile", "the plugin has no profiler"),
    refused(EVERY, "profile-output", "the plugin has no profiler"),
    refused(EVERY, "vmodule", "use -v, which sets the log level of the whole program"),
];

/// Returns the reason why a flag is unsupported, by command and typed text: `--raw=/x`, `-f` or
/// `-fx`.
pub(crate) fn reason(command: &str, typed: &str) -> Option<String> {
    let name = typed.split('=').next().unwrap_or(typed);
    let letter = |rest: &str| rest.chars().next();
    let is_it = |flag: &&UnsupportedFlag| {
        let is_named = match name.strip_prefix("--") {
            Some(long) => flag.long == long,
            None => flag.short.is_some() && name.strip_prefix('-').and_then(letter) == flag.short,
        };
        is_named && (flag.commands.is_empty() || flag.commands.contains(&command))
    };
    let flag = ALL.iter().find(is_it)?;
    Some(format!("--{} is not supported: {}", flag.long, flag.reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_an_alternative_for_each_flag() {
        for (command, typed, expected) in [
            ("list", "--filename=x", Some("--filename is not supported: ")),
            ("delete", "-f", Some("--filename is not supported: ")),
            ("delete", "-fx", Some("--filename is not supported: ")),
            ("kill-all", "-R", Some("--recursive is not supported: ")),
            ("top", "--kuberc", Some("--kuberc is not supported: ")),
            ("list", "--raw=/x", Some("--raw is not supported: use \"kubectl get --raw\"")),
            ("kill", "--raw", Some("--raw is not supported: use \"kubectl delete --raw\"")),
            // kubectl's `describe` has no such flag either.
            ("describe", "--raw", None),
            ("delete", "--subresource", None),
            ("run", "-f", None),
            ("list", "--nope", None),
            ("list", "-", None),
        ] {
            let found = reason(command, typed);
            match expected {
                Some(expected) => assert!(found.unwrap().starts_with(expected), "{typed}"),
                None => assert_eq!(found, None, "{command} {typed}"),
            }
        }
    }

    #[test]
    fn rejects_every_unsupported_flag() {
        let command = crate::cli::command();
        for flag in ALL {
            let commands = command.get_subcommands();
            let commands = commands
                .filter(|sub| flag.commands.is_empty() || flag.commands.contains(&sub.get_name()));
            for sub in commands.chain(flag.commands.is_empty().then_some(&command)) {
                let mut known = sub.get_arguments();
                assert!(
                    !known.any(|one| one.get_long() == Some(flag.long)
                        || flag.short.is_some() && one.get_short() == flag.short),
                    "{} {}",
                    sub.get_name(),
                    flag.long
                );
            }
        }
    }
}
