//! Completion of a command line.
//!
//! The protocol is that of cobra, which kubectl speaks with an executable `kubectl_complete-NAME`.
//! Its arguments are the words after the plugin's name; the last word may be empty or incomplete.
//! The output is lines of `value<TAB>description` and finally `:4`, or `:0` to complete files.

mod install;
mod words;

use std::{ffi::OsString, sync::mpsc, thread, time::Duration};

pub(crate) use install::{install, uninstall};

use self::words::{CompletionRequest, ValueKind};
use crate::{
    cli::ConnectionOptions,
    cli::completion::Shell,
    console::Console,
    error::Error,
    render::escape::visible,
    server::{KubeconfigNames, Scope, Server},
    session::Session,
};

/// The name by which kubectl requests completions.
const SHIM: &str = "kubectl_complete-mirrord_sessions";
/// The command by which shell scripts request completions.
const COMMAND: &str = "__complete";
/// Limit for finding candidates, since the user did not request the list explicitly.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// A candidate for the last word.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Candidate {
    value: String,
    description: String,
}

impl Candidate {
    fn new(value: impl Into<String>, description: impl Into<String>) -> Self {
        Self { value: value.into(), description: description.into() }
    }
}

/// Returns the words to complete, if the program was started for completion.
pub(crate) fn requested_words(arguments: &[OsString]) -> Option<Vec<String>> {
    let (program, words) = arguments.split_first()?;
    let name = std::path::Path::new(program).file_stem()?;
    let words = if name == SHIM {
        words
    } else {
        words.split_first().filter(|(first, _)| *first == COMMAND).map(|(_, words)| words)?
    };
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    Some(words.iter().map(text).collect())
}

/// Prints the candidates with their descriptions. Finding none is not an error, since an error
/// would appear within the line that is being typed.
pub(crate) fn run(words: &[String], console: &mut Console<'_>) -> Result<(), Error> {
    let request = CompletionRequest::parse(words);
    let candidates = match &request.kind {
        ValueKind::Unknown | ValueKind::Files => Vec::new(),
        ValueKind::OneOf(candidates) => candidates.clone(),
        _ => find_in_time(request.clone()),
    };
    console.print(&render(&request, candidates))
}

/// Finds candidates within the time limit.
///
/// The search runs in a detached thread. It may run the credential plugin of a kubeconfig or read a
/// file that is never written, and neither can be interrupted.
fn find_in_time(request: CompletionRequest) -> Vec<Candidate> {
    let (sender, receiver) = mpsc::channel();
    let search = move || {
        let found = crate::execute(query(&request.kind, &request));
        // The receiver may have timed out.
        let _ = sender.send(found.unwrap_or_default());
    };
    match thread::Builder::new().spawn(search) {
        Ok(_) => receiver.recv_timeout(TIME_LIMIT).unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

/// Returns the completion script of a shell.
pub(crate) fn script(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => include_str!("complete/bash.sh"),
        Shell::Zsh => include_str!("complete/zsh.sh"),
        Shell::Fish => include_str!("complete/fish.fish"),
    }
}

async fn query(kind: &ValueKind, request: &CompletionRequest) -> Result<Vec<Candidate>, Error> {
    let flags = &request.connection;
    let all = |names: Vec<(String, String)>| {
        let candidate = |(name, about)| Candidate::new(name, about);
        names.into_iter().map(candidate).collect()
    };
    Ok(match kind {
        ValueKind::Contexts => all(KubeconfigNames::read(flags)?.contexts),
        ValueKind::Clusters => all(KubeconfigNames::read(flags)?.clusters),
        ValueKind::Users => all(KubeconfigNames::read(flags)?.users),
        ValueKind::Namespaces => {
            let names = connect(flags).await?.first_namespaces().await?;
            all(names.into_iter().map(|name| (name, String::new())).collect())
        }
        ValueKind::Sessions | ValueKind::Targets | ValueKind::Owners => {
            let server = connect(flags).await?;
            let scope = if request.everywhere {
                Scope::All
            } else {
                Scope::Namespace(server.namespace().to_owned())
            };
            let sessions = server.first_sessions(&scope).await?;
            let sessions: Vec<Session> = sessions.iter().map(Session::from_object).collect();
            match kind {
                ValueKind::Targets => distinct(&sessions, |session| session.target.as_ref()),
                ValueKind::Owners => distinct(&sessions, |session| session.owner.as_ref()),
                _ => sessions.iter().map(|one| session_candidate(one, request)).collect(),
            }
        }
        ValueKind::Unknown | ValueKind::Files | ValueKind::OneOf(_) => Vec::new(),
    })
}

async fn connect(flags: &ConnectionOptions) -> Result<Server, Error> {
    let server = Server::connect(flags).await?;
    // A warning would appear within the line that is being typed.
    server.redirect_warnings(drop);
    Ok(server)
}

fn session_candidate(session: &Session, request: &CompletionRequest) -> Candidate {
    let none = || "<none>".to_owned();
    let user = session.user.clone().unwrap_or_else(none);
    let target = session.target.clone().unwrap_or_else(none);
    let namespace =
        if request.everywhere { format!("{}/", session.namespace) } else { String::new() };
    let id = session.id().to_string();
    // IDs are valid in either case, and shells compare candidates with the typed text.
    let is_lower = request.prefix.chars().any(|c| c.is_ascii_lowercase());
    let id = if is_lower { session.name.clone() } else { id };
    Candidate::new(id, format!("{user}, {namespace}{target}"))
}

fn distinct(sessions: &[Session], of: impl Fn(&Session) -> Option<&String>) -> Vec<Candidate> {
    let found: std::collections::BTreeSet<&String> = sessions.iter().filter_map(of).collect();
    let candidate = |value: &String| Candidate::new(value.clone(), "");
    found.into_iter().map(candidate).collect()
}

fn render(request: &CompletionRequest, candidates: Vec<Candidate>) -> String {
    let mut text = String::new();
    for Candidate { value, description } in candidates {
        let is_given = request.given_arguments.contains(&value.to_ascii_lowercase());
        if !value.starts_with(&request.prefix) || is_given || !is_harmless(&value) {
            continue;
        }
        text.push_str(&value);
        if !description.is_empty() {
            text.push('\t');
            text.push_str(&escape_description(&description));
        }
        text.push('\n');
    }
    text.push_str(if request.kind == ValueKind::Files { ":0\n" } else { ":4\n" });
    text
}

/// Returns whether a value is one harmless word of a shell line. The shell inserts the value
/// verbatim, and kubectl's script for bash evaluates the line at the next tab.
fn is_harmless(value: &str) -> bool {
    !value.starts_with(['#', '~'])
        && value.chars().all(|c| c.is_alphanumeric() || "-_.:/@=+,%#~".contains(c))
}

/// Removes characters that shells interpret from a description, which may contain names of other
/// users.
fn escape_description(description: &str) -> String {
    visible(description).replace(['`', '$', '\\'], "_")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn detects_completion_requests() {
        let of = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            requested_words(&words)
        };
        let some = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(of(&["/bin/kubectl-mirrord_sessions", "list"]), None);
        assert_eq!(of(&["kubectl-mirrord_sessions"]), None);
        assert_eq!(
            of(&["kubectl-mirrord_sessions", "__complete", "list", ""]),
            some(&["list", ""])
        );
        assert_eq!(
            of(&["/x/kubectl_complete-mirrord_sessions", "__complete", ""]),
            some(&["__complete", ""])
        );
        assert_eq!(of(&["kubectl_complete-mirrord_sessions.exe", ""]), some(&[""]));
    }

    fn print_candidates(prefix: &str, everywhere: bool, given_arguments: &[&str]) -> String {
        let sessions = [
            json!({
                "metadata": { "name": "487f4f2b6d2376ad", "namespace": "shop" },
                "spec": { "target": "deployment/a", "user": "A\u{1b}[2J`id`$(id)/avi@host" },
            }),
            json!({ "metadata": { "name": "4named", "namespace": "shop" } }),
            json!({ "metadata": { "name": "\u{1b}[2J", "namespace": "shop" } }),
        ];
        let request = CompletionRequest {
            prefix: prefix.to_owned(),
            everywhere,
            given_arguments: given_arguments.iter().map(|id| (*id).to_owned()).collect(),
            kind: ValueKind::Sessions,
            connection: ConnectionOptions::default(),
        };
        let candidates = sessions
            .iter()
            .map(|session| session_candidate(&Session::from_object(session), &request))
            .collect();
        render(&request, candidates)
    }

    #[test]
    fn rejects_values_that_shells_interpret() {
        for (value, expected) in [
            ("487F4F2B6D2376AD", true),
            ("deployment/counter/container/c", true),
            ("system:serviceaccount:shop:ci", true),
            ("https://issuer.example/#avi@x.co", true),
            (".metadata.creationTimestamp", true),
            ("arn:aws:eks:eu-west-1:1:cluster/shop", true),
            ("Jürgen", true),
            ("$(reboot)/avi", false),
            ("`reboot`", false),
            ("a;reboot", false),
            ("a&reboot", false),
            ("a|reboot", false),
            ("a>b", false),
            ("a'b", false),
            ("a\"b", false),
            ("CORP\\avi", false),
            ("*", false),
            ("{a,b}", false),
            ("!1", false),
            ("~root", false),
            ("#", false),
            ("a b", false),
            ("\u{1b}[2J", false),
            ("\u{202e}a", false),
        ] {
            assert_eq!(is_harmless(value), expected, "{value:?}");
            let request = CompletionRequest {
                prefix: String::new(),
                everywhere: false,
                given_arguments: Vec::new(),
                kind: ValueKind::Owners,
                connection: ConnectionOptions::default(),
            };
            let text = render(&request, vec![Candidate::new(value, "")]);
            let shown = format!("{value}\n:4\n");
            assert_eq!(text == shown, expected, "{text}");
        }
    }

    #[test]
    fn suggests_sessions_with_user_and_target() {
        assert_eq!(
            print_candidates("", false, &[]),
            "487F4F2B6D2376AD\tA_x1b[2J_id__(id)/avi@host, deployment/a\n4named\t<none>, <none>\n:4\n"
        );
        assert_eq!(
            print_candidates("487F", true, &[]),
            "487F4F2B6D2376AD\tA_x1b[2J_id__(id)/avi@host, shop/deployment/a\n:4\n"
        );
        assert!(print_candidates("487f", false, &[]).starts_with("487f4f2b6d2376ad\t"));
        assert_eq!(
            print_candidates("4", false, &["487f4f2b6d2376ad"]),
            "4named\t<none>, <none>\n:4\n"
        );
    }
}
