//! Who asks.

use std::collections::BTreeMap;

use mirrord_sessions_crds::{CONTROLLER_USERNAME, Client, Owner};

/// The effective user of a request, as the API server authenticated them. With impersonation that
/// is the impersonated user: admission never sees who impersonates.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Requester {
    /// Kubernetes user name. Empty where the API server named nobody.
    pub username: String,
    /// The authenticator's identifier of the user, where it has one.
    pub uid: Option<String>,
    /// Kubernetes groups.
    pub groups: Vec<String>,
    /// What else the authenticator said of the user, by key.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Requester {
    /// The requester as the owner of what they create.
    #[must_use]
    pub fn to_owner(&self) -> Owner {
        Owner {
            username: self.username.clone(),
            uid: self.uid.clone(),
            groups: self.groups.clone(),
        }
    }

    /// Whether this is the controller, which records agents on behalf of those who started them.
    #[must_use]
    pub fn is_controller(&self) -> bool {
        self.username == CONTROLLER_USERNAME
    }
}

/// The line that says who runs a session, as mirrord's operator writes it: `whoami/user@hostname`,
/// where `whoami` and `hostname` are the client's word and may be empty. Where there is neither,
/// the user's name alone.
///
/// It has one reading only. The schema keeps slashes out of `whoami` and at signs out of
/// `hostname`; so in a line with a slash, what precedes the first one is `whoami`, and what follows
/// the last at sign `hostname`. A line without a slash is a user name, and a name with a slash
/// never stands alone.
///
/// The guard policy (`manifests/base/guard-sessions.yaml`) composes the same line in CEL.
#[must_use]
pub fn user_line(client: Option<&Client>, owner: &Owner) -> String {
    let word = |word: fn(&Client) -> &Option<String>| {
        client.and_then(|client| word(client).as_deref()).unwrap_or_default()
    };
    let (whoami, hostname) = (word(|client| &client.username), word(|client| &client.hostname));
    let username = &owner.username;
    if whoami.is_empty() && hostname.is_empty() && !username.contains('/') {
        username.clone()
    } else {
        format!("{whoami}/{username}@{hostname}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_lines() {
        let owner = Owner { username: "aviram@metalbear.co".into(), ..Owner::default() };
        let cases = [
            // (whoami, hostname, line)
            (
                Some("Aviram Hassan"),
                Some("avirams-macbook-pro-2.local"),
                "Aviram Hassan/aviram@metalbear.co@avirams-macbook-pro-2.local",
            ),
            (Some("avi"), None, "avi/aviram@metalbear.co@"),
            (None, Some("laptop"), "/aviram@metalbear.co@laptop"),
            (Some(""), Some(""), "aviram@metalbear.co"),
            (None, None, "aviram@metalbear.co"),
        ];
        for (username, hostname, line) in cases {
            let client = Client {
                username: username.map(Into::into),
                hostname: hostname.map(Into::into),
                version: None,
            };
            assert_eq!(user_line(Some(&client), &owner), line);
        }
        assert_eq!(user_line(None, &owner), "aviram@metalbear.co");
        let slash = Owner { username: "corp/aviram@metalbear.co".into(), ..Owner::default() };
        assert_eq!(user_line(None, &slash), "/corp/aviram@metalbear.co@");
    }

    /// What the documentation says of reading a line.
    fn read(line: &str) -> (&str, &str, &str) {
        let Some((whoami, rest)) = line.split_once('/') else {
            return ("", line, "");
        };
        let (username, hostname) = rest.rsplit_once('@').unwrap();
        (whoami, username, hostname)
    }

    proptest::proptest! {
        #[test]
        fn a_line_has_one_reading(
            whoami in "[a@. ]{0,4}",
            username in "[a@/. ]{1,6}",
            hostname in "[a. ]{0,4}",
        ) {
            let client = Client {
                username: Some(whoami.clone()),
                hostname: Some(hostname.clone()),
                version: None,
            };
            let owner = Owner { username: username.clone(), ..Owner::default() };
            let line = user_line(Some(&client), &owner);
            proptest::prop_assert_eq!(read(&line), (&*whoami, &*username, &*hostname));
        }
    }
}
