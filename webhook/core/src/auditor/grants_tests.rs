use super::*;

fn rule(groups: &[&str], resources: &[&str], names: &[&str], verbs: &[&str]) -> PolicyRule {
    let list = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(list(groups)),
        resources: Some(list(resources)),
        resource_names: Some(list(names)),
        verbs: list(verbs),
        ..PolicyRule::default()
    }
}

fn grants(rules: &[PolicyRule]) -> Grants {
    Grants::from_rules(rules).unwrap()
}

#[test]
fn wider_grants_cover_narrower_ones() {
    let resource = |text: &str| {
        let parts: Vec<&str> = text.split(' ').collect();
        Grant::Resource {
            group: parts[0].into(),
            resource: parts[1].into(),
            name: parts.get(3).map(|name| (*name).into()),
            verb: parts[2].into(),
        }
    };
    let url = |text: &str| {
        let (url, verb) = text.split_once(' ').unwrap();
        Grant::Url { url: url.into(), verb: verb.into() }
    };
    for (wide, narrow, covers) in [
        ("a r get", "a r get", true),
        ("a r get", "a r list", false),
        ("a r *", "a r list", true),
        ("a r list", "a r *", false),
        ("* r get", "a r get", true),
        ("a r get", "b r get", false),
        ("a * get", "a r/s get", true),
        ("a r get", "a r/s get", false),
        ("a */s get", "a r/s get", true),
        ("a */s get", "a s get", false),
        ("a */s get", "a r/t get", false),
        ("a r get", "a r get x", true),
        ("a r get x", "a r get", false),
        ("a r get x", "a r get y", false),
        // A `*` is no wildcard in object names.
        ("a r get *", "a r get x", false),
    ] {
        assert_eq!(resource(wide).covers(&resource(narrow)), covers, "{wide} / {narrow}");
    }
    for (wide, narrow, covers) in [
        ("/a get", "/a get", true),
        ("/a get", "/a/b get", false),
        ("/a* get", "/a/b get", true),
        ("* *", "/b post", true),
        ("/a* get", "/b get", false),
    ] {
        assert_eq!(url(wide).covers(&url(narrow)), covers, "{wide} / {narrow}");
    }
    assert!(!resource("* * *").covers(&url("/a get")));
    assert!(!url("* *").covers(&resource("a r get")));
}

#[test]
fn rejects_too_many_grants_before_allocating() {
    let many: Vec<String> = (0..3000).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(Grants::from_rules(&[rule(&many, &many, &many, &many)]).is_none());
    assert!(Grants::from_rules(&[rule(&[""], &many, &[], &["get"])]).is_some());
    let twenty = vec![rule(&[""], &many, &[], &["get"]); 20];
    assert!(Grants::from_rules(&twenty).is_none());
}

#[test]
fn displays_difference_as_diff() {
    let preset = grants(&[
        rule(&["a.co"], &["things"], &[], &["get", "list"]),
        rule(&[""], &["pods"], &[], &["get"]),
    ]);
    let mut actual = vec![
        rule(&["a.co"], &["things"], &[], &["delete", "list"]),
        rule(&[""], &["secrets\u{1b}[2J"], &["x"], &["get"]),
        rule(&["*"], &["*"], &["never\nmind"], &["*"]),
    ];
    actual.push(PolicyRule {
        non_resource_urls: Some(vec!["/metrics".into()]),
        verbs: vec!["get".into()],
        ..PolicyRule::default()
    });
    assert_eq!(
        Difference::between(&grants(&actual), &preset).to_string(),
        "-*.* \"never\\nmind\": *\n\
         -/metrics: get\n\
         +pods: get\n\
         -secrets\\x1b[2J \"x\": get\n\
         -things.a.co: delete\n\
         +things.a.co: get\n"
    );
}

#[test]
fn converts_to_equivalent_rules() {
    let all = grants(&[
        rule(&["a", ""], &["r", "r/s"], &["x", "y"], &["get", "*"]),
        rule(&["b"], &["*"], &[], &["list"]),
        PolicyRule {
            non_resource_urls: Some(vec!["/metrics".into(), "/a*".into()]),
            verbs: vec!["get".into()],
            ..PolicyRule::default()
        },
    ]);
    assert_eq!(grants(&all.to_rules()), all);
}
