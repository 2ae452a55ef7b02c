//! Who asked for an agent, as text that the API server can compose in CEL too.
//!
//! `username=alice@example.com&uid=…&group=devs&group=system:authenticated`, where `%` and `&` in a
//! value are `%25` and `%26`. CEL has no JSON, and the guard must know each byte.

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{EnvVar, EphemeralContainer},
};
use mirrord_sessions_crds::Owner;

use super::{REQUESTER, REQUESTER_VARIABLE};
use crate::identity::Requester;

/// The longest stamp. All annotations of an object may have 256 KiB together; of groups with names
/// of usual length, a thousand fit.
const MAX: usize = 64 << 10;

/// What an agent carries as a stamp.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stamp {
    /// Who asked for it.
    Of(Owner),
    /// None: admission was not asked, or the requester has more groups than fit.
    Missing,
    /// Something that admission did not write.
    Unreadable,
}

impl Stamp {
    /// The stamp's text; none for a requester that can't be written down.
    #[must_use]
    pub fn text(requester: &Requester) -> Option<String> {
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
        (text.len() <= MAX).then_some(text)
    }

    fn read(text: &str) -> Option<Owner> {
        if text.len() > MAX {
            return None;
        }
        let mut owner = Owner::default();
        for field in text.split('&') {
            let (name, value) = field.split_once('=')?;
            let value = unescape(value)?;
            match name {
                // In this order, and the first two once at most.
                "username" if owner == Owner::default() => owner.username = value,
                "uid" if owner.uid.is_none() && owner.groups.is_empty() => owner.uid = Some(value),
                "group" => owner.groups.push(value),
                _ => return None,
            }
        }
        (!owner.username.is_empty()).then_some(owner)
    }

    fn of(text: Option<&str>) -> Self {
        match text {
            None => Self::Missing,
            Some(text) => Self::read(text).map_or(Self::Unreadable, Self::Of),
        }
    }
}

/// The stamp of an agent Job.
#[must_use]
pub fn job_stamp(job: &Job) -> Stamp {
    let annotations = job.metadata.annotations.as_ref();
    Stamp::of(annotations.and_then(|all| all.get(REQUESTER).map(String::as_str)))
}

/// The stamp of an agent's ephemeral container: there once, and written out.
#[must_use]
pub fn environment_stamp(container: &EphemeralContainer) -> Stamp {
    let mut found =
        container.env.iter().flatten().filter(|variable| variable.name == REQUESTER_VARIABLE);
    match (found.next(), found.next()) {
        (None, _) => Stamp::Missing,
        (Some(EnvVar { value: Some(value), value_from: None, .. }), None) => Stamp::of(Some(value)),
        _ => Stamp::Unreadable,
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
    fn texts() {
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
            assert_eq!(Stamp::text(&requester).as_deref(), Some(text));
            assert_eq!(Stamp::of(Some(text)), Stamp::Of(requester.to_owner()), "{text}");
        }
    }

    #[test]
    fn what_nobody_wrote() {
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
            assert_eq!(Stamp::of(Some(text)), Stamp::Unreadable, "{text}");
        }
        assert_eq!(Stamp::text(&requester("", None, &["devs"])), None);
        let many = vec!["a-group-of-a-usual-name"; 3000];
        assert_eq!(Stamp::text(&requester("alice", None, &many)), None);
        let long = format!("username={}", "a".repeat(MAX));
        assert_eq!(Stamp::of(Some(&long)), Stamp::Unreadable);
    }

    #[test]
    fn variables() {
        let variable = |value: Option<&str>| EnvVar {
            name: REQUESTER_VARIABLE.into(),
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
        let alice = Stamp::of(Some("username=alice"));
        assert_eq!(stamp(vec![]), Stamp::Missing);
        assert_eq!(stamp(vec![other.clone()]), Stamp::Missing);
        let one = variable(Some("username=alice"));
        assert_eq!(stamp(vec![other, one.clone()]), alice);
        assert_eq!(stamp(vec![one.clone(), one.clone()]), Stamp::Unreadable);
        assert_eq!(stamp(vec![variable(None)]), Stamp::Unreadable);
        let from = EnvVar { value_from: Some(EnvVarSource::default()), ..one };
        assert_eq!(stamp(vec![from]), Stamp::Unreadable);
    }

    proptest::proptest! {
        #[test]
        fn one_text_one_requester(
            username in "[%&=a2-6\u{e9}\n]{1,8}",
            uid in proptest::option::of("[%&=a]{0,4}"),
            groups in proptest::collection::vec("[%&=a]{0,4}", 0..4),
        ) {
            let requester = Requester { username, uid, groups, ..Requester::default() };
            let text = Stamp::text(&requester).unwrap();
            proptest::prop_assert_eq!(Stamp::of(Some(&text)), Stamp::Of(requester.to_owner()));
        }
    }
}
