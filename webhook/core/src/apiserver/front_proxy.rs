//! Who asks, in the headers of an aggregator that was verified.

use crate::identity::Requester;

/// The names of the headers, as the cluster's ConfigMap has them. Compared without regard to case.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HeaderNames {
    /// Of the user name: the first that is there counts.
    pub username: Vec<String>,
    /// Of the user's identifier.
    pub uid: Vec<String>,
    /// Of the groups, one a header.
    pub groups: Vec<String>,
    /// How the headers of everything else start.
    pub extra_prefixes: Vec<String>,
}

/// More than this of groups or extra values can't be told from an attack.
const MAX_VALUES: usize = 8192;

/// Why the headers name nobody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Nobody {
    /// There is no user name.
    Unnamed,
    /// A value is not UTF-8, so it can't be compared with what policies say.
    NotText,
    /// There are too many. None is left out: fewer groups may see more.
    TooMany,
}

/// The requester that the headers name.
///
/// # Errors
/// They name nobody; the answer is 401.
pub fn requester(names: &HeaderNames, headers: &[(&str, &[u8])]) -> Result<Requester, Nobody> {
    let all = |wanted: &[String]| -> Result<Vec<String>, Nobody> {
        let mut values = Vec::new();
        for name in wanted {
            for (_, value) in headers
                .iter()
                .filter(|(header, value)| header.eq_ignore_ascii_case(name) && !value.is_empty())
            {
                if values.len() == MAX_VALUES {
                    return Err(Nobody::TooMany);
                }
                values.push(text(value)?);
            }
        }
        Ok(values)
    };
    let first = |wanted: &[String]| all(wanted).map(|values| values.into_iter().next());
    let mut requester = Requester {
        username: first(&names.username)?.ok_or(Nobody::Unnamed)?,
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
                return Err(Nobody::TooMany);
            }
            let key = decoded(&key.to_ascii_lowercase());
            requester.extra.entry(key).or_default().push(text(value)?);
        }
    }
    Ok(requester)
}

fn text(value: &[u8]) -> Result<String, Nobody> {
    String::from_utf8(value.to_vec()).map_err(|_| Nobody::NotText)
}

/// A key without its percent-encoding; as it is where that is malformed, as the API server has it.
fn decoded(key: &str) -> String {
    super::options::percent_decoded(key, false).unwrap_or_else(|| key.to_owned())
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

    fn ask(headers: &[(&str, &str)]) -> Result<Requester, Nobody> {
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        requester(&names(), &headers)
    }

    #[test]
    fn everything_that_is_said() {
        let requester = ask(&[
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
    fn nobody() {
        assert_eq!(ask(&[]), Err(Nobody::Unnamed));
        assert_eq!(ask(&[("x-remote-group", "system:masters")]), Err(Nobody::Unnamed));
        assert_eq!(ask(&[("x-remote-user", "")]), Err(Nobody::Unnamed));
        let broken: &[(&str, &[u8])] = &[("x-remote-user", b"\xff")];
        assert_eq!(requester(&names(), broken), Err(Nobody::NotText));
        let groups = vec![("x-remote-group", "g"); MAX_VALUES + 1];
        let many = [&[("x-remote-user", "a")][..], &groups].concat();
        assert_eq!(ask(&many), Err(Nobody::TooMany));
    }
}
