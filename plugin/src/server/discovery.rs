//! Discovery of the API that serves sessions.

use std::time::Duration;

use http::Method;
use mirrord_sessions_crds::{GROUP, TRACKER_GROUP, TRACKER_VERSION, TRACKERS};
use serde_json::Value;

use super::{
    client::Server,
    options::cluster_request,
    source::{Discovery, MissingTrackers, Source},
};
use crate::error::{ApiError, Error, FailureKind, Verb};

/// Resource that only mirrord's own operator serves in the group of Sessions.
const OPERATORS: &str = "mirrordoperators";
/// Time after which trackers count as unavailable.
///
/// The aggregator holds requests to a hanging webhook for much longer, until it notices.
const TRACKERS_TIMEOUT: Duration = Duration::from_secs(5);

/// Resources that the group of Sessions serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ServedResources {
    /// Sessions of this project or of mirrord's own operator.
    pub sessions: bool,
    /// The resource of mirrord's own operator.
    pub operators: bool,
}

impl Server {
    /// Discovers the API that serves sessions and caches the result.
    pub async fn discover(&self) -> Result<&Discovery, Error> {
        self.discover_within(TRACKERS_TIMEOUT).await
    }

    /// Discovers the API that serves sessions. Trackers that do not answer within the limit are
    /// unavailable.
    pub async fn discover_within(&self, limit: Duration) -> Result<&Discovery, Error> {
        let discover = || async {
            let discovery = self.discover_uncached(limit).await?;
            self.log.log(1, &format!("Reading {}", discovery.source.resource()));
            Ok(discovery)
        };
        self.discovery.get_or_try_init(discover).await
    }

    async fn discover_uncached(&self, limit: Duration) -> Result<Discovery, Error> {
        let group_version = format!("{TRACKER_GROUP}/{TRACKER_VERSION}");
        let missing = match self.limited(limit, self.resource_names(&group_version)).await {
            Ok(names) if names.contains(TRACKERS) => None,
            Ok(_) => Some(MissingTrackers::NotServed),
            Err(error) => match FailureKind::from_error(&error) {
                // A user without the right to discover APIs may still list trackers. If not, the
                // list request reports it.
                FailureKind::Forbidden => None,
                FailureKind::NotServed => Some(MissingTrackers::NotServed),
                FailureKind::Unavailable(reason) => Some(MissingTrackers::Unavailable(reason)),
                FailureKind::Other => return Err(error),
            },
        };
        if missing.is_none() {
            return Ok(Discovery { source: Source::Trackers, missing: None });
        }
        Ok(if self.served_resources().await?.operators {
            Discovery { source: Source::Operator, missing: None }
        } else {
            Discovery { source: Source::Sessions, missing }
        })
    }

    /// Returns which resources the group of Sessions serves. A user without the right to discover
    /// APIs is assumed to have Sessions.
    pub async fn served_resources(&self) -> Result<ServedResources, Error> {
        match self.resource_names(&format!("{GROUP}/v1")).await {
            Ok(names) => Ok(ServedResources {
                sessions: names.contains("sessions"),
                operators: names.contains(OPERATORS),
            }),
            Err(error)
                if error.api_error().is_some_and(|api_error| {
                    api_error.status.code == 403 && !api_error.is_unauthenticated()
                }) =>
            {
                Ok(ServedResources { sessions: true, operators: false })
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the names of the resources of a group version.
    async fn resource_names(&self, group_version: &str) -> Result<ResourceNames, Error> {
        let resources = Box::pin(self.api_resources(group_version)).await?;
        let names = resources
            .iter()
            .filter_map(|resource| resource["name"].as_str())
            .map(ToOwned::to_owned);
        Ok(ResourceNames(names.collect()))
    }

    async fn api_resources(&self, group_version: &str) -> Result<Vec<Value>, Error> {
        let path = format!("/apis/{group_version}");
        let mut list: Value =
            self.request(&cluster_request(Verb::Get), Method::GET, &path, None).await?;
        match list.get_mut("resources").map(Value::take) {
            Some(Value::Array(resources)) => Ok(resources),
            _ => Err(Error::Unexpected {
                host: self.host.clone(),
                what: format!("{path} lists no resources"),
            }),
        }
    }

    /// Returns whether the server accepts new Sessions.
    ///
    /// A CRD that is being deleted is still served, but not for creation.
    #[cfg(unix)]
    pub async fn accepts_sessions(&self) -> Result<bool, Error> {
        match self.api_resources(&format!("{GROUP}/v1")).await {
            Ok(resources) => Ok(can_create_sessions(&resources)),
            Err(error) if error.api_error().is_some_and(ApiError::is_not_installed) => Ok(false),
            // A user without the right to discover APIs is assumed to have them.
            Err(error)
                if error.api_error().is_some_and(|api_error| api_error.status.code == 403) =>
            {
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns whether the server serves Sessions.
    pub async fn serves_sessions(&self) -> Result<bool, Error> {
        match self.resource_names(&format!("{GROUP}/v1")).await {
            Ok(names) => Ok(names.contains("sessions")),
            Err(error) if error.api_error().is_some_and(ApiError::is_not_installed) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Returns whether Sessions are among the resources and can be created.
///
/// A resource without a list of verbs is assumed to allow all of them.
#[cfg(unix)]
fn can_create_sessions(resources: &[Value]) -> bool {
    resources.iter().any(|resource| {
        let verbs = resource["verbs"].as_array();
        resource["name"] == "sessions"
            && verbs.is_none_or(|verbs| verbs.iter().any(|verb| verb == "create"))
    })
}

struct ResourceNames(Vec<String>);

impl ResourceNames {
    fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|known| known == name)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sessions_of_a_terminating_crd_cannot_be_created() {
        for (name, resources, expected) in [
            ("no resources", json!([]), false),
            (
                "another resource",
                json!([{ "name": "sessionpolicies", "verbs": ["create"] }]),
                false,
            ),
            ("a subresource", json!([{ "name": "sessions/status", "verbs": ["create"] }]), false),
            ("served", json!([{ "name": "sessions", "verbs": ["get", "create"] }]), true),
            (
                "terminating",
                json!([{ "name": "sessions", "verbs": ["delete", "get", "list"] }]),
                false,
            ),
            ("no verbs", json!([{ "name": "sessions" }]), true),
            ("malformed", json!(["sessions", 7, null]), false),
        ] {
            assert_eq!(can_create_sessions(resources.as_array().unwrap()), expected, "{name}");
        }
    }
}
