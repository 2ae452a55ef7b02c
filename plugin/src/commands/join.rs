//! The command `join`, which makes the requester a participant.

use serde_json::Value;

use super::{scope, selection::find};
use crate::{
    cli::join::{JoinArgs, JoinFormat},
    console::Console,
    error::{ApiError, Error, shell},
    render::{
        escape::visible,
        output::{self, Format},
    },
    server::{Scope, Server, Source},
    session::{Session, kind_name},
};

pub(super) async fn run(
    server: &Server,
    args: &JoinArgs,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let discovery = server.discover().await?;
    if discovery.source != Source::Trackers {
        let trackers = Source::Trackers.resource();
        return Err(Error::setup(match discovery.unavailable_reason() {
            Some(reason) => format!(
                "joining requires {trackers}, which is not available now ({reason}): try again later, or ask an administrator to check the webhook of mirrord-sessions (kubectl -n mirrord-sessions get pods)"
            ),
            None => format!(
                "joining requires {trackers}, which this cluster does not serve: an administrator can install it as described in the README of mirrord-sessions"
            ),
        }));
    }
    let scope = scope(server, args.namespaces);
    let session = find_session(server, &scope, args).await?;
    if session.is_over() {
        return Err(Error::setup(format!(
            "session \"{}\" has ended and can't be joined",
            session.id()
        )));
    }
    let answer = server.join(&session.namespace, &session.id()).await?;
    let text = match args.output {
        Some(JoinFormat::Json) => output::render(&answer, Format::Json).map_err(Error::Output)?,
        Some(JoinFormat::Yaml) => output::render(&answer, Format::Yaml).map_err(Error::Output)?,
        Some(JoinFormat::Name) => format!("{}/{}\n", kind_name(), visible(&session.name)),
        None => render(&session, &answer),
    };
    console.print(&text)
}

/// Returns the session to join.
async fn find_session(server: &Server, scope: &Scope, args: &JoinArgs) -> Result<Session, Error> {
    let found = match (find(server, scope, &args.id).await, scope) {
        (Ok(found), _) => found,
        // A user who may not read sessions may still join a known ID.
        (Err(error), Scope::Namespace(namespace))
            if error.api_error().is_some_and(ApiError::is_rbac) =>
        {
            return Ok(Session {
                name: args.id.id.name().to_owned(),
                namespace: namespace.clone(),
                ..Session::default()
            });
        }
        (Err(error), _) => return Err(error),
    };
    let mut found: Vec<Session> = found.iter().map(Session::from_object).collect();
    match (found.pop(), found.as_slice()) {
        (Some(session), []) => Ok(session),
        (last, others) => {
            let all = others.iter().chain(&last);
            let namespaces: Vec<&str> = all.map(|session| session.namespace.as_str()).collect();
            Err(Error::Ambiguous { id: args.id.id.clone(), namespaces: namespaces.join(", ") })
        }
    }
}

fn render(session: &Session, answer: &Value) -> String {
    let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str);
    let user = session.user.as_deref();
    let user = user.map_or_else(String::new, |user| format!(" of {user}"));
    let target = session.target.as_deref();
    let target = target.map_or_else(String::new, |target| {
        format!(" on {target} in {} namespace", session.namespace)
    });
    let mut lines = vec![format!("Joined session {}{user}{target}.", session.id())];
    let header = text("/status/header/name").zip(text("/status/header/value"));
    if let Some((name, value)) = header {
        let header = format!("{name}: {value}");
        lines.push("Requests with this header are routed to the session:".to_owned());
        lines.push(format!("  {header}"));
        lines.push("For example:".to_owned());
        lines.push(format!("  curl -H {} http://ADDRESS", shell(&header)));
    } else {
        lines.push(format!(
            "The session has no key, so no header routes requests to it: it takes the requests that match its filters. \"kubectl mirrord-sessions describe {} -n {}\" shows them.",
            session.id(),
            session.namespace
        ));
    }
    let participants = answer.pointer("/status/participants").and_then(Value::as_array);
    let participants: Vec<&str> =
        participants.into_iter().flatten().filter_map(Value::as_str).collect();
    if !participants.is_empty() {
        lines.push(format!("Participants: {}", participants.join(", ")));
    }
    let lines: Vec<_> = lines.iter().map(|line| visible(line)).collect();
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn session() -> Session {
        Session {
            name: "487f4f2b6d2376ad".into(),
            namespace: "shop".into(),
            user: Some("Avi/avi@x@host".into()),
            target: Some("deployment/a".into()),
            ..Session::default()
        }
    }

    #[test]
    fn renders_the_header_of_a_key() {
        let answer = json!({ "status": {
            "key": "avi's", "header": { "name": "baggage", "value": "mirrord-session=avi's" },
            "participants": ["avi@x", "eve\u{1b}"],
        }});
        assert_eq!(
            render(&session(), &answer),
            "Joined session 487F4F2B6D2376AD of Avi/avi@x@host on deployment/a in shop namespace.\n\
             Requests with this header are routed to the session:\n\
             \x20 baggage: mirrord-session=avi's\n\
             For example:\n\
             \x20 curl -H 'baggage: mirrord-session=avi'\\''s' http://ADDRESS\n\
             Participants: avi@x, eve\\x1b\n"
        );
    }

    #[test]
    fn renders_a_session_without_a_key() {
        let text = render(&session(), &json!({ "status": { "participants": [] } }));
        assert!(text.contains("The session has no key, so no header"), "{text}");
        assert!(!text.contains("curl") && !text.contains("Participants"), "{text}");
        let unseen = Session { name: "a".into(), ..Session::default() };
        assert!(render(&unseen, &json!(null)).starts_with("Joined session a.\n"));
    }
}
