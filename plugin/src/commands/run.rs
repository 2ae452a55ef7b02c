//! `run`.

mod copy;
mod create;
mod keeper;
mod prepare;

use std::time::Duration;

use mirrord_sessions_crds::{Client, SessionSpec};
use nix::sys::signal::Signal;
use tokio::{
    process::Child,
    time::{Instant, sleep, sleep_until},
};

use self::{
    create::{Wanted, create_first, delete, end, new_id},
    keeper::Keeper,
    prepare::Prepared,
};
use crate::{
    cli::run::RunArgs,
    console::Console,
    error::Error,
    run::{
        child::{self, Signals},
        ending::Ending,
        kin::{Kin, MARK},
        settings::{Flags, word},
    },
    server::{Connection, Server, Source},
};

/// The exit code where a command was not run because there is no session for it: that of `env` and
/// `timeout`, which no command should have.
const NOT_RUN: u8 = 125;
/// How often is looked whether all has ended that a stopped command has started.
const GLANCE: Duration = Duration::from_millis(100);

/// Runs the command; its exit code is this program's.
pub(super) async fn run(
    connection: Connection,
    args: RunArgs,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    match Box::pin(attempt(connection, &args, console)).await {
        Ok(0) => Ok(()),
        Ok(code) => Err(Error::Exit(code)),
        Err(Error::Reported) => Err(Error::Exit(NOT_RUN)),
        Err(error) => {
            console.say(&error.to_string());
            Err(Error::Exit(NOT_RUN))
        }
    }
}

async fn attempt(
    mut connection: Connection,
    args: &RunArgs,
    console: &mut Console<'_>,
) -> Result<u8, Error> {
    let flags = Flags {
        target: args.target.clone(),
        namespace: connection.namespace.clone(),
        context: connection.context.clone(),
        key: args.key.clone(),
    };
    let prepared = Prepared::of(&args.command, &flags, |name| std::env::var(name).ok());
    for warning in &prepared.settings.warnings {
        console.say(warning);
    }
    connection.namespace.clone_from(&prepared.settings.namespace);
    connection.context.clone_from(&prepared.settings.context);
    let server = Server::connect(&connection).await?;
    let source = server.source().await?.source;
    if source == Source::Operator {
        return Err(Error::setup(
            "this cluster has mirrord's own operator, which records sessions by itself: run the command without \"kubectl mirrord-sessions run\"",
        ));
    }
    let wanted = Wanted {
        namespace: server.namespace().to_owned(),
        spec: spec(&prepared),
        // Where no reports are taken, it would expire.
        reports: source == Source::Trackers,
    };
    let id = new_id()?;
    let mut signals = Signals::new()
        .map_err(|error| Error::setup(format!("signals cannot be handled: {error}")))?;
    let created = tokio::select! {
        created = create_first(&server, &wanted, &id, console) => created?,
        signal = signals.end() => {
            delete(&server, &wanted.namespace, &id, None, console).await;
            return Ok(child::exit_code_of(signal));
        }
    };
    for warning in &created.warnings {
        console.say(&format!("Warning: {warning}"));
    }
    let derived = prepared.derive(&id, wanted.spec.client.as_ref());
    if let Some(warning) = &derived.warning {
        console.say(warning);
    }
    let mut variables = derived.variables.clone();
    variables.push((MARK, id.name().into()));
    match child::start(&derived.command, &variables) {
        Ok(child) => {
            let keeper = Keeper::new(&server, wanted, created.own, console);
            let code = watch_over(child, &mut signals, &keeper, args).await;
            keeper.close().await;
            code
        }
        Err((code, line)) => {
            console.say(&line);
            end(&server, &created.own, console).await;
            Ok(code)
        }
    }
}

/// Until the command has ended.
async fn watch_over(
    mut child: Child,
    signals: &mut Signals,
    keeper: &Keeper<'_, '_>,
    args: &RunArgs,
) -> Result<u8, Error> {
    let lost = |error| Error::setup(format!("the command cannot be waited for: {error}"));
    let program = args.command.first().cloned().unwrap_or_default();
    let ending: Ending = {
        let keep = keeper.keep(child.id().unwrap_or_default(), &program);
        tokio::pin!(keep);
        loop {
            tokio::select! {
                status = child.wait() => return status.map(child::exit_code).map_err(lost),
                signal = signals.next() => child::send(&child, signal),
                ending = &mut keep => break ending,
            }
        }
    };
    keeper.stopped(&ending);
    let mut kin = Kin::of(&child, keeper.name());
    end_all(child, signals, &mut kin, args.grace_period).await.map_err(lost)
}

/// Ends a command and what it has started, the latter also where the command has ended already.
async fn end_all(
    mut child: Child,
    signals: &mut Signals,
    kin: &mut Kin,
    grace_period: Duration,
) -> std::io::Result<u8> {
    for signal in [Signal::SIGTERM, Signal::SIGCONT] {
        // One that is stopped would not notice before it goes on.
        child::send(&child, signal);
        kin.send(signal);
    }
    // Without a time that can be told, there is no second signal.
    let end = Instant::now().checked_add(grace_period);
    let mut code = None;
    loop {
        let over = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            status = child.wait(), if code.is_none() => code = Some(child::exit_code(status?)),
            signal = signals.next() => child::send(&child, signal),
            () = sleep(GLANCE), if code.is_some() => {}
            () = over => {
                kin.look();
                child::send(&child, Signal::SIGKILL);
                kin.send(Signal::SIGKILL);
                return match code {
                    Some(code) => Ok(code),
                    None => child.wait().await.map(child::exit_code),
                };
            }
        }
        if let Some(code) = code {
            kin.look();
            if kin.is_empty() {
                return Ok(code);
            }
        }
    }
}

fn spec(prepared: &Prepared<'_>) -> SessionSpec {
    // Who mirrord says that it is: the person's full name where the system has one.
    let username = whoami::realname().ok().filter(|name| !name.trim().is_empty());
    let username = username.or_else(|| whoami::username().ok());
    let hostname = whoami::hostname().ok();
    SessionSpec {
        target: prepared.settings.target.clone(),
        client: Some(Client {
            // What could be taken for a slash would make spec.user ambiguous.
            username: username.and_then(|name| {
                word(&name, &['/', '\u{2044}', '\u{2215}', '\u{29f8}', '\u{ff0f}'])
            }),
            hostname: hostname.and_then(|name| word(&name, &['/', '@'])),
            version: None,
        }),
        key: prepared.settings.key.clone(),
        owner: None,
        user: None,
    }
}
