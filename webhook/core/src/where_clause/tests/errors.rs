//! Errors of invalid expressions.

use super::*;

#[test]
fn reports_column_and_expectation() {
    const FIELDS: &str = "session_id, kind, participants, state, hostname, address, login, cluster, kube_cluster, host_user, host_roles, namespace, target";
    const OPERAND: &str = "a string, number, list, field, function, \"!\" or \"(\"";
    const CONDITION: &str = "a condition, as equals(…) or a == b";
    const ESCAPE: &str = "one of \\\\ \\\" \\' \\` \\n \\r \\t \\uXXXX \\UXXXXXXXX";
    let next = "an operator (&& || == != in) or the end";
    let one_of_fields = format!("one of {FIELDS}");
    let after_tracker = format!("\".\" and a field of tracker ({FIELDS})");
    let cases = [
        // (source, column, found, expected)
        ("", 1, "nothing", "a condition (leave the field out to match every session)"),
        (" \n", 3, "nothing", "a condition (leave the field out to match every session)"),
        // Unknown names.
        ("foo", 1, "unknown name \"foo\"", "tracker, session_tracker, user or a function"),
        (
            "resource.metadata.name == 'a'",
            1,
            "unknown name \"resource\"",
            "tracker, session_tracker, user or a function",
        ),
        ("tracker.foo == 'a'", 9, "unknown field \"foo\" of tracker", &one_of_fields),
        (
            "session_tracker.Kind == 'a'",
            17,
            "unknown field \"Kind\" of session_tracker",
            &one_of_fields,
        ),
        ("tracker == 'a'", 9, "\"==\"", &after_tracker),
        ("tracker['kind'] == 'a'", 8, "\"[\"", &after_tracker),
        ("user.name == 'a'", 6, "unknown field \"name\" of user", "one of metadata, spec"),
        ("user.metadata.uid == 'a'", 15, "unknown field \"uid\" of user.metadata", "one of name"),
        (
            "user.spec.groups == 'a'",
            11,
            "unknown field \"groups\" of user.spec",
            "one of roles, traits",
        ),
        ("'a' in user.spec.traits", 24, "the end", "a key, as user.spec.traits[\"team\"]"),
        ("user.spec.traits[1] == []", 18, "\"1\"", "a string, the trait's key"),
        ("user.spec.traits.in == []", 18, "\"in\"", "a field of user.spec.traits (a key)"),
        (
            "startsWith('a', 'b')",
            1,
            "unknown function \"startsWith\"",
            "one of equals, contains, contains_all, contains_any, set, all_end_with, all_equal, is_subset, has_prefix",
        ),
        ("tracker.kind.startsWith('a')", 13, "\".\"", next),
        ("equals == 1", 8, "\"==\"", "\"(\" after equals"),
        // Numbers of arguments.
        ("true && equals('a')", 9, "equals with 1 arguments", "equals(a, b)"),
        ("contains(set('a'), 'a', 'b')", 1, "contains with 3 arguments", "contains(list, string)"),
        ("is_subset()", 1, "is_subset with 0 arguments", "is_subset(list, string, …)"),
        // Types of operands.
        ("tracker.kind", 1, "a string", CONDITION),
        ("set('a')", 1, "a list", CONDITION),
        ("1", 1, "an integer", CONDITION),
        ("true && tracker.kind", 9, "a string", CONDITION),
        ("'a' || true", 1, "a string", CONDITION),
        ("!(tracker.participants)", 3, "a list", CONDITION),
        ("'a' in 'abc'", 8, "a string", "a list to the right of \"in\""),
        ("['a'] in [['a']]", 11, "a list", "a string, an integer, true or false"),
        ("['a'] in user.spec.roles", 1, "a list", "a string, an integer, true or false"),
        ("[1 == 1] == [true]", 2, "a condition", "a string, an integer, true or false"),
        // Syntax.
        ("true true", 6, "\"true\"", next),
        ("true)", 5, "\")\"", next),
        ("(true", 6, "the end", "an operator or \")\""),
        ("true &&", 8, "the end", OPERAND),
        ("equals('a' 'b')", 12, "a string", "an operator, \",\" or \")\""),
        ("equals('a',)", 12, "\")\"", OPERAND),
        ("'a' in ['a',]", 13, "\"]\"", OPERAND),
        ("in", 1, "\"in\"", OPERAND),
        ("'é' = 'é'", 5, "\"=\"", "\"==\""),
        ("true & true", 6, "\"&\"", "\"&&\""),
        ("true | true", 6, "\"|\"", "\"||\""),
        ("1 < 2", 3, "\"<\"", "a string, number, name, operator or bracket"),
        ("trüe", 3, "\"ü\"", "a string, number, name, operator or bracket"),
        (
            "'\u{1f980}\u{1f980}' == \u{1b}",
            9,
            "\"\\x1b\"",
            "a string, number, name, operator or bracket",
        ),
        ("true // comment", 6, "\"/\"", "a string, number, name, operator or bracket"),
        // Strings and numbers.
        ("true && 'abc", 9, "a string without end", "a closing '"),
        ("`abc", 1, "a string without end", "a closing `"),
        ("'a\n'", 3, "a line break in a string", "its closing quote, or \"\\n\" for a line break"),
        (r"'a\x41'", 3, r#""\x""#, ESCAPE),
        (r"'\u12'", 2, "an escape that is too short", ESCAPE),
        (r"'\ud800'", 2, "an escape that is no character", ESCAPE),
        (r"'\UFFFFFFFF'", 2, "an escape that is no character", ESCAPE),
        (r"'\", 2, "the end", ESCAPE),
        ("1.5 == 1", 1, "\"1.5\"", "a whole decimal number of 64 bits"),
        ("010 == 8", 1, "\"010\"", "a whole decimal number of 64 bits"),
        ("1u == 1", 1, "\"1u\"", "a whole decimal number of 64 bits"),
        ("- 1 == 1", 1, "\"-\"", "a whole decimal number of 64 bits"),
        (
            "9223372036854775808 == 1",
            1,
            "\"9223372036854775808\"",
            "a whole decimal number of 64 bits",
        ),
    ];
    for (source, column, found, expected) in cases {
        let error = WhereClause::parse(source).unwrap_err();
        assert_eq!(
            (error.column, &*error.found, &*error.expected),
            (column, found, expected),
            "{source}"
        );
        assert!(!error.to_string().contains(crate::text::is_unsafe), "{error}");
    }
    assert_eq!(
        WhereClause::parse("tracker.kind = 'job'").unwrap_err().to_string(),
        r#"column 14: "="; expected "==""#
    );
}

#[test]
fn enforces_limits() {
    let nested = |open: &str, levels: usize, inner: &str, close: &str| {
        format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
    };
    let string_of = |bytes: usize| format!("'{}' == 'x'", "x".repeat(bytes - 9));
    let fits = [
        string_of(MAX_SOURCE),
        nested("(", MAX_DEPTH, "true", ")"),
        nested("!", MAX_DEPTH - 1, "true", ""),
        nested("set(", MAX_DEPTH - 2, "'a'", ")") + " == []",
        nested("", 1, "true", &" == true".repeat(MAX_DEPTH - 1)),
        format!("true{}", " && true".repeat(MAX_NODES - 2)),
    ];
    for source in fits {
        let clause = WhereClause::parse(&source).unwrap();
        assert_eq!(clause.to_string().parse::<WhereClause>().unwrap(), clause);
    }
    let exceeds = [
        (string_of(MAX_SOURCE + 1), 4097, "an expression of 4097 bytes"),
        (format!("'{}'", "é".repeat(2048)), 2049, "an expression of 4098 bytes"),
        (nested("(", 65, "true", ")"), 66, "an expression nested too deeply"),
        (nested("!", 64, "true", ""), 1, "an expression nested too deeply"),
        (nested("[", 2000, "", "]"), 66, "an expression nested too deeply"),
        (nested("", 1, "true", &" == true".repeat(64)), 1, "an expression nested too deeply"),
        (format!("true{}", " && true".repeat(511)), 1, "an expression of too many parts"),
        (format!("is_subset({})", vec!["1"; 512].join(",")), 1, "an expression of too many parts"),
    ];
    for (source, column, found) in exceeds {
        let error = WhereClause::parse(&source).unwrap_err();
        assert_eq!((error.column, &*error.found), (column, found));
    }
}
