//! Bounds of a tracker in bytes.
//!
//! A Session may hold up to 1.5 MiB, and every replica holds all of them. A tracker shows the
//! beginning of a field that is over its bound.

use std::collections::BTreeMap;

use mirrord_sessions_crds::{AgentReference, Owner, Port, TrackedPort};

/// The maximum size of all labels together.
pub const MAX_LABELS: usize = 8 << 10;
/// The maximum size of the owner's groups together. A user in a company may have a thousand.
pub const MAX_GROUPS: usize = 64 << 10;
/// The maximum size of a user name or a uid.
pub const MAX_IDENTITY: usize = 4 << 10;
/// The maximum size of the user names of all participants together.
pub const MAX_PARTICIPANTS: usize = 16 << 10;
/// The maximum size of the names of all processes together.
pub const MAX_PROCESSES: usize = 8 << 10;
/// The maximum size of all ports with their filters, as JSON.
pub const MAX_PORTS: usize = 16 << 10;
/// The maximum size of any other text.
pub const MAX_TEXT: usize = 1 << 10;

/// The size of a port as JSON without its filter.
const PORT: usize = 64;
/// The mark of a text that was cut.
const ELLIPSIS: char = '…';

/// Cuts a text to a number of bytes.
pub(crate) fn text(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max - ELLIPSIS.len_utf8()));
        text.push(ELLIPSIS);
    }
    text
}

/// Keeps the first items whose sizes add up to `max` bytes.
fn first<T>(items: impl IntoIterator<Item = T>, max: usize, size: impl Fn(&T) -> usize) -> Vec<T> {
    let mut total = 0;
    let mut kept = Vec::new();
    for item in items {
        total += size(&item);
        if total > max {
            break;
        }
        kept.push(item);
    }
    kept
}

/// Keeps the first texts.
pub(super) fn texts(texts: impl IntoIterator<Item = String>, max: usize) -> Vec<String> {
    // Each text costs its quotes, a comma and its allocation too.
    first(texts, max, |text| text.len() + 8)
}

/// Keeps the first labels in the order of their keys.
pub(super) fn labels(labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let labels = first(labels, MAX_LABELS, |(key, value)| key.len() + value.len() + 16);
    labels.into_iter().collect()
}

/// Keeps the first groups.
pub(super) fn owner(owner: Owner) -> Owner {
    Owner {
        username: text(owner.username, MAX_IDENTITY),
        uid: owner.uid.map(|uid| text(uid, MAX_IDENTITY)),
        groups: texts(owner.groups, MAX_GROUPS),
    }
}

/// Keeps the first ports.
pub(super) fn ports(ports: Vec<TrackedPort>) -> Vec<TrackedPort> {
    first(ports, MAX_PORTS, |port| PORT + port.filter.as_ref().map_or(0, String::len))
}

/// Returns ports in one line that ends with the number of ports that did not fit.
pub(crate) fn port_summary(ports: &[Port]) -> Option<String> {
    if ports.is_empty() {
        return None;
    }
    let lines = first(ports, MAX_TEXT, |port| PORT + port.filter.as_ref().map_or(0, String::len));
    let lines: Vec<Port> = lines.into_iter().cloned().collect();
    let more = ports.len() - lines.len();
    let summary = Port::summary(&lines);
    Some(match (lines.len(), more) {
        (_, 0) => summary,
        // The filter alone is too long.
        (0, _) => text(Port::summary(ports), MAX_TEXT),
        _ => format!("{summary}; and {more} more"),
    })
}

/// Drops a reference whose names no object of Kubernetes can have.
pub(super) fn agent(agent: Option<AgentReference>) -> Option<AgentReference> {
    agent.filter(|agent| {
        let AgentReference { kind, namespace, name, uid, container, node } = agent;
        let optional = [container, node].into_iter().flatten().map(String::len);
        let required = [kind, namespace, name, uid].into_iter().map(String::len);
        required.chain(optional).sum::<usize>() <= 2 * MAX_TEXT
    })
}

#[cfg(test)]
mod tests {
    use mirrord_sessions_crds::PortType;

    use super::*;

    #[test]
    fn cuts_texts_at_characters() {
        for (full, max, expected) in
            [("abc", 3, "abc"), ("abcdef", 5, "ab…"), ("ééé", 5, "é…"), ("", 0, "")]
        {
            assert_eq!(text(full.into(), max), expected);
        }
    }

    #[test]
    fn keeps_first_items() {
        let names = || (0..1000).map(|n| format!("{n:0>92}"));
        assert_eq!(texts(names(), 1000).len(), 10);
        let all = names().map(|name| (name.clone(), name)).collect();
        let kept = labels(all);
        assert_eq!(kept.len(), MAX_LABELS / (92 + 92 + 16));
        assert_eq!(kept.into_keys().next(), names().next());
    }

    #[test]
    fn summarizes_ports_within_bound() {
        let port = |filter: Option<usize>| Port {
            port: 80,
            type_: PortType::Steal,
            filter: filter.map(|length| "x".repeat(length)),
        };
        let one = "Port: 80, Type: steal";
        for (ports, expected) in [
            (vec![], None),
            (vec![port(None); 2], Some(format!("{one}; {one}"))),
            (vec![port(Some(1)), port(Some(2000))], Some(format!("{one}, Filter: x; and 1 more"))),
        ] {
            assert_eq!(port_summary(&ports), expected);
        }
        for ports in [vec![port(Some(4096)); 9], vec![port(Some(100)); 1024]] {
            let summary = port_summary(&ports).unwrap();
            assert!(summary.len() <= MAX_TEXT + 32, "{}", summary.len());
            assert!(summary.ends_with('…') || summary.ends_with(" more"), "{summary}");
        }
    }
}
