//! What ties an agent Job to its Session.

use serde::{Deserialize, Serialize};

/// Written on the Job by the controller, and by nobody else: the guard sees to that.
///
/// It names the agent too, so that one which was copied to another Job, where no guard was in
/// force, is known for a copy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Binding {
    /// The Session's namespace.
    pub namespace: String,
    /// The Session's name.
    pub name: String,
    /// The Session's identifier.
    pub uid: String,
    /// The identifier of the Job that this is written on.
    pub agent: String,
    /// The identifier of the definition that the Session was stored under: with another one, the
    /// Session did not go because somebody deleted it.
    pub definition: String,
    /// User name of the Session's owner.
    pub owner: String,
    /// What the Session targets.
    pub target: String,
}

/// Names and identifiers; more is none of ours.
const MAX: usize = 16 << 10;

impl Binding {
    /// Reads the annotation; none if the controller did not write it so.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        (text.len() <= MAX).then(|| serde_json::from_str(text).ok())?
    }

    /// The annotation's text.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_as_written() {
        let binding = Binding {
            namespace: "shop".into(),
            name: "487f4f2b6d2376ad".into(),
            uid: "1".into(),
            agent: "2".into(),
            definition: "3".into(),
            owner: "alice".into(),
            target: "deployment/ip-visit-counter".into(),
        };
        assert_eq!(Binding::read(&binding.text()), Some(binding));
        for wrong in ["", "{}", "shop/487f4f2b6d2376ad", "[1]", "{\"uid\":1}"] {
            assert_eq!(Binding::read(wrong), None, "{wrong}");
        }
        let long = format!("\"{}\"", "a".repeat(MAX));
        assert_eq!(Binding::read(&long), None);
    }
}
