//! Visibility of sessions by requester, policies and verb.

use mirrord_sessions_crds::SessionPolicySpec;

use super::*;
use crate::where_clause::{Tracker, Traits, User};

const RFD_DENY_OWN: &str = "
deny:
  rules:
  - resources: [session_tracker]
    verbs: [list, read]
    where: 'contains(tracker.participants, user.metadata.name)'
";
const RFD_AUDITOR: &str = "
allow:
  rules:
  - resources: [session_tracker]
    verbs: [list, read]
";
const OWN_ONLY: &str = "
subjects: [{kind: Group, name: devs, apiGroup: rbac.authorization.k8s.io}]
allow:
  rules:
  - {resources: [session_tracker], verbs: ['*'], where: 'contains(tracker.participants, user.metadata.name)'}
";
const AUDITORS_SEE_ALL: &str = "
subjects: [{kind: Group, name: auditors}]
allow:
  rules:
  - {resources: ['*'], verbs: [watch, read]}
";
const NEVER_STOP_PROD: &str = "
deny:
  rules:
  - {resources: [session_tracker], verbs: [delete], where: 'tracker.namespace == \"prod\"'}
";
const CI_SEES_NOTHING: &str = "
subjects: [{kind: ServiceAccount, name: ci, namespace: tools}]
deny:
  rules:
  - {resources: [session_tracker], verbs: ['*']}
";
const ROOT_ONLY: &str = "
allow:
  rules:
  - {resources: [session_tracker], verbs: [join], where: 'user.metadata.name == \"root\"'}
";
const ALICE_NOT_BOBS: &str = "
subjects: [{kind: User, name: alice}, {kind: User, name: nobody-else}]
deny:
  rules:
  - {resources: [session_tracker], verbs: [list], where: 'tracker.host_user == \"bob\"'}
  - {resources: [session_tracker], verbs: [list], where: 'user.metadata.name == \"bob\"'}
";

fn policy(name: &str, yaml: &str) -> Policy {
    let spec: SessionPolicySpec = serde_saphyr::from_str(yaml).unwrap();
    let (policy, errors) = Policy::from_spec(name, &spec);
    assert_eq!(errors, [], "{yaml}");
    policy
}

struct Requester {
    name: &'static str,
    roles: Vec<String>,
}

/// Returns alice (devs), bob (devs, auditors), the service account tools/ci, and root.
fn requesters() -> [Requester; 4] {
    let requester = |name, roles: &[&str]| Requester {
        name,
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
    };
    [
        requester("alice", &["devs"]),
        requester("bob", &["devs", "auditors"]),
        requester("system:serviceaccount:tools:ci", &["system:serviceaccounts"]),
        requester("root", &["system:masters"]),
    ]
}

/// Returns four sessions: A of alice, B of bob in prod, J of bob with alice joined, and R of root in
/// prod.
fn sessions(joined: &[String]) -> [(char, Tracker<'_>); 4] {
    let session = |namespace, host_user, joined| Tracker {
        namespace,
        host_user,
        joined,
        ..Tracker::default()
    };
    [
        ('A', session("dev", "alice", &[])),
        ('B', session("prod", "bob", &[])),
        ('J', session("dev", "bob", joined)),
        ('R', session("prod", "root", &[])),
    ]
}

const ALL: &str = "ABJR: everything";
const NONE: &str = ": nothing";

/// Returns the letters of the visible sessions, and whether the result depends on the session.
fn visible(policies: &[Policy], requester: &Requester, verb: Verb) -> String {
    let traits = Traits::new();
    let user = User { name: requester.name, roles: &requester.roles, traits: &traits };
    let joined = ["alice".to_owned()];
    let visibility = Visibility::resolve(policies, &user, verb);
    let reversed = Visibility::resolve(policies.iter().rev(), &user, verb);
    let mut visible = String::new();
    for (letter, tracker) in sessions(&joined) {
        let verdict = visibility.explain(&tracker);
        assert_eq!(verdict.visible, visibility.includes(&tracker));
        assert_eq!(
            verdict.visible,
            reversed.includes(&tracker),
            "the order of policies does not matter"
        );
        if let Cause::Rule(rule) = verdict.cause {
            assert_eq!(rule.effect == Effect::Allow, verdict.visible, "{rule}");
        }
        if verdict.visible {
            visible.push(letter);
        }
    }
    visible
        + match visibility {
            Visibility::Nothing(_) => NONE,
            Visibility::Everything(_) => ": everything",
            Visibility::Filtered(_) => "",
        }
}

#[test]
fn resolves_policies_for_each_requester_and_verb() {
    // For each verb, the sessions visible to alice, bob, tools/ci and root.
    let same = |row: [&'static str; 4]| [row; 4];
    let cases = [
        ("no policies", vec![], same([ALL; 4])),
        (
            "RFD 82: sessions of others only",
            vec![RFD_DENY_OWN],
            [["BR", "AR", "ABJR", "ABJ"], ["BR", "AR", "ABJR", "ABJ"], [ALL; 4], [ALL; 4]],
        ),
        ("RFD 82: the auditor", vec![RFD_AUDITOR], same([ALL; 4])),
        (
            "RFD 82: both, deny before allow",
            vec![RFD_AUDITOR, RFD_DENY_OWN],
            [["BR", "AR", "ABJR", "ABJ"], ["BR", "AR", "ABJR", "ABJ"], [ALL; 4], [ALL; 4]],
        ),
        ("own only, for a group", vec![OWN_ONLY], same(["AJ", "BJ", ALL, ALL])),
        (
            "auditors may see more, but not stop more",
            vec![OWN_ONLY, AUDITORS_SEE_ALL],
            [
                ["AJ", ALL, ALL, ALL],
                ["AJ", ALL, ALL, ALL],
                ["AJ", "BJ", ALL, ALL],
                ["AJ", "BJ", ALL, ALL],
            ],
        ),
        ("prod is not stopped", vec![NEVER_STOP_PROD], [[ALL; 4], [ALL; 4], ["AJ"; 4], [ALL; 4]]),
        (
            "own only, and not in prod",
            vec![NEVER_STOP_PROD, OWN_ONLY],
            [
                ["AJ", "BJ", ALL, ALL],
                ["AJ", "BJ", ALL, ALL],
                ["AJ", "J", "AJ", "AJ"],
                ["AJ", "BJ", ALL, ALL],
            ],
        ),
        ("a service account", vec![CI_SEES_NOTHING], same([ALL, ALL, NONE, ALL])),
        (
            "denied to a service account whatever is allowed",
            vec![RFD_AUDITOR, CI_SEES_NOTHING],
            same([ALL, ALL, NONE, ALL]),
        ),
        (
            "allowed to another user only",
            vec![ROOT_ONLY],
            [[ALL; 4], [ALL; 4], [ALL; 4], [NONE, NONE, NONE, ALL]],
        ),
        (
            "conditions on the user are folded",
            vec![ROOT_ONLY, OWN_ONLY],
            [
                ["AJ", "BJ", ALL, ALL],
                ["AJ", "BJ", ALL, ALL],
                ["AJ", "BJ", ALL, ALL],
                ["AJ", "BJ", NONE, ALL],
            ],
        ),
        (
            "a user by name, with a rule on another user",
            vec![ALICE_NOT_BOBS],
            [["AR", ALL, ALL, ALL], [ALL; 4], [ALL; 4], [ALL; 4]],
        ),
    ];
    for (name, policies, expected) in cases {
        let policies: Vec<Policy> = policies.iter().map(|yaml| policy("p", yaml)).collect();
        for (verb, expected) in Verb::ALL.into_iter().zip(expected) {
            for (requester, expected) in requesters().iter().zip(expected) {
                let visible = visible(&policies, requester, verb);
                assert_eq!(visible, expected, "{name}: {verb} by {}", requester.name);
            }
        }
    }
}

#[test]
fn explains_deciding_rule() {
    let policies = [
        policy("own", OWN_ONLY),
        policy("audit", AUDITORS_SEE_ALL),
        policy("prod", NEVER_STOP_PROD),
    ];
    let requesters = requesters();
    let explain = |requester: usize, verb, letter| {
        let (traits, joined) = (Traits::new(), ["alice".to_owned()]);
        let user = User {
            name: requesters[requester].name,
            roles: &requesters[requester].roles,
            traits: &traits,
        };
        let sessions = sessions(&joined);
        let (_, tracker) = sessions.iter().find(|(name, _)| *name == letter).unwrap();
        let verdict = Visibility::resolve(&policies, &user, verb).explain(tracker);
        format!("{}: {}", verdict.visible, verdict.cause)
    };
    let cases = [
        (0, Verb::List, 'A', "true: by own spec.allow.rules[0]"),
        (0, Verb::List, 'B', "false: because no allow rule matches"),
        (1, Verb::List, 'A', "true: by audit spec.allow.rules[0]"),
        (1, Verb::Delete, 'B', "false: by prod spec.deny.rules[0]"),
        (3, Verb::Delete, 'A', "true: because no deny rule matches"),
        (3, Verb::Join, 'A', "true: because no rule applies to it"),
    ];
    for (requester, verb, letter, expected) in cases {
        assert_eq!(explain(requester, verb, letter), expected);
    }
}

/// The cases hold the number of errors, and the sessions that alice, bob, tools/ci and root may
/// list.
#[test]
fn invalid_policies_narrow_visibility() {
    let cases = [
        (
            "an invalid allow rule counts, but allows nothing",
            "allow: {rules: [{resources: ['*'], verbs: [list], where: 'x'}]}",
            1,
            [NONE; 4],
        ),
        (
            "a valid allow rule beside it still allows",
            "allow: {rules: [{resources: ['*'], verbs: [list], where: 'x'}, {resources: ['*'], verbs: [list], where: 'tracker.host_user == \"bob\"'}]}",
            1,
            ["BJ"; 4],
        ),
        (
            "an invalid deny rule denies everything",
            "deny: {rules: [{resources: ['*'], verbs: [list], where: 'x'}]}",
            1,
            [NONE; 4],
        ),
        (
            "an invalid deny rule applies to its subjects only",
            "{subjects: [{kind: User, name: alice}], deny: {rules: [{resources: ['*'], verbs: [list], where: 'x'}]}}",
            1,
            [NONE, ALL, ALL, ALL],
        ),
        (
            "an unknown verb counts as any verb",
            "deny: {rules: [{resources: ['*'], verbs: [ilst], where: 'true'}]}",
            1,
            [NONE; 4],
        ),
        (
            "an unknown resource counts as trackers",
            "deny: {rules: [{resources: [session], verbs: [list]}]}",
            1,
            [NONE; 4],
        ),
        (
            "allow rules with an invalid subject allow nothing to any user",
            "{subjects: [{kind: User, name: alice, namespace: a}, {kind: User, name: bob}], allow: {rules: [{resources: ['*'], verbs: [list]}]}}",
            1,
            [NONE; 4],
        ),
        (
            "deny rules with an invalid subject apply to every user",
            "{subjects: [{kind: User, name: alice, apiGroup: ''}], deny: {rules: [{resources: ['*'], verbs: [list], where: 'tracker.host_user == \"bob\"'}]}}",
            1,
            ["AR"; 4],
        ),
    ];
    for (name, yaml, errors, expected) in cases {
        let spec: SessionPolicySpec = serde_saphyr::from_str(yaml).unwrap();
        let (policy, found) = Policy::from_spec("broken", &spec);
        assert_eq!(found.len(), errors, "{name}: {found:?}");
        let resource = mirrord_sessions_crds::SessionPolicy::new("broken", spec);
        assert_eq!(Policy::try_from(&resource), Err(InvalidPolicy(found)));
        let policies = [policy];
        for (requester, expected) in requesters().iter().zip(expected) {
            assert_eq!(visible(&policies, requester, Verb::List), expected, "{name}");
        }
    }
}

#[test]
fn parses_policies_of_documentation() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
    let mut count = 0;
    for file in ["README.md", "docs/session-policies.md"] {
        let text = std::fs::read_to_string(format!("{root}{file}")).unwrap();
        let blocks = text.split("```yaml\n").skip(1);
        for block in blocks.filter(|block| block.contains("kind: SessionPolicy")) {
            let yaml = block.split("```").next().unwrap();
            let policy: mirrord_sessions_crds::SessionPolicy =
                serde_saphyr::from_str(yaml).unwrap();
            Policy::try_from(&policy).unwrap_or_else(|error| panic!("{file}: {error}"));
            count += 1;
        }
    }
    assert_eq!(count, 2);
}

#[test]
fn finds_rules_that_restrict_nothing() {
    let joined = [];
    let sessions = sessions(&joined).map(|(_, tracker)| tracker);
    let rule = |condition: &str| {
        format!("deny: {{rules: [{{resources: ['*'], verbs: [list], where: \"{condition}\"}}]}}")
    };
    let devs = ["devs".to_owned(), "system:authenticated".to_owned()];
    let traits = Traits::new();
    let user = User { name: "eve", roles: &devs, traits: &traits };
    for (condition, expected) in [
        ("tracker.host_user != ''", true),
        ("true", true),
        ("tracker.namespace == tracker.namespace", true),
        ("tracker.host_user == 'alice'", false),
        ("false", false),
        // A condition on the requester alone is meant to select all sessions or none.
        ("user.metadata.name == 'eve'", false),
        // Every user has the group, so it is left out.
        ("contains(user.spec.roles, 'system:authenticated')", false),
        ("contains_any(user.spec.roles, tracker.host_roles)", false),
    ] {
        let policy = policy("p", &rule(condition));
        let found = unrestrictive_rules([&policy], &user, Verb::List, &sessions);
        assert_eq!(!found.is_empty(), expected, "{condition}");
        // Other verbs have no rule, and one session says nothing.
        assert!(unrestrictive_rules([&policy], &user, Verb::Join, &sessions).is_empty());
    }
    let all = policy("p", &rule("tracker.host_user != ''"));
    assert!(unrestrictive_rules([&all], &user, Verb::List, &sessions[..1]).is_empty());
    // A rule without a condition restricts nothing by intention.
    let unconditional = policy("p", RFD_AUDITOR);
    assert!(unrestrictive_rules([&unconditional], &user, Verb::List, &sessions).is_empty());
}
