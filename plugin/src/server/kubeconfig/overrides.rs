//! Flags that override settings of the kubeconfig.

use super::types::{Cluster, User};
use crate::{cli::ConnectionOptions, error::Error};

/// Unsets flags with an empty value, as kubectl does.
pub(super) fn without_empty_flags(flags: &ConnectionOptions) -> ConnectionOptions {
    let mut flags = flags.clone();
    for flag in [
        &mut flags.context,
        &mut flags.cluster,
        &mut flags.user,
        &mut flags.server,
        &mut flags.token,
        &mut flags.username,
        &mut flags.password,
        &mut flags.certificate_authority,
        &mut flags.client_certificate,
        &mut flags.client_key,
        &mut flags.tls_server_name,
        &mut flags.impersonate,
        &mut flags.impersonate_uid,
    ] {
        *flag = flag.take().filter(|text| !text.is_empty());
    }
    flags
}

/// Applies the flags about the server.
///
/// # Errors
/// Fails if certificates are given for a server that is not verified.
pub(super) fn override_cluster(
    cluster: &mut Cluster,
    flags: &ConnectionOptions,
) -> Result<(), Error> {
    if let Some(server) = &flags.server {
        cluster.server = Some(server.trim().to_owned());
    }
    if let Some(path) = &flags.certificate_authority {
        cluster.certificate_authority = Some(path.clone());
        cluster.certificate_authority_data = None;
        cluster.insecure_skip_tls_verify = false;
    }
    if let Some(name) = &flags.tls_server_name {
        cluster.tls_server_name = Some(name.clone());
    }
    if flags.insecure_skip_tls_verify {
        cluster.insecure_skip_tls_verify = true;
        cluster.certificate_authority = None;
        cluster.certificate_authority_data = None;
    }
    let has_authority =
        cluster.certificate_authority.is_some() || cluster.certificate_authority_data.is_some();
    if has_authority && cluster.insecure_skip_tls_verify {
        // kubectl rejects the combination too.
        return Err(Error::setup(
            "specifying a root certificates file with the insecure flag is not allowed: remove certificate-authority or insecure-skip-tls-verify from the kubeconfig",
        ));
    }
    Ok(())
}

/// Applies the flags about the credentials and the impersonated user.
pub(super) fn override_user(user: &mut User, flags: &ConnectionOptions) {
    if flags.token.is_some() {
        *user = User {
            token: flags.token.clone(),
            token_file: None,
            username: None,
            password: None,
            exec: None,
            auth_provider: None,
            ..std::mem::take(user)
        };
    }
    if flags.username.is_some() || flags.password.is_some() {
        *user = User {
            username: flags.username.clone().or_else(|| user.username.take()),
            password: flags.password.clone().or_else(|| user.password.take()),
            exec: None,
            auth_provider: None,
            ..std::mem::take(user)
        };
        if flags.token.is_none() {
            // A token remains set, so that validation rejects two authentication methods as kubectl
            // does.
            user.token_file = None;
        }
    }
    if let Some(path) = &flags.client_certificate {
        user.client_certificate = Some(path.clone());
        user.client_certificate_data = None;
    }
    if let Some(path) = &flags.client_key {
        user.client_key = Some(path.clone());
        user.client_key_data = None;
    }
    let impersonation = &mut user.impersonation;
    if let Some(name) = &flags.impersonate {
        impersonation.user = Some(name.clone());
    }
    if !flags.impersonate_groups.is_empty() {
        impersonation.groups.clone_from(&flags.impersonate_groups);
    }
    if let Some(uid) = &flags.impersonate_uid {
        impersonation.uid = Some(uid.clone());
    }
    let pairs = flags.impersonate_extra.iter();
    let pairs: Vec<(&str, &str)> = pairs.filter_map(|pair| pair.split_once('=')).collect();
    for (key, _) in &pairs {
        impersonation.extra.remove(*key);
    }
    for (key, value) in pairs {
        impersonation.extra.entry(key.to_owned()).or_default().push(value.to_owned());
    }
}
