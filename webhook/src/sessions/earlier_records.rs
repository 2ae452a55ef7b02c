//! Moves the records that an earlier release stored as ConfigMaps into Secrets.
//!
//! Every user with the built-in role `view` reads ConfigMaps. Replicas of the earlier release write
//! them until the rollout ends, so they are moved for a quarter of an hour.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams},
};
use mirrord_sessions_core::text::printable;
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use super::{EndedSessionStore, ended_session_record};

/// The maximum number of records moved in one round.
const PAGE_SIZE: u32 = 500;
const INTERVAL: Duration = Duration::from_secs(30);
/// The number of rounds, which outlast a rollout.
const ROUNDS: usize = 30;
/// The timeout of one API call.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The records of an earlier release.
#[derive(Debug)]
pub(super) struct EarlierRecords {
    config_maps: Api<ConfigMap>,
}

impl EarlierRecords {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self { config_maps: Api::namespaced(client, namespace) }
    }

    /// Moves records into the store, and deletes those that have expired. Never returns.
    pub(super) async fn migrate(&self, store: &EndedSessionStore, retention: i64) {
        for _ in 0..ROUNDS {
            match timeout(TIMEOUT * 6, self.migrate_once(store, retention)).await {
                Ok(Ok(0)) => {}
                Ok(Ok(moved)) => info!(moved, "moved records of ended sessions into Secrets"),
                Ok(Err(error)) => {
                    let error = printable(&error.to_string(), 300);
                    debug!(error, "failed to move the records of an earlier release");
                }
                Err(_) => debug!("timed out moving the records of an earlier release"),
            }
            sleep(INTERVAL).await;
        }
        std::future::pending::<()>().await;
    }

    /// Moves one page of records, and returns their number.
    async fn migrate_once(
        &self,
        store: &EndedSessionStore,
        retention: i64,
    ) -> Result<usize, kube::Error> {
        let params =
            ListParams::default().labels(&ended_session_record::label_selector()).limit(PAGE_SIZE);
        let maps = self.config_maps.list(&params).await?.items;
        for map in &maps {
            if let Some(tracker) = ended_session_record::parse_config_map(map)
                && let Err(error) = store.write_record(&tracker, retention).await
            {
                debug!(error, "failed to store a record again");
                continue;
            }
            let name = map.name_any();
            match self.config_maps.delete(&name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                result => result.map(|_| ())?,
            }
        }
        Ok(maps.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mirrord_sessions_core::sessions::Ending;
    use serde_json::json;

    use super::*;
    use crate::{
        clock::unix_now,
        sessions::{Store, store::tests::tracker},
        testing::api_server,
    };

    #[tokio::test]
    async fn moves_config_maps_into_secrets() {
        let ended = tracker("over", 5).terminated(&Ending::unknown(unix_now()), 6).unwrap();
        let (name, _) = ended_session_record::encode(&ended).unwrap();
        let json = String::from_utf8(ended.encoded(false).object()).unwrap();
        let expired = tracker("expired", 5).terminated(&Ending::unknown(1), 6).unwrap();
        let (expired_name, _) = ended_session_record::encode(&expired).unwrap();
        let expired_json = String::from_utf8(expired.encoded(false).object()).unwrap();
        let list = json!({ "apiVersion": "v1", "kind": "ConfigMapList", "metadata": {}, "items": [
            { "metadata": { "name": name }, "data": { "tracker": json } },
            { "metadata": { "name": expired_name }, "data": { "tracker": expired_json } },
            { "metadata": { "name": "terminated-broken" }, "data": { "tracker": "{" } },
        ]});
        let (client, requests) = api_server(move |request, body| match request {
            it if it.starts_with("GET") => (200, list.clone()),
            it if it.starts_with("DELETE") => {
                (200, json!({ "kind": "Status", "apiVersion": "v1" }))
            }
            _ => (201, body.clone()),
        });
        let (store, _ended) = Store::with_retention(Duration::from_mins(10));
        let records = EndedSessionStore::new(client.clone(), "system", Arc::clone(&store));
        let earlier = EarlierRecords::new(client, "system");
        assert_eq!(earlier.migrate_once(&records, 600).await.unwrap(), 3);
        let requests = requests.lock().unwrap();
        let secrets: Vec<_> = requests.iter().filter(|it| it.1["kind"] == "Secret").collect();
        assert_eq!(secrets.len(), 1, "{requests:?}");
        assert!(secrets[0].0.contains("/namespaces/system/secrets"), "{}", secrets[0].0);
        let deleted = requests
            .iter()
            .filter(|it| it.0.starts_with("DELETE /api/v1/namespaces/system/configmaps/"));
        assert_eq!(deleted.count(), 3, "{requests:?}");
    }
}
