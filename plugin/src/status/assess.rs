//! Assessment of the readings.

use jiff::{SignedDuration, Timestamp};
use mirrord_sessions_core::auditor::{ROLE, Report};
use mirrord_sessions_crds::{GROUP, SYSTEM_NAMESPACE, TRACKER_API_SERVICE, WEBHOOK_NAME};
use serde_json::Value;

use super::{
    Check, Facts, Reading,
    State::{Off, Ok as Good, Problem, Unknown, Warning},
    certificate,
    check::{HIDDEN, REAPPLY_MANIFESTS},
    guard, webhook,
};
use crate::server::TrackerAvailability;

/// The webhook renews its CA a year before its expiry: a shorter validity means that renewal fails.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);
const UNSERVED: &str = "this cluster serves no session trackers";

/// Returns all checks, in the order of their importance to users.
pub(crate) fn assess(facts: &Facts, now: Timestamp) -> Vec<Check> {
    vec![
        server(&facts.version),
        sessions(&facts.has_sessions),
        guard::guard(facts),
        webhook::webhook(facts),
        certificates(facts, now),
        agents(&facts.configuration),
        trackers(facts),
        auditor(&facts.auditor),
    ]
}

/// Returns the checks of a cluster with mirrord's own operator, which manages its sessions itself.
/// Components of this project are not missing there, and must not be installed.
pub(crate) fn assess_mirrord_operator(version: &Reading<Value>) -> Vec<Check> {
    vec![
        server(version),
        Check::new(
            "sessions",
            Off,
            "mirrord's operator manages the sessions of this cluster, and mirrord-sessions is not installed",
        ),
    ]
}

fn server(version: &Reading<Value>) -> Check {
    match version {
        Reading::Known(version) => {
            let version = version["gitVersion"].as_str().unwrap_or("<unknown>");
            Check::new("server", Good, format!("Kubernetes {version}"))
        }
        other => Check::unread("server", other),
    }
}

fn sessions(served: &Reading<bool>) -> Check {
    match served {
        Reading::Known(true) => Check::new("sessions", Good, format!("{GROUP}/v1 is served")),
        Reading::Known(false) => Check::new("sessions", Problem, "the cluster has no Sessions")
            .with_remedy(
                "install mirrord-sessions as its README says, or choose another --context",
            ),
        other => Check::unread("sessions", other),
    }
}

fn bundle_of_api_service(service: &Value) -> Option<&str> {
    let bundle = service.pointer("/spec/caBundle")?;
    bundle.as_str().filter(|bundle| !bundle.is_empty())
}

fn certificates(facts: &Facts, now: Timestamp) -> Check {
    let name = "certificates";
    let mut bundles = Vec::new();
    if let Reading::Known(Some(configuration)) = &facts.configuration {
        bundles.extend(webhook::bundle(configuration).map(|bundle| ("webhook", bundle)));
    }
    if let Reading::Known(Some(service)) = &facts.api_service {
        bundles.extend(bundle_of_api_service(service).map(|bundle| ("trackers", bundle)));
    }
    if bundles.is_empty() {
        return match &facts.configuration {
            Reading::Known(_) => Check::new(name, Unknown, "no CA bundle is configured"),
            other => Check::unread(name, other),
        };
    }
    let renew = format!(
        "the webhook renews its own CA: check its logs (kubectl -n {SYSTEM_NAMESPACE} logs deployment/{WEBHOOK_NAME}); renew a CA of your own yourself"
    );
    let mut expiries_by_owner = Vec::new();
    for (whose, bundle) in bundles {
        match certificate::expiry(bundle) {
            Err(why) => {
                return Check::new(
                    name,
                    Problem,
                    format!("the CA bundle of {whose} can't be read: {why}"),
                )
                .with_remedy(renew);
            }
            Ok(end) => expiries_by_owner.push((end, whose)),
        }
    }
    expiries_by_owner.sort_unstable();
    let expiries: Vec<String> = expiries_by_owner
        .iter()
        .map(|(end, whose)| format!("CA of {whose} until {}", end.strftime("%Y-%m-%d")))
        .collect();
    let expiries = expiries.join(", ");
    match expiries_by_owner.first() {
        Some((end, _)) if *end <= now => {
            Check::new(name, Problem, format!("expired: {expiries}")).with_remedy(renew)
        }
        Some((end, _)) if end.duration_since(now) < SOON => {
            Check::new(name, Warning, format!("expiring: {expiries}")).with_remedy(renew)
        }
        _ => Check::new(name, Good, expiries),
    }
}

/// Checks whether the webhook configuration has the rules that stamp agents.
fn agents(configuration: &Reading<Option<Value>>) -> Check {
    let name = "agents";
    let Reading::Known(configuration) = configuration else {
        return Check::unread(name, configuration);
    };
    let has_rule_for = |resource: &str| {
        let webhooks = configuration.as_ref().and_then(|all| all["webhooks"].as_array());
        let rules = webhooks
            .into_iter()
            .flatten()
            .filter_map(|webhook| webhook["rules"].as_array())
            .flatten();
        let mut resources = rules.filter_map(|rule| rule["resources"].as_array()).flatten();
        resources.any(|found| found == resource)
    };
    match (has_rule_for("jobs"), has_rule_for("pods/ephemeralcontainers")) {
        (true, true) => {
            Check::new(name, Good, "Jobs and ephemeral containers of mirrord are stamped")
        }
        (false, false) => Check::new(
            name,
            Warning,
            "runs of plain mirrord create no Session: agents aren't stamped",
        )
        .with_remedy(REAPPLY_MANIFESTS),
        (jobs, _) => {
            let missing = if jobs { "ephemeral containers" } else { "Jobs" };
            Check::new(name, Warning, format!("agents that are {missing} aren't stamped"))
                .with_remedy(REAPPLY_MANIFESTS)
        }
    }
}

fn trackers(facts: &Facts) -> Check {
    let name = "trackers";
    let available = match &facts.api_service {
        Reading::Known(None) => {
            return Check::new(name, Off, UNSERVED);
        }
        Reading::Known(Some(service)) => condition(service, "Available"),
        Reading::Hidden | Reading::Unavailable(_) | Reading::Failed(_) => None,
    };
    if let Some((false, why)) = available {
        return Check::new(name, Problem, format!("the API server can't reach them: {why}")).with_remedy(format!(
            "check the webhook; until then, namespaces can't be deleted (kubectl delete apiservice {TRACKER_API_SERVICE} unblocks them)"
        ));
    }
    match (&facts.trackers, available) {
        (Reading::Known(TrackerAvailability::Served), _) => {
            Check::new(name, Good, "session trackers are served")
        }
        (Reading::Known(TrackerAvailability::Unreachable(why)), _) => {
            Check::new(name, Problem, format!("the API server can't reach them: {why}"))
                .with_remedy("ask the administrator of the cluster to check the webhook")
        }
        (Reading::Known(TrackerAvailability::Missing), None) => Check::new(name, Off, UNSERVED),
        (Reading::Known(TrackerAvailability::Missing), Some(_)) => {
            Check::new(name, Problem, "their APIService exists, but they aren't served")
                .with_remedy("check the webhook")
        }
        (Reading::Hidden, Some((true, _))) => {
            Check::new(name, Good, "session trackers are served; your roles don't show any here")
        }
        (Reading::Hidden, _) => Check::new(name, Unknown, HIDDEN),
        (Reading::Failed(why) | Reading::Unavailable(why), _) => {
            Check::new(name, Problem, why.clone()).with_remedy("try again later")
        }
    }
}

fn condition(service: &Value, wanted: &str) -> Option<(bool, String)> {
    let conditions = service.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|one| one["type"] == wanted)?;
    let message = found["message"].as_str().unwrap_or("<unknown>");
    Some((found["status"] == "True", message.to_owned()))
}

fn auditor(reading: &Reading<(Option<Report>, Option<Report>)>) -> Check {
    let name = "auditor role";
    let (live, leader) = match reading {
        Reading::Known((live, leader)) => (live, leader),
        other => return Check::unread(name, other),
    };
    if let Some(error) = leader.as_ref().and_then(|report| report.error.as_ref()) {
        return Check::new(name, Warning, format!("the webhook failed to reconcile it: {error}"))
            .with_remedy("see the details: kubectl mirrord-sessions auditor status");
    }
    let Some(report) = live.as_ref().or(leader.as_ref()) else {
        return Check::new(name, Unknown, HIDDEN);
    };
    let latest = report.latest_version;
    match report.version {
        _ if report.exists.is_none() => Check::new(name, Unknown, report.message.clone()),
        _ if report.exists == Some(false) => Check::new(name, Warning, format!("there is no ClusterRole {ROLE}")).with_remedy(
            "the webhook creates it unless --auditor-role forbids it: kubectl mirrord-sessions auditor status",
        ),
        Some(version) if version == latest => {
            Check::new(name, Good, format!("version {version}, the latest"))
        }
        Some(version) => Check::new(name, Warning, format!("version {version}; the latest is {latest}"))
            .with_remedy("review and apply the difference: kubectl mirrord-sessions auditor diff"),
        None if report.modified == Some(false) => Check::new(
            name,
            Good,
            format!("written by a later release; the latest version known to this plugin is {latest}"),
        ),
        None if report.difference.as_ref().is_none_or(Vec::is_empty) => Check::new(name, Good, report.message.clone()),
        None => Check::new(
            name,
            Good,
            format!("modified or managed by others; it differs from version {latest} (kubectl mirrord-sessions auditor diff)"),
        ),
    }
}

#[cfg(test)]
#[path = "assess_tests.rs"]
mod tests;
