//! Candidates for the last word, derived from the definition of the command line.

use std::collections::BTreeSet;

use clap::{Arg, ArgAction, Args, Command, FromArgMatches, ValueHint};

use super::Candidate;
use crate::cli::{self, ConnectionOptions};

/// A request for completion.
#[derive(Clone, Debug)]
pub(super) struct CompletionRequest {
    /// The typed prefix of the value.
    pub(super) prefix: String,
    /// The kind of value.
    pub(super) kind: ValueKind,
    /// The connection flags on the line.
    pub(super) connection: ConnectionOptions,
    /// Whether all namespaces are selected.
    pub(super) everywhere: bool,
    /// The arguments that are on the line already, in lower case.
    pub(super) given_arguments: Vec<String>,
}

/// The kinds of values.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum ValueKind {
    /// No candidates are known.
    Unknown,
    /// A path of a file.
    Files,
    /// A choice among these candidates.
    OneOf(Vec<Candidate>),
    /// The ID of a session.
    Sessions,
    /// The target of a session.
    Targets,
    /// The owner of a session.
    Owners,
    /// The name of a namespace.
    Namespaces,
    /// A context of the kubeconfig.
    Contexts,
    /// A cluster of the kubeconfig.
    Clusters,
    /// A user of the kubeconfig.
    Users,
}

/// The parsed part of the line.
struct Line<'a> {
    command: &'a Command,
    /// The flags on the line.
    given_flags: BTreeSet<String>,
    connection: Vec<String>,
    positional: Vec<String>,
    /// The flag whose value is the next word.
    pending: Option<&'a Arg>,
    /// Whether `--` ended the flags.
    ended: bool,
    everywhere: bool,
}

impl CompletionRequest {
    /// Parses the words after the program's name.
    pub(super) fn parse(words: &[String]) -> Self {
        let mut root = cli::help_command();
        root.build();
        let connection = Command::new("connection").no_binary_name(true);
        let connection = cli::with_boolean_values(ConnectionOptions::augment_args(connection));
        let (last, before) = match words.split_last() {
            Some((last, before)) => (last.as_str(), before),
            None => ("", words),
        };
        let mut line = Line {
            command: &root,
            given_flags: BTreeSet::new(),
            connection: Vec::new(),
            positional: Vec::new(),
            pending: None,
            ended: false,
            everywhere: false,
        };
        for word in before {
            line.read(word, &connection);
        }
        let (kind, prefix) = line.last_word(last);
        let flags = connection
            .try_get_matches_from(&line.connection)
            .and_then(|matches| ConnectionOptions::from_arg_matches(&matches));
        Self {
            prefix: prefix.to_owned(),
            kind,
            connection: ConnectionOptions {
                // The log would not be read, and takes time.
                verbosity: 0,
                terminal: crate::server::TerminalUse::None,
                ..flags.unwrap_or_default()
            },
            everywhere: line.everywhere,
            given_arguments: line.positional,
        }
    }
}

impl<'a> Line<'a> {
    fn read(&mut self, word: &str, connection: &Command) {
        if let Some(flag) = self.pending.take() {
            self.value(flag, word, connection);
        } else if self.ended || !word.starts_with('-') || word == "-" {
            self.argument(word);
        } else if word == "--" {
            self.ended = true;
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            let found = find(self.command, |flag| flag.get_long() == Some(name));
            if let Some(flag) = found {
                self.flag(flag, value, connection);
            }
        } else {
            self.letters(&word[1..], connection);
        }
    }

    fn argument(&mut self, word: &str) {
        match self.command.find_subcommand(word) {
            Some(next) if self.positional.is_empty() && !self.ended => self.command = next,
            _ => self.positional.push(strip_resource(word).to_ascii_lowercase()),
        }
    }

    fn letters(&mut self, letters: &str, connection: &Command) {
        for (at, letter) in letters.char_indices() {
            let found = find(self.command, |flag| flag.get_short() == Some(letter));
            let Some(flag) = found else { return };
            let rest = &letters[at + letter.len_utf8()..];
            if takes_value(flag) || rest.starts_with('=') {
                let rest = rest.strip_prefix('=').unwrap_or(rest);
                return self.flag(flag, Some(rest).filter(|rest| !rest.is_empty()), connection);
            }
            self.flag(flag, None, connection);
        }
    }

    fn flag(&mut self, flag: &'a Arg, value: Option<&str>, connection: &Command) {
        self.given_flags.insert(flag.get_id().to_string());
        if flag.get_id() == "all_namespaces" {
            self.everywhere = value.is_none_or(|value| cli::boolean(value) == Ok(true));
        }
        match value {
            Some(value) => self.value(flag, value, connection),
            None if takes_value(flag) && !flag.is_require_equals_set() => self.pending = Some(flag),
            None if is_connection_flag(connection, flag) => self.connection.extend(long_flag(flag)),
            None => {}
        }
    }

    fn value(&mut self, flag: &Arg, value: &str, connection: &Command) {
        if let (Some(long), true) = (long_flag(flag), is_connection_flag(connection, flag)) {
            self.connection.push(format!("{long}={value}"));
        }
    }

    /// Returns the kind of the last word, and the part of it that is the prefix.
    fn last_word<'w>(&self, last: &'w str) -> (ValueKind, &'w str) {
        if let Some(flag) = self.pending {
            return (value_kind(flag), last);
        }
        if self.ended || !last.starts_with('-') {
            return (self.arguments(), last);
        }
        let found = last.strip_prefix("--").and_then(|rest| rest.split_once('='));
        match found {
            Some((name, value)) => {
                let flag = find(self.command, |flag| flag.get_long() == Some(name));
                (flag.map_or(ValueKind::Unknown, value_kind), value)
            }
            None => (ValueKind::OneOf(self.flags(last)), last),
        }
    }

    fn arguments(&self) -> ValueKind {
        if self.positional.is_empty() && self.command.has_subcommands() && !self.ended {
            let candidates = self.command.get_subcommands().filter(|one| !one.is_hide_set());
            let candidate = |command: &Command| {
                let about = command.get_about().map(ToString::to_string);
                Candidate::new(command.get_name(), about.unwrap_or_default())
            };
            return ValueKind::OneOf(candidates.map(candidate).collect());
        }
        let all: Vec<&Arg> = self.command.get_positionals().collect();
        let wanted = all.get(self.positional.len()).copied().or_else(|| {
            let is_repeated = |last: &&Arg| matches!(last.get_action(), ArgAction::Append);
            all.last().copied().filter(is_repeated)
        });
        wanted.map_or(ValueKind::Unknown, value_kind)
    }

    fn flags(&self, typed: &str) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for flag in self.command.get_arguments() {
            let is_done = self.given_flags.contains(flag.get_id().as_str())
                && !matches!(flag.get_action(), ArgAction::Append);
            if flag.is_hide_set() || flag.is_positional() || is_done {
                continue;
            }
            let about = flag.get_help().map(ToString::to_string).unwrap_or_default();
            candidates.extend(long_flag(flag).map(|long| Candidate::new(long, about.clone())));
            if !typed.starts_with("--") {
                let short = flag.get_short().map(|short| format!("-{short}"));
                candidates.extend(short.map(|short| Candidate::new(short, about)));
            }
        }
        candidates
    }
}

fn find(command: &Command, matches: impl Fn(&Arg) -> bool) -> Option<&Arg> {
    command.get_arguments().find(|flag| matches(flag))
}

fn is_connection_flag(connection: &Command, flag: &Arg) -> bool {
    connection
        .get_arguments()
        .any(|own| own.get_id() == flag.get_id() && own.get_long() == flag.get_long())
}

fn takes_value(flag: &Arg) -> bool {
    flag.get_action().takes_values()
}

fn long_flag(flag: &Arg) -> Option<String> {
    flag.get_long().map(|long| format!("--{long}"))
}

/// Returns the ID of `session.operator.metalbear.co/ID`.
fn strip_resource(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// Returns the kind of values of an argument, by its definition or its name.
fn value_kind(argument: &Arg) -> ValueKind {
    let possible = argument.get_possible_values();
    if !possible.is_empty() {
        let shown = possible.iter().filter(|value| !value.is_hide_set());
        let candidate = |value: &clap::builder::PossibleValue| {
            let help = value.get_help().map(ToString::to_string);
            Candidate::new(value.get_name(), help.unwrap_or_default())
        };
        return ValueKind::OneOf(shown.map(candidate).collect());
    }
    if argument.get_action().takes_values() && argument.is_require_equals_set()
        || matches!(argument.get_action(), ArgAction::SetTrue)
    {
        return ValueKind::OneOf(vec![Candidate::new("true", ""), Candidate::new("false", "")]);
    }
    match argument.get_id().as_str() {
        "id" | "ids" | "what" => ValueKind::Sessions,
        "target" => ValueKind::Targets,
        "sessions_of" => ValueKind::Owners,
        "namespace" => ValueKind::Namespaces,
        "context" => ValueKind::Contexts,
        "cluster" => ValueKind::Clusters,
        "user" => ValueKind::Users,
        "sort_by" => ValueKind::OneOf(sort_keys()),
        "output" => ValueKind::OneOf(formats()),
        "delete_output" => ValueKind::OneOf(vec![Candidate::new("name", "names alone")]),
        _ => match argument.get_value_hint() {
            ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath => ValueKind::Files,
            _ => ValueKind::Unknown,
        },
    }
}

/// Returns the output formats without a parameter.
fn formats() -> Vec<Candidate> {
    [
        ("json", "the objects as JSON"),
        ("name", "names that delete and kubectl accept"),
        ("table", "a bordered table, like mirrord's own"),
        ("wide", "plain columns, with more of them"),
        ("yaml", "the objects as YAML"),
    ]
    .map(|(name, about)| Candidate::new(name, about))
    .to_vec()
}

/// Returns the JSONPaths of the columns of a list.
fn sort_keys() -> Vec<Candidate> {
    [
        (".metadata.name", "by session ID"),
        (".spec.target", "by target"),
        (".spec.user", "by user"),
        (".metadata.creationTimestamp", "by start"),
        (".metadata.namespace", "by namespace"),
        (".status.state", "by state"),
    ]
    .map(|(path, about)| Candidate::new(path, about))
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> CompletionRequest {
        let words: Vec<String> = line.split(' ').map(ToOwned::to_owned).collect();
        CompletionRequest::parse(&words)
    }

    fn fixed(line: &str) -> Vec<String> {
        let request = parse(line);
        match request.kind {
            ValueKind::OneOf(all) => all
                .into_iter()
                .map(|one| one.value)
                .filter(|value| value.starts_with(&request.prefix))
                .collect(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn suggests_values_by_position() {
        let cases = [
            ("delete ", ValueKind::Sessions, ""),
            ("-n shop delete a 48", ValueKind::Sessions, "48"),
            ("kill --id ", ValueKind::Sessions, ""),
            ("kill --id=48", ValueKind::Sessions, "48"),
            ("describe -- ", ValueKind::Sessions, ""),
            ("list -n ", ValueKind::Namespaces, ""),
            ("list --namespace=sh", ValueKind::Namespaces, "sh"),
            ("--context ", ValueKind::Contexts, ""),
            ("list --cluster c", ValueKind::Clusters, "c"),
            ("--kubeconfig ", ValueKind::Files, ""),
            ("list --certificate-authority=/e", ValueKind::Files, "/e"),
            ("list --token ", ValueKind::Unknown, ""),
            ("version ", ValueKind::Unknown, ""),
            ("list --nope=", ValueKind::Unknown, ""),
            ("nope ", ValueKind::Unknown, ""),
        ];
        for (line, expected, prefix) in cases {
            let request = parse(line);
            assert_eq!(request.kind, expected, "{line}");
            assert_eq!(request.prefix, prefix, "{line}");
        }
        assert_eq!(CompletionRequest::parse(&[]).prefix, "");
    }

    #[test]
    fn suggests_commands_and_flags() {
        let commands = fixed("");
        for command in ["list", "describe", "delete", "completion", "auditor"] {
            assert!(commands.iter().any(|one| one == command), "{command}");
        }
        assert!(!commands.iter().any(|one| one.starts_with("__")));
        assert_eq!(fixed("kill"), ["kill", "kill-all"]);
        assert_eq!(fixed("auditor d"), ["diff"]);
        assert!(fixed("list --as-").contains(&"--as-group".to_owned()));
        assert!(fixed("list -").contains(&"-A".to_owned()));
        // A flag is suggested once, unless it may be repeated.
        assert_eq!(fixed("list -A --all-n"), [""; 0]);
        assert_eq!(fixed("list --as-group a --as-g"), ["--as-group"]);
        assert_eq!(fixed("version -o j"), ["json"]);
        assert_eq!(fixed("delete --dry-run=s"), ["server"]);
        assert_eq!(fixed("list --watch="), ["true", "false"]);
        assert_eq!(fixed("delete --wait=f"), ["false"]);
    }

    #[test]
    fn parses_connection_flags() {
        let request = parse(
            "-n a --as-group x delete -A --context=c --insecure-skip-tls-verify -v8 --as-group y --request-timeout 3s 487F4F2B6D2376AD sessions/b ",
        );
        assert_eq!(request.connection.namespace.as_deref(), Some("a"));
        assert_eq!(request.connection.context.as_deref(), Some("c"));
        assert_eq!(request.connection.impersonate_groups, ["x", "y"]);
        assert!(request.connection.insecure_skip_tls_verify);
        assert_eq!(request.connection.verbosity, 0);
        assert!(request.everywhere);
        for (line, everywhere) in [
            ("list -A=false --target ", false),
            ("list -wA --target ", true),
            ("list --all-namespaces=true --target ", true),
        ] {
            assert_eq!(parse(line).everywhere, everywhere, "{line}");
        }
        let safe = parse("list --insecure-skip-tls-verify=false -n a --target ");
        assert!(!safe.connection.insecure_skip_tls_verify);
        assert_eq!(safe.connection.namespace.as_deref(), Some("a"));
        assert_eq!(request.given_arguments, ["487f4f2b6d2376ad", "b"]);
        // An incomplete line falls back to the default connection.
        assert_eq!(parse("-n NOT/ONE list --as").connection.namespace, None);
        assert_eq!(parse("-nshop delete ").connection.namespace.as_deref(), Some("shop"));
    }
}
