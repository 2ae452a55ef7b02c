//! The binding of an agent Job to its Session.

use serde::{Deserialize, Serialize};

/// The contents of the annotation that binds an agent Job to its Session.
///
/// The guard policy lets only the controller write it. The binding includes the UID of its Job, so
/// that a binding copied to another Job while no guard was in force is recognized as a copy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Binding {
    /// The namespace of the Session.
    pub namespace: String,
    /// The name of the Session.
    pub name: String,
    /// The UID of the Session.
    pub uid: String,
    /// The UID of the Job that carries the binding.
    #[serde(rename = "agent")]
    pub agent_uid: String,
    /// The UID of the CRD under which the Session was created.
    ///
    /// If the CRD now has another UID, the Session was deleted with the old CRD and not by a user.
    #[serde(rename = "definition")]
    pub crd_uid: String,
    /// The user name of the Session's owner.
    pub owner: String,
    /// The target of the Session.
    pub target: String,
}

/// The maximum length of the annotation, which is ample for names and UIDs.
const MAX_LENGTH: usize = 16 << 10;

impl Binding {
    /// Parses the annotation, or returns `None` for a value that the controller did not write.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() <= MAX_LENGTH).then(|| serde_json::from_str(text).ok())?
    }

    /// Returns the value of the annotation.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_encoded_binding() {
        let binding = Binding {
            namespace: "shop".into(),
            name: "487f4f2b6d2376ad".into(),
            uid: "1".into(),
            agent_uid: "2".into(),
            crd_uid: "3".into(),
            owner: "alice".into(),
            target: "deployment/ip-visit-counter".into(),
        };
        assert_eq!(Binding::parse(&binding.encode()), Some(binding));
        for invalid in ["", "{}", "shop/487f4f2b6d2376ad", "[1]", "{\"uid\":1}"] {
            assert_eq!(Binding::parse(invalid), None, "{invalid}");
        }
        let long = format!("\"{}\"", "a".repeat(MAX_LENGTH));
        assert_eq!(Binding::parse(&long), None);
    }
}
