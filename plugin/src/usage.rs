//! Errors about invalid command lines, in kubectl's words.

use std::ffi::OsString;

use clap::{
    Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::cli;

const PROGRAM: &str = "kubectl mirrord-sessions";

/// Returns kubectl's error with a hint at the help.
pub(crate) fn message(error: &clap::Error, arguments: &[OsString]) -> String {
    let mut root = cli::command();
    root.build();
    let command_path = command_path(&root, arguments);
    let name = command_path.last().and_then(|command| command.get_bin_name()).unwrap_or(PROGRAM);
    let last = command_path.last().copied().unwrap_or(&root);
    let mut text = format!("error: {}", error_text(error, last, name, arguments));
    let similar = suggestions(error);
    if !similar.is_empty() && unsupported_flag(error, last).is_none() {
        text.push_str("\n\nDid you mean this?\n");
        text.extend(similar.iter().flat_map(|name| ["\t", name, "\n"]));
    }
    format!("{text}\nSee '{name} --help' for usage.")
}

/// Returns the requested help.
pub(crate) fn help(error: &clap::Error, arguments: &[OsString]) -> String {
    let mut root = cli::help_command();
    root.build();
    let path = command_path(&root, arguments);
    let mut words: Vec<&str> = path.iter().map(|command| command.get_name()).collect();
    let is_long = arguments.iter().any(|argument| argument == "--help");
    if words.get(1) != Some(&"help") {
        words.push(if is_long { "--help" } else { "-h" });
    }
    match cli::help_command().try_get_matches_from(words) {
        Err(shown) if shown.kind() == ErrorKind::DisplayHelp => shown.render().to_string(),
        _ => error.render().to_string(),
    }
}

fn error_text(
    error: &clap::Error,
    command: &Command,
    name: &str,
    arguments: &[OsString],
) -> String {
    let context = |kind| context_text(error, kind).unwrap_or_default();
    let (argument, value) = (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue));
    match error.kind() {
        ErrorKind::UnknownArgument => {
            unsupported_flag(error, command).unwrap_or_else(|| unknown_flag(&argument))
        }
        ErrorKind::InvalidSubcommand => {
            no_such_command(&context(ContextKind::InvalidSubcommand), name, cfg!(unix))
        }
        ErrorKind::InvalidValue | ErrorKind::NoEquals | ErrorKind::TooFewValues
            if value.is_empty() && argument.starts_with('-') =>
        {
            without_value(&argument, command, arguments)
        }
        ErrorKind::InvalidValue => invalid_choice(error, command, &argument, &value),
        ErrorKind::ValueValidation => {
            let why = std::error::Error::source(error)
                .map_or_else(|| "invalid".to_owned(), ToString::to_string);
            match flag(&argument, command) {
                Some(flag) => format!("invalid argument \"{value}\" for \"{flag}\" flag: {why}"),
                None => format!("invalid argument \"{value}\": {why}"),
            }
        }
        ErrorKind::MissingRequiredArgument => {
            format!("required argument not given: {argument}")
        }
        ErrorKind::MissingSubcommand => "a command must be specified".to_owned(),
        _ => summary(error),
    }
}

/// Returns the error about a command that does not exist, or not in this build.
fn no_such_command(word: &str, of: &str, is_unix: bool) -> String {
    if !is_unix && word == "run" && of == PROGRAM {
        return "\"run\" is not in the build for Windows: use it in WSL, with the build for Linux"
            .to_owned();
    }
    format!("unknown command \"{word}\" for \"{of}\"")
}

/// Returns the error about a flag at the end of the line without its value.
fn without_value(argument: &str, command: &Command, arguments: &[OsString]) -> String {
    let flag = argument.split([' ', '[', '=']).next().unwrap_or_default();
    let last = arguments.last().and_then(|last| last.to_str());
    let letter = last
        .filter(|last| !last.starts_with("--"))
        .and_then(|last| last.strip_prefix('-')?.chars().last());
    match (letter, last) {
        (Some(letter), Some(last)) if short_flag(flag, command) == Some(letter) => {
            format!("flag needs an argument: '{letter}' in {last}")
        }
        _ => format!("flag needs an argument: {flag}"),
    }
}

/// Returns the error about an unsupported flag of kubectl.
fn unsupported_flag(error: &clap::Error, command: &Command) -> Option<String> {
    let argument = context_text(error, ContextKind::InvalidArg)?;
    cli::refused::reason(command.get_name(), &argument)
}

fn unknown_flag(argument: &str) -> String {
    if argument.starts_with("--") {
        let name = argument.split('=').next().unwrap_or(argument);
        return format!("unknown flag: {name}");
    }
    let letter = argument.strip_prefix('-').and_then(|rest| rest.chars().next());
    match letter {
        Some(letter) => format!("unknown shorthand flag: '{letter}' in {argument}"),
        None => format!("unexpected arguments: [{argument}]"),
    }
}

/// Returns the error about a value that is not among the allowed ones.
fn invalid_choice(error: &clap::Error, command: &Command, argument: &str, value: &str) -> String {
    let allowed = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(all)) => all.join(","),
        _ => String::new(),
    };
    let name = argument.split_whitespace().next().unwrap_or_default();
    match name {
        "--output" => format!(
            "unable to match a printer suitable for the output format \"{value}\", allowed formats are: {allowed}"
        ),
        "--dry-run" | "--dry-run[=<WHO>]" => {
            format!("Invalid dry-run value ({value}). Must be \"none\", \"server\", or \"client\".")
        }
        _ => match flag(argument, command) {
            Some(flag) => {
                format!(
                    "invalid argument \"{value}\" for \"{flag}\" flag: must be one of {allowed}"
                )
            }
            None => format!("invalid argument \"{value}\": must be one of {allowed}"),
        },
    }
}

/// Returns `-n, --name` for `--name <VALUE>`, as kubectl names a flag with a shorthand.
fn flag(argument: &str, command: &Command) -> Option<String> {
    let flag = argument.split([' ', '[', '=']).next()?;
    match short_flag(flag, command) {
        Some(letter) => Some(format!("-{letter}, {flag}")),
        None => flag.starts_with('-').then(|| flag.to_owned()),
    }
}

/// Returns the shorthand of a flag, if it has one.
fn short_flag(flag: &str, command: &Command) -> Option<char> {
    let long = flag.strip_prefix("--")?;
    let mut all = command.get_arguments();
    all.find(|known| known.get_long() == Some(long))?.get_short()
}

/// Returns the first line of clap's error.
fn summary(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let line = rendered.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

fn suggestions(error: &clap::Error) -> Vec<String> {
    [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg]
        .into_iter()
        .find_map(|kind| match error.get(kind)? {
            ContextValue::String(name) => Some(vec![name.clone()]),
            ContextValue::Strings(all) => Some(all.clone()),
            _ => None,
        })
        .unwrap_or_default()
}

/// Returns the path of commands that the line names, as far as it can be parsed.
fn command_path<'a>(root: &'a Command, arguments: &[OsString]) -> Vec<&'a Command> {
    let mut found = vec![root];
    let mut arguments = arguments.iter().skip(1).filter_map(|argument| argument.to_str());
    while let (Some(argument), Some(last)) = (arguments.next(), found.last().copied()) {
        if argument.starts_with('-') {
            if takes_next(last, argument) {
                arguments.next();
            }
            continue;
        }
        match last.find_subcommand(argument) {
            Some(next) => found.push(next),
            None => break,
        }
    }
    found
}

/// Returns whether the value of the flag is the next argument.
fn takes_next(command: &Command, flag: &str) -> bool {
    let letter = flag
        .strip_prefix('-')
        .filter(|rest| rest.chars().count() == 1)
        .and_then(|rest| rest.chars().next());
    command.get_arguments().any(|argument| {
        let is_meant =
            argument.get_long().is_some_and(|long| flag.strip_prefix("--") == Some(long))
                || letter.is_some() && argument.get_short() == letter;
        is_meant && argument.get_action().takes_values() && !argument.is_require_equals_set()
    })
}

fn context_text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(all) => Some(all.join(", ")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;

    fn error_for(line: &str) -> String {
        let words = ["plugin"].into_iter().chain(line.split(' '));
        let words: Vec<OsString> = words.map(Into::into).collect();
        message(&Cli::parse_from_args(words.clone()).unwrap_err(), &words)
    }

    #[test]
    fn reports_errors_like_kubectl() {
        let list = "\nSee 'kubectl mirrord-sessions list --help' for usage.";
        let cases = [
            ("list --nope", "unknown flag: --nope"),
            ("list --nope=1", "unknown flag: --nope"),
            ("list -Z", "unknown shorthand flag: 'Z' in -Z"),
            ("list -n", "flag needs an argument: 'n' in -n"),
            ("list -n -w", "flag needs an argument: --namespace"),
            ("list -An", "flag needs an argument: 'n' in -An"),
            ("-n a list --as", "flag needs an argument: --as"),
            (
                "list -v=99999999999",
                "invalid argument \"99999999999\" for \"-v, --v\" flag: strconv.ParseInt: parsing \"99999999999\": value out of range",
            ),
            (
                "list --chunk-size=x",
                "invalid argument \"x\" for \"--chunk-size\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
            (
                "list -f x",
                "--filename is not supported: this command reads no manifests: pass the file to kubectl get or kubectl delete",
            ),
            (
                "list --kuberc=x",
                "--kuberc is not supported: kubectl's preferences don't apply to plugins: use flags or a shell alias",
            ),
            ("list --request-timeout", "flag needs an argument: --request-timeout"),
            (
                "list -v x",
                "invalid argument \"x\" for \"-v, --v\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
            (
                "list -w=x",
                "invalid argument \"x\" for \"-w, --watch\" flag: strconv.ParseBool: parsing \"x\": invalid syntax",
            ),
            (
                "list --no-headers=",
                "invalid argument \"\" for \"--no-headers\" flag: strconv.ParseBool: parsing \"\": invalid syntax",
            ),
            (
                "list --insecure-skip-tls-verify=x",
                "invalid argument \"x\" for \"--insecure-skip-tls-verify\" flag: strconv.ParseBool: parsing \"x\": invalid syntax",
            ),
            (
                "list --request-timeout=soon",
                "invalid argument \"soon\" for \"--request-timeout\" flag: Invalid timeout value. Timeout must be a single integer in seconds, or an integer followed by a corresponding time unit (e.g. 1s | 2m | 3h)",
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(error_for(line), format!("error: {expected}{list}"), "{line}");
        }
    }

    #[test]
    fn reports_unknown_commands() {
        assert_eq!(
            error_for("qqqq"),
            "error: unknown command \"qqqq\" for \"kubectl mirrord-sessions\"\nSee 'kubectl mirrord-sessions --help' for usage."
        );
        let similar = error_for("descrbe");
        assert!(
            similar.starts_with("error: unknown command \"descrbe\" for \"kubectl mirrord-sessions\"\n\nDid you mean this?\n\tdescribe\n"),
            "{similar}"
        );
        assert!(error_for("auditor nope").contains("for \"kubectl mirrord-sessions auditor\""));
    }

    #[test]
    fn reports_commands_of_other_builds() {
        // (word, parent command, whether this is a Unix build, expected message)
        let windows =
            "\"run\" is not in the build for Windows: use it in WSL, with the build for Linux";
        let policy = "kubectl mirrord-sessions policy";
        for (word, of, is_unix, expected) in [
            ("run", PROGRAM, false, windows),
            ("run", PROGRAM, true, "unknown command \"run\" for \"kubectl mirrord-sessions\""),
            (
                "run",
                policy,
                false,
                "unknown command \"run\" for \"kubectl mirrord-sessions policy\"",
            ),
            ("runs", PROGRAM, false, "unknown command \"runs\" for \"kubectl mirrord-sessions\""),
        ] {
            assert_eq!(no_such_command(word, of, is_unix), expected);
        }
    }

    #[test]
    fn hides_values_of_boolean_flags_in_help() {
        for line in ["list --help", "list -A -n shop --help", "help list", "list -h"] {
            let words = ["plugin"].into_iter().chain(line.split(' '));
            let words: Vec<OsString> = words.map(Into::into).collect();
            let shown = help(&Cli::parse_from_args(words.clone()).unwrap_err(), &words);
            assert!(shown.contains("Usage: kubectl mirrord-sessions list [OPTIONS]"), "{shown}");
            assert!(shown.contains("--watch") && !shown.contains("--watch[="), "{shown}");
            let is_long = shown.contains("--client-certificate <PATH>");
            assert_eq!(is_long, line != "list -h", "{line}");
        }
        let words: Vec<OsString> = ["plugin", "auditor"].map(Into::into).to_vec();
        let shown = help(&Cli::parse_from_args(words.clone()).unwrap_err(), &words);
        assert!(shown.contains("Usage: kubectl mirrord-sessions auditor"), "{shown}");
    }

    #[test]
    fn reports_missing_values() {
        assert_eq!(
            error_for("version -o nope").lines().next().unwrap(),
            "error: unable to match a printer suitable for the output format \"nope\", allowed formats are: json,yaml"
        );
    }

    #[test]
    fn last_flag_wins() {
        let words = "plugin -n a list -n b --request-timeout 1s --request-timeout=2s --insecure-skip-tls-verify=false";
        let cli = Cli::parse_from_args(words.split(' ').map(Into::into)).unwrap();
        assert_eq!(cli.connection.namespace.as_deref(), Some("b"));
        assert!(!cli.connection.insecure_skip_tls_verify);
        assert_eq!(cli.connection.request_timeout.0, Some(std::time::Duration::from_secs(2)));
    }
}
