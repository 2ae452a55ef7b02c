//! Where sessions are read from: found by discovery, once.

use http::Method;
use mirrord_sessions_crds::{GROUP, SESSIONS, TRACKER_GROUP, TRACKER_VERSION, TRACKERS};
use serde_json::Value;

use super::{Scope, Server, everywhere, wire::encoded};
use crate::error::{ApiError, Error, RequestInfo, Verb};

/// What mirrord's operator alone serves, in the group of Sessions.
const OPERATORS: &str = "mirrordoperators";

/// Where sessions are read from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// From trackers, which show to each who asks what they may see.
    Trackers,
    /// From the Sessions themselves.
    Sessions,
    /// From mirrord's own operator, which serves sessions of its own.
    Operator,
}

impl Source {
    /// The resource that is read, with its group.
    #[must_use]
    pub fn resource(self) -> String {
        match self {
            Self::Trackers => format!("{TRACKERS}.{TRACKER_GROUP}"),
            Self::Sessions => SESSIONS.to_owned(),
            Self::Operator => format!("{SESSIONS} of mirrord's operator"),
        }
    }

    /// API version and kind of what is read.
    #[must_use]
    pub fn kind(self) -> (String, &'static str) {
        match self {
            Self::Trackers => (format!("{TRACKER_GROUP}/{TRACKER_VERSION}"), "SessionTracker"),
            Self::Sessions | Self::Operator => (format!("{GROUP}/v1"), "Session"),
        }
    }

    /// Where to read all of a scope, or one by name.
    pub(super) fn path(self, scope: &Scope, name: Option<&str>) -> String {
        let (version, _) = self.kind();
        let resource = match self {
            Self::Trackers => TRACKERS,
            Self::Sessions | Self::Operator => "sessions",
        };
        let mut path = format!("/apis/{version}");
        if let Some(namespace) = scope.namespace() {
            path.push_str("/namespaces/");
            path.push_str(&encoded(namespace));
        }
        path.push('/');
        path.push_str(resource);
        if let Some(name) = name {
            path.push('/');
            path.push_str(&encoded(name));
        }
        path
    }
}

/// What discovery found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where sessions are read from.
    pub source: Source,
    /// Why it isn't trackers, where that is worth a word.
    pub warning: Option<String>,
}

impl Server {
    /// Where sessions are read from. The cluster is asked once.
    pub async fn source(&self) -> Result<&Found, Error> {
        let discover = || async {
            let found = self.discover().await?;
            self.log.say(1, &format!("Reading {}", found.source.resource()));
            Ok(found)
        };
        self.found.get_or_try_init(discover).await
    }

    async fn discover(&self) -> Result<Found, Error> {
        let group_version = format!("{TRACKER_GROUP}/{TRACKER_VERSION}");
        let missing = match self.resources(&group_version).await {
            Ok(resources) if resources.contains(TRACKERS) => None,
            Ok(_) => Some("not served by this cluster".to_owned()),
            Err(error) => match error.api_error() {
                // Who may not discover may still read; what is forbidden the list will say.
                Some(api_error) if api_error.status.code == 403 && api_error.status.is_status => {
                    None
                }
                Some(api_error) if api_error.is_not_installed() => {
                    Some("not served by this cluster".to_owned())
                }
                Some(api_error) if api_error.status.code == 503 => {
                    Some(format!("not available now ({})", api_error.status.message.trim()))
                }
                _ => return Err(error),
            },
        };
        let Some(missing) = missing else {
            return Ok(Found { source: Source::Trackers, warning: None });
        };
        let is_operators = match self.resources(&format!("{GROUP}/v1")).await {
            Ok(resources) => resources.contains(OPERATORS),
            Err(error)
                if error.api_error().is_some_and(|api_error| api_error.status.code == 403) =>
            {
                false
            }
            Err(error) => return Err(error),
        };
        if is_operators {
            return Ok(Found { source: Source::Operator, warning: None });
        }
        Ok(Found {
            source: Source::Sessions,
            warning: Some(format!(
                "Warning: {} is {missing}: reading {} instead",
                Source::Trackers.resource(),
                Source::Sessions.resource()
            )),
        })
    }

    /// The names of the resources that a group and version has.
    async fn resources(&self, group_version: &str) -> Result<Names, Error> {
        let resources = Box::pin(self.resource_list(group_version)).await?;
        let names = resources
            .iter()
            .filter_map(|resource| resource["name"].as_str())
            .map(ToOwned::to_owned);
        Ok(Names(names.collect()))
    }

    async fn resource_list(&self, group_version: &str) -> Result<Vec<Value>, Error> {
        let path = format!("/apis/{group_version}");
        let mut found: Value =
            self.request(&everywhere(Verb::Get), Method::GET, &path, None).await?;
        match found.get_mut("resources").map(Value::take) {
            Some(Value::Array(resources)) => Ok(resources),
            _ => Err(Error::Unexpected {
                host: self.host.clone(),
                what: format!("{path} lists no resources"),
            }),
        }
    }

    /// Whether the server takes new Sessions now. A definition that is about to go is still served,
    /// and nothing can be created of it any more.
    #[cfg(unix)]
    pub async fn takes_sessions(&self) -> Result<bool, Error> {
        match self.resource_list(&format!("{GROUP}/v1")).await {
            Ok(resources) => Ok(takes(&resources)),
            Err(error) if error.api_error().is_some_and(ApiError::is_not_installed) => Ok(false),
            // Who may not discover learns nothing by it, as before.
            Err(error) if error.api_error().is_some_and(|no| no.status.code == 403) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Whether the server has Sessions.
    pub async fn has_sessions(&self) -> Result<bool, Error> {
        match self.resources(&format!("{GROUP}/v1")).await {
            Ok(resources) => Ok(resources.contains("sessions")),
            Err(error) if error.api_error().is_some_and(ApiError::is_not_installed) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is asked of this scope.
    pub(super) fn asked_of(verb: Verb, scope: &Scope) -> RequestInfo {
        RequestInfo { namespace: scope.namespace().map(ToOwned::to_owned), ..everywhere(verb) }
    }
}

/// Whether Sessions are among these resources, to be created. Where no verbs are named, nothing is
/// known of them.
#[cfg(unix)]
fn takes(resources: &[Value]) -> bool {
    resources.iter().any(|resource| {
        let verbs = resource["verbs"].as_array();
        resource["name"] == "sessions"
            && verbs.is_none_or(|verbs| verbs.iter().any(|verb| verb == "create"))
    })
}

struct Names(Vec<String>);

impl Names {
    fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|found| found == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_definition_that_is_about_to_go_takes_nothing() {
        use serde_json::json;
        for (name, resources, expected) in [
            ("none", json!([]), false),
            ("another", json!([{ "name": "sessionpolicies", "verbs": ["create"] }]), false),
            ("a part", json!([{ "name": "sessions/status", "verbs": ["create"] }]), false),
            ("there", json!([{ "name": "sessions", "verbs": ["get", "create"] }]), true),
            ("going", json!([{ "name": "sessions", "verbs": ["delete", "get", "list"] }]), false),
            ("without verbs", json!([{ "name": "sessions" }]), true),
            ("odd", json!(["sessions", 7, null]), false),
        ] {
            assert_eq!(takes(resources.as_array().unwrap()), expected, "{name}");
        }
    }

    #[test]
    fn nothing_leaves_its_place_in_a_path() {
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
