//! Resources that sessions are read from, and their API paths.

use mirrord_sessions_crds::{GROUP, SESSIONS, TRACKER_GROUP, TRACKER_VERSION, TRACKERS};

use super::{options::Scope, url::encode};

/// API that sessions are read from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// SessionTrackers, which are filtered by what the requester may see.
    Trackers,
    /// The Session objects themselves.
    Sessions,
    /// The sessions API of mirrord's own operator.
    Operator,
}

/// Result of API discovery.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// API that sessions are read from.
    pub source: Source,
    /// Why Sessions are read in place of trackers.
    pub missing: Option<MissingTrackers>,
}

/// The reason why trackers can't be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MissingTrackers {
    /// The cluster does not serve them.
    NotServed,
    /// The cluster cannot reach the webhook that serves them, for this reason.
    Unavailable(String),
}

impl Discovery {
    /// Returns the reason why trackers are unavailable, if they are.
    #[must_use]
    pub fn unavailable_reason(&self) -> Option<&str> {
        match &self.missing {
            Some(MissingTrackers::Unavailable(reason)) => Some(reason),
            _ => None,
        }
    }

    /// Returns the warning that Sessions are read in place of trackers.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let reason = match self.missing.as_ref()? {
            MissingTrackers::NotServed => "not served by this cluster".to_owned(),
            MissingTrackers::Unavailable(reason) => format!("not available now ({reason})"),
        };
        Some(format!(
            "Warning: {} is {reason}: reading {} instead",
            Source::Trackers.resource(),
            Source::Sessions.resource()
        ))
    }
}

impl Source {
    /// Returns the resource with its group.
    #[must_use]
    pub fn resource(self) -> String {
        match self {
            Self::Trackers => format!("{TRACKERS}.{TRACKER_GROUP}"),
            Self::Sessions => SESSIONS.to_owned(),
            Self::Operator => format!("{SESSIONS} of mirrord's operator"),
        }
    }

    /// Returns the API version and the kind of the objects.
    #[must_use]
    pub fn kind(self) -> (String, &'static str) {
        match self {
            Self::Trackers => (format!("{TRACKER_GROUP}/{TRACKER_VERSION}"), "SessionTracker"),
            Self::Sessions | Self::Operator => (format!("{GROUP}/v1"), "Session"),
        }
    }

    /// Returns the path of the collection, or of the object with this name.
    pub(super) fn path(self, scope: &Scope, name: Option<&str>) -> String {
        let (version, _) = self.kind();
        let resource = match self {
            Self::Trackers => TRACKERS,
            Self::Sessions | Self::Operator => "sessions",
        };
        let mut path = format!("/apis/{version}");
        if let Some(namespace) = scope.namespace() {
            path.push_str("/namespaces/");
            path.push_str(&encode(namespace));
        }
        path.push('/');
        path.push_str(resource);
        if let Some(name) = name {
            path.push('/');
            path.push_str(&encode(name));
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_namespaces_and_names_in_paths() {
        let cases = [
            (
                Source::Sessions,
                Scope::Namespace("a/b".into()),
                Some("../../secrets/x?y"),
                "/apis/operator.metalbear.co/v1/namespaces/a%2Fb/sessions/..%2F..%2Fsecrets%2Fx%3Fy",
            ),
            (Source::Operator, Scope::All, None, "/apis/operator.metalbear.co/v1/sessions"),
            (
                Source::Trackers,
                Scope::Namespace("shop".into()),
                Some("a"),
                "/apis/visibility.operator.metalbear.co/v1/namespaces/shop/sessiontrackers/a",
            ),
        ];
        for (source, scope, name, expected) in cases {
            assert_eq!(source.path(&scope, name), expected);
        }
    }
}
