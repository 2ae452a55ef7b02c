//! The commands of the plugin. Each fetches its data, then renders it.

mod auditor;
mod completion;
mod delete;
mod describe;
mod join;
mod kill_all;
mod list;
mod policy;
mod rbac;
#[cfg(unix)]
mod run;
mod selection;
mod status;
mod top;
mod version;

use jiff::Zoned;

use crate::{
    cli::{Cli, Command, NamespaceArgs, stop::StopOptions},
    console::Console,
    error::Error,
    server::{Scope, Server},
};

/// Runs the command of the command line.
pub(crate) async fn run(cli: Cli, console: &mut Console<'_>) -> Result<(), Error> {
    let now = Zoned::now();
    let command = match cli.command {
        // Prints its own version even without a server.
        Command::Version(args) => return version::run(args, &cli.connection, console).await,
        // Needs no server with --sessions.
        Command::Policy(command) => return policy::run(command, cli.connection, console).await,
        Command::Completion(args) => return completion::run(args, console),
        // The wrapped command may select the cluster.
        #[cfg(unix)]
        Command::Run(args) => return run::run(cli.connection, args, console).await,
        other => other,
    };
    for warning in &cli.warnings {
        console.say(warning);
    }
    check(&command)?;
    if let Some(warning) = stop_options(&command).and_then(delete::warning) {
        console.say(warning);
    }
    let server = Server::connect(&cli.connection).await?;
    match command {
        Command::List(args) => list::run(&server, &args, now.timestamp(), console).await,
        Command::Describe(args) => describe::run(&server, &args, &now, console).await,
        Command::Delete(args) => {
            let now = now.timestamp();
            delete::run(&server, &args.ids, &args.shared, now, console).await
        }
        Command::Kill(args) => {
            let now = now.timestamp();
            delete::run(&server, &args.all_ids(), &args.shared, now, console).await
        }
        Command::KillAll(args) => kill_all::run(&server, &args, now.timestamp(), console).await,
        Command::Join(args) => join::run(&server, &args, console).await,
        Command::Auditor(command) => auditor::run(&server, &command, console).await,
        Command::Status(args) => {
            Box::pin(status::run(&server, args, now.timestamp(), console)).await
        }
        Command::Top(args) => top::run(server, args).await,
        Command::Rbac(command) => rbac::run(&server, &command, console).await,
        Command::Version(_) | Command::Policy(_) | Command::Completion(_) => Ok(()),
        #[cfg(unix)]
        Command::Run(_) => Ok(()),
    }
}

/// Rejects an invalid command line before any request.
fn check(command: &Command) -> Result<(), Error> {
    match command {
        Command::List(args) => list::Plan::from_args(args).map(|_| ()),
        Command::Describe(args) => describe::check(args),
        Command::Delete(args) => delete::check(&args.ids, &args.shared),
        Command::Kill(args) => delete::check(&args.all_ids(), &args.shared),
        Command::KillAll(args) => kill_all::check(args),
        _ => Ok(()),
    }
}

/// Returns the options of a command that deletes sessions.
fn stop_options(command: &Command) -> Option<&StopOptions> {
    match command {
        Command::Delete(args) => Some(&args.shared.stop),
        Command::Kill(args) => Some(&args.shared.stop),
        Command::KillAll(args) => Some(&args.stop),
        _ => None,
    }
}

fn scope(server: &Server, everywhere: NamespaceArgs) -> Scope {
    if everywhere.all_namespaces {
        Scope::All
    } else {
        Scope::Namespace(server.namespace().to_owned())
    }
}

/// Returns kubectl's message about an empty list.
fn nothing_found(scope: &Scope) -> String {
    match scope {
        Scope::All => "No sessions found".to_owned(),
        Scope::Namespace(name) => format!("No sessions found in {name} namespace."),
    }
}

/// Returns the items in their order, without duplicates.
fn once<T: PartialEq>(ids: &[T]) -> Vec<&T> {
    let mut unique: Vec<&T> = Vec::with_capacity(ids.len());
    for id in ids {
        if !unique.contains(&id) {
            unique.push(id);
        }
    }
    unique
}
