use super::*;

#[test]
fn matches_labels() {
    let labels: BTreeMap<String, String> = [("a", "b"), ("n", "5"), ("example.com/x", "")]
        .map(|(key, value)| (key.into(), value.into()))
        .into();
    for (selector, expected) in [
        ("", true),
        ("a", true),
        ("!a", false),
        ("z", false),
        ("!z", true),
        ("a=b", true),
        ("a==b,n=5", true),
        (" a = b , n != 6 ", true),
        ("a!=b", false),
        ("z!=b", true),
        ("a in (b, c)", true),
        ("a notin (b,c)", false),
        ("z notin (b)", true),
        ("example.com/x in ()", true),
        ("example.com/x in (,y)", true),
        ("example.com/x=", true),
        ("example.com/x=,a", true),
        ("n>4", true),
        ("n<5", false),
        ("a>4", false),
        ("a in (in,notin)", false),
        ("in notin (in)", true),
    ] {
        let parsed =
            LabelSelector::parse(selector).unwrap_or_else(|error| panic!("{selector}: {error}"));
        assert_eq!(parsed.matches(&labels), expected, "{selector}");
    }
}

#[test]
fn returns_error_texts_of_api_server() {
    for (selector, error) in [
        ("=", "found '=', expected: !, identifier, or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a in", "unable to parse requirement: found '' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a=(", "unable to parse requirement: found '(', expected: identifier"),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ] {
        assert_eq!(LabelSelector::parse(selector).unwrap_err(), error, "{selector}");
    }
    let long = "a".repeat(64);
    for (selector, start) in [
        (
            "-a=b".to_owned(),
            "unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist of",
        ),
        (
            "a/b/c".to_owned(),
            "unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a valid label key must consist of",
        ),
        (
            "/b".to_owned(),
            "unable to parse requirement: <nil>: Invalid value: \"/b\": prefix part must be non-empty",
        ),
        (
            "A/b".to_owned(),
            "unable to parse requirement: <nil>: Invalid value: \"A/b\": prefix part a lowercase RFC 1123",
        ),
        (
            "a=b_".to_owned(),
            "unable to parse requirement: values[0][a]: Invalid value: \"b_\": a valid label must be",
        ),
        (format!("a={long}"), "unable to parse requirement: values[0][a]: Invalid value: "),
    ] {
        let error = LabelSelector::parse(&selector).unwrap_err();
        assert!(error.starts_with(start), "{selector}: {error}");
    }
}

proptest::proptest! {
    #[test]
    fn never_panics(selector in "\\PC{0,40}") {
        let _ = LabelSelector::parse(&selector);
        let _ = crate::apiserver::fields::FieldSelector::parse(&selector);
    }
}
