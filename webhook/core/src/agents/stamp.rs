//! Stamps, which name the requester of an agent in a format that CEL can compose too.
//!
//! A stamp is `username=alice@example.com&uid=…&group=devs&group=system:authenticated`, with `%`
//! and `&` in a value escaped as `%25` and `%26`. CEL cannot write JSON, and the guard policy
//! compares every byte of the stamp.

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{EnvVar, EphemeralContainer},
};
use mirrord_sessions_crds::Owner;

use super::{REQUESTER_ANNOTATION, REQUESTER_ENV};
use crate::identity::Requester;

/// The maximum length of a stamp, which fits a thousand groups with names of usual length.
///
/// All annotations of an object together may have 256 KiB.
const MAX_LENGTH: usize = 64 << 10;

/// The stamp on an agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stamp {
    /// The requester of the agent.
    Requester(Owner),
    /// No stamp. The reason is unknown: the webhook may be down, or the stamp too long.
    Missing,
    /// A value that admission does not write.
    Invalid,
}

impl Stamp {
    /// Returns the stamp for a requester, or `None` without a user name or above the length limit.
    #[must_use]
    pub fn encode(requester: &Requester) -> Option<String> {
        if requester.username.is_empty() {
            return None;
        }
        let mut text = String::from("username=");
        escape(&mut text, &requester.username);
        if let Some(uid) = &requester.uid {
            text.push_str("&uid=");
            escape(&mut text, uid);
        }
        for group in &requester.groups {
            text.push_str("&group=");
            escape(&mut text, group);
        }
        (text.len() <= MAX_LENGTH).then_some(text)
    }

    fn decode(text: &str) -> Option<Owner> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        let mut owner = Owner::default();
        for field in text.split('&') {
            let (name, value) = field.split_once('=')?;
            let value = unescape(value)?;
            match name {
                // Fields must be in this order, and the first two must not repeat.
                "username" if owner == Owner::default() => owner.username = value,
                "uid" if owner.uid.is_none() && owner.groups.is_empty() => owner.uid = Some(value),
                "group" => owner.groups.push(value),
                _ => return None,
            }
        }
        (!owner.username.is_empty()).then_some(owner)
    }

    fn from_text(text: Option<&str>) -> Self {
        match text {
            None => Self::Missing,
            Some(text) => Self::decode(text).map_or(Self::Invalid, Self::Requester),
        }
    }
}

/// Returns the stamp of an agent Job.
#[must_use]
pub fn job_stamp(job: &Job) -> Stamp {
    let annotations = job.metadata.annotations.as_ref();
    Stamp::from_text(annotations.and_then(|all| all.get(REQUESTER_ANNOTATION).map(String::as_str)))
}

/// Returns the stamp of an ephemeral agent container.
///
/// The environment variable must occur once and have a literal value.
#[must_use]
pub fn environment_stamp(container: &EphemeralContainer) -> Stamp {
    let mut found =
        container.env.iter().flatten().filter(|variable| variable.name == REQUESTER_ENV);
    match (found.next(), found.next()) {
        (None, _) => Stamp::Missing,
        (Some(EnvVar { value: Some(value), value_from: None, .. }), None) => {
            Stamp::from_text(Some(value))
        }
        _ => Stamp::Invalid,
    }
}

fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '%' => text.push_str("%25"),
            '&' => text.push_str("%26"),
            c => text.push(c),
        }
    }
}

fn unescape(value: &str) -> Option<String> {
    let mut parts = value.split('%');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        if let Some(rest) = part.strip_prefix("25") {
            text.push('%');
            text.push_str(rest);
        } else {
            text.push('&');
            text.push_str(part.strip_prefix("26")?);
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::EnvVarSource;

    use super::*;

    fn requester(username: &str, uid: Option<&str>, groups: &[&str]) -> Requester {
        Requester {
            username: username.into(),
            uid: uid.map(Into::into),
            groups: groups.iter().map(ToString::to_string).collect(),
            ..Requester::default()
        }
    }

    #[test]
    fn encodes_requesters() {
        let cases = [
            (requester("alice", None, &[]), "username=alice"),
            (
                requester("a@b.co", Some("7"), &["devs", "system:authenticated"]),
                "username=a@b.co&uid=7&group=devs&group=system:authenticated",
            ),
            (
                requester("a&group=x%", None, &["", "a=b"]),
                "username=a%26group=x%25&group=&group=a=b",
            ),
        ];
        for (requester, text) in cases {
            assert_eq!(Stamp::encode(&requester).as_deref(), Some(text));
            assert_eq!(
                Stamp::from_text(Some(text)),
                Stamp::Requester(requester.to_owner()),
                "{text}"
            );
        }
    }

    #[test]
    fn rejects_malformed_stamps() {
        for text in [
            "",
            "alice",
            "username=",
            "user=alice",
            "username=a&username=b",
            "uid=7&username=a",
            "username=a&group=b&uid=7",
            "username=a&uid=7&uid=8",
            "username=a&",
            "username=a%2",
            "username=a%41",
        ] {
            assert_eq!(Stamp::from_text(Some(text)), Stamp::Invalid, "{text}");
        }
        assert_eq!(Stamp::encode(&requester("", None, &["devs"])), None);
        let many = vec!["a-group-of-a-usual-name"; 3000];
        assert_eq!(Stamp::encode(&requester("alice", None, &many)), None);
        let long = format!("username={}", "a".repeat(MAX_LENGTH));
        assert_eq!(Stamp::from_text(Some(&long)), Stamp::Invalid);
    }

    #[test]
    fn reads_stamp_from_environment() {
        let variable = |value: Option<&str>| EnvVar {
            name: REQUESTER_ENV.into(),
            value: value.map(Into::into),
            value_from: None,
        };
        let stamp = |env: Vec<EnvVar>| {
            environment_stamp(&EphemeralContainer {
                env: Some(env),
                ..EphemeralContainer::default()
            })
        };
        let other = EnvVar { name: "RUST_LOG".into(), ..EnvVar::default() };
        let alice = Stamp::from_text(Some("username=alice"));
        assert_eq!(stamp(vec![]), Stamp::Missing);
        assert_eq!(stamp(vec![other.clone()]), Stamp::Missing);
        let stamped = variable(Some("username=alice"));
        assert_eq!(stamp(vec![other, stamped.clone()]), alice);
        assert_eq!(stamp(vec![stamped.clone(), stamped.clone()]), Stamp::Invalid);
        assert_eq!(stamp(vec![variable(None)]), Stamp::Invalid);
        let from = EnvVar { value_from: Some(EnvVarSource::default()), ..stamped };
        assert_eq!(stamp(vec![from]), Stamp::Invalid);
    }

    proptest::proptest! {
        #[test]
        fn decoding_reverses_encoding(
            username in "[%&=a2-6\u{e9}\n]{1,8}",
            uid in proptest::option::of("[%&=a]{0,4}"),
            groups in proptest::collection::vec("[%&=a]{0,4}", 0..4),
        ) {
            let requester = Requester { username, uid, groups, ..Requester::default() };
            let text = Stamp::encode(&requester).unwrap();
            proptest::prop_assert_eq!(Stamp::from_text(Some(&text)), Stamp::Requester(requester.to_owner()));
        }
    }
}
