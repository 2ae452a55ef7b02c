//! Lists in pages: what a continue token holds.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use crate::sessions::tracker::TrackerKey;

/// Where a list goes on, and of which state of which list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Position {
    /// The last key that was answered.
    pub after: TrackerKey,
    /// The state that the pages show; none if the list was given up as consistent.
    pub version: Option<u64>,
}

/// Longer tokens are not ours.
const MAX_TOKEN: usize = 2048;
/// The version of this form.
const VERSION: &str = "visibility.operator.metalbear.co/v1";

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Token<'a> {
    v: &'a str,
    rv: Option<u64>,
    namespace: String,
    name: String,
    of: u64,
}

/// A number that differs for lists of another namespace or other selectors.
#[must_use]
pub fn list_id(namespace: Option<&str>, selectors: &str) -> u64 {
    // FNV-1a. It tells lists apart; it protects nothing, since a position grants no sight.
    let text = format!("{}\n{selectors}", namespace.unwrap_or("*"));
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The token of a position in a list.
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

/// The position that a token of this list tells.
///
/// # Errors
/// It is none, or of another list.
pub fn decode(token: &str, list: u64) -> Result<Position, ApiError> {
    let invalid = |why: &str| ApiError::bad_request(format!("continue key is not valid: {why}"));
    if token.len() > MAX_TOKEN {
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
    fn a_token_belongs_to_its_list() {
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
