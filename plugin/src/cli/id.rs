//! IDs of sessions on the command line.

use std::str::FromStr;

use mirrord_sessions_crds::{GROUP, InvalidSessionId, SessionId, TRACKER_GROUP};

use crate::session::strip_operator_prefix;

/// An ID of the command line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IdArgument {
    /// The ID without the resource.
    pub id: SessionId,
    /// Whether the text can be the prefix of a generated ID.
    ///
    /// An ID with the resource in front, as programs print it, is complete. Names that users choose
    /// have no prefixes, because users name them after each other ("web-1" and "web-10").
    pub may_be_prefix: bool,
}

/// The length of the IDs that mirrord generates.
pub(crate) const ID_DIGITS: usize = 16;

impl FromStr for IdArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = session_id(text)?;
        let digits = strip_operator_prefix(id.name());
        let may_be_prefix = !text.contains('/')
            && !digits.is_empty()
            && digits.len() < ID_DIGITS
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        Ok(Self { id, may_be_prefix })
    }
}

/// Parses an ID as typed, or with the resource in front, as `-o name` and kubectl print it.
fn session_id(text: &str) -> Result<SessionId, String> {
    let bare = match text.split_once('/') {
        Some((resource, id)) if is_sessions(resource) => id,
        _ => text,
    };
    // A prefix of an ID may be typed in either case too.
    let digits = strip_operator_prefix(bare);
    let bare = if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bare.to_ascii_lowercase()
    } else {
        bare.to_owned()
    };
    bare.parse().map_err(|error: InvalidSessionId| error.to_string())
}

/// Returns whether a resource is that of sessions or of their trackers.
pub(super) fn is_sessions(resource: &str) -> bool {
    let short = |group: &str| {
        let short = resource.strip_suffix(group)?;
        short.strip_suffix('.')
    };
    let resource_short_name = short(TRACKER_GROUP).or_else(|| short(GROUP));
    let names = ["session", "sessions", "msn", "sessiontracker", "sessiontrackers", "mst"];
    names.contains(&resource_short_name.unwrap_or(resource))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_ids_with_a_resource_prefix() {
        let cases = [
            ("487F4F2B6D2376AD", Some("487f4f2b6d2376ad")),
            ("session.operator.metalbear.co/487f4f2b6d2376ad", Some("487f4f2b6d2376ad")),
            ("sessions/a", Some("a")),
            ("msn/a", Some("a")),
            ("sessiontracker.visibility.operator.metalbear.co/a", Some("a")),
            ("487F", Some("487f")),
            ("mc-copy-487F", Some("mc-copy-487f")),
            ("pods/a", None),
            ("sessions.other.co/a", None),
            ("sessions/", None),
            ("a/b", None),
        ];
        for (text, expected) in cases {
            let id = session_id(text).ok();
            assert_eq!(id.as_ref().map(SessionId::name), expected, "{text:?}");
        }
    }

    #[test]
    fn only_hex_digits_can_be_prefixes() {
        for (text, expected) in [
            ("48", true),
            ("48FA", true),
            ("mc-9d", true),
            ("session/48", false),
            ("web-1", false),
            ("ab-", false),
            ("48fa000000000000", false),
            ("48fa0000000000001", false),
        ] {
            let typed: Result<IdArgument, _> = text.parse();
            assert_eq!(typed.is_ok_and(|typed| typed.may_be_prefix), expected, "{text}");
        }
    }
}
