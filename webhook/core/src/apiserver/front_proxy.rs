//! The requester in the headers of an authenticated front proxy.

use crate::identity::Requester;

/// Header names from the cluster's ConfigMap, compared case-insensitively.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HeaderNames {
    /// Headers of the user name. The first non-empty one counts.
    pub username: Vec<String>,
    /// Headers of the user's uid.
    pub uid: Vec<String>,
    /// Headers of groups, each with one group.
    pub groups: Vec<String>,
    /// Prefixes of headers of extra values.
    pub extra_prefixes: Vec<String>,
}

/// The maximum number of groups, and of extra values. More indicate an attack.
const MAX_VALUES: usize = 8192;

/// Reason why the headers name no requester.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InvalidHeaders {
    /// The user name is missing.
    MissingUsername,
    /// A value is not UTF-8, so policies cannot refer to it.
    NotUtf8,
    /// There are too many values. Dropping some is unsafe, since fewer groups may see more.
    TooMany,
}

/// Parses the requester from the headers.
///
/// # Errors
/// Returns an error if the headers name no requester; the response is 401 then.
pub fn parse_requester(
    names: &HeaderNames,
    headers: &[(&str, &[u8])],
) -> Result<Requester, InvalidHeaders> {
    let all = |names: &[String]| -> Result<Vec<String>, InvalidHeaders> {
        let mut values = Vec::new();
        for name in names {
            for (_, value) in headers
                .iter()
                .filter(|(header, value)| header.eq_ignore_ascii_case(name) && !value.is_empty())
            {
                if values.len() == MAX_VALUES {
                    return Err(InvalidHeaders::TooMany);
                }
                values.push(text(value)?);
            }
        }
        Ok(values)
    };
    let first = |names: &[String]| all(names).map(|values| values.into_iter().next());
    let mut requester = Requester {
        username: first(&names.username)?.ok_or(InvalidHeaders::MissingUsername)?,
        uid: first(&names.uid)?,
        groups: all(&names.groups)?,
        ..Requester::default()
    };
    let mut count = 0;
    for prefix in &names.extra_prefixes {
        for (header, value) in headers {
            let Some((start, key)) = header.split_at_checked(prefix.len()) else {
                continue;
            };
            if !start.eq_ignore_ascii_case(prefix) {
                continue;
            }
            count += 1;
            if count > MAX_VALUES {
                return Err(InvalidHeaders::TooMany);
            }
            let key = decode_key(&key.to_ascii_lowercase());
            requester.extra.entry(key).or_default().push(text(value)?);
        }
    }
    Ok(requester)
}

fn text(value: &[u8]) -> Result<String, InvalidHeaders> {
    String::from_utf8(value.to_vec()).map_err(|_| InvalidHeaders::NotUtf8)
}

/// Decodes a percent-encoded key; like the API server, leaves a malformed one unchanged.
fn decode_key(key: &str) -> String {
    super::options::percent_decode(key, false).unwrap_or_else(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> HeaderNames {
        let one = |name: &str| vec![name.to_owned()];
        HeaderNames {
            username: one("X-Remote-User"),
            uid: one("X-Remote-Uid"),
            groups: one("X-Remote-Group"),
            extra_prefixes: one("X-Remote-Extra-"),
        }
    }

    fn parse(headers: &[(&str, &str)]) -> Result<Requester, InvalidHeaders> {
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        parse_requester(&names(), &headers)
    }

    #[test]
    fn parses_all_headers() {
        let requester = parse(&[
            ("x-remote-user", "Zoë \u{202e}/@,;"),
            ("x-remote-uid", "7"),
            ("x-remote-group", "a,b"),
            ("x-remote-group", "system:authenticated"),
            ("x-remote-extra-example.com%2Fscopes", "one"),
            ("x-remote-extra-example.com%2fscopes", "two, three"),
            ("x-remote-extra-bad%zz", "x"),
            ("x-remote", "x"),
            ("x-other", "x"),
        ])
        .unwrap();
        assert_eq!(requester.username, "Zoë \u{202e}/@,;");
        assert_eq!(requester.uid.as_deref(), Some("7"));
        assert_eq!(requester.groups, ["a,b", "system:authenticated"]);
        assert_eq!(requester.extra["example.com/scopes"], ["one", "two, three"]);
        assert_eq!(requester.extra["bad%zz"], ["x"]);
        assert_eq!(requester.extra.len(), 2);
    }

    #[test]
    fn rejects_invalid_headers() {
        assert_eq!(parse(&[]), Err(InvalidHeaders::MissingUsername));
        assert_eq!(
            parse(&[("x-remote-group", "system:masters")]),
            Err(InvalidHeaders::MissingUsername)
        );
        assert_eq!(parse(&[("x-remote-user", "")]), Err(InvalidHeaders::MissingUsername));
        let broken: &[(&str, &[u8])] = &[("x-remote-user", b"\xff")];
        assert_eq!(parse_requester(&names(), broken), Err(InvalidHeaders::NotUtf8));
        let groups = vec![("x-remote-group", "g"); MAX_VALUES + 1];
        let many = [&[("x-remote-user", "a")][..], &groups].concat();
        assert_eq!(parse(&many), Err(InvalidHeaders::TooMany));
    }
}
