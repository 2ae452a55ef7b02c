//! The command `status`, which checks an installation.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{auditor, nothing_found};
use crate::{
    cli::status::HealthArgs,
    console::Console,
    error::{ApiError, Error},
    filter::Filter,
    render::{columns::kubectl_get, escape::visible, output},
    server::{Scope, Server, Source},
    session::Session,
    status::{
        Check, Facts, Reading, State,
        assess::{assess, assess_mirrord_operator},
    },
};

/// Time limit of a reading. A webhook that hangs is reported by the API server after 5 seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(6);
/// Time limit of readings from trackers, which the aggregator does not end by itself.
const TRACKERS_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) async fn run(
    server: &Server,
    args: HealthArgs,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    // Without a reachable server, the error is the only output.
    let (version, resources) = tokio::join!(
        server.limited(REQUEST_TIMEOUT, server.version()),
        server.limited(REQUEST_TIMEOUT, server.served_resources()),
    );
    if version.as_ref().is_err_and(Error::is_fatal) {
        return version.map(drop);
    }
    // The version is served to unauthenticated users too.
    if is_refused(&resources, ApiError::is_unauthenticated) {
        return resources.map(drop);
    }
    let may_be_mirrord_operator = resources.as_ref().is_ok_and(|resources| resources.operators);
    let is_mirrord_operator = may_be_mirrord_operator && reads_mirrord_operator(server).await;
    let (checks, list) = if is_mirrord_operator {
        (assess_mirrord_operator(&Reading::from_result(version)), list_sessions(server).await)
    } else {
        let has_sessions = match resources {
            Ok(resources) => Ok(resources.sessions),
            Err(error) if error.api_error().is_some_and(ApiError::is_not_installed) => Ok(false),
            Err(error) => Err(error),
        };
        let (facts, list) =
            tokio::join!(gather(server, version, has_sessions), list_sessions(server));
        (assess(&facts, now), list)
    };
    let text = match args.output {
        None => render_text(&checks, &list),
        Some(format) => {
            output::render(&to_object(&checks, &list.sessions), auditor::output_format(format))
                .map_err(Error::Output)?
        }
    };
    console.print(&text)?;
    if is_well(&checks) { Ok(()) } else { Err(Error::Reported) }
}

async fn reads_mirrord_operator(server: &Server) -> bool {
    let found = server.discover_within(TRACKERS_TIMEOUT).await;
    found.is_ok_and(|found| found.source == Source::Operator)
}

fn is_refused<T>(result: &Result<T, Error>, how: impl Fn(&ApiError) -> bool) -> bool {
    let api_error = result.as_ref().err().and_then(Error::api_error);
    api_error.is_some_and(how)
}

/// The sessions, and the scope of their list.
struct SessionList {
    scope: Scope,
    sessions: Reading<Vec<Session>>,
}

/// Lists the sessions of all namespaces, or of the selected namespace if the user may list only
/// that one.
async fn list_sessions(server: &Server) -> SessionList {
    let mut scope = Scope::All;
    // The error of a failed discovery is also that of the list.
    let _ = server.discover_within(TRACKERS_TIMEOUT).await;
    let mut all = server.limited(REQUEST_TIMEOUT, server.sessions(&scope, None)).await;
    if is_refused(&all, ApiError::is_rbac) {
        scope = Scope::Namespace(server.namespace().to_owned());
        all = server.limited(REQUEST_TIMEOUT, server.sessions(&scope, None)).await;
    }
    let filter = Filter::default();
    let shown = all.map(|all| {
        let sessions = all.iter().map(Session::from_object);
        sessions.filter(|session| filter.shows(session)).collect()
    });
    SessionList { scope, sessions: Reading::from_result(shown) }
}

async fn gather(
    server: &Server,
    version: Result<Value, Error>,
    has_sessions: Result<bool, Error>,
) -> Facts {
    let (
        configuration,
        validating_configuration,
        policies,
        policy_bindings,
        deployment,
        api_service,
        trackers,
        created,
        auditor,
    ) = tokio::join!(
        server.limited(REQUEST_TIMEOUT, server.mutating_webhook()),
        server.limited(REQUEST_TIMEOUT, server.validating_webhook()),
        server.limited(REQUEST_TIMEOUT, server.admission_policies()),
        server.limited(REQUEST_TIMEOUT, server.admission_policy_bindings()),
        server.limited(REQUEST_TIMEOUT, server.deployment()),
        server.limited(REQUEST_TIMEOUT, server.api_service()),
        server.probe_trackers(TRACKERS_TIMEOUT),
        server.limited(REQUEST_TIMEOUT, server.dry_run_create()),
        server.limited(REQUEST_TIMEOUT, auditor::reports(server)),
    );
    Facts {
        version: Reading::from_result(version),
        has_sessions: Reading::from_result(has_sessions),
        configuration: Reading::from_result(configuration),
        validating_configuration: Reading::from_result(validating_configuration),
        policies: Reading::from_result(policies),
        policy_bindings: Reading::from_result(policy_bindings),
        deployment: Reading::from_result(deployment),
        api_service: Reading::from_result(api_service),
        trackers: Reading::from_result(trackers),
        dry_run_creation: Reading::from_result(created),
        auditor: Reading::from_result(auditor),
    }
}

fn is_well(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.state != State::Problem)
}

/// Counts sessions by namespace and user.
fn counts(sessions: &[Session]) -> BTreeMap<(&str, &str), usize> {
    let mut counts = BTreeMap::new();
    for session in sessions {
        let user = session.owner.as_ref().or(session.user.as_ref());
        let user = user.map_or("<unknown>", String::as_str);
        *counts.entry((session.namespace.as_str(), user)).or_default() += 1;
    }
    counts
}

fn to_object(checks: &[Check], sessions: &Reading<Vec<Session>>) -> Value {
    let sessions = match sessions {
        Reading::Known(sessions) => counts(sessions)
            .into_iter()
            .map(|((namespace, user), count)| {
                json!({ "namespace": namespace, "user": user, "sessions": count })
            })
            .collect(),
        Reading::Hidden | Reading::Unavailable(_) | Reading::Failed(_) => Value::Null,
    };
    json!({
        "clientVersion": concat!("v", env!("CARGO_PKG_VERSION")),
        "ok": is_well(checks),
        "checks": checks,
        "sessions": sessions,
    })
}

fn render_text(checks: &[Check], list: &SessionList) -> String {
    let mut rows = vec![[
        "plugin".to_owned(),
        State::Ok.word().to_owned(),
        concat!("v", env!("CARGO_PKG_VERSION")).to_owned(),
    ]];
    rows.extend(checks.iter().map(|check| {
        [check.name.to_owned(), check.state.word().to_owned(), visible(&check.message).into_owned()]
    }));
    let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
    let mut text = kubectl_get(&rows);
    let remedies: Vec<&Check> = checks.iter().filter(|check| check.remedy.is_some()).collect();
    if !remedies.is_empty() {
        text.push_str("\nTo do:\n");
        for check in remedies {
            let remedy = check.remedy.as_deref().unwrap_or_default();
            text.extend(["  ", check.name, ": ", &visible(remedy), "\n"]);
        }
    }
    text.push('\n');
    text.push_str(&of_sessions(list));
    text
}

fn of_sessions(list: &SessionList) -> String {
    let sessions = match &list.sessions {
        Reading::Known(sessions) if sessions.is_empty() => {
            return format!("{}\n", visible(&nothing_found(&list.scope)));
        }
        Reading::Known(sessions) => sessions,
        Reading::Hidden => return "Sessions: your roles don't show them\n".to_owned(),
        Reading::Unavailable(why) => {
            return format!("Sessions: not available now ({})\n", visible(why));
        }
        Reading::Failed(why) => return format!("Sessions: {}\n", visible(why)),
    };
    let header = ["NAMESPACE", "USER", "SESSIONS"].map(ToOwned::to_owned);
    let mut rows = vec![Vec::from(header)];
    rows.extend(counts(sessions).into_iter().map(|((namespace, user), count)| {
        vec![visible(namespace).into_owned(), visible(user).into_owned(), count.to_string()]
    }));
    let mut text = kubectl_get(&rows);
    if list.scope != Scope::All {
        text.push_str("Your roles don't show the sessions of other namespaces\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(namespace: &str, owner: &str) -> Session {
        Session {
            namespace: namespace.to_owned(),
            owner: Some(owner.to_owned()),
            ..Session::default()
        }
    }

    fn checks() -> Vec<Check> {
        vec![
            Check {
                name: "server",
                state: State::Ok,
                message: "Kubernetes v1".to_owned(),
                remedy: None,
            },
            Check {
                name: "webhook",
                state: State::Problem,
                message: "gone\u{1b}[2J".to_owned(),
                remedy: Some("start it".to_owned()),
            },
        ]
    }

    #[test]
    fn renders_one_screen() {
        let everywhere = |sessions| SessionList { scope: Scope::All, sessions };
        let sessions = everywhere(Reading::Known(vec![
            session("shop", "avi"),
            session("a", "bo"),
            session("shop", "avi"),
        ]));
        let own = env!("CARGO_PKG_VERSION");
        assert_eq!(
            render_text(&checks(), &sessions),
            format!(
                "plugin    ok        v{own}\n\
                 server    ok        Kubernetes v1\n\
                 webhook   problem   gone\\x1b[2J\n\
                 \n\
                 To do:\n  webhook: start it\n\
                 \n\
                 NAMESPACE   USER   SESSIONS\n\
                 a           bo     1\n\
                 shop        avi    2\n"
            )
        );
        let text = render_text(&checks()[..1], &everywhere(Reading::Hidden));
        assert!(!text.contains("To do"), "{text}");
        assert!(text.ends_with("\nSessions: your roles don't show them\n"), "{text}");
    }

    #[test]
    fn renders_json_for_scripts() {
        let value = to_object(&checks(), &Reading::Known(vec![session("shop", "avi")]));
        assert_eq!(value["ok"], false);
        assert_eq!(value["checks"][1]["state"], "problem");
        assert_eq!(value["checks"][1]["do"], "start it");
        assert_eq!(value["sessions"][0]["sessions"], 1);
        assert_eq!(to_object(&checks()[..1], &Reading::Hidden)["ok"], true);
    }
}
