//! Sessions of mirrord's own operator.

use jiff::SignedDuration;
use mirrord_sessions_crds::{SessionId, TrackerKind};
use serde_json::Value;

use super::{Session, ports, text};

/// Prefixes that older operators put before the IDs of sessions that span clusters.
const ID_PREFIXES: [&str; 2] = ["mc-copy-", "mc-"];

/// Returns the ID without the prefix of older operators.
#[must_use]
pub fn strip_operator_prefix(id: &str) -> &str {
    let digits = ID_PREFIXES.iter().find_map(|prefix| id.strip_prefix(prefix));
    digits.unwrap_or(id)
}

/// The user that the operator shows for a preview environment.
pub(super) const PREVIEW: &str = "preview-env";

/// Parses `spec.session` as far as possible.
pub(super) fn read(object: &Value) -> Session {
    let session = &object["spec"]["session"];
    let field = |name: &str| text(session.get(name));
    let id = field("id").or_else(|| text(object.pointer("/metadata/name")));
    let user = field("user");
    let (login, owner, hostname) = user.as_deref().map_or((None, None, None), parts);
    Session {
        // Session names are stored in lower case and shown in upper case.
        name: id
            .map(|id| match id.parse::<SessionId>() {
                Ok(id) => id.name().to_owned(),
                Err(_) => id,
            })
            .unwrap_or_default(),
        namespace: field("namespace").unwrap_or_default(),
        lasted: session["duration_secs"]
            .as_u64()
            .and_then(|seconds| seconds.try_into().ok())
            .map(SignedDuration::from_secs),
        kind: Some(TrackerKind::Operator.as_str().to_owned()),
        target: field("target"),
        participants: owner.iter().cloned().collect(),
        owner,
        owner_uid: None,
        client_user: login,
        client_host: hostname,
        user,
        key: field("key"),
        state: Some("running".to_owned()),
        ports: ports(session.get("locked_ports")),
        header_filter: text(session.pointer("/http_filter/headerFilter")),
        ..Session::default()
    }
}

/// Splits `whoami/kubernetes-user@hostname`. The user follows the first slash and ends at the last
/// at sign.
fn parts(user: &str) -> (Option<String>, Option<String>, Option<String>) {
    let own = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let Some((login, rest)) = user.split_once('/') else {
        return (None, own(user), None);
    };
    match rest.rsplit_once('@') {
        Some((owner, hostname)) => (own(login), own(owner), own(hostname)),
        None => (own(login), own(rest), None),
    }
}

impl Session {
    /// Returns whether this is a preview environment instead of a user's session.
    #[must_use]
    pub fn is_preview(&self) -> bool {
        self.kind.as_deref() == Some(TrackerKind::Operator.as_str())
            && self.user.as_deref() == Some(PREVIEW)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn parses_current_and_legacy_forms() {
        let modern = json!({ "port": 80, "kind": "steal", "filter": "header=a" });
        let legacy = json!([81, "mirror", null]);
        let session = Session::from_object(&json!({
            "metadata": { "name": "whatever" },
            "spec": { "session": {
                "id": "487F4F2B6D2376AD", "duration_secs": 63, "user": "Avi/avi@x.co@avis-macbook",
                "target": "deployment/a", "namespace": "shop", "locked_ports": [modern, legacy],
                "key": "avi", "http_filter": { "headerFilter": "x: y" },
            }},
        }));
        assert_eq!(session.name, "487f4f2b6d2376ad");
        assert_eq!(session.id().to_string(), "487F4F2B6D2376AD");
        assert_eq!(session.owner.as_deref(), Some("avi@x.co"));
        assert_eq!(session.client_user.as_deref(), Some("Avi"));
        assert_eq!(session.client_host.as_deref(), Some("avis-macbook"));
        assert_eq!(session.age(Timestamp::UNIX_EPOCH), "63s");
        assert_eq!(
            session.port_line().as_deref(),
            Some("Port: 80, Type: steal, Filter: header=a; Port: 81, Type: mirror")
        );
        assert!(!session.is_preview());
        let preview = json!({ "spec": { "session": { "user": "preview-env", "target": "x" } } });
        assert!(Session::from_object(&preview).is_preview());
    }

    #[test]
    fn parses_malformed_sessions_partially() {
        for session in [
            json!({}),
            json!({ "id": 5, "duration_secs": "long", "user": [], "locked_ports": "all" }),
            json!({ "id": "a/b", "duration_secs": u64::MAX, "locked_ports": [1, [2], [80, "steal"]] }),
        ] {
            let read = Session::from_object(&json!({ "spec": { "session": session } }));
            assert_eq!(read.age(Timestamp::UNIX_EPOCH), "<unknown>", "{session}");
        }
    }
}
