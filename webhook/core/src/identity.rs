//! Identities of requesters and owners.

use std::collections::BTreeMap;

use mirrord_sessions_crds::{CONTROLLER_USERNAME, Client, Owner};

/// The effective user of a request, as the API server authenticated them.
///
/// With impersonation, that is the impersonated user: admission never sees the impersonator.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Requester {
    /// The Kubernetes user name. Empty if the API server named no user.
    pub username: String,
    /// The authenticator's identifier of the user, if it has one.
    pub uid: Option<String>,
    /// The Kubernetes groups of the user.
    pub groups: Vec<String>,
    /// Extra values of the authenticator, by key.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Requester {
    /// Returns the requester as the owner of the objects that they create.
    #[must_use]
    pub fn to_owner(&self) -> Owner {
        Owner {
            username: self.username.clone(),
            uid: self.uid.clone(),
            groups: self.groups.clone(),
        }
    }

    /// Returns whether this is the controller, which records agents on behalf of their requesters.
    #[must_use]
    pub fn is_controller(&self) -> bool {
        self.username == CONTROLLER_USERNAME
    }
}

/// Returns the user of a session in the format of mirrord's operator: `whoami/user@hostname`.
///
/// `whoami` and `hostname` are claims of the client and may be empty. Without both, the line is the
/// user name alone.
///
/// The line parses in one way only. The schema allows no slash in `whoami` and no at sign in
/// `hostname`. In a line with a slash, `whoami` precedes the first slash, and `hostname` follows
/// the last at sign. A line without a slash is a user name, and a user name with a slash is never
/// alone.
///
/// The guard policy (`manifests/base/guard-sessions.yaml`) composes the same line in CEL.
#[must_use]
pub fn user_line(client: Option<&Client>, owner: &Owner) -> String {
    let claim = |field: fn(&Client) -> &Option<String>| {
        client.and_then(|client| field(client).as_deref()).unwrap_or_default()
    };
    let (whoami, hostname) = (claim(|client| &client.username), claim(|client| &client.hostname));
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
    fn composes_user_lines() {
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

    /// Parses a line as the documentation of `user_line` describes.
    fn parse(line: &str) -> (&str, &str, &str) {
        let Some((whoami, rest)) = line.split_once('/') else {
            return ("", line, "");
        };
        let (username, hostname) = rest.rsplit_once('@').unwrap();
        (whoami, username, hostname)
    }

    proptest::proptest! {
        #[test]
        fn lines_parse_unambiguously(
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
            proptest::prop_assert_eq!(parse(&line), (&*whoami, &*username, &*hostname));
        }
    }
}
