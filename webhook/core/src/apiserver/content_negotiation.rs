//! Which representation a client is served, by its `Accept` header, as the API server negotiates.

use super::error::ApiError;

/// The text form.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
}

/// Version of the types in `meta.k8s.io`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetaVersion {
    /// `v1`
    V1,
    /// `v1beta1`
    V1Beta1,
}

impl MetaVersion {
    /// As an `apiVersion`.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// What an object is turned into.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Representation {
    /// Nothing else than it is.
    Object,
    /// Rows and columns.
    Table(MetaVersion),
    /// Metadata alone.
    Partial(MetaVersion),
    /// Metadata alone, of a list.
    PartialList(MetaVersion),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// One object.
    Object,
    /// A list.
    List,
    /// A stream of events.
    Watch,
}

/// The representation that a client prefers among those served.
///
/// # Errors
/// 406 where it accepts none.
pub fn negotiate(
    header: Option<&str>,
    target: Target,
) -> Result<(Encoding, Representation), ApiError> {
    let chosen = match header.map(str::trim) {
        None | Some("") => Some((Encoding::Json, Representation::Object)),
        Some(header) => {
            clauses(header).into_iter().find_map(|clause| resource_representation(&clause, target))
        }
    };
    let (encoding, representation) = chosen.ok_or_else(|| match target {
        Target::Watch => ApiError::not_acceptable(&["application/json;stream=watch"]),
        _ => ApiError::not_acceptable(&["application/json", "application/yaml"]),
    })?;
    match (representation, target) {
        (Representation::Partial(_), Target::List) => Err(ApiError::wrong_representation(
            "you requested PartialObjectMetadata, but the requested object is a list (SessionTrackerList)",
        )),
        (Representation::PartialList(_), Target::Object | Target::Watch) => {
            Err(ApiError::wrong_representation(
                "you requested PartialObjectMetadataList, but the requested object is not a list (SessionTracker)",
            ))
        }
        _ => Ok((encoding, representation)),
    }
}

/// Which document of discovery is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Discovery {
    /// `APIGroupList` and the like.
    Legacy,
    /// `APIGroupDiscoveryList`, in `v2` or `v2beta1`.
    Aggregated(&'static str),
}

/// The form of discovery that a client prefers.
///
/// # Errors
/// 406 where it accepts none.
pub fn negotiate_discovery(header: Option<&str>) -> Result<(Encoding, Discovery), ApiError> {
    let header = header.map(str::trim).filter(|header| !header.is_empty());
    let Some(header) = header else {
        return Ok((Encoding::Json, Discovery::Legacy));
    };
    clauses(header)
        .into_iter()
        .find_map(|clause| {
            let encoding = clause.encoding?;
            match (clause.as_, clause.group, clause.version) {
                (None, None, None) => Some((encoding, Discovery::Legacy)),
                (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some(version)) => {
                    let version = ["v2", "v2beta1"].into_iter().find(|v| *v == version)?;
                    Some((encoding, Discovery::Aggregated(version)))
                }
                _ => None,
            }
        })
        .ok_or_else(|| ApiError::not_acceptable(&["application/json", "application/yaml"]))
}

/// One media type of the header with the parameters that count.
struct Clause<'a> {
    quality: f32,
    wildcard: bool,
    encoding: Option<Encoding>,
    as_: Option<&'a str>,
    group: Option<&'a str>,
    version: Option<&'a str>,
    stream: Option<&'a str>,
}

/// The clauses, the most preferred first.
fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = header.split(',').filter_map(clause).collect();
    // Stable: what was named first goes first among equals; what is named goes before wildcards.
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality).then(a.wildcard.cmp(&b.wildcard)));
    clauses
}

fn clause(text: &str) -> Option<Clause<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next()?;
    let is = |name: &str| media.eq_ignore_ascii_case(name);
    let mut clause = Clause {
        quality: 1.0,
        wildcard: media.contains('*'),
        encoding: if is("application/json") || is("application/*") || is("*/*") {
            Some(Encoding::Json)
        } else if is("application/yaml") {
            Some(Encoding::Yaml)
        } else {
            None
        },
        as_: None,
        group: None,
        version: None,
        stream: None,
    };
    for part in parts {
        let Some((name, value)) = part.split_once('=') else {
            continue;
        };
        let value = Some(value.trim().trim_matches('"')).filter(|value| !value.is_empty());
        match name.trim() {
            "q" => clause.quality = value.and_then(|q| q.parse().ok()).unwrap_or(1.0),
            "as" => clause.as_ = value,
            "g" => clause.group = value,
            "v" => clause.version = value,
            "stream" => clause.stream = value,
            // As an unknown server version, which nobody serves.
            "sv" if value.is_some() => clause.encoding = None,
            _ => {}
        }
    }
    (clause.quality > 0.0).then_some(clause)
}

fn resource_representation(
    clause: &Clause<'_>,
    target: Target,
) -> Option<(Encoding, Representation)> {
    let encoding = clause.encoding?;
    // There is no stream of YAML.
    let streams = matches!(clause.stream, None | Some("watch"));
    if !streams
        || (target == Target::Watch || clause.stream.is_some()) && encoding == Encoding::Yaml
    {
        return None;
    }
    if (clause.as_, clause.group, clause.version) == (None, None, None) {
        return Some((encoding, Representation::Object));
    }
    let version = match (clause.group?, clause.version?) {
        ("meta.k8s.io", "v1") => MetaVersion::V1,
        ("meta.k8s.io", "v1beta1") => MetaVersion::V1Beta1,
        _ => return None,
    };
    let representation = match clause.as_? {
        "Table" => Representation::Table(version),
        "PartialObjectMetadata" => Representation::Partial(version),
        "PartialObjectMetadataList" => Representation::PartialList(version),
        _ => return None,
    };
    Some((encoding, representation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use MetaVersion::{V1, V1Beta1};

    #[test]
    fn who_gets_what() {
        let json = |representation| Ok((Encoding::Json, representation));
        let yaml = |representation| Ok((Encoding::Yaml, representation));
        let cases = [
            (Target::List, "", json(Representation::Object)),
            (Target::List, "*/*", json(Representation::Object)),
            (Target::List, "application/*;q=0.1", json(Representation::Object)),
            (Target::List, "application/yaml", yaml(Representation::Object)),
            (Target::List, "application/json;q=0.5,application/yaml", yaml(Representation::Object)),
            (Target::List, "*/*,application/yaml", yaml(Representation::Object)),
            (
                Target::List,
                "application/vnd.kubernetes.protobuf,application/json",
                json(Representation::Object),
            ),
            (
                Target::List,
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                json(Representation::Table(V1)),
            ),
            (
                Target::List,
                "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
                json(Representation::Table(V1Beta1)),
            ),
            (
                Target::List,
                "application/yaml;as=Table;v=v1;g=meta.k8s.io",
                yaml(Representation::Table(V1)),
            ),
            (
                Target::List,
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                json(Representation::PartialList(V1)),
            ),
            (
                Target::Object,
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                json(Representation::Partial(V1)),
            ),
            (
                Target::List,
                "application/json;as=Table;v=v2;g=meta.k8s.io,application/json",
                json(Representation::Object),
            ),
            (Target::Watch, "application/json;stream=watch", json(Representation::Object)),
            (Target::Watch, "application/yaml", Err(406)),
            (Target::List, "application/json;as=Table;v=v2;g=meta.k8s.io", Err(406)),
            (
                Target::List,
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                Err(406),
            ),
            (
                Target::Object,
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Err(406),
            ),
            (Target::List, "application/json;stream=other", Err(406)),
            (Target::List, "text/html", Err(406)),
            (Target::List, "application/json;q=0", Err(406)),
            (Target::List, ";;;,,,=;", Err(406)),
        ];
        for (target, header, expected) in cases {
            let got = negotiate(Some(header), target).map_err(|failure| failure.code);
            assert_eq!(got, expected, "{target:?} {header}");
        }
    }

    #[test]
    fn discovery_of_either_kind() {
        let both = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        let cases = [
            ("", Ok(Discovery::Legacy)),
            ("application/json", Ok(Discovery::Legacy)),
            (both, Ok(Discovery::Aggregated("v2"))),
            (
                "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
                Ok(Discovery::Aggregated("v2beta1")),
            ),
            ("application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList", Err(406)),
            ("text/plain", Err(406)),
        ];
        for (header, expected) in cases {
            let got = negotiate_discovery(Some(header));
            let got = got.map(|(_, form)| form).map_err(|failure| failure.code);
            assert_eq!(got, expected, "{header}");
        }
    }
}
