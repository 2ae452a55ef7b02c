use super::*;

#[test]
fn parses_parameters() {
    let parse = |query: &str| {
        ListOptions::parse(query).unwrap_or_else(|error| panic!("{query}: {error:?}"))
    };
    assert_eq!(parse("").version, Version::Unset);
    let watch = parse(
        "watch=true&allowWatchBookmarks=1&resourceVersion=7&timeoutSeconds=30&labelSelector=a%3Db+,c",
    );
    assert!(watch.watch && watch.bookmarks);
    assert_eq!((watch.version, watch.timeout), (Version::At(7), Some(30)));
    assert!(!watch.labels.is_empty());
    assert!(parse("watch").watch);
    assert!(!parse("watch=0").watch && !parse("watch=False").watch);
    assert_eq!(parse("limit=5&limit=7").limit, 5);
    assert_eq!(parse("limit=-1").limit, 0);
    assert_eq!(parse("resourceVersion=0").version, Version::Any);
    assert_eq!(parse("includeObject=Object").include, IncludeObject::Object);
    assert_eq!(parse("a=%zz&limit=2").limit, 2);
    // Ignoring the pair would drop a selector by which the API server has authorized the request.
    for query in ["fieldSelector=metadata.name%3Dx,spec.target!%3D%FF", "watch=%FF", "%FF=1"] {
        assert_eq!(ListOptions::parse(query).unwrap_err().code, 400, "{query}");
    }
    let initial =
        parse("watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=");
    assert_eq!(initial.send_initial_events, Some(true));
}

#[test]
fn rejects_invalid_parameters() {
    for (query, code, text) in [
        ("limit=x", 400, r#"strconv.ParseInt: parsing "x": invalid syntax"#),
        ("limit=99999999999999999999", 400, "value out of range"),
        (
            "resourceVersion=x",
            400,
            r#"invalid resource version: resourceVersion: Invalid value: "x""#,
        ),
        ("resourceVersion=-1", 400, "ParseUint"),
        ("timeoutSeconds=soon", 400, "ParseInt"),
        ("fieldSelector=spec.nothing=1", 400, "field label not supported: spec.nothing"),
        ("labelSelector=a%20b", 400, "unable to parse requirement"),
        ("includeObject=All", 400, "includeObject"),
        ("continue=x&resourceVersion=5", 400, "not allowed when using continue"),
        ("resourceVersionMatch=Exact", 422, "forbidden unless resourceVersion is provided"),
        (
            "resourceVersionMatch=Some&resourceVersion=1",
            422,
            r#"Unsupported value: "Some": supported values: "Exact", "NotOlderThan", """#,
        ),
        (
            "resourceVersionMatch=Exact&resourceVersion=0",
            422,
            r#"is forbidden for resourceVersion "0""#,
        ),
        ("sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list"),
        (
            "watch=1&sendInitialEvents=true",
            422,
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        (
            "watch=1&resourceVersionMatch=NotOlderThan&resourceVersion=1",
            422,
            "forbidden for watch unless sendInitialEvents is provided",
        ),
    ] {
        let error = ListOptions::parse(query).unwrap_err();
        assert_eq!(error.code, code, "{query}");
        let status = error.status();
        let message = status["message"].as_str().unwrap();
        assert!(message.contains(text), "{query}: {message}");
    }
}

proptest::proptest! {
    #[test]
    fn never_panics(query in "\\PC{0,60}") {
        let _ = ListOptions::parse(&query);
    }
}
