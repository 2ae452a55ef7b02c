//! Format of the records of ended sessions: ConfigMaps with the tracker as JSON.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
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
/// The maximum size of a tracker in a record. A ConfigMap holds at most 1 MiB.
const MAX_RECORD_SIZE: usize = 512 << 10;

/// Returns the label selector of all records.
pub(super) fn label_selector() -> String {
    format!("{LABEL}={LABEL_VALUE}")
}

/// Returns the name and the ConfigMap of a tracker's record.
///
/// Returns `None` if the uid makes no valid name, or if the tracker is too large.
pub(super) fn encode(tracker: &Tracker) -> Option<(String, Value)> {
    let object = tracker.encoded(false).object();
    let json = String::from_utf8_lossy(&object);
    let name = record_name(&tracker.uid).filter(|_| json.len() <= MAX_RECORD_SIZE)?;
    let agent = tracker.recorded_for.as_deref().unwrap_or_default();
    let record = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "labels": { LABEL: LABEL_VALUE } },
        "data": { TRACKER_KEY: json, AGENT_KEY: agent },
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
pub(super) fn parse(config_map: &ConfigMap) -> Option<Arc<Tracker>> {
    let json = config_map.data.as_ref()?.get(TRACKER_KEY)?;
    match Tracker::from_record(json) {
        // Name and tracker differ, so this process did not write the record.
        Ok(tracker) if record_name(&tracker.uid) != config_map.metadata.name => None,
        Ok(tracker) => {
            let agent = config_map.data.as_ref().and_then(|data| data.get(AGENT_KEY));
            let agent = agent.filter(|agent| !agent.is_empty());
            Some(Arc::new(match agent {
                Some(agent) => tracker.with_agent(agent),
                None => tracker,
            }))
        }
        // The parser's error would quote the record.
        Err(_) => {
            debug!(name = config_map.name_any(), "invalid record of an ended session");
            None
        }
    }
}
