//! Validation of settings before the first request, with kubectl's messages.

use std::fs::File;

use super::types::{Cluster, Exec, User};
use crate::error::Error;

/// API versions of credential plugins. kubectl has dropped the first, whose answers are the same.
const API_VERSIONS: [&str; 3] = [
    "client.authentication.k8s.io/v1alpha1",
    "client.authentication.k8s.io/v1beta1",
    "client.authentication.k8s.io/v1",
];

/// Validates that the file of certificate authorities is readable.
///
/// # Errors
/// Fails if the file cannot be read.
pub(super) fn cluster(cluster: &Cluster, name: &str) -> Result<(), Error> {
    // Data overrides the file.
    match &cluster.certificate_authority {
        Some(path) if cluster.certificate_authority_data.is_none() => {
            readable("certificate-authority", path, name)
        }
        _ => Ok(()),
    }
}

/// Validates that the user's settings are consistent and that their files are readable.
///
/// # Errors
/// Fails if settings contradict each other, or if a file cannot be read.
pub(super) fn user(user: &User, name: &str) -> Result<(), Error> {
    let mut methods = Vec::new();
    if user.token.is_some() {
        methods.push("token");
    }
    if user.username.is_some() || user.password.is_some() {
        methods.push("basicAuth");
    }
    if methods.len() > 1 {
        return Err(Error::setup(format!(
            "more than one authentication method found for {name}; found [{}], only one is allowed",
            methods.join(" ")
        )));
    }
    if user.client_certificate.is_some() || user.client_certificate_data.is_some() {
        if user.client_key.is_none() && user.client_key_data.is_none() {
            return Err(Error::setup(format!(
                "client-key-data or client-key must be specified for {name} to use the clientCert authentication method: give --client-key too"
            )));
        }
        for (kind, path, data) in [
            ("client-cert", &user.client_certificate, &user.client_certificate_data),
            ("client-key", &user.client_key, &user.client_key_data),
        ] {
            if let (Some(path), None) = (path, data) {
                readable(kind, path, name)?;
            }
        }
    }
    let acts = &user.impersonation;
    if acts.user.is_none() && (!acts.groups.is_empty() || acts.uid.is_some()) {
        return Err(Error::setup(format!(
            "requesting uid, groups or user-extra for {name} without impersonating a user: give --as too"
        )));
    }
    if acts.user.is_none() && !acts.extra.is_empty() {
        return Err(Error::setup(
            "requesting user-extra without impersonating a user: give --as too",
        ));
    }
    match &user.exec {
        Some(_) if user.auth_provider.is_some() => Err(Error::setup(format!(
            "authProvider cannot be provided in combination with an exec plugin for {name}: remove one of them from the kubeconfig"
        ))),
        Some(plugin) => exec(plugin, name),
        None => Ok(()),
    }
}

fn exec(plugin: &Exec, name: &str) -> Result<(), Error> {
    let missing = |field: &str| {
        Err(Error::setup(format!(
            "{field} must be specified for {name} to use exec authentication plugin"
        )))
    };
    if plugin.command.is_empty() {
        return missing("command");
    }
    match plugin.api_version.as_deref() {
        None => return missing("apiVersion"),
        Some(version) if !API_VERSIONS.contains(&version) => {
            return Err(Error::setup(format!(
                "exec plugin: invalid apiVersion {version:?} for {name}: expected {} or {}",
                API_VERSIONS[2], API_VERSIONS[1]
            )));
        }
        Some(_) => {}
    }
    match plugin.interactive_mode.as_deref() {
        // kubectl requires the field for v1. Without it, the default of v1beta1 applies.
        None | Some("Never" | "IfAvailable" | "Always") => Ok(()),
        Some(other) => Err(Error::setup(format!(
            "invalid interactiveMode for {name}: {other:?}: expected Never, IfAvailable or Always"
        ))),
    }
}

fn readable(kind: &str, path: &str, name: &str) -> Result<(), Error> {
    File::open(path).map(|_| ()).map_err(|error| {
        Error::setup(format!("unable to read {kind} {path} for {name} due to {error}"))
    })
}
