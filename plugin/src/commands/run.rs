//! The command `run`, which runs a command as a session.

mod copy;
mod create;
mod heartbeat_task;
mod prepare;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use mirrord_sessions_crds::{Client, SessionSpec};
use nix::sys::signal::Signal;
use tokio::{
    process::Child,
    time::{Instant, sleep, sleep_until},
};

use self::{
    create::{SessionTemplate, create_with_retries, delete_session, end_session, new_id},
    heartbeat_task::HeartbeatTask,
    prepare::Prepared,
};
use crate::{
    cli::{ConnectionOptions, run::RunArgs},
    console::Console,
    error::Error,
    home,
    run::{
        child::{self, Signals},
        ending::Ending,
        process_tree::{ProcessTree, SESSION_ENV},
        settings::{Flags, client_field, expand_path},
    },
    server::{Server, Source, TerminalUse},
};

/// The exit code if no session could be created. `env` and `timeout` use it too, and no command
/// should.
const NOT_RUN: u8 = 125;
/// Time after which the command starts without reports, because trackers do not answer.
const TRACKERS_TIMEOUT: Duration = Duration::from_secs(2);
/// The interval of checking whether the descendants of a stopped command have ended.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Runs the command and exits with its exit code.
pub(super) async fn run(
    connection: ConnectionOptions,
    args: RunArgs,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    match Box::pin(run_as_session(connection, &args, console)).await {
        Ok(0) => Ok(()),
        Ok(code) => Err(Error::Exit(code)),
        Err(Error::Reported) => Err(Error::Exit(NOT_RUN)),
        Err(error) => {
            console.say(&error.to_string());
            Err(Error::Exit(NOT_RUN))
        }
    }
}

async fn run_as_session(
    mut connection: ConnectionOptions,
    args: &RunArgs,
    console: &mut Console<'_>,
) -> Result<u8, Error> {
    let flags = Flags {
        target: args.target.clone(),
        namespace: connection.namespace.clone(),
        kubeconfig: connection.kubeconfig.as_ref().and_then(|path| path.to_str()).map(Into::into),
        context: connection.context.clone(),
        key: args.key.clone(),
    };
    let prepared = Prepared::new(&args.command, &flags, |name| std::env::var(name).ok());
    for warning in &prepared.settings.warnings {
        console.say(warning);
    }
    connection.namespace.clone_from(&prepared.settings.namespace);
    connection.context.clone_from(&prepared.settings.context);
    if connection.kubeconfig.is_none()
        && let Some(paths) = &prepared.settings.kubeconfig
    {
        select_kubeconfig(&mut connection, paths)?;
    }
    if let Some(warning) = prepared.warn_of_other_server(&connection) {
        console.say(&warning);
    }
    let server = Server::connect(&connection).await?;
    // The terminal belongs to the command from now on.
    server.limit_terminal(TerminalUse::Messages);
    let source = server.discover_within(TRACKERS_TIMEOUT).await?.source;
    if source == Source::Operator {
        return Err(Error::setup(
            "this cluster has mirrord's own operator, which records sessions by itself: run the command without \"kubectl mirrord-sessions run\"",
        ));
    }
    let template = SessionTemplate {
        namespace: server.namespace().to_owned(),
        spec: session_spec(&prepared),
        // Without reports, the session would expire.
        announces_reports: source == Source::Trackers,
    };
    let id = new_id()?;
    let mut signals = Signals::new()
        .map_err(|error| Error::setup(format!("signals cannot be handled: {error}")))?;
    let created = tokio::select! {
        created = create_with_retries(&server, &template, &id, console) => created?,
        signal = signals.next_terminating() => {
            delete_session(&server, &template.namespace, &id, None, console).await;
            return Ok(child::signal_exit_code(signal));
        }
    };
    let derived = prepared.derive(&id, template.spec.client.as_ref());
    if let Some(warning) = &derived.warning {
        console.say(warning);
    }
    let mut variables = derived.variables.clone();
    variables.push((SESSION_ENV, id.name().into()));
    match child::start(&derived.command, &variables) {
        Ok(child) => {
            let task = HeartbeatTask::new(&server, template, created, console);
            let code = supervise(child, &mut signals, &task, args).await;
            task.close().await;
            code
        }
        Err((code, line)) => {
            console.say(&line);
            end_session(&server, &created, console).await;
            Ok(code)
        }
    }
}

/// Supervises the command until it has ended.
async fn supervise(
    mut child: Child,
    signals: &mut Signals,
    task: &HeartbeatTask<'_, '_>,
    args: &RunArgs,
) -> Result<u8, Error> {
    let wait_error = |error| Error::setup(format!("the command cannot be waited for: {error}"));
    let program = args.command.first().cloned().unwrap_or_default();
    let ending: Ending = {
        let heartbeat = task.run(child.id().unwrap_or_default(), &program);
        tokio::pin!(heartbeat);
        loop {
            tokio::select! {
                status = child.wait() => return status.map(child::exit_code).map_err(wait_error),
                signal = signals.next_forwarded() => child::send(&child, signal),
                ending = &mut heartbeat => break ending,
            }
        }
    };
    task.notify_stopped(&ending);
    let mut process_tree = ProcessTree::new(&child, task.original_name());
    terminate(child, signals, &mut process_tree, args.grace_period).await.map_err(wait_error)
}

/// Ends a command and its descendants, even if the command has ended already.
async fn terminate(
    mut child: Child,
    signals: &mut Signals,
    process_tree: &mut ProcessTree,
    grace_period: Duration,
) -> std::io::Result<u8> {
    for signal in [Signal::SIGTERM, Signal::SIGCONT] {
        // A stopped process handles the signal only after SIGCONT.
        child::send(&child, signal);
        process_tree.send(signal);
    }
    // A grace period beyond the range of the clock means no SIGKILL.
    let end = Instant::now().checked_add(grace_period);
    let mut code = None;
    loop {
        let grace_period_end = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            status = child.wait(), if code.is_none() => code = Some(child::exit_code(status?)),
            signal = signals.next_forwarded() => child::send(&child, signal),
            () = sleep(POLL_INTERVAL), if code.is_some() => {}
            () = grace_period_end => {
                process_tree.refresh();
                child::send(&child, Signal::SIGKILL);
                process_tree.send(Signal::SIGKILL);
                return match code {
                    Some(code) => Ok(code),
                    None => child.wait().await.map(child::exit_code),
                };
            }
        }
        if let Some(code) = code {
            process_tree.refresh();
            if process_tree.is_empty() {
                return Ok(code);
            }
        }
    }
}

/// Selects the kubeconfig that mirrord uses: one file, or a list of files like `KUBECONFIG`.
fn select_kubeconfig(connection: &mut ConnectionOptions, paths: &str) -> Result<(), Error> {
    let home = home::home_dir();
    let home = home.as_deref().and_then(Path::to_str);
    let files: Result<Vec<PathBuf>, String> = std::env::split_paths(paths)
        .filter(|path| !path.as_os_str().is_empty())
        .map(|path| {
            let path = path.to_string_lossy();
            expand_path(&path, home, |name| std::env::var(name).ok()).map(PathBuf::from)
        })
        .collect();
    let files = files.map_err(|name| {
        Error::setup(format!(
            "the kubeconfig of mirrord, {paths:?}, needs variable {name}, which is not set"
        ))
    })?;
    match &files[..] {
        [] => {}
        [file] => connection.kubeconfig = Some(file.clone()),
        several => connection.kubeconfig_list = std::env::join_paths(several).ok(),
    }
    Ok(())
}

fn session_spec(prepared: &Prepared<'_>) -> SessionSpec {
    // The name that mirrord reports: the user's full name if the system has one.
    let username = whoami::realname().ok().filter(|name| !name.trim().is_empty());
    let username = username.or_else(|| whoami::username().ok());
    let hostname = whoami::hostname().ok();
    SessionSpec {
        target: prepared.settings.target.clone(),
        client: Some(Client {
            // Characters that look like a slash would make spec.user ambiguous.
            username: username.and_then(|name| {
                client_field(&name, &['/', '\u{2044}', '\u{2215}', '\u{29f8}', '\u{ff0f}'])
            }),
            hostname: hostname.and_then(|name| client_field(&name, &['/', '@'])),
            version: None,
        }),
        key: prepared.settings.key.clone(),
        owner: None,
        user: None,
    }
}
