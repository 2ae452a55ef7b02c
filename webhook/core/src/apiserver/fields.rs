//! Field selectors, in Kubernetes' syntax and with its error texts.

use mirrord_sessions_crds::Owner;

use crate::sessions::tracker::Tracker;

/// Parsed conditions on fields, all of which must hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FieldSelector(Vec<Term>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Term {
    field: Field,
    equal: bool,
    value: String,
}

/// The fields that can be selected by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Field {
    /// `metadata.name`
    Name,
    /// `metadata.namespace`
    Namespace,
    /// `spec.sessionId`
    SessionId,
    /// `spec.kind`
    Kind,
    /// `spec.target`
    Target,
    /// `spec.user`
    User,
    /// `spec.login`
    Login,
    /// `spec.hostname`
    Hostname,
    /// `spec.owner.username`
    Owner,
    /// `spec.key`, which is empty for those who don't see it.
    Key,
    /// `status.state`
    State,
}

impl Field {
    /// Every field by its path.
    pub const ALL: [(&'static str, Self); 11] = [
        ("metadata.name", Self::Name),
        ("metadata.namespace", Self::Namespace),
        ("spec.sessionId", Self::SessionId),
        ("spec.kind", Self::Kind),
        ("spec.target", Self::Target),
        ("spec.user", Self::User),
        ("spec.login", Self::Login),
        ("spec.hostname", Self::Hostname),
        ("spec.owner.username", Self::Owner),
        ("spec.key", Self::Key),
        ("status.state", Self::State),
    ];

    fn of(self, tracker: &Tracker, revealed: bool) -> &str {
        let spec = &tracker.spec;
        match self {
            Self::Name => &tracker.key.name,
            Self::Namespace => &tracker.key.namespace,
            Self::SessionId => &spec.session_id,
            Self::Kind => spec.kind.as_str(),
            Self::Target => &spec.target,
            Self::User => &spec.user,
            Self::Login => spec.login.as_deref().unwrap_or_default(),
            Self::Hostname => spec.hostname.as_deref().unwrap_or_default(),
            Self::Owner => spec.owner.as_ref().map_or("", |Owner { username, .. }| username),
            // Otherwise a selector would be a way to guess it.
            Self::Key if !revealed => "",
            Self::Key => spec.key.as_deref().unwrap_or_default(),
            Self::State => tracker.status.state.as_str(),
        }
    }
}

impl FieldSelector {
    /// Parses a selector.
    ///
    /// # Errors
    /// The API server's own text.
    pub fn parse(selector: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for part in split(selector) {
            if part.is_empty() {
                continue;
            }
            let (name, equal, value) = operator(part).ok_or_else(|| {
                format!("invalid selector: '{selector}'; can't understand '{part}'")
            })?;
            let value = unescape(value)?;
            let field = Field::ALL
                .iter()
                .find(|(path, _)| *path == name)
                .ok_or_else(|| format!("field label not supported: {name}"))?
                .1;
            terms.push(Term { field, equal, value });
        }
        Ok(Self(terms))
    }

    /// Whether everything matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all conditions hold for this tracker, as somebody sees it.
    #[must_use]
    pub fn matches(&self, tracker: &Tracker, revealed: bool) -> bool {
        self.0.iter().all(|term| (term.field.of(tracker, revealed) == term.value) == term.equal)
    }

    /// The name that a tracker must have, if one is asked for.
    #[must_use]
    pub fn exact(&self, field: Field) -> Option<&str> {
        self.0.iter().find(|term| term.field == field && term.equal).map(|term| term.value.as_str())
    }
}

/// The terms between commas; a backslash takes the next character's meaning away.
fn split(selector: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in selector.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&selector[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&selector[start..]);
    terms
}

/// The first operator of a term with what is around it.
fn operator(term: &str) -> Option<(&str, bool, &str)> {
    for (at, _) in term.char_indices() {
        let rest = &term[at..];
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((&term[..at], equal, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, String> {
    let invalid =
        |sequence: &str| format!("invalid field selector: invalid escape sequence: {sequence}");
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some(c @ ('\\' | ',' | '=')) => plain.push(c),
                Some(c) => return Err(invalid(&format!("\\{c}"))),
                None => return Err(invalid("\\")),
            },
            // The API server prints the character's number.
            ',' | '=' => {
                return Err(format!(
                    "invalid field selector: unescaped character in value: {}",
                    u32::from(c)
                ));
            }
            c => plain.push(c),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::fixtures::session;

    #[test]
    fn what_matches() {
        let tracker = session("shop", "487f4f2b6d2376ad")
            .target("deployment/a=b,c")
            .owned_by("alice")
            .key("avi")
            .tracker(7);
        let cases = [
            ("", true),
            (",", true),
            ("metadata.name=487f4f2b6d2376ad", true),
            ("metadata.name==487f4f2b6d2376ad,metadata.namespace=shop", true),
            ("metadata.namespace!=shop", false),
            ("spec.sessionId=487F4F2B6D2376AD", true),
            (r"spec.target=deployment/a\=b\,c", true),
            ("spec.target!=x", true),
            ("spec.owner.username=alice", true),
            ("spec.owner.username=", false),
            ("spec.login=", true),
            ("spec.kind=process,status.state=pending", true),
            ("spec.key=avi", true),
        ];
        for (selector, expected) in cases {
            let parsed = FieldSelector::parse(selector).unwrap();
            assert_eq!(parsed.matches(&tracker, true), expected, "{selector}");
        }
        let key = FieldSelector::parse("spec.key=avi").unwrap();
        assert!(!key.matches(&tracker, false), "the key can't be guessed");
    }

    #[test]
    fn errors_are_the_api_servers() {
        for (selector, error) in [
            (
                "metadata.name",
                "invalid selector: 'metadata.name'; can't understand 'metadata.name'",
            ),
            ("a=b", "field label not supported: a"),
            ("=b", "field label not supported: "),
            ("metadata.name=a=b", "invalid field selector: unescaped character in value: 61"),
            (r"metadata.name=a\b", r"invalid field selector: invalid escape sequence: \b"),
            ("metadata.name=a\\", "invalid field selector: invalid escape sequence: \\"),
        ] {
            assert_eq!(FieldSelector::parse(selector).unwrap_err(), error);
        }
    }
}
