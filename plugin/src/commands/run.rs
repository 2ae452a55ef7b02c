//! `run`.

mod keeper;
mod prepare;

use std::time::Duration;

use kube::api::ObjectMeta;
use mirrord_sessions_crds::{Client, Session, SessionId, SessionSpec};
use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    process::Child,
    time::{Instant, timeout, timeout_at},
};

use self::{keeper::Keeper, prepare::Prepared};
use crate::{
    cli::run::RunArgs,
    console::Console,
    error::Error,
    run::{
        child::{self, Signals},
        keep::Ending,
        settings::{Flags, word},
        watch::Own,
    },
    server::{Connection, Deletion, Effect, Server, Source},
};

/// The exit code where a command was not run because there is no session for it: that of `env` and
/// `timeout`, which no command should have.
const NOT_RUN: u8 = 125;
/// How long the end of a command is held up to delete its session.
const FAREWELL: Duration = Duration::from_secs(5);

/// Runs the command; its exit code is this program's.
pub(super) async fn run(
    connection: Connection,
    args: RunArgs,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    match attempt(connection, &args, console).await {
        Ok(0) => Ok(()),
        Ok(code) => Err(Error::Exit(code)),
        Err(Error::Told) => Err(Error::Exit(NOT_RUN)),
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
    connection
        .namespace
        .clone_from(&prepared.settings.namespace);
    connection.context.clone_from(&prepared.settings.context);
    let server = Server::connect(&connection).await?;
    if server.source().await?.source == Source::Operator {
        return Err(Error::setup(
            "this cluster has mirrord's own operator, which records sessions by itself: run the command without \"kubectl mirrord-sessions run\"",
        ));
    }
    let spec = spec(&prepared);
    let id = new_id()?;
    let mut signals = Signals::new()
        .map_err(|error| Error::setup(format!("signals cannot be handled: {error}")))?;
    let created = tokio::select! {
        created = create(&server, server.namespace(), &id, &spec) => created?,
        signal = signals.end() => {
            delete(&server, server.namespace(), &id, None, console).await;
            return Ok(child::exit_code_of(signal));
        }
    };
    for warning in &created.warnings {
        console.say(&format!("Warning: {warning}"));
    }
    let derived = prepared.derive(&id, spec.client.as_ref());
    if let Some(warning) = &derived.warning {
        console.say(warning);
    }
    match child::start(&derived.command, &derived.variables) {
        Ok(child) => {
            let keeper = Keeper::new(&server, spec, created.own, console);
            let code = watch_over(child, &mut signals, &keeper, args).await;
            keeper.close().await;
            code
        }
        Err((code, line)) => {
            console.say(&line);
            let own = &created.own;
            delete(&server, &own.namespace, &own.id, Some(&own.uid), console).await;
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
    child::send(&child, Signal::TERM);
    // One that is stopped would not notice.
    child::send(&child, Signal::CONT);
    let end = Instant::now().checked_add(args.grace_period);
    loop {
        let ended = async {
            tokio::select! {
                status = child.wait() => Some(status),
                signal = signals.next() => {
                    child::send(&child, signal);
                    None
                }
            }
        };
        let ended = match end {
            Some(end) => timeout_at(end, ended).await,
            None => Ok(ended.await),
        };
        match ended {
            Ok(Some(status)) => return status.map(child::exit_code).map_err(lost),
            Ok(None) => {}
            Err(_) => {
                child::send(&child, Signal::KILL);
                return child.wait().await.map(child::exit_code).map_err(lost);
            }
        }
    }
}

fn spec(prepared: &Prepared<'_>) -> SessionSpec {
    // Who mirrord says that it is: the person's full name where the system has one.
    let username = whoami::realname()
        .ok()
        .filter(|name| !name.trim().is_empty());
    let username = username.or_else(|| whoami::username().ok());
    let hostname = whoami::hostname().ok();
    SessionSpec {
        target: prepared.settings.target.clone(),
        client: Some(Client {
            // What could be taken for a slash would make spec.user ambiguous.
            username: username.and_then(|name| {
                word(
                    &name,
                    &['/', '\u{2044}', '\u{2215}', '\u{29f8}', '\u{ff0f}'],
                )
            }),
            hostname: hostname.and_then(|name| word(&name, &['/', '@'])),
            version: None,
        }),
        key: prepared.settings.key.clone(),
        owner: None,
        user: None,
    }
}

/// 16 hex digits, as mirrord's own.
fn new_id() -> Result<SessionId, Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::setup(format!("there are no random numbers: {error}")))?;
    Ok(SessionId::of_name(&format!(
        "{:016x}",
        u64::from_be_bytes(bytes)
    )))
}

struct Created {
    own: Own,
    warnings: Vec<String>,
}

async fn create(
    server: &Server,
    namespace: &str,
    id: &SessionId,
    spec: &SessionSpec,
) -> Result<Created, Error> {
    let session = Session {
        metadata: ObjectMeta {
            name: Some(id.name().to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        spec: spec.clone(),
        status: None,
    };
    let (stored, warnings) = server.create(namespace, &session).await?;
    let uid = stored.pointer("/metadata/uid").and_then(Value::as_str);
    Ok(Created {
        own: Own {
            namespace: namespace.to_owned(),
            id: id.clone(),
            uid: uid.unwrap_or_default().to_owned(),
        },
        warnings,
    })
}

async fn delete(
    server: &Server,
    namespace: &str,
    id: &SessionId,
    uid: Option<&str>,
    console: &mut Console<'_>,
) {
    let how = Deletion {
        effect: Effect::Real,
        grace_period: None,
        uid: uid.filter(|uid| !uid.is_empty()),
    };
    let why = match timeout(FAREWELL, server.delete(namespace, id, &how)).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) if error.is_not_found() || error.is_conflict() => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the server did not answer within {FAREWELL:?}"),
    };
    console.say(&format!(
        "Warning: session \"{id}\" could not be deleted: it counts as over once the cluster has heard nothing of it for a minute ({why})"
    ));
}
