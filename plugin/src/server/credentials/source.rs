//! Source of the `Authorization` header.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::HeaderValue;
use jiff::Timestamp;

use super::exec::Plugin;
use crate::{
    error::Error,
    server::kubeconfig::{AuthProvider, Exec, User},
};

/// Source of the `Authorization` header.
pub(super) enum Source {
    None,
    Fixed(HeaderValue),
    /// File with a token, and the token to use while the file cannot be read.
    TokenFile(String, Option<String>),
    Plugin(Box<Plugin>),
}

impl Source {
    /// Selects the source of a user's credentials, in the order of client-go.
    ///
    /// # Errors
    /// Fails if the credentials are unusable or not supported.
    pub(super) fn from_user(
        user: User,
        has_certificate: bool,
        description: &str,
        plugin: impl FnOnce(Exec) -> Plugin,
    ) -> Result<Self, Error> {
        if let Some(path) = user.token_file {
            return Ok(Self::TokenFile(path, user.token));
        }
        if let Some(token) = user.token {
            return bearer(&token, description).map(Self::Fixed);
        }
        if user.username.is_some() || user.password.is_some() {
            let (name, password) =
                (user.username.unwrap_or_default(), user.password.unwrap_or_default());
            let value = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
            return sensitive_header(&value).map(Self::Fixed).ok_or_else(|| {
                Error::credentials(format!("the password of {description} is unusable"))
            });
        }
        if let Some(provider) = user.auth_provider {
            let token = provider_token(&provider, description, Timestamp::now())?;
            return bearer(&token, description).map(Self::Fixed);
        }
        match user.exec {
            // As in client-go, a client certificate makes the plugin superfluous.
            Some(exec) if !has_certificate => Ok(Self::Plugin(Box::new(plugin(exec)))),
            _ => Ok(Self::None),
        }
    }
}

/// Returns the header of a token. White space around the token is ignored: editors and shells end
/// files with a line break.
pub(super) fn bearer(token: &str, origin: &str) -> Result<HeaderValue, Error> {
    let token = token.trim();
    sensitive_header(&format!("Bearer {token}")).ok_or_else(|| {
        Error::credentials(format!(
            "the token of {origin} contains a line break or another control character: it must be a single line"
        ))
    })
}

fn sensitive_header(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Returns the token of an authentication provider that is built into clients.
fn provider_token(
    provider: &AuthProvider,
    description: &str,
    now: Timestamp,
) -> Result<String, Error> {
    let name = provider.name.as_str();
    if name != "oidc" {
        // kubectl has removed the other providers too.
        let instead = match name {
            "gcp" => "use the credential plugin \"gke-gcloud-auth-plugin\"",
            "azure" => "use the credential plugin \"kubelogin\"",
            _ => "use a credential plugin (\"exec\")",
        };
        return Err(Error::credentials(format!(
            "the auth-provider {name:?} of {description} is not supported, like in kubectl: {instead} in the kubeconfig"
        )));
    }
    let refresh = "a kubectl command (as \"kubectl version\") refreshes it in the kubeconfig";
    let Some(token) = provider.config.get("id-token") else {
        return Err(Error::credentials(format!("{description} has no id-token: {refresh}")));
    };
    match token_expiry(token) {
        Some(time) if time <= now => Err(Error::credentials(format!(
            "the id-token of {description} expired at {time}: {refresh}"
        ))),
        _ => Ok(token.clone()),
    }
}

/// Returns the expiry of a JSON Web Token, if it has one.
fn token_expiry(token: &str) -> Option<Timestamp> {
    let payload = token.split('.').nth(1)?.trim_end_matches('=');
    let bytes = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    Timestamp::from_second(claims.get("exp")?.as_i64()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_remedy_for_authentication_providers() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let provider = |name: &str, config: &[(&str, &str)]| {
            let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            let provider =
                AuthProvider { name: name.to_owned(), config: config.iter().map(pair).collect() };
            provider_token(&provider, "user \"dev\"", now).map_err(|error| error.to_string())
        };
        let claims = |exp: &str| {
            let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
            format!("{}.{}.x", encode("{}"), encode(&format!("{{\"exp\":{exp}}}")))
        };
        let (old, new) = (claims("1600000000"), claims("4000000000"));
        assert_eq!(provider("oidc", &[("id-token", &new)]), Ok(new.clone()));
        assert_eq!(provider("oidc", &[("id-token", "opaque")]), Ok("opaque".to_owned()));
        for (found, expected) in [
            (
                provider("oidc", &[("id-token", &old)]),
                "the id-token of user \"dev\" expired at 2020-09-13T12:26:40Z: a kubectl command",
            ),
            (provider("oidc", &[]), "user \"dev\" has no id-token: a kubectl command"),
            (
                provider("gcp", &[]),
                "use the credential plugin \"gke-gcloud-auth-plugin\" in the kubeconfig",
            ),
            (provider("azure", &[]), "use the credential plugin \"kubelogin\" in the kubeconfig"),
            (provider("", &[]), "use a credential plugin (\"exec\") in the kubeconfig"),
        ] {
            let error = found.unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
