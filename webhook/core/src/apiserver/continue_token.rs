//! Continue tokens of paginated lists.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::ApiError;
use crate::sessions::tracker::TrackerKey;

/// Position of a continue token in a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Position {
    /// The last key of the previous page.
    pub after: TrackerKey,
    /// The version of the listed state.
    ///
    /// `None` resumes in the newest state, after the original state has expired.
    pub version: Option<u64>,
}

/// The maximum length of a token. Longer ones were not issued by this server.
const MAX_TOKEN_LENGTH: usize = 2048;
/// The version of the token format.
const VERSION: &str = "visibility.operator.metalbear.co/v1";

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Token<'a> {
    /// The version of the token format.
    v: &'a str,
    /// The resource version of the listed state.
    rv: Option<u64>,
    namespace: String,
    name: String,
    /// The hash of the list that the token belongs to, see [`list_id`].
    of: u64,
}

/// Returns a hash of the namespace and the selectors of a list.
#[must_use]
pub fn list_id(namespace: Option<&str>, selectors: &str) -> u64 {
    // FNV-1a suffices: a token grants no access, so the hash need not resist forgery.
    let text = format!("{}\n{selectors}", namespace.unwrap_or("*"));
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Encodes a position in a list as a token.
#[must_use]
pub fn encode(position: &Position, list: u64) -> String {
    let token = Token {
        v: VERSION,
        rv: position.version,
        namespace: position.after.namespace.to_string(),
        name: position.after.name.to_string(),
        of: list,
    };
    let json = serde_json::to_vec(&token).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(json)
}

/// Decodes a token of this list.
///
/// # Errors
/// Returns 400 if the token is invalid or belongs to another list.
pub fn decode(token: &str, list: u64) -> Result<Position, ApiError> {
    let invalid =
        |reason: &str| ApiError::bad_request(format!("continue key is not valid: {reason}"));
    if token.len() > MAX_TOKEN_LENGTH {
        return Err(invalid("it is too long"));
    }
    let json = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid("illegal base64 data"))?;
    let token: Token<'_> =
        serde_json::from_slice(&json).map_err(|_| invalid("it was not issued here"))?;
    if token.v != VERSION {
        return Err(invalid("server does not recognize this encoded version"));
    }
    if token.of != list {
        return Err(invalid(
            "it was issued for a list of another namespace or with other selectors",
        ));
    }
    Ok(Position {
        after: TrackerKey { namespace: token.namespace.into(), name: token.name.into() },
        version: token.rv,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_invalid_tokens_and_tokens_of_other_lists() {
        let position = Position {
            after: TrackerKey { namespace: "a".into(), name: "b".into() },
            version: Some(7),
        };
        let list = list_id(Some("a"), "x=y\n");
        let token = encode(&position, list);
        assert_eq!(decode(&token, list).unwrap(), position);
        for other in
            [list_id(None, "x=y\n"), list_id(Some("a"), "\nx=y"), list_id(Some("b"), "x=y\n")]
        {
            assert_eq!(decode(&token, other).unwrap_err().code, 400);
        }
        let apiserver =
            URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":5,"start":"a\u0000"}"#);
        for bad in ["", "%", "e30", &apiserver, &"a".repeat(5000)] {
            assert_eq!(decode(bad, list).unwrap_err().code, 400, "{bad}");
        }
    }
}
