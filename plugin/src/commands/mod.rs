//! The commands: each fetches, then renders.

mod auditor;
mod delete;
mod describe;
mod kill_all;
mod list;
mod rbac;
mod version;

use jiff::Zoned;
use mirrord_sessions_crds::SessionId;

use crate::{
    cli::{Cli, Command, Everywhere},
    console::Console,
    error::Error,
    server::{Scope, Server},
};

/// Does what the command line says.
pub(crate) async fn run(cli: Cli, console: &mut Console<'_>) -> Result<(), Error> {
    let now = Zoned::now();
    let command = match cli.command {
        // Says its own version even where no server can be found.
        Command::Version(args) => return version::run(args, &cli.connection, console).await,
        other => other,
    };
    let server = Server::connect(&cli.connection).await?;
    match command {
        Command::List(args) => list::run(&server, &args, now.timestamp(), console).await,
        Command::Describe(args) => describe::run(&server, &args, &now, console).await,
        Command::Delete(args) => delete::run(&server, &args.ids, args.shared, console).await,
        Command::Kill(args) => {
            let ids = [args.id, args.ids].concat();
            delete::run(&server, &ids, args.shared, console).await
        }
        Command::KillAll(args) => kill_all::run(&server, args, now.timestamp(), console).await,
        Command::Auditor(command) => auditor::run(&server, &command, console).await,
        Command::Rbac(command) => rbac::run(&server, &command, console).await,
        Command::Version(_) => Ok(()),
    }
}

fn scope(server: &Server, everywhere: Everywhere) -> Scope {
    if everywhere.all_namespaces {
        Scope::All
    } else {
        Scope::Namespace(server.namespace().to_owned())
    }
}

/// kubectl's words for an empty list.
fn nothing_found(scope: &Scope) -> String {
    match scope {
        Scope::All => "No sessions found".to_owned(),
        Scope::Namespace(name) => format!("No sessions found in {name} namespace."),
    }
}

/// The IDs, each once, in the order they were given in.
fn once(ids: &[SessionId]) -> Vec<&SessionId> {
    let mut unique: Vec<&SessionId> = Vec::with_capacity(ids.len());
    for id in ids {
        if !unique.contains(&id) {
            unique.push(id);
        }
    }
    unique
}
