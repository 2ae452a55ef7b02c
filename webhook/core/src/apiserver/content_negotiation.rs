//! Content negotiation by the `Accept` header, with the rules of the API server.

use super::ApiError;

/// Text format of a response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// The media type `application/json`.
    Json,
    /// The media type `application/yaml`.
    Yaml,
}

/// Version of the API group `meta.k8s.io`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetaVersion {
    /// The version `v1` of `meta.k8s.io`.
    V1,
    /// The version `v1beta1` of `meta.k8s.io`.
    V1Beta1,
}

impl MetaVersion {
    /// Returns the `apiVersion` of responses.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// Form in which an object is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Representation {
    /// The object in its own representation.
    Object,
    /// A Table for kubectl's columns.
    Table(MetaVersion),
    /// The metadata as a PartialObjectMetadata.
    Partial(MetaVersion),
    /// The metadata as a PartialObjectMetadataList.
    PartialList(MetaVersion),
}

/// Kind of response that a request asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResponseKind {
    /// A response with a single object.
    Object,
    /// A list of objects.
    List,
    /// A stream of watch events.
    Watch,
}

/// Returns the served encoding and representation that the client prefers.
///
/// # Errors
/// Returns 406 if the client accepts none of them.
pub fn negotiate(
    header: Option<&str>,
    kind: ResponseKind,
) -> Result<(Encoding, Representation), ApiError> {
    let chosen = match header.map(str::trim) {
        None | Some("") => Some((Encoding::Json, Representation::Object)),
        Some(header) => {
            clauses(header).into_iter().find_map(|clause| resource_representation(&clause, kind))
        }
    };
    let (encoding, representation) = chosen.ok_or_else(|| match kind {
        ResponseKind::Watch => ApiError::not_acceptable(&["application/json;stream=watch"]),
        _ => ApiError::not_acceptable(&["application/json", "application/yaml"]),
    })?;
    match (representation, kind) {
        (Representation::Partial(_), ResponseKind::List) => Err(ApiError::wrong_representation(
            "you requested PartialObjectMetadata, but the requested object is a list (SessionTrackerList)",
        )),
        (Representation::PartialList(_), ResponseKind::Object | ResponseKind::Watch) => {
            Err(ApiError::wrong_representation(
                "you requested PartialObjectMetadataList, but the requested object is not a list (SessionTracker)",
            ))
        }
        _ => Ok((encoding, representation)),
    }
}

/// Format of discovery documents.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Discovery {
    /// Separate documents: `APIGroupList`, `APIGroup` and `APIResourceList`.
    Legacy,
    /// A single `APIGroupDiscoveryList` of version `v2` or `v2beta1`.
    Aggregated(&'static str),
}

/// Returns the encoding and the discovery format that the client prefers.
///
/// # Errors
/// Returns 406 if the client accepts none of them.
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

/// A media type of the header with its relevant parameters.
struct Clause<'a> {
    quality: f32,
    wildcard: bool,
    encoding: Option<Encoding>,
    as_: Option<&'a str>,
    group: Option<&'a str>,
    version: Option<&'a str>,
    stream: Option<&'a str>,
}

/// Returns the clauses of the header, the most preferred first.
fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = header.split(',').filter_map(clause).collect();
    // The sort is stable, so clauses of equal quality keep their order. Wildcards come last.
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality).then(a.wildcard.cmp(&b.wildcard)));
    clauses
}

fn clause(text: &str) -> Option<Clause<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next()?;
    let media_is = |name: &str| media.eq_ignore_ascii_case(name);
    let mut clause = Clause {
        quality: 1.0,
        wildcard: media.contains('*'),
        encoding: if media_is("application/json") || media_is("application/*") || media_is("*/*") {
            Some(Encoding::Json)
        } else if media_is("application/yaml") {
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
            // The API server rejects unknown server versions.
            "sv" if value.is_some() => clause.encoding = None,
            _ => {}
        }
    }
    (clause.quality > 0.0).then_some(clause)
}

fn resource_representation(
    clause: &Clause<'_>,
    kind: ResponseKind,
) -> Option<(Encoding, Representation)> {
    let encoding = clause.encoding?;
    // YAML is not served as a stream.
    let is_known_stream = matches!(clause.stream, None | Some("watch"));
    if !is_known_stream
        || (kind == ResponseKind::Watch || clause.stream.is_some()) && encoding == Encoding::Yaml
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
    fn negotiates_like_the_api_server() {
        let json = |representation| Ok((Encoding::Json, representation));
        let yaml = |representation| Ok((Encoding::Yaml, representation));
        let cases = [
            (ResponseKind::List, "", json(Representation::Object)),
            (ResponseKind::List, "*/*", json(Representation::Object)),
            (ResponseKind::List, "application/*;q=0.1", json(Representation::Object)),
            (ResponseKind::List, "application/yaml", yaml(Representation::Object)),
            (
                ResponseKind::List,
                "application/json;q=0.5,application/yaml",
                yaml(Representation::Object),
            ),
            (ResponseKind::List, "*/*,application/yaml", yaml(Representation::Object)),
            (
                ResponseKind::List,
                "application/vnd.kubernetes.protobuf,application/json",
                json(Representation::Object),
            ),
            (
                ResponseKind::List,
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                json(Representation::Table(V1)),
            ),
            (
                ResponseKind::List,
                "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
                json(Representation::Table(V1Beta1)),
            ),
            (
                ResponseKind::List,
                "application/yaml;as=Table;v=v1;g=meta.k8s.io",
                yaml(Representation::Table(V1)),
            ),
            (
                ResponseKind::List,
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                json(Representation::PartialList(V1)),
            ),
            (
                ResponseKind::Object,
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                json(Representation::Partial(V1)),
            ),
            (
                ResponseKind::List,
                "application/json;as=Table;v=v2;g=meta.k8s.io,application/json",
                json(Representation::Object),
            ),
            (ResponseKind::Watch, "application/json;stream=watch", json(Representation::Object)),
            (ResponseKind::Watch, "application/yaml", Err(406)),
            (ResponseKind::List, "application/json;as=Table;v=v2;g=meta.k8s.io", Err(406)),
            (
                ResponseKind::List,
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                Err(406),
            ),
            (
                ResponseKind::Object,
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Err(406),
            ),
            (ResponseKind::List, "application/json;stream=other", Err(406)),
            (ResponseKind::List, "text/html", Err(406)),
            (ResponseKind::List, "application/json;q=0", Err(406)),
            (ResponseKind::List, ";;;,,,=;", Err(406)),
        ];
        for (kind, header, expected) in cases {
            let got = negotiate(Some(header), kind).map_err(|error| error.code);
            assert_eq!(got, expected, "{kind:?} {header}");
        }
    }

    #[test]
    fn negotiates_discovery_format() {
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
            let got = got.map(|(_, format)| format).map_err(|error| error.code);
            assert_eq!(got, expected, "{header}");
        }
    }
}
