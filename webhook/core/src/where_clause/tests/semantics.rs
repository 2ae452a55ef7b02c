//! Tables of expressions with their results.

use super::*;

#[test]
fn evaluates_conditions() {
    let cases = [
        // Literals in every form.
        ("true", true),
        ("false", false),
        (r#""a" == 'a'"#, true),
        ("`a\\n` == \"a\\\\n\"", true),
        (r#"'\u00e9\U0001F980' == "é🦀""#, true),
        (r#""\"\'\`\\\n\r\t" == "\"\'\`\\\n\r\t""#, true),
        ("1 == 1", true),
        ("-1 == 1", false),
        ("1 == \"1\"", false),
        ("true == true", true),
        ("true != (1 == 1)", false),
        ("[1, true, \"a\"] == [1, true, 'a']", true),
        ("[1, true, \"a\"] == [1, true, 2]", false),
        ("[] == []", true),
        // Precedence of operators.
        ("true || false && false", true),
        ("(true || false) && false", false),
        ("!false && true", true),
        ("!!true", true),
        ("tracker.kind == 'job' == true", true),
        ("tracker.kind == 'job' != tracker.state == 'running'", false),
        ("2 in [1, 2]", true),
        ("3 in [1, 2, '3']", false),
        ("true in [1, true]", true),
        ("'a' in []", false),
        ("'x' in [1, tracker.login]", false),
        ("'Bob' in [1, tracker.login]", true),
        ("1 in user.spec.roles", false),
        // The tracker.
        ("tracker.session_id == '487f4f2b6d2376ad'", true),
        ("session_tracker.session_id == '487f4f2b6d2376ad'", true),
        ("tracker.kind == 'job'", true),
        ("tracker.state == 'running'", true),
        ("tracker.hostname == 'bobs-mac.local'", true),
        ("tracker.login == 'Bob'", true),
        ("tracker.namespace == 'prod'", true),
        ("tracker.target == 'deployment/payments'", true),
        ("tracker.cluster == 'west' && tracker.kube_cluster == tracker.cluster", true),
        ("tracker.host_user == 'bob@corp'", true),
        ("tracker.host_roles == ['ops', 'devs']", true),
        ("tracker.host_roles == ['devs', 'ops']", false),
        ("tracker.participants == ['bob@corp', 'alice@corp']", true),
        ("tracker.participants == ['bob@corp']", false),
        ("tracker.participants == ['bob@corp', 1]", false),
        ("tracker.participants == [tracker.host_user, user.metadata.name]", true),
        // The address, which is stored in two parts.
        ("tracker.address == 'prod/deployment/payments'", true),
        ("tracker.address == 'proddeployment/payments'", false),
        ("tracker.address == 'prod/deployment/payment'", false),
        ("tracker.address == tracker.address", true),
        ("tracker.address != tracker.target", true),
        ("has_prefix(tracker.address, '')", true),
        ("has_prefix(tracker.address, 'pro')", true),
        ("has_prefix(tracker.address, 'prod')", true),
        ("has_prefix(tracker.address, 'prod/dep')", true),
        ("has_prefix(tracker.address, 'proddep')", false),
        ("has_prefix(tracker.address, tracker.namespace)", true),
        ("has_prefix('prod', tracker.address)", false),
        ("all_end_with(tracker.address, 'payments')", true),
        ("all_end_with(tracker.address, 'd/deployment/payments')", true),
        ("all_end_with(tracker.address, 'x/deployment/payments')", false),
        ("all_end_with(tracker.address, tracker.target)", true),
        ("'prod/deployment/payments' in [tracker.address]", true),
        // The user.
        ("user.metadata.name == 'alice@corp'", true),
        ("user.spec.roles == ['devs', 'payments']", true),
        ("user.spec.traits['team'] == ['blue', 'green']", true),
        ("user.spec.traits.team == user.spec.traits[`team`]", true),
        ("user.spec.traits['Team'] == ['blue', 'green']", true),
        ("user.spec.traits['none'] == []", true),
        ("'payments' in user.spec.roles && 'ops' in tracker.host_roles", true),
    ];
    for (expression, holds) in cases {
        assert_eq!(evaluate(expression), holds, "{expression}");
    }
}

/// Checks Teleport's functions against `lib/services/parser.go` and `vulcand/predicate`.
#[test]
fn evaluates_functions() {
    let cases = [
        ("equals('a', 'a')", true),
        ("equals('a', 'b')", false),
        ("equals(set('a', 'b'), ['a', 'b'])", true),
        ("equals(set('a', 'b'), set('b', 'a'))", false),
        ("equals([], user.spec.traits['none'])", true),
        ("contains(set('a', 'b'), 'b')", true),
        ("contains(tracker.participants, user.metadata.name)", true),
        ("contains([], 'a')", false),
        ("contains_all(set('a', 'b', 'c'), set('c', 'a'))", true),
        ("contains_all(set('a'), set('a', 'b'))", false),
        ("contains_any(set('a', 'b'), set('c', 'b'))", true),
        ("contains_any(set('a'), set('b'))", false),
        ("contains_any(tracker.host_roles, user.spec.roles)", true),
        ("all_end_with(set('a.org', 'b.org'), '.org')", true),
        ("all_end_with(set('a.org', 'b.com'), '.org')", false),
        ("all_end_with('a.org', '.org')", true),
        ("all_end_with(tracker.participants, '@corp')", true),
        ("all_equal(set('a', 'a'), 'a')", true),
        ("all_equal(set('a', 'b'), 'a')", false),
        ("all_equal('a', 'a')", true),
        ("all_equal(tracker.participants, tracker.host_user)", false),
        ("is_subset(set('a', 'b'), 'b', 'a', 'c')", true),
        ("is_subset(set('a', 'b'), 'b')", false),
        ("is_subset('a', 'b', 'a')", true),
        ("is_subset(tracker.host_roles, 'devs', 'ops')", true),
        ("is_subset('a')", false),
        ("has_prefix('abc', 'ab')", true),
        ("has_prefix('abc', 'b')", false),
        ("has_prefix(tracker.hostname, 'bobs-')", true),
        // Empty lists, among them missing traits.
        ("contains_all([], [])", false),
        ("contains_all(set('a'), [])", false),
        ("contains_all([], set('a'))", false),
        ("contains_any([], [])", false),
        ("contains_any(set('a'), [])", false),
        ("contains_any([], set('a'))", false),
        ("contains_all(tracker.host_roles, user.spec.traits['none'])", false),
        ("contains_any(user.spec.traits['none'], tracker.host_roles)", false),
        ("all_end_with([], 'a')", true),
        ("all_end_with(user.spec.traits['none'], 'a')", true),
        ("all_equal([], 'a')", true),
        ("all_equal(user.spec.traits['none'], tracker.kind)", true),
        ("is_subset([], 'a')", true),
        ("is_subset([])", true),
        ("is_subset(user.spec.traits['none'], tracker.kind)", true),
        ("equals(set(), [])", true),
        // Unsupported types yield false, never an error.
        ("equals('a', ['a'])", false),
        ("equals(['a'], 'a')", false),
        ("equals(1, 1)", false),
        ("equals(true, true)", false),
        ("equals([1], [1])", false),
        ("!equals(1, 1)", true),
        ("contains('abc', 'b')", false),
        ("contains(tracker.kind, 'job')", false),
        ("contains(set('a'), set('a'))", false),
        ("contains([1, 'a'], 'a')", false),
        ("contains([1], 1)", false),
        ("contains_all('a', 'a')", false),
        ("contains_all(set('a'), 'a')", false),
        ("contains_any('a', set('a'))", false),
        ("contains_any([1, 'a'], set('a'))", false),
        ("all_end_with(set('a'), set('a'))", false),
        ("all_end_with(1, 'a')", false),
        ("all_end_with([], 1)", false),
        ("all_equal(set('a'), set('a'))", false),
        ("all_equal(true, 'a')", false),
        ("is_subset(set('a'), set('a', 'b'))", false),
        ("is_subset(set('a'), 'a', 1)", false),
        ("is_subset([], 1)", false),
        ("is_subset(1, 'a')", false),
        ("has_prefix(set('a'), 'a')", false),
        ("has_prefix('1', 1)", false),
        ("equals(contains(set('a'), 'a'), true)", false),
        // Teleport's `set` drops values that are not strings.
        ("equals(set('a', 1, true, ['b'], 'c'), ['a', 'c'])", true),
        ("equals(set(user.spec.roles), [])", true),
    ];
    for (expression, holds) in cases {
        assert_eq!(evaluate(expression), holds, "{expression}");
    }
}

#[test]
fn folds_for_requester() {
    enum Expected {
        Nothing,
        Everything,
        /// Folds like another expression.
        Same(&'static str),
        Residual,
    }
    use Expected::{Everything, Nothing, Residual, Same};
    // The example of RFD 44 with its three requesters.
    let rfd = |admin: &str, blocked: &str| {
        format!(
            "(contains(tracker.participants, user.metadata.name) && !equals(user.metadata.name, {blocked:?}))
              || equals(user.metadata.name, {admin:?})"
        )
    };
    let cases = [
        ("RFD 44: the admin", rfd("alice@corp", "x"), Everything),
        ("RFD 44: the blocked user", rfd("x", "alice@corp"), Nothing),
        ("RFD 44: the others", rfd("x", "y"), Same("contains(tracker.participants, 'alice@corp')")),
        ("only the user", "'devs' in user.spec.roles".into(), Everything),
        ("a missing trait", "'a' in user.spec.traits.none".into(), Nothing),
        ("a missing trait, vacuously", "is_subset(user.spec.traits.none, 'a')".into(), Everything),
        ("decided by the user", "tracker.kind == 'job' && 'x' in user.spec.roles".into(), Nothing),
        (
            "decided by the user",
            "tracker.kind == 'job' || 'devs' in user.spec.roles".into(),
            Everything,
        ),
        ("not", "!('devs' in user.spec.roles)".into(), Nothing),
        ("not not", "!!(tracker.kind == 'job')".into(), Same("tracker.kind == 'job'")),
        (
            "compared with true",
            "(tracker.kind == 'job') == true".into(),
            Same("tracker.kind == 'job'"),
        ),
        (
            "compared with false",
            "(tracker.kind == 'job') == false".into(),
            Same("tracker.kind != 'job'"),
        ),
        ("an unsupported type", "contains(tracker.kind, 'job')".into(), Nothing),
        ("lists of different lengths", "[tracker.kind] == []".into(), Nothing),
        ("lists with different constants", "[tracker.kind, 1] == ['job', 2]".into(), Nothing),
        (
            "values of the user in a list",
            "tracker.host_user in [user.metadata.name, 'x']".into(),
            Same("tracker.host_user in ['alice@corp', 'x']"),
        ),
        // Folding assumes nothing about fields of the tracker.
        ("the tracker", "contains_any(tracker.host_roles, user.spec.traits.none)".into(), Residual),
        ("the tracker with itself", "tracker.kind == tracker.kind".into(), Residual),
    ];
    let alice = alice();
    for (name, expression, expected) in cases {
        let folded = WhereClause::parse(&expression).unwrap().fold(&alice.user());
        let as_expected = match expected {
            Nothing => folded == Folded::Nothing,
            Everything => folded == Folded::Everything,
            Same(other) => folded == WhereClause::parse(other).unwrap().fold(&alice.user()),
            Residual => matches!(folded, Folded::Residual(_)),
        };
        assert!(as_expected, "{name}: {expression} became {folded:?}");
    }
}

#[test]
fn formats_as_equivalent_source() {
    let cases = [
        ("session_tracker.kind=='job'", r#"tracker.kind == "job""#),
        ("( ( true ) )", "true"),
        ("true && (true && false)", "true && (true && false)"),
        ("true && (true || false)", "true && (true || false)"),
        ("(true && false) || true", "true && false || true"),
        ("(true || false) || true", "(true || false) || true"),
        ("!(1 == 1)", "!(1 == 1)"),
        ("(!true) == false", "!true == false"),
        ("!(true == false)", "!(true == false)"),
        ("1 == (2 == 3)", "1 == (2 == 3)"),
        ("(1 == 2) == (true == false)", "1 == 2 == (true == false)"),
        ("user.spec.traits.k==[ ]", r#"user.spec.traits["k"] == []"#),
        ("is_subset( [1,-2] , `a\"\\\n\t\u{7f}`)", r#"is_subset([1, -2], "a\"\\\n\t\u007f")"#),
        ("'\u{202e}\u{e0001}' == 'é'", r#""\u202e\U000e0001" == "é""#),
        (" user . metadata . name == '' ", r#"user.metadata.name == """#),
    ];
    for (source, formatted) in cases {
        let clause = WhereClause::parse(source).unwrap();
        assert_eq!(clause.to_string(), formatted);
        assert_eq!(formatted.parse::<WhereClause>().unwrap(), clause, "{formatted}");
    }
}

#[test]
fn groups_of_every_user_are_left_out() {
    let groups = |groups: &[&str]| -> Vec<String> {
        groups.iter().map(|group| (*group).to_owned()).collect()
    };
    let traits = Traits::new();
    for (name, user, owner, expected) in [
        ("a shared group", &["devs", "system:authenticated"][..], &["devs"][..], true),
        (
            "authenticated users",
            &["a", "system:authenticated"],
            &["b", "system:authenticated"],
            false,
        ),
        ("anonymous users", &["system:unauthenticated"], &["system:unauthenticated"], false),
        (
            "service accounts",
            &["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"],
            &["system:serviceaccounts", "system:serviceaccounts:b", "system:authenticated"],
            false,
        ),
        (
            "service accounts of a namespace",
            &["system:serviceaccounts", "system:serviceaccounts:a"],
            &["system:serviceaccounts", "system:serviceaccounts:a"],
            true,
        ),
    ] {
        let (roles, host_roles) = (groups(user), groups(owner));
        let user = User { name: "eve", roles: &roles, traits: &traits };
        let tracker = Tracker { host_roles: &host_roles, ..Tracker::default() };
        for (clause, expected) in [
            ("contains_any(user.spec.roles, tracker.host_roles)", expected),
            ("contains(user.spec.roles, 'system:authenticated')", false),
            ("'system:authenticated' in tracker.host_roles", false),
            ("is_subset(tracker.host_roles, 'devs', 'system:serviceaccounts:a')", expected),
        ] {
            let found = match WhereClause::parse(clause).unwrap().fold(&user) {
                Folded::Everything => true,
                Folded::Nothing => false,
                Folded::Residual(filter) => filter.matches(&tracker),
            };
            // An empty list is a subset of every list.
            let is_empty = clause.starts_with("is_subset")
                && host_roles.iter().all(|role| IMPLICIT_GROUPS.contains(&&**role));
            assert_eq!(found, expected || is_empty, "{name}: {clause}");
        }
    }
}
