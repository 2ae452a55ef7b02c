//! Format of the records of ended sessions: Secrets with the tracker as JSON.
//!
//! The built-in role `view` reads ConfigMaps of all namespaces, and no Secrets.

use std::sync::Arc;

use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::ResourceExt;
use mirrord_sessions_core::sessions::Tracker;
use serde_json::{Value, json};
use tracing::debug;

/// The label of all records.
const LABEL: &str = "visibility.operator.metalbear.co/record";
const LABEL_VALUE: &str = "terminated";
/// The data key of the tracker.
const TRACKER_KEY: &str = "tracker";
/// The data key of the agent that the Session was created for, which trackers don't show.
const AGENT_KEY: &str = "agent";
/// The type of the Secrets.
const SECRET_TYPE: &str = "visibility.operator.metalbear.co/record";
/// The maximum size of a tracker in a record. A Secret holds at most 1 MiB.
const MAX_RECORD_SIZE: usize = 512 << 10;

/// Returns the label selector of all records.
pub(super) fn label_selector() -> String {
    format!("{LABEL}={LABEL_VALUE}")
}

/// Returns the name and the ConfigMap of a tracker's record.
///
/// Returns `None` if the uid makes no valid name, or if the tracker is too large.
pub(super) fn encode(tracker: &Tracker) -> Option<(String, Value)> {
    let json = tracker.encoded(false).object();
    let name = record_name(&tracker.uid).filter(|_| json.len() <= MAX_RECORD_SIZE)?;
    let agent = tracker.recorded_for.as_deref().unwrap_or_default().as_bytes().to_vec();
    let record = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": SECRET_TYPE,
        "metadata": { "name": name, "labels": { LABEL: LABEL_VALUE } },
        "data": { TRACKER_KEY: ByteString(json), AGENT_KEY: ByteString(agent) },
    });
    Some((name, record))
}

/// Returns the name of the record of a session, or `None` if its uid makes no valid name.
fn record_name(uid: &str) -> Option<String> {
    let fits = !uid.is_empty()
        && uid.len() <= 200
        && !uid.ends_with('-')
        && uid.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    fits.then(|| format!("{LABEL_VALUE}-{uid}"))
}

/// Returns the tracker that a record holds, or `None` if the record is invalid.
pub(super) fn parse(secret: &Secret) -> Option<Arc<Tracker>> {
    let text = |key: &str| {
        let ByteString(bytes) = secret.data.as_ref()?.get(key)?;
        std::str::from_utf8(bytes).ok()
    };
    parse_texts(&secret.name_any(), text(TRACKER_KEY)?, text(AGENT_KEY))
}

/// Returns the tracker of a record that an earlier release stored as a ConfigMap.
pub(super) fn parse_config_map(map: &ConfigMap) -> Option<Arc<Tracker>> {
    let text = |key: &str| map.data.as_ref()?.get(key).map(String::as_str);
    parse_texts(&map.name_any(), text(TRACKER_KEY)?, text(AGENT_KEY))
}

fn parse_texts(name: &str, json: &str, agent: Option<&str>) -> Option<Arc<Tracker>> {
    match Tracker::from_record(json) {
        // Name and tracker differ, so this process did not write the record.
        Ok(tracker) if record_name(&tracker.uid).as_deref() != Some(name) => None,
        Ok(tracker) => Some(Arc::new(match agent.filter(|agent| !agent.is_empty()) {
            Some(agent) => tracker.with_agent(agent),
            None => tracker,
        })),
        // The parser's error would quote the record.
        Err(_) => {
            debug!(name, "invalid record of an ended session");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use mirrord_sessions_core::sessions::Ending;

    use super::*;
    use crate::sessions::store::tests::tracker;

    #[test]
    fn secrets_and_earlier_config_maps_hold_the_same_tracker() {
        let ended = tracker("over", 5).terminated(&Ending::unknown(1), 6).unwrap();
        let (name, record) = encode(&ended).unwrap();
        let secret: Secret = serde_json::from_value(record).unwrap();
        assert_eq!(secret.type_.as_deref(), Some(SECRET_TYPE));
        let parsed = parse(&secret).unwrap();
        assert_eq!((&parsed.uid, &parsed.key), (&ended.uid, &ended.key));

        let json = String::from_utf8(ended.encoded(false).object()).unwrap();
        let mut map = ConfigMap {
            data: Some([(TRACKER_KEY.to_owned(), json)].into()),
            ..ConfigMap::default()
        };
        map.metadata.name = Some(name);
        assert_eq!(parse_config_map(&map).unwrap().uid, ended.uid);
        map.metadata.name = Some("terminated-other".into());
        assert!(parse_config_map(&map).is_none());
    }
}
