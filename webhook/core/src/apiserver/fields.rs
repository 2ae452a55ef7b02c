//! Field selectors with the syntax and error texts of Kubernetes.

use mirrord_sessions_crds::Owner;

use crate::sessions::tracker::Tracker;

/// A parsed field selector, a conjunction of terms.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FieldSelector(Vec<Term>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Term {
    field: Field,
    equal: bool,
    value: String,
}

/// A field that selectors support.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Field {
    /// The field `metadata.name` of trackers.
    Name,
    /// The field `metadata.namespace` of trackers.
    Namespace,
    /// The field `spec.sessionId` of trackers.
    SessionId,
    /// The field `spec.kind` of trackers.
    Kind,
    /// The field `spec.target` of trackers.
    Target,
    /// The field `spec.user` of trackers.
    User,
    /// The field `spec.login` of trackers.
    Login,
    /// The field `spec.hostname` of trackers.
    Hostname,
    /// The field `spec.owner.username` of trackers.
    Owner,
    /// The field `spec.key` of trackers, empty unless it is revealed to the requester.
    Key,
    /// The field `status.state` of trackers.
    State,
}

impl Field {
    /// Every field with its path.
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

    fn value(self, tracker: &Tracker, revealed: bool) -> &str {
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
            // A selector must not allow guessing a hidden key.
            Self::Key if !revealed => "",
            Self::Key => spec.key.as_deref().unwrap_or_default(),
            Self::State => tracker.status.state.as_str(),
        }
    }
}

/// Checks the syntax of a field selector, without checking that its fields are supported.
///
/// # Errors
/// Returns the API server's error text for an invalid selector.
pub fn check_syntax(selector: &str) -> Result<(), String> {
    for part in split_terms(selector).into_iter().filter(|part| !part.is_empty()) {
        parse_term(selector, part)?;
    }
    Ok(())
}

/// Parses a term into its field, whether it requires equality, and its value.
fn parse_term<'a>(selector: &str, part: &'a str) -> Result<(&'a str, bool, String), String> {
    let (name, equal, value) = split_operator(part)
        .ok_or_else(|| format!("invalid selector: '{selector}'; can't understand '{part}'"))?;
    Ok((name, equal, unescape(value)?))
}

impl FieldSelector {
    /// Parses a field selector.
    ///
    /// # Errors
    /// Returns the API server's error text for an invalid selector.
    pub fn parse(selector: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for part in split_terms(selector) {
            if part.is_empty() {
                continue;
            }
            let (name, equal, value) = parse_term(selector, part)?;
            let field = Field::ALL
                .iter()
                .find(|(path, _)| *path == name)
                .ok_or_else(|| format!("field label not supported: {name}"))?
                .1;
            terms.push(Term { field, equal, value });
        }
        Ok(Self(terms))
    }

    /// Returns whether the selector has no terms.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether the selector matches a tracker.
    ///
    /// `revealed` is true if the requester may see the key.
    #[must_use]
    pub fn matches(&self, tracker: &Tracker, revealed: bool) -> bool {
        self.0.iter().all(|term| (term.field.value(tracker, revealed) == term.value) == term.equal)
    }
}

/// Splits a selector at commas that are not escaped with a backslash.
fn split_terms(selector: &str) -> Vec<&str> {
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

/// Splits a term at its first operator; the flag is true for equality.
fn split_operator(term: &str) -> Option<(&str, bool, &str)> {
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
    let mut unescaped = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some(c @ ('\\' | ',' | '=')) => unescaped.push(c),
                Some(c) => return Err(invalid(&format!("\\{c}"))),
                None => return Err(invalid("\\")),
            },
            // The API server prints the code point.
            ',' | '=' => {
                return Err(format!(
                    "invalid field selector: unescaped character in value: {}",
                    u32::from(c)
                ));
            }
            c => unescaped.push(c),
        }
    }
    Ok(unescaped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::fixtures::session;

    #[test]
    fn matches_fields() {
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
        assert!(!key.matches(&tracker, false), "a hidden key does not match");
    }

    #[test]
    fn returns_error_texts_of_api_server() {
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
