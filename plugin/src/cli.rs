//! Definition of the command line.

pub mod auditor;
pub mod completion;
mod connection;
mod definition;
pub mod describe;
mod id;
pub mod join;
pub mod list;
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

pub use self::connection::ConnectionOptions;
pub(crate) use self::definition::boolean;
use self::definition::kubeconfig_user;
pub use self::definition::{command, help_command, with_boolean_values};
pub(crate) use self::id::ID_DIGITS;
pub use self::id::IdArgument;

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

  # RbacObjects about one session
  kubectl mirrord-sessions describe 487F4F2B6D2376AD

  # Stop a session, and with it the user's process
  kubectl mirrord-sessions delete 487F4F2B6D2376AD

Use \"kubectl mirrord-sessions COMMAND --help\" for all the flags of a command."
)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
    /// The connection options: cluster, user and namespace.
    #[command(flatten)]
    pub connection: ConnectionOptions,
    /// Warnings about options that are accepted and discouraged.
    #[arg(skip)]
    pub warnings: Vec<String>,
}

impl Cli {
    /// Parses a command line.
    ///
    /// # Errors
    /// Returns the text to print instead, if the line is invalid or requests help or the
    /// version.
    pub fn parse_from_args(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let matches = command().try_get_matches_from(&arguments)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        cli.connection.user = kubeconfig_user(&matches).cloned();
        if let Some((_, matches)) = matches.subcommand() {
            cli.warnings = stop::deprecated(matches);
        }
        let arguments = cli.before_wrapped_command(&arguments);
        // For a repeated global flag, clap keeps only the values behind the command. kubectl keeps
        // those in front of it too.
        if !cli.connection.impersonate_groups.is_empty() {
            cli.connection.impersonate_groups = all_values("--as-group", arguments);
        }
        if !cli.connection.impersonate_extra.is_empty() {
            cli.connection.impersonate_extra = all_values("--as-user-extra", arguments);
        }
        Ok(cli)
    }

    /// Returns the arguments without the command line of a wrapped command.
    fn before_wrapped_command<'a>(&self, arguments: &'a [OsString]) -> &'a [OsString] {
        let wrapped = match &self.command {
            #[cfg(unix)]
            Command::Run(args) => args.command.len(),
            _ => 0,
        };
        arguments.get(..arguments.len().saturating_sub(wrapped)).unwrap_or(arguments)
    }
}

/// Returns every value of a flag on a command line that was parsed before.
fn all_values(flag: &str, arguments: &[OsString]) -> Vec<String> {
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

/// The commands of the plugin.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the sessions of a namespace or of all namespaces
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
    /// Show all details of sessions
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
    /// Stop sessions, as mirrord names it: the same as delete
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
    /// Join a session: become a participant, and get the header that routes requests to it
    #[command(after_help = "Examples:
  kubectl mirrord-sessions join 487F4F2B6D2376AD
  kubectl mirrord-sessions join -n shop 487f -o json | jq -r .status.key")]
    Join(join::JoinArgs),
    /// Run a command as a session that others see and can stop
    ///
    /// Around "mirrord exec", the session has its target, key, ports and filters, and its agent
    /// belongs to that session. The command has the terminal, standard input and output as without
    /// "run", and receives the signals that "run" receives. When a user stops the session, the
    /// command is ended by SIGTERM, then SIGKILL. An unreachable cluster ends nothing.
    ///
    /// The exit code is that of the command, or 128+N if signal N ended it; 125 if no session could
    /// be created, 126 or 127 if the command can't be run or doesn't exist.
    #[cfg(unix)]
    #[command(after_help = "Examples:
  # mirrord, as ever
  kubectl mirrord-sessions run -- mirrord exec -t deployment/ip-visit-counter -- node app.js
  kubectl mirrord-sessions run -n shop -- mirrord exec -f mirrord.json -- ./app

  # Anything else that others should know of
  kubectl mirrord-sessions run --target deployment/ip-visit-counter -- kubectl port-forward deployment/ip-visit-counter 8080:80")]
    Run(run::RunArgs),
    /// Test which sessions a policy lets a user see, stop and join
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Show the versions of this plugin and of the cluster, and whether it has sessions
    #[command(after_help = "Examples:
  kubectl mirrord-sessions version
  kubectl mirrord-sessions version --client -o json")]
    Version(version::VersionArgs),
    /// Show the health of mirrord-sessions on one screen, with a remedy for each problem
    ///
    /// Reads what your roles allow, names what they don't, and has the API server validate the
    /// creation of a Session by a dry run. The exit code is 1 if there is a problem; a warning is
    /// none.
    #[command(after_help = "Examples:
  kubectl mirrord-sessions status
  kubectl mirrord-sessions status -o json | jq -r '.checks[] | select(.state == \"problem\") | .do'")]
    Status(status::HealthArgs),
    /// Show sessions live on a full screen: sort, filter, inspect, stop
    ///
    /// Keys: up and down (k, j), PageUp and PageDown, Home and End (g, G) move through the list;
    /// Enter shows all details of a session, Esc goes back; / filters by ID, namespace, target or
    /// user, and Esc clears the filter; s sorts by the next column, r reverses; x or Del stops a
    /// session after confirmation by y; q or Ctrl-C quits.
    #[command(after_help = "Examples:
  kubectl mirrord-sessions top
  kubectl mirrord-sessions top -A")]
    Top(top::TopArgs),
    /// Complete the words after "kubectl mirrord-sessions", in a shell or by kubectl's
    /// own completion
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
    /// Show the state of the auditor role, which sees every session and joins none
    #[command(subcommand)]
    Auditor(auditor::AuditorCommand),
    /// Show who may do what with sessions
    #[command(subcommand)]
    Rbac(rbac::RbacCommand),
}

/// The namespaces that a command works on.
#[derive(Args, Clone, Copy, Debug)]
pub struct NamespaceArgs {
    /// All namespaces, whatever --namespace says
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_groups_before_and_after_the_command() {
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
            let cli = Cli::parse_from_args(arguments).unwrap();
            assert_eq!(cli.connection.impersonate_groups, expected, "{line}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn leaves_a_wrapped_command_line_unchanged() {
        for (line, expected) in [
            ("run -- a -b", &["a", "-b"][..]),
            ("run a --target b", &["a", "--target", "b"]),
            ("run a -- b", &["a", "--", "b"]),
            ("run --target pod/a -- a -- b --help", &["a", "--", "b", "--help"]),
        ] {
            let arguments = ["plugin"].into_iter().chain(line.split(' '));
            let cli = Cli::parse_from_args(arguments.map(OsString::from)).unwrap();
            let Command::Run(args) = cli.command else {
                panic!("{line}");
            };
            assert_eq!(args.command, expected, "{line}");
        }
        for wrong in ["run", "run --", "run --nope a", "run --target A/b a", "run --key= a"] {
            let arguments = ["plugin"].into_iter().chain(wrong.split(' '));
            assert!(Cli::parse_from_args(arguments.map(OsString::from)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn distinguishes_kubeconfig_users_from_session_users() {
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
            let cli = Cli::parse_from_args(arguments).unwrap();
            assert_eq!(cli.connection.user.as_deref(), kubeconfig, "{line}");
            let filter = match &cli.command {
                Command::List(args) => args.select.user.as_deref(),
                _ => None,
            };
            assert_eq!(filter, sessions, "{line}");
        }
    }
}
