//! Events about a session.

use std::cmp::Reverse;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    error::ApiError,
    render::{columns, duration::age, escape::visible},
    server::Server,
    session::Session,
};

/// The Events about a session, as far as the requester may list them.
pub(super) enum Events {
    Found(Vec<Value>),
    /// Events are not requested.
    NotRequested,
    /// RBAC forbids listing them.
    Forbidden,
    /// The request failed for this reason.
    Failed(String),
}

pub(super) async fn events(server: &Server, session: &Session) -> Events {
    match server.events(&session.namespace, &session.name, session.uid.as_deref()).await {
        Ok(events) => Events::Found(events),
        Err(error) if error.api_error().is_some_and(ApiError::is_rbac) => Events::Forbidden,
        Err(error) => Events::Failed(error.to_string()),
    }
}

pub(super) fn event_table(events: &[Value], now: Timestamp) -> String {
    let mut events: Vec<&Value> = events.iter().collect();
    events.sort_by_key(|event| Reverse(last_seen(event)));
    events.reverse();
    let mut rows = vec![
        ["Type", "Reason", "Age", "From", "Message"].map(ToOwned::to_owned).to_vec(),
        ["----", "------", "----", "----", "-------"].map(ToOwned::to_owned).to_vec(),
    ];
    rows.extend(events.into_iter().map(|event| event_row(event, now)));
    for row in &mut rows {
        if let Some(first) = row.first_mut() {
            first.insert_str(0, "  ");
        }
    }
    columns::align(&rows, 0, 2)
}

fn event_row(event: &Value, now: Timestamp) -> Vec<String> {
    let text = |pointer: &str| {
        let text = event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        visible(text.trim()).into_owned()
    };
    let first = time(event, "/eventTime").or_else(|| time(event, "/firstTimestamp"));
    let count = |pointer: &str| event.pointer(pointer).and_then(Value::as_i64);
    let repeated =
        |count: i64, last| format!("{} (x{count} over {})", age(last, now), age(first, now));
    let when = match (count("/series/count"), count("/count")) {
        (Some(series), _) => repeated(series, time(event, "/series/lastObservedTime")),
        (None, Some(count @ 2..)) => repeated(count, time(event, "/lastTimestamp")),
        _ => age(first, now),
    };
    let from = Some(text("/source/component"))
        .filter(|from| !from.is_empty())
        .unwrap_or_else(|| text("/reportingComponent"));
    vec![text("/type"), text("/reason"), when, from, text("/message")]
}

fn last_seen(event: &Value) -> Option<Timestamp> {
    ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/firstTimestamp"]
        .iter()
        .find_map(|pointer| time(event, pointer))
}

fn time(event: &Value, pointer: &str) -> Option<Timestamp> {
    event.pointer(pointer)?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parses_events_of_every_version() {
        for event in [json!(null), json!({ "series": 1, "count": "x", "message": 5 }), json!([])] {
            assert!(event_table(&[event], Timestamp::UNIX_EPOCH).lines().count() == 3);
        }
    }
}
