//! The clap definition of the command line, and transformations of all its flags.

use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory};

use super::Cli;

const USER: &str = "user";

/// Returns the definition that parses command lines.
///
/// `--user` selects the user of the kubeconfig, like kubectl's flag, before the command and after
/// most commands. After a command that filters by user, it filters. Every boolean flag accepts
/// `=true` and `=false`, like kubectl's.
#[must_use]
pub fn command() -> Command {
    with_boolean_values(definition())
}

/// Returns the definition for help, man pages and completion, which omits the `=true` of boolean
/// flags.
#[must_use]
pub fn help_command() -> Command {
    add_boolean_values(definition(), |action| matches!(action, ArgAction::SetFalse))
}

/// Returns the command with flags that accept `=true` and `=false`.
#[must_use]
pub fn with_boolean_values(command: Command) -> Command {
    add_boolean_values(command, |action| matches!(action, ArgAction::SetTrue | ArgAction::SetFalse))
}

/// Flags of free text, whose value may be any following word, like kubectl's.
const FREE_TEXT_FLAGS: [&str; 8] = [
    "token",
    "username",
    "password",
    "selector",
    "field-selector",
    "output",
    "template",
    "sort-by",
];

fn free(flag: Arg) -> Arg {
    let is_free = flag.get_long().is_some_and(|long| FREE_TEXT_FLAGS.contains(&long));
    if is_free { flag.allow_hyphen_values(true) } else { flag }
}

/// Makes boolean flags take an optional value. A flag whose default is false is on unless it is
/// turned off, which clap can't express in one word otherwise.
fn add_boolean_values(command: Command, which: fn(&ArgAction) -> bool) -> Command {
    let with_boolean_values = |flag: Arg| {
        if !which(flag.get_action()) {
            return flag;
        }
        let is_off = matches!(flag.get_action(), ArgAction::SetTrue);
        flag.action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .value_name("BOOL")
            .value_parser(boolean)
            .default_value(if is_off { "false" } else { "true" })
            .hide_default_value(is_off)
            .default_missing_value("true")
    };
    command.mut_args(with_boolean_values).mut_subcommands(|sub| add_boolean_values(sub, which))
}

/// Parses a boolean in all forms that kubectl accepts.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing \"{text}\": invalid syntax")),
    }
}

/// Flags of kubectl that are accepted without effect: the plugin neither caches nor compresses
/// responses, and buffers no log.
const WITHOUT_EFFECT: [&str; 3] = ["cache-dir", "disable-compression", "log-flush-frequency"];

fn definition() -> Command {
    let flag = |name: &'static str| {
        let flag = Arg::new(name).long(name).global(true).hide(true);
        if name == "disable-compression" {
            flag.action(ArgAction::SetTrue)
        } else {
            flag.action(ArgAction::Set)
        }
    };
    let command = with_free(Cli::command().args(WITHOUT_EFFECT.map(flag)));
    let user = command.get_arguments().find(|argument| argument.get_id() == USER).cloned();
    match user {
        Some(user) => with_user(command, &user),
        None => command,
    }
}

fn with_free(command: Command) -> Command {
    command.mut_args(free).mut_subcommands(with_free)
}

fn with_user(command: Command, user: &Arg) -> Command {
    command.mut_subcommands(|sub| {
        let filters = sub.get_arguments().any(|argument| argument.get_long() == Some(USER));
        let sub = with_user(sub, user);
        if filters { sub } else { sub.arg(user) }
    })
}

/// Returns the user of the kubeconfig that the line selects last.
pub(super) fn kubeconfig_user(matches: &ArgMatches) -> Option<&String> {
    let behind = matches.subcommand().and_then(|(_, matches)| kubeconfig_user(matches));
    behind.or_else(|| matches.try_get_one(USER).ok().flatten())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::Command as Chosen;

    fn words(line: &str) -> Vec<OsString> {
        let words = ["plugin"].into_iter().chain(line.split(' '));
        words.map(OsString::from).collect()
    }

    #[test]
    fn definition_is_valid() {
        command().debug_assert();
        help_command().debug_assert();
    }

    #[test]
    fn parses_boolean_flags() {
        for (line, everywhere, watches) in [
            ("list", false, false),
            ("list -A -w", true, true),
            ("list -Aw", true, true),
            ("list -Aw=false", true, false),
            ("list -A=false -w=1", false, true),
            ("list --all-namespaces=TRUE --watch=f", true, false),
            ("list --watch --watch=false", false, false),
            ("list --watch=false --watch", false, true),
            ("list -wA=t", true, true),
        ] {
            let Chosen::List(args) = Cli::parse_from_args(words(line)).unwrap().command else {
                panic!("{line}");
            };
            assert_eq!(args.namespaces.all_namespaces, everywhere, "{line}");
            assert_eq!(args.watch, watches, "{line}");
        }
        for (line, waits) in [
            ("delete a", true),
            ("delete a --wait", true),
            ("delete a --wait=F", false),
            ("delete a --wait=false --wait", true),
        ] {
            let Chosen::Delete(args) = Cli::parse_from_args(words(line)).unwrap().command else {
                panic!("{line}");
            };
            assert_eq!(args.shared.stop.wait, waits, "{line}");
            // A word after a flag without "=" is not its value.
            assert_eq!(args.ids.len(), 1, "{line}");
        }
    }

    #[test]
    fn accepts_values_that_look_like_flags() {
        let line = "list --token -w -o -A --sort-by --mine --selector -l --password --";
        let cli = Cli::parse_from_args(words(line)).unwrap();
        assert_eq!(cli.connection.token.as_deref(), Some("-w"));
        assert_eq!(cli.connection.password.as_deref(), Some("--"));
        let Chosen::List(args) = cli.command else {
            panic!("{line}");
        };
        assert_eq!(args.output.as_deref(), Some("-A"));
        assert_eq!(args.sort_by.as_deref(), Some("--mine"));
        assert_eq!(args.select.labels.as_deref(), Some("-l"));
        assert!(!args.watch && !args.namespaces.all_namespaces && !args.select.mine);
        assert!(Cli::parse_from_args(words("list -n -w")).is_err());
    }

    #[test]
    fn accepts_kubectl_flags_without_effect() {
        for line in [
            "list --cache-dir /x --disable-compression --log-flush-frequency=5s",
            "--cache-dir=/x list --disable-compression=false",
        ] {
            assert!(Cli::parse_from_args(words(line)).is_ok(), "{line}");
        }
    }

    /// Checks every flag of every command, including flags that are added later.
    #[test]
    fn transforms_every_flag() {
        fn count_commands(command: &Command, found: &mut usize) {
            for flag in command.get_arguments() {
                let action = flag.get_action();
                assert!(!matches!(action, ArgAction::SetTrue | ArgAction::SetFalse), "{flag}");
                *found += usize::from(flag.to_string().ends_with("[=<BOOL>]"));
            }
            command.get_subcommands().for_each(|sub| count_commands(sub, found));
        }
        let mut found = 0;
        let mut command = command();
        command.build();
        count_commands(&command, &mut found);
        assert!(found > 20, "{found}");
    }
}
