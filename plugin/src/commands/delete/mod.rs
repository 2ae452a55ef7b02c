//! The commands `delete` and `kill`.

mod execute;
mod resolve;
mod target;
mod wait;

use jiff::Timestamp;

use super::{
    nothing_found, scope,
    selection::{list_selected, select, source},
};
use crate::{
    cli::{
        IdArgument, boolean,
        stop::{DryRun, SharedDeleteArgs, StopOptions},
    },
    console::Console,
    error::Error,
    render::listing::{Columns, plain_columns},
    server::{Scope, Server},
    session::Session,
};
use execute::grace_period;
pub(super) use execute::{Origin, delete_all, deleted_line, deletion};
use resolve::{Resolution, resolve};
pub(super) use target::DeleteTarget;
use target::ResolvedTarget;
pub(super) use wait::wait_until_ended;

/// Rejects command lines that the parser accepts and kubectl rejects, with kubectl's messages.
pub(super) fn check(ids: &[IdArgument], args: &SharedDeleteArgs) -> Result<(), Error> {
    let selects = args.select.is_any();
    if !ids.is_empty() && (selects || args.all) {
        return Err(Error::setup("name cannot be provided when a selector is specified"));
    }
    if args.all && (args.select.labels().is_some() || args.select.fields().is_some()) {
        return Err(Error::setup("setting 'all' parameter but found a non empty selector."));
    }
    if ids.is_empty() && !selects && !args.all {
        return Err(Error::setup(
            "resource(s) were provided, but no name was specified: name sessions, or choose them by -l, --field-selector, --user, --target, --mine, --port or --all",
        ));
    }
    args.select.check()?;
    check_stop(&args.stop)
}

pub(super) fn check_stop(stop: &StopOptions) -> Result<(), Error> {
    if stop.interactive && stop.yes {
        return Err(Error::setup("--interactive and --yes cannot be specified together"));
    }
    if stop.now && stop.grace_period != -1 {
        return Err(Error::setup("--now and --grace-period cannot be specified together"));
    }
    if stop.force && (stop.grace_period > 0 || stop.now) {
        return Err(Error::setup(
            "--force and --grace-period greater than 0 cannot be specified together",
        ));
    }
    match (stop.cascade.as_str(), boolean(&stop.cascade)) {
        ("background", _) | (_, Ok(true)) => {}
        ("foreground" | "orphan", _) | (_, Ok(false)) => {
            return Err(Error::setup(
                "a Session has no dependents, and its agent ends with it: omit --cascade",
            ));
        }
        (other, _) => {
            return Err(Error::setup(format!(
                "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
            )));
        }
    }
    match stop.output.as_deref() {
        None | Some("" | "name") => Ok(()),
        Some(other) => Err(Error::setup(format!(
            "unexpected -o output mode: {other}. We only support '-o name'"
        ))),
    }
}

/// Returns kubectl's warning about a forced deletion.
pub(super) fn warning(stop: &StopOptions) -> Option<&'static str> {
    (grace_period(stop) == Some(0)).then_some(
        "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely.",
    )
}

pub(super) async fn run(
    server: &Server,
    ids: &[IdArgument],
    args: &SharedDeleteArgs,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    source(server, console).await?;
    let scope = scope(server, args.namespaces);
    if !ids.is_empty() {
        return delete_named(server, ids, &scope, args, console).await;
    }
    let (listing, filter) = select(server, scope, &args.select, false).await?;
    let sessions = list_selected(server, &listing, &filter).await?;
    if sessions.is_empty() {
        console.say(&nothing_found(&listing.scope));
        return Ok(());
    }
    if !confirm(&sessions, &listing.scope, &args.stop, now, console) {
        return Ok(());
    }
    delete_listed(server, &sessions, &args.stop, console).await
}

/// Deletes listed sessions by uid: neither later nor hidden sessions are deleted.
pub(super) async fn delete_listed(
    server: &Server,
    sessions: &[Session],
    stop: &StopOptions,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let targets: Vec<DeleteTarget> = sessions.iter().map(DeleteTarget::from_session).collect();
    delete_all(server, &targets, Origin::Listed, stop, console).await
}

/// Asks the user to confirm the deletion of several sessions. Returns whether to proceed.
pub(super) fn confirm(
    sessions: &[Session],
    scope: &Scope,
    stop: &StopOptions,
    now: Timestamp,
    console: &mut Console<'_>,
) -> bool {
    let columns = Columns { namespace: *scope == Scope::All, ..Columns::default() };
    let table = || plain_columns(sessions, &columns, now);
    confirm_list(sessions.len(), table, stop, console)
}

fn confirm_list(
    count: usize,
    list: impl Fn() -> String,
    stop: &StopOptions,
    console: &mut Console<'_>,
) -> bool {
    if !needs_confirmation(count, stop, console) {
        return true;
    }
    let sessions = if count == 1 { "session" } else { "sessions" };
    let text = format!("You are about to delete the following {count} {sessions}:\n{}", list());
    let is_confirmed = console.confirm(&text, "Do you want to continue?");
    if !is_confirmed {
        console.say("deletion is cancelled");
    }
    is_confirmed
}

fn needs_confirmation(count: usize, stop: &StopOptions, console: &Console<'_>) -> bool {
    let is_requested = stop.interactive || count > 1 && console.is_interactive();
    count > 0 && is_requested && stop.dry_run == DryRun::None && !stop.yes
}

/// Deletes the sessions of the IDs on the command line.
async fn delete_named(
    server: &Server,
    ids: &[IdArgument],
    scope: &Scope,
    args: &SharedDeleteArgs,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let describe = needs_confirmation(ids.len(), &args.stop, console);
    // Resolve all IDs before the first deletion, which could make the prefix of another unique.
    let Resolution { targets, missing } = resolve(server, ids, scope, describe).await?;
    let mut failed = false;
    // Report these before the confirmation, which lists the others.
    for error in missing {
        if !args.ignore_not_found {
            failed = true;
            console.say(&error.to_string());
        }
    }
    let list = || {
        let lines: Vec<String> = targets.iter().map(ResolvedTarget::line).collect();
        lines.join("\n") + "\n"
    };
    if !confirm_list(targets.len(), list, &args.stop, console) {
        return if failed { Err(Error::Reported) } else { Ok(()) };
    }
    let targets: Vec<DeleteTarget> = targets.into_iter().map(|resolved| resolved.target).collect();
    let origin = Origin::Named { ignore_not_found: args.ignore_not_found, some_failed: failed };
    delete_all(server, &targets, origin, &args.stop, console).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};

    fn stop(line: &str) -> StopOptions {
        let words = ["plugin", "delete", "a"].into_iter();
        let words = words.chain(line.split_whitespace()).map(Into::into);
        let Command::Delete(args) = Cli::parse_from_args(words).unwrap().command else {
            panic!("{line}");
        };
        args.shared.stop
    }

    #[test]
    fn follows_kubectl_on_grace_periods() {
        for (line, expected) in [
            ("", None),
            ("--grace-period=-1", None),
            ("--grace-period=30", Some(30)),
            ("--grace-period 0", Some(1)),
            ("--force", Some(0)),
            ("--force --grace-period=0", Some(0)),
            ("--now", Some(1)),
            ("--now=false", None),
            ("--cascade=background", None),
            ("--cascade", None),
            ("--cascade b", None),
            ("--cascade=T", None),
        ] {
            let stop = stop(line);
            assert!(check_stop(&stop).is_ok(), "{line}");
            assert_eq!(grace_period(&stop), expected, "{line}");
        }
        for (line, expected) in [
            ("--now --grace-period=4", "--now and --grace-period cannot"),
            ("--force --grace-period=4", "--force and --grace-period greater than 0 cannot be"),
            ("--force --now", "--force and --grace-period greater than 0"),
            ("--cascade=foreground", "a Session has no dependents"),
            ("--cascade=0", "a Session has no dependents"),
            ("--cascade=x", "invalid cascade value (x). Must be"),
        ] {
            let error = check_stop(&stop(line)).unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
