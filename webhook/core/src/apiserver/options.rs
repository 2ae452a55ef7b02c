//! Query parameters of requests, parsed and validated like in the API server.

use super::{ApiError, fields::FieldSelector, labels::LabelSelector};

/// Query parameters of a list or watch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListOptions {
    /// The query parameter `labelSelector`.
    pub labels: LabelSelector,
    /// The query parameter `fieldSelector`.
    pub fields: FieldSelector,
    /// The text of both selectors, which binds a continue token to its list.
    pub selectors: String,
    /// `limit`; 0 means no limit.
    pub limit: usize,
    /// The query parameter `continue`.
    pub continue_token: Option<String>,
    /// The query parameter `resourceVersion`.
    pub version: Version,
    /// The query parameter `resourceVersionMatch`.
    pub version_match: Option<VersionMatch>,
    /// The query parameter `watch`.
    pub watch: bool,
    /// The query parameter `timeoutSeconds`.
    pub timeout: Option<u32>,
    /// The query parameter `allowWatchBookmarks`.
    pub bookmarks: bool,
    /// The query parameter `sendInitialEvents`.
    pub send_initial_events: Option<bool>,
    /// The query parameter `includeObject`.
    pub include: IncludeObject,
}

/// The value of the parameter `resourceVersion`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Version {
    /// Not set: the newest state.
    #[default]
    Unset,
    /// The version `0`, which accepts any state.
    Any,
    /// A specific resource version.
    At(u64),
}

impl Version {
    /// Returns the version that the served state must have reached.
    #[must_use]
    pub fn minimum(self) -> u64 {
        match self {
            Self::Unset | Self::Any => 0,
            Self::At(version) => version,
        }
    }
}

/// The value of the parameter `resourceVersionMatch`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VersionMatch {
    /// Exactly the given state.
    Exact,
    /// The given state or a newer one.
    NotOlderThan,
}

/// Value of `includeObject`: the part of the object that table rows include.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum IncludeObject {
    /// The metadata of the object.
    #[default]
    Metadata,
    /// The object with all fields.
    Object,
    /// No part of the object.
    None,
}

impl ListOptions {
    /// Parses the query of a request.
    ///
    /// # Errors
    /// Returns the API server's error for invalid parameters.
    pub fn parse(query: &str) -> Result<Self, ApiError> {
        let query = Query::parse(query)?;
        let label_text = query.get("labelSelector").unwrap_or_default();
        let field_text = query.get("fieldSelector").unwrap_or_default();
        let match_text = query.get("resourceVersionMatch").filter(|text| !text.is_empty());
        let options = Self {
            labels: LabelSelector::parse(label_text).map_err(ApiError::bad_request)?,
            fields: FieldSelector::parse(field_text).map_err(ApiError::bad_request)?,
            selectors: format!("{label_text}\n{field_text}"),
            limit: usize::try_from(query.number("limit")?.unwrap_or_default()).unwrap_or_default(),
            continue_token: query
                .get("continue")
                .filter(|token| !token.is_empty())
                .map(str::to_owned),
            version: query.version()?,
            version_match: match match_text {
                Some("Exact") => Some(VersionMatch::Exact),
                Some("NotOlderThan") => Some(VersionMatch::NotOlderThan),
                _ => None,
            },
            watch: query.flag("watch").unwrap_or_default(),
            timeout: query
                .number("timeoutSeconds")?
                .and_then(|seconds| u32::try_from(seconds).ok())
                .filter(|seconds| *seconds > 0),
            bookmarks: query.flag("allowWatchBookmarks").unwrap_or_default(),
            send_initial_events: query.flag("sendInitialEvents"),
            include: query.include()?,
        };
        let causes = if options.watch {
            options.watch_causes(match_text)
        } else {
            options.list_causes(match_text)
        };
        if !causes.is_empty() {
            return Err(ApiError::invalid_options(&causes));
        }
        if options.continue_token.is_some() && matches!(options.version, Version::At(_)) {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        Ok(options)
    }

    /// Returns the errors of a list as field, reason and message.
    fn list_causes(&self, match_text: Option<&str>) -> Vec<(&'static str, &'static str, String)> {
        let mut causes = Vec::new();
        if let Some(text) = match_text {
            let mut forbid = |reason: &str| causes.push(forbidden("resourceVersionMatch", reason));
            if self.version == Version::Unset {
                forbid("resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            if self.continue_token.is_some() {
                forbid("resourceVersionMatch is forbidden when continue is provided");
            }
            if self.version_match.is_none() {
                causes.push(unsupported(text, r#""Exact", "NotOlderThan", """#));
            }
            if self.version_match == Some(VersionMatch::Exact) && self.version == Version::Any {
                causes.push(forbidden(
                    "resourceVersionMatch",
                    r#"resourceVersionMatch "exact" is forbidden for resourceVersion "0""#,
                ));
            }
        }
        if self.send_initial_events.is_some() {
            causes.push(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        causes
    }

    /// Returns the errors of a watch as field, reason and message.
    fn watch_causes(&self, match_text: Option<&str>) -> Vec<(&'static str, &'static str, String)> {
        let mut causes = Vec::new();
        let newer = self.version_match == Some(VersionMatch::NotOlderThan);
        if self.send_initial_events.is_some() && !newer {
            causes.push(forbidden(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if let Some(text) = match_text {
            if self.send_initial_events.is_none() {
                causes.push(forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                ));
            }
            if !newer {
                causes.push(unsupported(text, r#""NotOlderThan""#));
            }
            if self.continue_token.is_some() {
                causes.push(forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
        }
        causes
    }
}

fn forbidden(field: &'static str, reason: &str) -> (&'static str, &'static str, String) {
    (field, "FieldValueForbidden", format!("Forbidden: {reason}"))
}

fn unsupported(text: &str, supported: &str) -> (&'static str, &'static str, String) {
    (
        "resourceVersionMatch",
        "FieldValueNotSupported",
        format!("Unsupported value: {text:?}: supported values: {supported}"),
    )
}

/// Parses the query of a get.
///
/// # Errors
/// Returns the API server's error for invalid parameters.
pub fn parse_get(query: &str) -> Result<(Version, IncludeObject), ApiError> {
    let query = Query::parse(query)?;
    Ok((query.version()?, query.include()?))
}

/// Parses the query of a create and returns whether it is a dry run.
///
/// # Errors
/// Returns the API server's error for invalid parameters.
pub fn parse_create(query: &str) -> Result<bool, ApiError> {
    let query = Query::parse(query)?;
    let mut dry_run = false;
    for (_, value) in query.0.iter().filter(|(name, _)| name == "dryRun") {
        if value != "All" {
            return Err(ApiError::bad_request(format!(
                "dryRun: Unsupported value: {value:?}: supported values: \"All\""
            )));
        }
        dry_run = true;
    }
    Ok(dry_run)
}

/// Decoded pairs of a query.
///
/// Like in Go's `net/url`, the first of several values counts, and malformed pairs are ignored.
///
/// A pair that is not UTF-8 is rejected. The API server accepts it and authorizes the request by
/// its value, so ignoring the pair would serve another request than the authorized one.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(query: &str) -> Result<Self, ApiError> {
        let pairs = query.split('&').filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((percent_decode_bytes(name, true)?, percent_decode_bytes(value, true)?))
        });
        let text = |bytes| {
            String::from_utf8(bytes)
                .map_err(|_| ApiError::bad_request("the query holds what isn't UTF-8"))
        };
        let pairs = pairs.map(|(name, value)| Ok((text(name)?, text(value)?)));
        pairs.collect::<Result<_, _>>().map(Self)
    }

    fn get(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(key, _)| key == name)?;
        Some(&pair.1)
    }

    /// Parses a boolean like the API server: any value except `false` and `0` is true.
    fn flag(&self, name: &str) -> Option<bool> {
        let text = self.get(name)?;
        Some(!text.eq_ignore_ascii_case("false") && text != "0")
    }

    fn number(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let text = self.get(name).filter(|text| !text.is_empty());
        text.map(|text| {
            text.parse().map_err(|_| ApiError::bad_request(not_a_number("ParseInt", text)))
        })
        .transpose()
    }

    fn version(&self) -> Result<Version, ApiError> {
        match self.get("resourceVersion") {
            None | Some("") => Ok(Version::Unset),
            Some("0") => Ok(Version::Any),
            Some(text) => text.parse().map(Version::At).map_err(|_| {
                ApiError::bad_request(format!(
                    "invalid resource version: resourceVersion: Invalid value: {text:?}: {}",
                    not_a_number("ParseUint", text)
                ))
            }),
        }
    }

    fn include(&self) -> Result<IncludeObject, ApiError> {
        match self.get("includeObject") {
            None | Some("" | "Metadata") => Ok(IncludeObject::Metadata),
            Some("Object") => Ok(IncludeObject::Object),
            Some("None") => Ok(IncludeObject::None),
            Some(other) => Err(ApiError::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', 'None', or empty"
            ))),
        }
    }
}

fn not_a_number(function: &str, text: &str) -> String {
    let digits = text.trim_start_matches(['-', '+']);
    let reason = if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        "value out of range"
    } else {
        "invalid syntax"
    };
    format!("strconv.{function}: parsing {text:?}: {reason}")
}

/// Decodes percent-encoded text; returns `None` if it is malformed or not UTF-8.
pub(crate) fn percent_decode(text: &str, plus_is_space: bool) -> Option<String> {
    String::from_utf8(percent_decode_bytes(text, plus_is_space)?).ok()
}

fn percent_decode_bytes(text: &str, plus_is_space: bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' if plus_is_space => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    Some(bytes)
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
