//! The commands about the auditor role.

use k8s_openapi::api::rbac::v1::ClusterRole;
use mirrord_sessions_core::auditor::{History, Mode, REPORT, ROLE, Report, plan, role_manifest};
use mirrord_sessions_crds::SYSTEM_NAMESPACE;
use serde_json::json;

use crate::{
    cli::auditor::{AuditorCommand, DiffArgs, ObjectFormat, StatusArgs},
    console::Console,
    error::{ApiError, Error},
    render::{
        escape::visible,
        output::{self, Format},
    },
    server::Server,
};

pub(super) async fn run(
    server: &Server,
    command: &AuditorCommand,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    match command {
        AuditorCommand::Status(args) => status(server, *args, console).await,
        AuditorCommand::Diff(args) => diff(server, *args, console).await,
    }
}

async fn status(server: &Server, args: StatusArgs, console: &mut Console<'_>) -> Result<(), Error> {
    let (live, leader) = reports(server).await?;
    let text = match args.output {
        None => render_text(live.as_ref(), leader.as_ref()),
        Some(format) => {
            let value = json!({ "role": live, "leader": leader });
            output::render(&value, output_format(format)).map_err(Error::Output)?
        }
    };
    console.print(&text)
}

/// Returns the report about the current role, and that of the leader, as far as the requester may
/// read them.
pub(super) async fn reports(server: &Server) -> Result<(Option<Report>, Option<Report>), Error> {
    let live = read(server).await;
    let leader = leader(server).await;
    let live = match (live, &leader) {
        (Ok(role), leader) => Some(live_report(role.as_ref(), leader.as_ref())),
        // A requester who may not read the role may be allowed to read the report.
        (Err(error), Some(_)) if error.api_error().is_some_and(ApiError::is_rbac) => None,
        (Err(error), _) => return Err(error),
    };
    Ok((live, leader))
}

/// Returns the report about the current role.
///
/// Only the leader knows its flags, so its report decides whether they forbid upgrades, as long as
/// the role is still the one that it reported on.
fn live_report(role: Option<&ClusterRole>, leader: Option<&Report>) -> Report {
    let live = Report::for_role(&History::shipped(), role, Mode::Manage);
    match leader {
        Some(leader)
            if live.auto_update == Some(true)
                && leader.auto_update == Some(false)
                && (leader.exists, leader.version, leader.modified)
                    == (live.exists, live.version, live.modified) =>
        {
            Report {
                auto_update: leader.auto_update,
                preserve_reason: leader.preserve_reason.clone(),
                ..live
            }
        }
        _ => live,
    }
}

async fn diff(server: &Server, args: DiffArgs, console: &mut Console<'_>) -> Result<(), Error> {
    let role = read(server).await?;
    let history = History::shipped();
    if let Some(format) = args.output {
        let taken = role_manifest(&history, role.as_ref()).ok_or_else(too_large)?;
        if taken.aggregation_rule.is_some() {
            console.say(&format!(
                "ClusterRole {ROLE} aggregates the rules of other roles, so its own rules are omitted: add missing rules to an aggregated role."
            ));
        }
        let taken = json!(taken);
        return console
            .print(&output::render(&taken, output_format(format)).map_err(Error::Output)?);
    }
    let plan = plan(&history, role.as_ref(), Mode::Report);
    let difference = plan.difference().ok_or_else(too_large)?;
    if difference.is_empty() {
        return Ok(());
    }
    // The complete difference, which is truncated in the report.
    console.print(&as_diff(history.latest(), &difference.lines()))?;
    Err(Error::Exit(1))
}

fn too_large() -> Error {
    Error::setup(format!(
        "ClusterRole {ROLE} is too large to compare, so its missing rules are unknown: export it unchanged with `kubectl get clusterrole {ROLE} -o yaml`, and add the rules of manifests/overlays/gitops/auditor-role.yaml"
    ))
}

async fn read(server: &Server) -> Result<Option<ClusterRole>, Error> {
    let Some(role) = server.cluster_role(ROLE).await? else {
        return Ok(None);
    };
    serde_json::from_value(role)
        .map(Some)
        .map_err(|error| Error::setup(format!("ClusterRole {ROLE} can't be read: {error}")))
}

/// Returns the report of the leader, if the requester may read it.
async fn leader(server: &Server) -> Option<Report> {
    let map = server.config_map(SYSTEM_NAMESPACE, REPORT).await.ok()??;
    serde_json::from_str(map.get("data")?.get("report.json")?.as_str()?).ok()
}

pub(super) fn output_format(format: ObjectFormat) -> Format {
    match format {
        ObjectFormat::Json => Format::Json,
        ObjectFormat::Yaml => Format::Yaml,
    }
}

fn render_text(live: Option<&Report>, leader: Option<&Report>) -> String {
    let Some(report) = live.or(leader) else {
        return String::new();
    };
    let unknown = || "<unknown>".to_owned();
    let yes = |known: Option<bool>| match known {
        Some(true) => "yes".to_owned(),
        Some(false) => "no".to_owned(),
        None => unknown(),
    };
    let latest = report.latest_version;
    let version = match report.version {
        Some(version) if version == latest => format!("{version}, the latest"),
        Some(version) => format!("{version}; the latest is {latest}"),
        None if report.modified == Some(false) && report.exists == Some(true) => {
            format!("later than {latest}, the latest known to this plugin")
        }
        None if report.modified.is_none() => format!("<unknown>; the latest is {latest}"),
        None => format!("none; the latest is {latest}"),
    };
    let exists = match report.exists {
        Some(true) => "",
        Some(false) => " (it does not exist)",
        None => " (it could not be read)",
    };
    let managed_by = match (&report.managed_by, report.exists) {
        (Some(manager), _) => manager.clone(),
        (None, Some(_)) => "no other manager".to_owned(),
        (None, None) => unknown(),
    };
    let auto_update = match &report.preserve_reason {
        Some(reason) => format!("{}: {reason}", yes(report.auto_update)),
        None => yes(report.auto_update),
    };
    let mut lines = vec![
        ("ClusterRole", format!("{ROLE}{exists}")),
        ("Version", version),
        ("Modified", yes(report.modified)),
        ("Managed by", managed_by),
        ("Auto-update", auto_update),
    ];
    if let Some(leader) = leader {
        let when = leader.observed_at.clone().unwrap_or_else(unknown);
        let who = leader.reported_by.clone().unwrap_or_else(unknown);
        lines.push(("Reported", format!("{when} by {who}")));
        lines.push(("Outcome", leader.message.clone()));
        if let Some(error) = &leader.error {
            lines.push(("Error", error.clone()));
        }
    } else {
        lines.push(("Reported", unknown()));
    }
    if report.exists == Some(true) && report.difference.is_none() {
        lines.push(("Difference", "too large to compare".to_owned()));
    }
    let mut text = String::new();
    for (label, value) in lines {
        let label = format!("{label}:");
        text.extend([&format!("{label:<14}"), &*visible(&value), "\n"]);
    }
    let difference = report.difference.as_deref().unwrap_or_default();
    if !difference.is_empty() {
        text.push('\n');
        text.push_str(&as_diff(latest, difference));
    }
    text
}

fn as_diff(latest: u32, lines: &[String]) -> String {
    let mut text = format!("--- ClusterRole {ROLE}\n+++ preset version {latest}\n");
    for line in lines {
        text.push_str(&visible(line));
        text.push('\n');
    }
    text
}

#[cfg(test)]
#[path = "auditor_tests.rs"]
mod tests;
