//! Validation of credentials before the first request, with kubectl's messages.

use std::fs::File;

use kube::config::AuthInfo;

use crate::error::Error;

/// Validates that the user's settings are consistent and that their files are readable.
///
/// # Errors
/// Fails if settings contradict each other, or if a file cannot be read.
pub(super) fn validate(user: &AuthInfo, name: &str) -> Result<(), Error> {
    let is_set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let mut methods = Vec::new();
    if user.token.is_some() {
        methods.push("token");
    }
    if is_set(&user.username) || user.password.is_some() {
        methods.push("basicAuth");
    }
    if methods.len() > 1 {
        return Err(Error::setup(format!(
            "more than one authentication method found for {name}; found [{}], only one is allowed",
            methods.join(" ")
        )));
    }
    if is_set(&user.client_certificate) || is_set(&user.client_certificate_data) {
        if !is_set(&user.client_key) && user.client_key_data.is_none() {
            return Err(Error::setup(format!(
                "client-key-data or client-key must be specified for {name} to use the clientCert authentication method: give --client-key too"
            )));
        }
        for (kind, path) in
            [("client-cert", &user.client_certificate), ("client-key", &user.client_key)]
        {
            let Some(path) = path.as_ref().filter(|path| !path.is_empty()) else {
                continue;
            };
            File::open(path).map_err(|error| {
                Error::setup(format!("unable to read {kind} {path} for {name} due to {error}"))
            })?;
        }
    }
    let has_groups = user.impersonate_groups.as_ref().is_some_and(|groups| !groups.is_empty());
    if !is_set(&user.impersonate) && (has_groups || is_set(&user.impersonate_uid)) {
        return Err(Error::setup(format!(
            "requesting uid, groups or user-extra for {name} without impersonating a user: give --as too"
        )));
    }
    Ok(())
}
