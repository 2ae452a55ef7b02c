//! The command line.

pub mod auditor;
pub mod completion;
mod definition;
pub mod describe;
pub mod join;
pub mod list;
mod number;
pub mod policy;
pub mod rbac;
pub(crate) mod refused;
#[cfg(unix)]
pub mod run;
pub mod select;
pub mod status;
pub mod stop;
pub mod top;
pub mod version;

use std::ffi::OsString;

use clap::{Args, FromArgMatches, Parser, Subcommand};
use mirrord_sessions_crds::{GROUP, SessionId, TRACKER_GROUP};

pub(crate) use self::definition::boolean;
use self::definition::kubeconfig_user;
pub use self::definition::{command, loosened, shown};
pub(crate) use self::number::whole;
use crate::server::Connection;

/// List, describe and stop the mirrord sessions of a cluster
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-mirrord_sessions",
    bin_name = "kubectl mirrord-sessions",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    args_override_self = true,
    after_help = "Examples:
  # Who runs mirrord, against what, in the current namespace and in all of them
  kubectl mirrord-sessions list
  kubectl mirrord-sessions list -A

  # Everything about one session
  kubectl mirrord-sessions describe 487F4F2B6D2376AD

  # Stop a session, and with it the user's process
  kubectl mirrord-sessions delete 487F4F2B6D2376AD

Use \"kubectl mirrord-sessions COMMAND --help\" for all the flags of a command."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Where to do it, and as whom.
    #[command(flatten)]
    pub connection: Connection,
    /// What is to be said of the line, though it is taken.
    #[arg(skip)]
    pub warnings: Vec<String>,
}

impl Cli {
    /// Parses a command line.
    ///
    /// # Errors
    /// If it can't be understood, or asks for help or the version: what to print instead.
    pub fn of(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let matches = command().try_get_matches_from(&arguments)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        cli.connection.user = kubeconfig_user(&matches).cloned();
        if let Some((_, matches)) = matches.subcommand() {
            cli.warnings = stop::deprecated(matches);
        }
        let arguments = cli.own(&arguments);
        // Of a global flag clap keeps what stands behind the command and drops what stands before
        // it, where kubectl takes the groups of both.
        if !cli.connection.impersonate_groups.is_empty() {
            cli.connection.impersonate_groups = all_of("--as-group", arguments);
        }
        if !cli.connection.impersonate_extra.is_empty() {
            cli.connection.impersonate_extra = all_of("--as-user-extra", arguments);
        }
        Ok(cli)
    }

    /// The arguments without the command line that they wrap.
    fn own<'a>(&self, arguments: &'a [OsString]) -> &'a [OsString] {
        let wrapped = match &self.command {
            #[cfg(unix)]
            Command::Run(args) => args.command.len(),
            _ => 0,
        };
        arguments.get(..arguments.len().saturating_sub(wrapped)).unwrap_or(arguments)
    }
}

/// Every value of a flag, on a command line that has been parsed before.
fn all_of(flag: &str, arguments: &[OsString]) -> Vec<String> {
    let mut values = Vec::new();
    let mut arguments = arguments.iter().filter_map(|argument| argument.to_str());
    while let Some(argument) = arguments.next().filter(|argument| *argument != "--") {
        match argument.strip_prefix(flag) {
            Some("") => values.extend(arguments.next().map(ToOwned::to_owned)),
            Some(value) => values.extend(value.strip_prefix('=').map(ToOwned::to_owned)),
            None => {}
        }
    }
    values
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List sessions
    #[command(
        visible_alias = "ls",
        alias = "get",
        after_help = "Examples:
  kubectl mirrord-sessions list
  kubectl mirrord-sessions list 487F4F2B6D2376AD -o yaml
  kubectl mirrord-sessions list -n shop -o wide
  kubectl mirrord-sessions list --mine --all-states
  kubectl mirrord-sessions list -A --target deployment/ip-visit-counter --port 80
  kubectl mirrord-sessions list -A -o table
  kubectl mirrord-sessions list -A -o json | jq -r '.items[].spec.target'"
    )]
    List(list::ListArgs),
    /// Show all there is to know about sessions
    #[command(after_help = "Examples:
  kubectl mirrord-sessions describe 487F4F2B6D2376AD
  kubectl mirrord-sessions describe -A 487F4F2B6D2376AD 9D1C0E5B7A3F2468
  kubectl mirrord-sessions describe deployment/ip-visit-counter
  kubectl mirrord-sessions describe")]
    Describe(describe::DescribeArgs),
    /// Stop sessions: deletes them, which ends the agent and the user's process
    #[command(after_help = "Examples:
  kubectl mirrord-sessions delete 487F4F2B6D2376AD 9D1C0E5B7A3F2468
  kubectl mirrord-sessions delete -A 487F
  kubectl mirrord-sessions delete --user Aviram --target deployment/ip-visit-counter
  kubectl mirrord-sessions list -o name | xargs kubectl mirrord-sessions delete")]
    Delete(stop::DeleteArgs),
    /// Stop sessions, in mirrord's words: the same as delete
    #[command(after_help = "Examples:
  kubectl mirrord-sessions kill --id 487F4F2B6D2376AD
  kubectl mirrord-sessions kill 487F4F2B6D2376AD")]
    Kill(stop::KillArgs),
    /// Stop all the sessions of a namespace, or of all namespaces
    #[command(after_help = "Examples:
  kubectl mirrord-sessions kill-all
  kubectl mirrord-sessions kill-all -n shop --yes
  kubectl mirrord-sessions kill-all -A --dry-run=server")]
    KillAll(stop::KillAllArgs),
    /// Join a session: take part, and get the header that leads requests to it
    #[command(after_help = "Examples:
  kubectl mirrord-sessions join 487F4F2B6D2376AD
  kubectl mirrord-sessions join -n shop 487f -o json | jq -r .status.key")]
    Join(join::JoinArgs),
    /// Run a command as a session, that others see and can stop
    ///
    /// Around "mirrord exec", the session has its target, key, ports and filters, and its agent is
    /// of that session. The command has the terminal, standard input and output as without this,
    /// and gets the signals that this gets. When somebody stops the session, it is ended: by
    /// SIGTERM, then SIGKILL. A cluster that can't be reached ends nothing.
    ///
    /// The exit code is the command's, or 128+N if signal N ended it; 125 if there could be no
    /// session, 126 or 127 if the command can't be run or isn't there.
    #[cfg(unix)]
    #[command(after_help = "Examples:
  # mirrord, as ever
  kubectl mirrord-sessions run -- mirrord exec -t deployment/ip-visit-counter -- node app.js
  kubectl mirrord-sessions run -n shop -- mirrord exec -f mirrord.json -- ./app

  # Anything else that others should know of
  kubectl mirrord-sessions run --target deployment/ip-visit-counter -- kubectl port-forward deployment/ip-visit-counter 8080:80")]
    Run(run::RunArgs),
    /// Try out who may see, stop and join which sessions
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Show the versions of this plugin and of the cluster, and whether it has sessions
    #[command(after_help = "Examples:
  kubectl mirrord-sessions version
  kubectl mirrord-sessions version --client -o json")]
    Version(version::VersionArgs),
    /// Show on one screen how mirrord-sessions is doing, and what to do where it isn't well
    ///
    /// Looks at what your roles show, tells what they don't, and has the API server try to create a
    /// Session, which stores nothing. Exit code 1 if there is a problem; a warning is none.
    #[command(after_help = "Examples:
  kubectl mirrord-sessions status
  kubectl mirrord-sessions status -o json | jq -r '.checks[] | select(.state == \"problem\") | .do'")]
    Status(status::HealthArgs),
    /// Show sessions as they come and go, on a full screen: sort, filter, look closer, stop
    ///
    /// Keys: up and down (k, j), PageUp and PageDown, Home and End (g, G) go through the list;
    /// Enter shows all of a session, Esc goes back; / filters by ID, namespace, target or user, and
    /// Esc shows all again; s sorts by the next column, r reverses; x or Del stops a session, once
    /// y says so; q or Ctrl-C ends.
    #[command(after_help = "Examples:
  kubectl mirrord-sessions top
  kubectl mirrord-sessions top -A")]
    Top(top::TopArgs),
    /// Complete the words behind "kubectl mirrord-sessions", in a shell or by kubectl's own
    /// completion
    #[command(after_help = "Examples:
  # For kubectl's own completion: once, after the plugin was installed
  kubectl mirrord-sessions completion --install

  # For the plugin called by its own name, in the shell that runs now
  source <(kubectl mirrord-sessions completion bash)
  source <(kubectl mirrord-sessions completion zsh)
  kubectl mirrord-sessions completion fish | source

  # And for a short name
  alias kms=kubectl-mirrord_sessions
  complete -F __kubectl_mirrord_sessions kms   # in bash; compdef kms=kubectl-mirrord_sessions in zsh")]
    Completion(completion::CompletionArgs),
    /// Show how the auditor role is: who sees every session and joins none
    #[command(subcommand)]
    Auditor(auditor::AuditorCommand),
    /// Show who may do what with sessions
    #[command(subcommand)]
    Rbac(rbac::RbacCommand),
}

/// Where sessions are looked for.
#[derive(Args, Clone, Copy, Debug)]
pub struct Everywhere {
    /// In all namespaces, whatever --namespace says
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

/// An ID as typed, or with the resource before it as `-o name` and kubectl print it.
fn session_id(text: &str) -> Result<SessionId, String> {
    let bare = match text.split_once('/') {
        Some((resource, id)) if is_sessions(resource) => id,
        _ => text,
    };
    // The beginning of an ID may be typed in either case, too.
    let digits = crate::server::bare(bare);
    let bare = if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bare.to_ascii_lowercase()
    } else {
        bare.to_owned()
    };
    bare.parse().map_err(|error: mirrord_sessions_crds::InvalidSessionId| error.to_string())
}

/// Whether the resource is that of sessions, or of their trackers.
fn is_sessions(resource: &str) -> bool {
    let short = |group: &str| {
        let short = resource.strip_suffix(group)?;
        short.strip_suffix('.')
    };
    let own = short(TRACKER_GROUP).or_else(|| short(GROUP));
    let names = ["session", "sessions", "msn", "sessiontracker", "sessiontrackers", "mst"];
    names.contains(&own.unwrap_or(resource))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_before_and_behind_the_command() {
        let cases = [
            ("list", &[][..]),
            ("--as-group a list", &["a"]),
            ("list --as-group=a --as-group b", &["a", "b"]),
            ("--as-group a list --as-group=b", &["a", "b"]),
            ("--as-group a delete x -- y", &["a"]),
            #[cfg(unix)]
            ("--as-group a run x --as-group b", &["a"]),
        ];
        for (line, expected) in cases {
            let arguments = ["plugin"].into_iter().chain(line.split(' ')).map(OsString::from);
            let cli = Cli::of(arguments).unwrap();
            assert_eq!(cli.connection.impersonate_groups, expected, "{line}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_command_line_within_is_left_as_it_is() {
        for (line, expected) in [
            ("run -- a -b", &["a", "-b"][..]),
            ("run a --target b", &["a", "--target", "b"]),
            ("run a -- b", &["a", "--", "b"]),
            ("run --target pod/a -- a -- b --help", &["a", "--", "b", "--help"]),
        ] {
            let arguments = ["plugin"].into_iter().chain(line.split(' '));
            let cli = Cli::of(arguments.map(OsString::from)).unwrap();
            let Command::Run(args) = cli.command else {
                panic!("{line}");
            };
            assert_eq!(args.command, expected, "{line}");
        }
        for wrong in ["run", "run --", "run --nope a", "run --target A/b a", "run --key= a"] {
            let arguments = ["plugin"].into_iter().chain(wrong.split(' '));
            assert!(Cli::of(arguments.map(OsString::from)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn users_of_the_kubeconfig_and_users_of_sessions() {
        let cases = [
            ("--user a list", Some("a"), None),
            ("list --user b", None, Some("b")),
            ("--user a list --user b", Some("a"), Some("b")),
            ("describe --user a", Some("a"), None),
            ("--user a describe --user b", Some("b"), None),
            ("auditor status --user a", Some("a"), None),
        ];
        for (line, kubeconfig, sessions) in cases {
            let arguments = ["plugin"].into_iter().chain(line.split(' ')).map(OsString::from);
            let cli = Cli::of(arguments).unwrap();
            assert_eq!(cli.connection.user.as_deref(), kubeconfig, "{line}");
            let filter = match &cli.command {
                Command::List(args) => args.select.user.as_deref(),
                _ => None,
            };
            assert_eq!(filter, sessions, "{line}");
        }
    }

    #[test]
    fn ids_with_the_resource_before_them() {
        let cases = [
            ("487F4F2B6D2376AD", Some("487f4f2b6d2376ad")),
            ("session.operator.metalbear.co/487f4f2b6d2376ad", Some("487f4f2b6d2376ad")),
            ("sessions/a", Some("a")),
            ("msn/a", Some("a")),
            ("sessiontracker.visibility.operator.metalbear.co/a", Some("a")),
            ("487F", Some("487f")),
            ("mc-copy-487F", Some("mc-copy-487f")),
            ("pods/a", None),
            ("sessions.other.co/a", None),
            ("sessions/", None),
            ("a/b", None),
        ];
        for (text, expected) in cases {
            let id = session_id(text).ok();
            assert_eq!(id.as_ref().map(SessionId::name), expected, "{text:?}");
        }
    }
}
