//! Session IDs: the names of Sessions, as users read and type them.

use std::{fmt, str::FromStr};

/// The ID of a session: 16 hex digits, or another name.
///
/// The digits are lower case in `metadata.name` and upper case in output, as mirrord prints them.
/// Any other valid name of a Kubernetes object is shown unchanged.
///
/// ```
/// # use mirrord_sessions_crds::SessionId;
/// let typed: SessionId = "487F4F2B6D2376AD".parse()?;
/// assert_eq!(typed.name(), "487f4f2b6d2376ad");
/// assert_eq!(typed.to_string(), "487F4F2B6D2376AD");
/// assert_eq!("my-session".parse::<SessionId>()?.to_string(), "my-session");
/// # Ok::<(), mirrord_sessions_crds::InvalidSessionId>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionId(String);

/// The error about a text that is not a valid name of a Session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidSessionId(String);

impl fmt::Display for InvalidSessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a session ID: expected 16 hex digits, as 487F4F2B6D2376AD, or another name of lower case letters, digits, '-' and '.'",
            self.0
        )
    }
}

impl std::error::Error for InvalidSessionId {}

/// The maximum length of the name of a Kubernetes object (RFC 1123 subdomain).
const MAX_NAME: usize = 253;

impl SessionId {
    /// Returns the ID of a Session with a name from the API server.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// Returns the `metadata.name` of the Session.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Returns whether the ID consists of 16 hex digits, like generated IDs.
    #[must_use]
    pub fn is_hex(&self) -> bool {
        is_hex_id(&self.0)
    }
}

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    /// Parses an ID as typed. 16 hex digits are accepted in either case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_hex_id(text) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        let is_label = |label: &str| {
            !label.starts_with('-')
                && !label.ends_with('-')
                && !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if text.len() <= MAX_NAME && text.split('.').all(is_label) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidSessionId(text.chars().take(MAX_NAME).collect()))
        }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_hex_id(&self.0) { f.pad(&self.0.to_ascii_uppercase()) } else { f.pad(&self.0) }
    }
}

fn is_hex_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_typed_ids() {
        let cases = [
            // (typed, name, displayed)
            ("487F4F2B6D2376AD", Some(("487f4f2b6d2376ad", "487F4F2B6D2376AD"))),
            ("487f4f2b6d2376ad", Some(("487f4f2b6d2376ad", "487F4F2B6D2376AD"))),
            ("487F4f2b6d2376aD", Some(("487f4f2b6d2376ad", "487F4F2B6D2376AD"))),
            ("487f4f2b6d2376a", Some(("487f4f2b6d2376a", "487f4f2b6d2376a"))),
            ("my-session.v2", Some(("my-session.v2", "my-session.v2"))),
            ("487F4F2B6D2376A", None),
            ("", None),
            ("-a", None),
            ("a-", None),
            ("a..b", None),
            ("../../secrets/x", None),
            ("a b", None),
            ("säge", None),
            ("a\u{1b}[31m", None),
        ];
        for (typed, expected) in cases {
            let id = typed.parse::<SessionId>().ok();
            let got = id.as_ref().map(|id| (id.name().to_owned(), id.to_string()));
            let expected = expected.map(|(name, shown)| (name.to_owned(), shown.to_owned()));
            assert_eq!(got, expected, "{typed:?}");
        }
        assert!("a".repeat(253).parse::<SessionId>().is_ok());
        assert!("a".repeat(254).parse::<SessionId>().is_err());
    }

    #[test]
    fn escapes_control_characters_in_errors() {
        let error = "\u{1b}[31mred".parse::<SessionId>().unwrap_err();
        assert!(!error.to_string().contains('\u{1b}'));
    }
}
