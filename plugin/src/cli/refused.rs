//! Flags that people know from kubectl and that are not taken here, each with what to do instead.

/// The commands that read or stop sessions, which kubectl's `get`, `describe` and `delete` are the
/// models of.
const OBJECTS: &[&str] = &["list", "describe", "delete", "kill", "kill-all"];
const LIST: &[&str] = &["list"];
const STOPPING: &[&str] = &["delete", "kill", "kill-all"];
const EVERY: &[&str] = &[];

const FILES: &str =
    "sessions are named here, and no files are read: give the file to kubectl itself";

/// A flag that isn't taken.
struct Refused {
    /// Of which commands; of all of them if none is named.
    of: &'static [&'static str],
    long: &'static str,
    short: Option<char>,
    why: &'static str,
}

const fn refused(of: &'static [&'static str], long: &'static str, why: &'static str) -> Refused {
    Refused { of, long, short: None, why }
}

const ALL: &[Refused] = &[
    Refused { short: Some('f'), ..refused(OBJECTS, "filename", FILES) },
    Refused { short: Some('k'), ..refused(OBJECTS, "kustomize", FILES) },
    Refused { short: Some('R'), ..refused(OBJECTS, "recursive", FILES) },
    refused(LIST, "raw", "use \"kubectl get --raw\""),
    refused(STOPPING, "raw", "use \"kubectl delete --raw\""),
    refused(
        LIST,
        "subresource",
        "a session is shown whole: use -o jsonpath={.status} for its status",
    ),
    refused(
        LIST,
        "server-print",
        "columns are always those of this plugin: use -o custom-columns=HEADER:PATH for others",
    ),
    refused(
        EVERY,
        "kuberc",
        "kubectl's preferences don't apply to plugins: give flags, or set an alias in the shell",
    ),
    refused(
        EVERY,
        "match-server-version",
        "this plugin's version isn't the cluster's: see \"kubectl mirrord-sessions version\"",
    ),
    refused(
        EVERY,
        "warnings-as-errors",
        "warnings are messages, and the exit code is that of the request",
    ),
    refused(EVERY, "profile", "this plugin has no profiler"),
    refused(EVERY, "profile-output", "this plugin has no profiler"),
    refused(EVERY, "vmodule", "use -v, which is for all of the program"),
];

/// Why a flag isn't taken, by the command and what was typed: `--raw=/x`, `-f` or `-fx`.
pub(crate) fn why(command: &str, typed: &str) -> Option<String> {
    let name = typed.split('=').next().unwrap_or(typed);
    let letter = |rest: &str| rest.chars().next();
    let is_it = |flag: &&Refused| {
        let is_named = match name.strip_prefix("--") {
            Some(long) => flag.long == long,
            None => flag.short.is_some() && name.strip_prefix('-').and_then(letter) == flag.short,
        };
        is_named && (flag.of.is_empty() || flag.of.contains(&command))
    };
    let flag = ALL.iter().find(is_it)?;
    Some(format!("--{} is not taken: {}", flag.long, flag.why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_with_what_to_do() {
        for (command, typed, expected) in [
            ("list", "--filename=x", Some("--filename is not taken: ")),
            ("delete", "-f", Some("--filename is not taken: ")),
            ("delete", "-fx", Some("--filename is not taken: ")),
            ("kill-all", "-R", Some("--recursive is not taken: ")),
            ("top", "--kuberc", Some("--kuberc is not taken: ")),
            ("list", "--raw=/x", Some("--raw is not taken: use \"kubectl get --raw\"")),
            ("kill", "--raw", Some("--raw is not taken: use \"kubectl delete --raw\"")),
            // kubectl's has none either.
            ("describe", "--raw", None),
            ("delete", "--subresource", None),
            ("run", "-f", None),
            ("list", "--nope", None),
            ("list", "-", None),
        ] {
            let said = why(command, typed);
            match expected {
                Some(expected) => assert!(said.unwrap().starts_with(expected), "{typed}"),
                None => assert_eq!(said, None, "{command} {typed}"),
            }
        }
    }

    #[test]
    fn none_of_them_is_taken_after_all() {
        let command = crate::cli::command();
        for flag in ALL {
            let of = command.get_subcommands();
            let of = of.filter(|sub| flag.of.is_empty() || flag.of.contains(&sub.get_name()));
            for sub in of.chain(flag.of.is_empty().then_some(&command)) {
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
