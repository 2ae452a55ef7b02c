//! Sessions as rows of columns.

use jiff::Timestamp;

use super::{columns::kubectl_get, escape::visible, table};
use crate::{
    filter::ConcurrentSessions,
    session::{Session, kind_name},
};

/// The text for an absent value, which scripts parse too.
pub const NONE: &str = "<none>";
/// The text for an unknown value.
const UNKNOWN: &str = "<unknown>";
/// Limit of the listed concurrent owners.
const MAX_OTHERS: usize = 3;

/// The selection of columns.
// The flags are independent of each other.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Columns {
    /// Whether the namespace is shown.
    pub namespace: bool,
    /// Whether the columns of `-o wide` are shown.
    pub wide: bool,
    /// Whether the kind precedes the ID.
    pub kind: bool,
    /// The labels with columns of their own.
    pub label_columns: Vec<String>,
    /// Whether all labels are shown.
    pub labels: bool,
    /// Whether there may be unknown sessions on a target.
    pub others_unknown: bool,
}

impl Columns {
    /// Returns the headers of the columns.
    #[must_use]
    pub fn header(&self) -> Vec<String> {
        let mut header = vec!["SESSION ID", "TARGET"];
        if self.namespace {
            header.push("NAMESPACE");
        }
        header.extend(["USER", "PORTS", "SESSION DURATION"]);
        if self.wide {
            header.extend(["STATE", "KIND", "VERSION", "AGENT", "NODE", "OTHERS ON TARGET"]);
        }
        let mut header: Vec<String> = header.into_iter().map(ToOwned::to_owned).collect();
        let last = |label: &String| {
            let name = label.rsplit('/').next().unwrap_or_default();
            visible(&name.to_uppercase()).into_owned()
        };
        header.extend(self.label_columns.iter().map(last));
        if self.labels {
            header.push("LABELS".to_owned());
        }
        header
    }

    /// Returns the columns to truncate on a narrow terminal, in this order.
    #[must_use]
    pub fn flexible(&self) -> Vec<usize> {
        let user = 2 + usize::from(self.namespace);
        vec![user + 1, user, 1]
    }

    /// Returns the cells of a session.
    #[must_use]
    pub fn row(
        &self,
        session: &Session,
        concurrent: &ConcurrentSessions,
        now: Timestamp,
    ) -> Vec<String> {
        let cell = |value: Option<&str>| visible(value.unwrap_or(NONE)).into_owned();
        let id = session.id().to_string();
        let id = if self.kind { format!("{}/{id}", kind_name()) } else { id };
        let mut row = vec![cell(Some(&id)), cell(session.target.as_deref())];
        let namespace = Some(session.namespace.as_str()).filter(|name| !name.is_empty());
        if self.namespace {
            row.push(cell(namespace));
        }
        row.extend([
            cell(session.user.as_deref()),
            cell(session.port_line().as_deref()),
            session.age(now),
        ]);
        if self.wide {
            let agent = session.agent.as_ref();
            row.extend([
                cell(session.state.as_deref()),
                cell(session.kind.as_deref()),
                cell(session.version.as_deref()),
                cell(agent.and_then(|agent| agent.name.as_deref())),
                cell(agent.and_then(|agent| agent.node.as_deref())),
                if self.others_unknown {
                    UNKNOWN.to_owned()
                } else {
                    cell(named(&concurrent.concurrent_owners(session)).as_deref())
                },
            ]);
        }
        // Like kubectl, an absent label is an empty cell.
        let value = |label: &String| cell(Some(session.label(label).unwrap_or_default()));
        row.extend(self.label_columns.iter().map(value));
        if self.labels {
            row.push(cell(session.label_line().as_deref()));
        }
        row
    }
}

fn named(others: &[&str]) -> Option<String> {
    let shown = others.iter().take(MAX_OTHERS).copied().collect::<Vec<_>>();
    match others.len().saturating_sub(MAX_OTHERS) {
        _ if shown.is_empty() => None,
        0 => Some(shown.join(",")),
        more => Some(format!("{}+{more}", shown.join(","))),
    }
}

/// Returns sessions in plain columns, like kubectl.
#[must_use]
pub fn plain_columns(sessions: &[Session], columns: &Columns, now: Timestamp) -> String {
    let concurrent = ConcurrentSessions::new(sessions);
    let mut rows = vec![columns.header()];
    rows.extend(sessions.iter().map(|session| columns.row(session, &concurrent, now)));
    kubectl_get(&rows)
}

/// Returns the names that delete and kubectl accept.
#[must_use]
pub fn names(sessions: &[Session]) -> String {
    let line = |session: &Session| format!("{}/{}\n", kind_name(), visible(&session.name));
    sessions.iter().map(line).collect()
}

/// Returns the bordered table of mirrord's status command, limited to `width`.
#[must_use]
pub fn bordered(
    sessions: &[Session],
    now: Timestamp,
    headers: bool,
    width: Option<usize>,
) -> String {
    let header = ["Session ID", "Target", "Namespace", "User", "Ports", "Session Duration"];
    let rows = sessions.iter().map(|session| {
        let cell = |value: Option<&str>| visible(value.unwrap_or_default()).into_owned();
        let ports: Vec<String> = match &session.port_summary {
            Some(summary) if session.ports.is_empty() => vec![cell(Some(summary))],
            _ => session.ports.iter().map(|port| cell(Some(&port.line))).collect(),
        };
        let namespace = match session.namespace.as_str() {
            "" => "N/A",
            name => name,
        };
        [
            cell(Some(&session.id().to_string())),
            cell(session.target.as_deref()),
            cell(Some(namespace)),
            cell(session.user.as_deref()),
            ports.join("\n"),
            session.exact_age(now),
        ]
    });
    table::bordered(headers.then_some(header), rows, width)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_listed_concurrent_owners() {
        let named = |others: &[&str]| super::named(others).unwrap_or_default();
        assert_eq!(named(&[]), "");
        assert_eq!(named(&["a", "b"]), "a,b");
        assert_eq!(named(&["a", "b", "c", "d", "e"]), "a,b,c+2");
    }

    #[test]
    fn prints_every_column() {
        let columns = Columns {
            namespace: true,
            wide: true,
            kind: true,
            label_columns: vec!["x.io/b".into(), "c".into()],
            labels: true,
            others_unknown: false,
        };
        let tracker = json!({
            "metadata": { "name": "487f4f2b6d2376ad", "namespace": "shop", "labels": { "x.io/b": "2", "a": "1" } },
            "spec": {
                "kind": "job", "target": "deployment/a", "user": "Avi/avi@x@host",
                "owner": { "username": "avi@x" }, "clientVersion": "3.250.0",
            },
            "status": {
                "state": "terminated", "started": "1970-01-01T00:00:10Z", "endedAt": "1970-01-01T00:01:13Z",
                "ports": [{ "port": 80, "type": "steal", "filtered": true }],
                "agent": { "kind": "Job", "namespace": "m", "name": "mirrord-agent-a", "node": "n1" },
            },
        });
        let session = Session::from_object(&tracker);
        let other = Session { owner: Some("eve".into()), state: None, ..session.clone() };
        let row =
            columns.row(&session, &ConcurrentSessions::new([&session, &other]), Timestamp::MAX);
        let shown: Vec<(String, String)> = columns.header().into_iter().zip(row).collect();
        let expected = [
            ("SESSION ID", "session.operator.metalbear.co/487F4F2B6D2376AD"),
            ("TARGET", "deployment/a"),
            ("NAMESPACE", "shop"),
            ("USER", "Avi/avi@x@host"),
            ("PORTS", "Port: 80, Type: steal, Filter: <hidden>"),
            ("SESSION DURATION", "63s"),
            ("STATE", "terminated"),
            ("KIND", "job"),
            ("VERSION", "3.250.0"),
            ("AGENT", "mirrord-agent-a"),
            ("NODE", "n1"),
            ("OTHERS ON TARGET", "eve"),
            ("B", "2"),
            ("C", ""),
            ("LABELS", "a=1,x.io/b=2"),
        ];
        let expected = expected.map(|(name, cell)| (name.to_owned(), cell.to_owned()));
        assert_eq!(shown, expected);
    }
}
