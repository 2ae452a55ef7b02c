//! `status`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::auditor;
use crate::{
    cli::status::HealthArgs,
    console::Console,
    error::Error,
    filter::Filter,
    render::{columns::kubectl_get, escape::visible, output},
    server::{Scope, Server, Source},
    session::Session,
    status::{
        Check, Facts, Reading, State,
        assess::{assess, operators},
    },
};

pub(super) async fn run(
    server: &Server,
    args: HealthArgs,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    // Where nothing can be asked there is nothing to show but why.
    let version = server.version().await;
    if version.as_ref().is_err_and(Error::is_fatal) {
        return version.map(drop);
    }
    let found = server.source().await;
    let (checks, sessions) = if found.is_ok_and(|found| found.source == Source::Operator) {
        // Nothing of this project is there, nor should it be.
        (operators(&Reading::of(version)), sessions(server).await)
    } else {
        let facts = gather(server, version).await;
        (assess(&facts, now), facts.sessions)
    };
    let text = match args.output {
        None => plain(&checks, &sessions),
        Some(format) => output::render(&whole(&checks, &sessions), auditor::whole(format))
            .map_err(Error::Output)?,
    };
    console.print(&text)?;
    if is_well(&checks) {
        Ok(())
    } else {
        Err(Error::Told)
    }
}

async fn gather(server: &Server, version: Result<Value, Error>) -> Facts {
    let (
        has_sessions,
        configuration,
        guard,
        deployment,
        api_service,
        trackers,
        created,
        auditor,
        sessions,
    ) = tokio::join!(
        server.has_sessions(),
        server.webhook_configuration(),
        server.guard(),
        server.deployment(),
        server.api_service(),
        server.try_trackers(),
        server.try_session(),
        auditor::reports(server),
        sessions(server),
    );
    Facts {
        version: Reading::of(version),
        has_sessions: Reading::of(has_sessions),
        configuration: Reading::of(configuration),
        guard: Reading::of(guard),
        deployment: Reading::of(deployment),
        api_service: Reading::of(api_service),
        trackers: Reading::of(trackers),
        created: Reading::of(created),
        auditor: Reading::of(auditor),
        sessions,
    }
}

/// The sessions that the requester may list.
async fn sessions(server: &Server) -> Reading<Vec<Session>> {
    let all = match server.sessions(&Scope::All, None).await {
        // Who sees one namespace sees that.
        Err(Error::Refused(_)) => {
            let here = Scope::Namespace(server.namespace().to_owned());
            server.sessions(&here, None).await
        }
        other => other,
    };
    Reading::of(all.map(|all| shown(&all)))
}

/// Those that lists show: not those that are over, nor preview environments.
fn shown(all: &[Value]) -> Vec<Session> {
    let filter = Filter::default();
    let all = all.iter().map(Session::of_object);
    all.filter(|session| filter.shows(session)).collect()
}

fn is_well(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.state != State::Problem)
}

/// How many sessions there are of each user in each namespace.
fn counts(sessions: &[Session]) -> BTreeMap<(&str, &str), usize> {
    let mut counts = BTreeMap::new();
    for session in sessions {
        let user = session.owner.as_ref().or(session.user.as_ref());
        let user = user.map_or("<unknown>", String::as_str);
        *counts
            .entry((session.namespace.as_str(), user))
            .or_default() += 1;
    }
    counts
}

fn whole(checks: &[Check], sessions: &Reading<Vec<Session>>) -> Value {
    let sessions = match sessions {
        Reading::Known(sessions) => counts(sessions)
            .into_iter()
            .map(|((namespace, user), count)| {
                json!({ "namespace": namespace, "user": user, "sessions": count })
            })
            .collect(),
        Reading::Hidden | Reading::Failed(_) => Value::Null,
    };
    json!({
        "clientVersion": concat!("v", env!("CARGO_PKG_VERSION")),
        "ok": is_well(checks),
        "checks": checks,
        "sessions": sessions,
    })
}

fn plain(checks: &[Check], sessions: &Reading<Vec<Session>>) -> String {
    let mut rows = vec![[
        "plugin".to_owned(),
        State::Ok.word().to_owned(),
        concat!("v", env!("CARGO_PKG_VERSION")).to_owned(),
    ]];
    rows.extend(checks.iter().map(|check| {
        [
            check.name.to_owned(),
            check.state.word().to_owned(),
            visible(&check.message).into_owned(),
        ]
    }));
    let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
    let mut text = kubectl_get(&rows);
    let remedies: Vec<&Check> = checks
        .iter()
        .filter(|check| check.remedy.is_some())
        .collect();
    if !remedies.is_empty() {
        text.push_str("\nTo do:\n");
        for check in remedies {
            let remedy = check.remedy.as_deref().unwrap_or_default();
            text.extend(["  ", check.name, ": ", &visible(remedy), "\n"]);
        }
    }
    text.push('\n');
    text.push_str(&of_sessions(sessions));
    text
}

fn of_sessions(sessions: &Reading<Vec<Session>>) -> String {
    let sessions = match sessions {
        Reading::Known(sessions) if sessions.is_empty() => return "No sessions found\n".to_owned(),
        Reading::Known(sessions) => sessions,
        Reading::Hidden => return "Sessions: your roles don't show them\n".to_owned(),
        Reading::Failed(why) => return format!("Sessions: {}\n", visible(why)),
    };
    let header = ["NAMESPACE", "USER", "SESSIONS"].map(ToOwned::to_owned);
    let mut rows = vec![Vec::from(header)];
    rows.extend(
        counts(sessions)
            .into_iter()
            .map(|((namespace, user), count)| {
                vec![
                    visible(namespace).into_owned(),
                    visible(user).into_owned(),
                    count.to_string(),
                ]
            }),
    );
    kubectl_get(&rows)
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
    fn one_screen() {
        let sessions = Reading::Known(vec![
            session("shop", "avi"),
            session("a", "bo"),
            session("shop", "avi"),
        ]);
        let own = env!("CARGO_PKG_VERSION");
        assert_eq!(
            plain(&checks(), &sessions),
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
        let text = plain(&checks()[..1], &Reading::Hidden);
        assert!(!text.contains("To do"), "{text}");
        assert!(
            text.ends_with("\nSessions: your roles don't show them\n"),
            "{text}"
        );
    }

    #[test]
    fn sessions_that_lists_show() {
        let all = [
            json!({ "metadata": { "name": "a" }, "status": { "state": "running" } }),
            json!({ "metadata": { "name": "b" }, "status": { "state": "terminated" } }),
            json!({ "spec": { "session": { "id": "FF", "user": "preview-env" } } }),
        ];
        let names: Vec<String> = shown(&all).into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["a"]);
    }

    #[test]
    fn for_scripts() {
        let value = whole(&checks(), &Reading::Known(vec![session("shop", "avi")]));
        assert_eq!(value["ok"], false);
        assert_eq!(value["checks"][1]["state"], "problem");
        assert_eq!(value["checks"][1]["do"], "start it");
        assert_eq!(value["sessions"][0]["sessions"], 1);
        assert_eq!(whole(&checks()[..1], &Reading::Hidden)["ok"], true);
    }
}
