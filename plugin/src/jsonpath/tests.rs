use serde_json::json;

use super::*;

fn object() -> Value {
    json!({
        "kind": "List",
        "things": [
            { "name": "a", "n": 1, "tags": ["x", "y"], "labels": { "k.io/a": "1", "b": "<&>" }, "on": true },
            { "name": "b", "n": 2, "tags": [], "empty": null, "f": 1.5, "key": "s" },
            { "name": "c", "n": 3, "tags": ["z"], "on": false },
        ],
        "deep": { "things": { "name": "d" } },
    })
}

/// The expected results are those of kubectl v1.36 for the same object, except for the order of the
/// fields of an object. The cluster tests compare some with kubectl.
#[test]
fn evaluates_templates_like_kubectl() {
    let cases = [
        ("", ""),
        ("text", "text"),
        ("{.kind}", "List"),
        ("{$.kind}", "List"),
        ("{@.kind}", "List"),
        ("{ .kind }", "List"),
        ("kind: {.kind}!\n", "kind: List!\n"),
        ("{.nothing}", ""),
        ("{.nothing.at.all}", ""),
        ("{.things[*].name}", "a b c"),
        ("{.things[0].name}", "a"),
        ("{.things[-1].name}", "c"),
        ("{.things[-2:].name}", "b c"),
        ("{.things[0:2].name}", "a b"),
        ("{.things[:2].name}", "a b"),
        ("{.things[::2].name}", "a c"),
        ("{.things[1:1].name}", ""),
        ("{.things[0,2].name}", "a c"),
        ("{.things[*]['name','n']}", "a b c 1 2 3"),
        ("{.things[0]['name', 'nothing']}", "a"),
        ("{.things[0].labels['k\\.io/a']}", "1"),
        ("{.things[0].labels.k\\.io/a}", "1"),
        ("{['kind']}", "List"),
        ("{.things[0].labels}", "{\"b\":\"\\u003c\\u0026\\u003e\",\"k.io/a\":\"1\"}"),
        ("{.things[0].tags}", "[\"x\",\"y\"]"),
        ("{.things[1].empty}", "null"),
        ("{.things[*].on}", "true false"),
        ("{.things[1].f}", "1.5"),
        ("{.things[0].labels.*}", "<&> 1"),
        ("{..name}", "d a b c"),
        ("{.things[?(@.n==2)].name}", "b"),
        ("{.things[?(@.n!=2)].name}", "a c"),
        ("{.things[?(@.n>=2)].name}", "b c"),
        ("{.things[?(@.n < 2)].name}", "a"),
        ("{.things[?(@.name==\"a\")].n}", "1"),
        ("{.things[?(@.name=='a')].n}", "1"),
        ("{.things[?(@.name>'a')].n}", "2 3"),
        ("{.things[?(@.name==\"a)\")].n}", ""),
        ("{.things[?(@.on==true)].name}", "a"),
        ("{.things[?(@.key)].name}", "b"),
        // An index out of range counts as existing.
        ("{.things[?(@.tags[0])].name}", "a b c"),
        ("{range .things[*]}{.name}={.n}{\"\\n\"}{end}", "a=1\nb=2\nc=3\n"),
        ("{range .things[*]}{range .tags[*]}{@}{','}{end}{';'}{end}.", "x,y,;;z,;."),
        ("{range .nothing[*]}{.name}{end}done", "done"),
        ("{\"\\t\"}{'it\\'s'}", "\tit's"),
        ("{range .things[*]}{.name}{end} {.kind}", "abc List"),
    ];
    for (template, expected) in cases {
        let text = Template::parse(template).unwrap().text(&object());
        assert_eq!(text.as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn reports_kubectls_errors() {
    let cases = [
        ("{.a", "unclosed action"),
        ("{", "unclosed action"),
        ("{.a\n}", "unclosed action"),
        ("{[1}", "unterminated array"),
        ("{[a]}", "invalid array index a"),
        ("{[1:2:3:4]}", "invalid array index 1:2:3:4"),
        ("{\"a}", "unterminated quoted string"),
        ("{..a...b}", ""),
        ("{....}", "invalid multiple recursive descent"),
        ("{.a[?(@.b==1}", "unterminated filter"),
        ("{.a[?(@.b==1)}", "unclosed array expect ]"),
        ("{&}", "unrecognized character in action: U+0026 '&'"),
        ("{1.2.3}", "cannot parse number 1.2.3"),
    ];
    for (template, expected) in cases {
        match Template::parse(template) {
            Ok(_) => assert_eq!(expected, "", "{template}"),
            Err(error) => assert_eq!(
                error.to_string(),
                format!("error parsing jsonpath {template}, {expected}")
            ),
        }
    }
    let cases = [
        ("{end}", "not in range, nothing to end"),
        ("{nonsense}", "unrecognized identifier nonsense"),
        ("{.things[7]}", "array index out of bounds: index 7, length 3"),
        ("{.things[2:1]}", "starting index 2 is greater than ending index 1"),
        ("{.kind[0]}", "string is not array or slice"),
        ("{.kind[?(@.a)]}", "List is not array or slice and cannot be filtered"),
        ("{.things[?(@.n=='1')]}", "incompatible types for comparison"),
        ("{.things[?(@.tags==1)]}", "invalid type for comparison"),
        ("{.things[?(@.n=~1)]}", "unrecognized character in action: U+007E '~'"),
        ("{.things[?(@.n=1)]}", "unrecognized filter operator ="),
        ("{.things[0:2:0]}", "step must be > 0"),
    ];
    for (template, expected) in cases {
        let error = match Template::parse(template) {
            Ok(parsed) => parsed.text(&object()).unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(error.ends_with(expected), "{template}: {error}");
    }
}

#[test]
fn escapes_unsafe_characters() {
    let object = json!({ "a": "x\u{1b}[2J\ny", "b": { "c\u{9b}": "\u{202e}" } });
    let text = |template: &str| Template::parse(template).unwrap().text(&object).unwrap();
    assert_eq!(text("{.a}{\"\\n\"}"), "x\\x1b[2J\\ny\n");
    assert_eq!(text("{.b}"), "{\"c\\u009b\":\"\\u202e\"}");
    assert_eq!(go_text(&object["b"]), "map[c\\x9b:\\u{202e}]");
}

#[test]
fn bounds_time_and_recursion() {
    let deep = "{range .a}".repeat(1000);
    assert!(Template::parse(&deep).is_err());
    let nested = format!("{{.a{}", "[?(@.a[?(@.b)])]".repeat(40));
    let _ = Template::parse(&nested);
    for source in
        ["{[,]}", "{[']}", "{['']}", "{..}", "{.}", "{[]}", "{''}", "{-}", "{\\}", "{.\\}"]
    {
        if let Ok(template) = Template::parse(source) {
            let _ = template.text(&object());
        }
    }
    let huge = "{.things[-9223372036854775808:9223372036854775807]}";
    assert!(Template::parse(huge).unwrap().text(&object()).is_err());
}

#[test]
fn accepts_a_range_without_end() {
    let text = Template::parse("{range .things[*]}[{.name}]").unwrap().text(&object());
    assert_eq!(text.as_deref(), Ok("[a][b][c]"));
}

#[test]
fn parses_relaxed_paths() {
    for path in ["kind", ".kind", "{kind}", "{.kind}"] {
        assert_eq!(Template::relaxed(path).unwrap().text(&object()).unwrap(), "List");
    }
    for path in ["", "{}", "{.a}{.b}", "}"] {
        let error = Template::relaxed(path).unwrap_err();
        assert!(error.starts_with("unexpected path string"), "{path}: {error}");
    }
}

#[test]
fn prints_values_like_go() {
    let cases = [
        (json!({ "b": [1, "x"], "a": null }), "map[a:<nil> b:[1 x]]"),
        (json!(true), "true"),
        (json!("text"), "text"),
    ];
    for (value, expected) in cases {
        assert_eq!(go_text(&value), expected);
    }
}

#[test]
fn reports_missing_fields_of_strict_templates() {
    let object = json!({ "a": { "b": 1 }, "l": [{ "x": 1 }, {}], "none": [] });
    for (source, expected) in [
        ("{.a.b}", Ok("1")),
        // One match of several is enough.
        ("{.l[*].x}", Ok("1")),
        ("{.none[*].x.y}", Ok("")),
        ("{range .none[*]}{.x}{end}", Ok("")),
        ("{.a.c}", Err("c is not found")),
        ("{.a.c.d}", Err("c is not found")),
        ("{.l[1].x}", Err("x is not found")),
        ("{range .l[*]}{.x}{end}", Err("x is not found")),
    ] {
        let lenient = Template::parse(source).unwrap();
        assert!(lenient.text(&object).is_ok(), "{source}");
        let strict = lenient.strict().text(&object);
        let expected = expected.map(ToOwned::to_owned).map_err(|what| {
            format!("error executing jsonpath {source:?}: Error executing template: {what}")
        });
        assert_eq!(strict.map_err(|error| error.to_string()), expected);
    }
}
