//! `auditor`.

use k8s_openapi::api::rbac::v1::ClusterRole;
use mirrord_sessions_core::auditor::{History, Mode, REPORT, ROLE, Report, plan};
use mirrord_sessions_crds::SYSTEM_NAMESPACE;
use serde_json::{Value, json};

use crate::{
    cli::auditor::{AuditorCommand, DiffArgs, StatusArgs, WholeFormat},
    console::Console,
    error::{Error, Refusal},
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
        None => plain(live.as_ref(), leader.as_ref()),
        Some(format) => {
            let value = json!({ "role": live, "leader": leader });
            output::render(&value, whole(format)).map_err(Error::Output)?
        }
    };
    console.print(&text)
}

/// The role as it is, as far as it may be read, and as the leader reported it.
pub(super) async fn reports(server: &Server) -> Result<(Option<Report>, Option<Report>), Error> {
    let live = read(server).await;
    let leader = leader(server).await;
    let live = match (live, &leader) {
        (Ok(role), _) => Some(Report::of(&History::shipped(), role.as_ref(), Mode::Report)),
        // Who may not read roles may be let read the report.
        (Err(error), Some(_)) if error.refusal().is_some_and(Refusal::is_rbac) => None,
        (Err(error), _) => return Err(error),
    };
    Ok((live, leader))
}

async fn diff(server: &Server, args: DiffArgs, console: &mut Console<'_>) -> Result<(), Error> {
    let role = read(server).await?;
    let history = History::shipped();
    if let Some(format) = args.output {
        let role = to_take_over(&history, role.as_ref());
        return console.print(&output::render(&role, whole(format)).map_err(Error::Output)?);
    }
    let report = Report::of(&history, role.as_ref(), Mode::Report);
    let plan = plan(&history, role.as_ref(), Mode::Report);
    if report.difference.is_empty() && (plan.difference().is_some() || plan.word() == "nothing") {
        return Ok(());
    }
    if report.difference.is_empty() {
        return Err(Error::setup(format!(
            "ClusterRole {ROLE} grants too much to be compared"
        )));
    }
    console.print(&difference(&report))?;
    Err(Error::Told)
}

async fn read(server: &Server) -> Result<Option<ClusterRole>, Error> {
    let Some(role) = server.cluster_role(ROLE).await? else {
        return Ok(None);
    };
    serde_json::from_value(role)
        .map(Some)
        .map_err(|error| Error::setup(format!("ClusterRole {ROLE} can't be read: {error}")))
}

/// What the leader reported, if it may be read.
async fn leader(server: &Server) -> Option<Report> {
    let map = server.config_map(SYSTEM_NAMESPACE, REPORT).await.ok()??;
    serde_json::from_str(map.get("data")?.get("report.json")?.as_str()?).ok()
}

/// The role with the rules it has, and after them those that the latest version has and it lacks.
fn to_take_over(history: &History, role: Option<&ClusterRole>) -> Value {
    let rules = match role {
        None => history.rules(history.latest()),
        Some(role) => {
            let missing = plan(history, Some(role), Mode::Report)
                .difference()
                .map(|difference| difference.missing.rules());
            let own = role.rules.clone().unwrap_or_default();
            [own, missing.unwrap_or_default()].concat()
        }
    };
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": ROLE },
        "rules": rules,
    })
}

pub(super) fn whole(format: WholeFormat) -> Format {
    match format {
        WholeFormat::Json => Format::Json,
        WholeFormat::Yaml => Format::Yaml,
    }
}

fn plain(live: Option<&Report>, leader: Option<&Report>) -> String {
    let Some(report) = live.or(leader) else {
        return String::new();
    };
    let version = match report.version {
        Some(version) if version == report.latest_version => format!("{version}, the latest"),
        Some(version) => format!("{version}; the latest is {}", report.latest_version),
        None => format!("none; the latest is {}", report.latest_version),
    };
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let exists = if report.exists {
        ""
    } else {
        " (there is none)"
    };
    let mut lines = vec![
        ("ClusterRole", format!("{ROLE}{exists}")),
        ("Version", version),
        ("Modified", yes(report.modified)),
        (
            "Managed by",
            report
                .managed_by
                .clone()
                .unwrap_or_else(|| "nobody else".to_owned()),
        ),
        ("Auto-update", yes(report.auto_update)),
    ];
    if let Some(leader) = leader {
        let when = leader.observed_at.as_deref().unwrap_or("<unknown>");
        let who = leader.reported_by.as_deref().unwrap_or("<unknown>");
        lines.push(("Reported", format!("{when} by {who}")));
        lines.push(("Outcome", leader.message.clone()));
        if let Some(error) = &leader.error {
            lines.push(("Error", error.clone()));
        }
    } else {
        lines.push(("Reported", "<unknown>".to_owned()));
    }
    let mut text = String::new();
    for (label, value) in lines {
        let label = format!("{label}:");
        text.extend([&format!("{label:<14}"), &*visible(&value), "\n"]);
    }
    if !report.difference.is_empty() {
        text.push('\n');
        text.push_str(&difference(report));
    }
    text
}

fn difference(report: &Report) -> String {
    let mut text = format!(
        "--- ClusterRole {ROLE}\n+++ preset version {}\n",
        report.latest_version
    );
    for line in &report.difference {
        text.push_str(&visible(line));
        text.push('\n');
    }
    text
}

#[cfg(test)]
#[path = "auditor_tests.rs"]
mod tests;
