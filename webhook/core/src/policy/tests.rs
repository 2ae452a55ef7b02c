//! Requester × policies × session × verb.

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
    let (policy, errors) = Policy::read(name, &spec);
    assert_eq!(errors, [], "{yaml}");
    policy
}

struct Requester {
    name: &'static str,
    roles: Vec<String>,
}

/// alice (devs), bob (devs, auditors), the service account tools/ci, and root.
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

/// A, alice's; B, bob's in prod; J, bob's that alice joined; R, root's in prod.
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

/// The sessions that are visible, and whether that was settled without asking.
fn seen(policies: &[Policy], requester: &Requester, verb: Verb) -> String {
    let traits = Traits::new();
    let user = User { name: requester.name, roles: &requester.roles, traits: &traits };
    let joined = ["alice".to_owned()];
    let visibility = Visibility::of(policies, &user, verb);
    let reversed = Visibility::of(policies.iter().rev(), &user, verb);
    let mut seen = String::new();
    for (letter, tracker) in sessions(&joined) {
        let verdict = visibility.explain(&tracker);
        assert_eq!(verdict.visible, visibility.shows(&tracker));
        assert_eq!(verdict.visible, reversed.shows(&tracker), "order means nothing");
        if let Cause::Rule(rule) = verdict.cause {
            assert_eq!(rule.effect == Effect::Allow, verdict.visible, "{rule}");
        }
        if verdict.visible {
            seen.push(letter);
        }
    }
    seen + match visibility {
        Visibility::Nothing(_) => NONE,
        Visibility::Everything(_) => ": everything",
        Visibility::Filtered(_) => "",
    }
}

#[test]
fn matrix() {
    // For each verb, what alice, bob, tools/ci and root see.
    let same = |row: [&'static str; 4]| [row; 4];
    let cases = [
        ("no policies", vec![], same([ALL; 4])),
        (
            "RFD 82: not one's own",
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
            "auditors see more, and stop no more",
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
            "allowed to somebody else alone",
            vec![ROOT_ONLY],
            [[ALL; 4], [ALL; 4], [ALL; 4], [NONE, NONE, NONE, ALL]],
        ),
        (
            "what the user alone decides is folded away",
            vec![ROOT_ONLY, OWN_ONLY],
            [
                ["AJ", "BJ", ALL, ALL],
                ["AJ", "BJ", ALL, ALL],
                ["AJ", "BJ", ALL, ALL],
                ["AJ", "BJ", NONE, ALL],
            ],
        ),
        (
            "a user by name, and a rule of theirs that is about another",
            vec![ALICE_NOT_BOBS],
            [["AR", ALL, ALL, ALL], [ALL; 4], [ALL; 4], [ALL; 4]],
        ),
    ];
    for (name, policies, expected) in cases {
        let policies: Vec<Policy> = policies.iter().map(|yaml| policy("p", yaml)).collect();
        for (verb, expected) in Verb::ALL.into_iter().zip(expected) {
            for (requester, expected) in requesters().iter().zip(expected) {
                let seen = seen(&policies, requester, verb);
                assert_eq!(seen, expected, "{name}: {} would {verb}", requester.name);
            }
        }
    }
}

#[test]
fn which_rule_decided() {
    let policies = [
        policy("own", OWN_ONLY),
        policy("audit", AUDITORS_SEE_ALL),
        policy("prod", NEVER_STOP_PROD),
    ];
    let requesters = requesters();
    let why = |of: usize, verb, letter| {
        let (traits, joined) = (Traits::new(), ["alice".to_owned()]);
        let user =
            User { name: requesters[of].name, roles: &requesters[of].roles, traits: &traits };
        let sessions = sessions(&joined);
        let (_, tracker) = sessions.iter().find(|(name, _)| *name == letter).unwrap();
        let verdict = Visibility::of(&policies, &user, verb).explain(tracker);
        format!("{}: {}", verdict.visible, verdict.cause)
    };
    let cases = [
        (0, Verb::List, 'A', "true: by own spec.allow.rules[0]"),
        (0, Verb::List, 'B', "false: because no allow rule matches"),
        (1, Verb::List, 'A', "true: by audit spec.allow.rules[0]"),
        (1, Verb::Delete, 'B', "false: by prod spec.deny.rules[0]"),
        (3, Verb::Delete, 'A', "true: because no deny rule matches"),
        (3, Verb::Join, 'A', "true: because no rule is about it"),
    ];
    for (of, verb, letter, expected) in cases {
        assert_eq!(why(of, verb, letter), expected);
    }
}

/// Broken policies narrow. What alice, bob, tools/ci and root may list, and how many errors there
/// are.
#[test]
fn broken_policies() {
    let cases = [
        (
            "an allow rule that can't be read allows nothing, and is there",
            "allow: {rules: [{resources: ['*'], verbs: [list], where: 'x'}]}",
            1,
            [NONE; 4],
        ),
        (
            "another still does",
            "allow: {rules: [{resources: ['*'], verbs: [list], where: 'x'}, {resources: ['*'], verbs: [list], where: 'tracker.host_user == \"bob\"'}]}",
            1,
            ["BJ"; 4],
        ),
        (
            "a deny rule that can't be read denies everything",
            "deny: {rules: [{resources: ['*'], verbs: [list], where: 'x'}]}",
            1,
            [NONE; 4],
        ),
        (
            "but only to its subjects",
            "{subjects: [{kind: User, name: alice}], deny: {rules: [{resources: ['*'], verbs: [list], where: 'x'}]}}",
            1,
            [NONE, ALL, ALL, ALL],
        ),
        (
            "an unknown verb may be any",
            "deny: {rules: [{resources: ['*'], verbs: [ilst], where: 'true'}]}",
            1,
            [NONE; 4],
        ),
        (
            "an unknown resource may be ours",
            "deny: {rules: [{resources: [session], verbs: [list]}]}",
            1,
            [NONE; 4],
        ),
        (
            "a subject that can't be read may be anyone, whom nothing is allowed",
            "{subjects: [{kind: User, name: alice, namespace: a}, {kind: User, name: bob}], allow: {rules: [{resources: ['*'], verbs: [list]}]}}",
            1,
            [NONE; 4],
        ),
        (
            "and everything denied that is denied",
            "{subjects: [{kind: User, name: alice, apiGroup: ''}], deny: {rules: [{resources: ['*'], verbs: [list], where: 'tracker.host_user == \"bob\"'}]}}",
            1,
            ["AR"; 4],
        ),
    ];
    for (name, yaml, errors, expected) in cases {
        let spec: SessionPolicySpec = serde_saphyr::from_str(yaml).unwrap();
        let (policy, found) = Policy::read("broken", &spec);
        assert_eq!(found.len(), errors, "{name}: {found:?}");
        let written = mirrord_sessions_crds::SessionPolicy::new("broken", spec);
        assert_eq!(Policy::try_from(&written), Err(InvalidPolicy(found)));
        let policies = [policy];
        for (requester, expected) in requesters().iter().zip(expected) {
            assert_eq!(seen(&policies, requester, Verb::List), expected, "{name}");
        }
    }
}

/// What the documentation shows can be written.
#[test]
fn documented_policies_can_be_read() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
    let mut read = 0;
    for file in ["README.md", "docs/session-policies.md"] {
        let text = std::fs::read_to_string(format!("{root}{file}")).unwrap();
        let blocks = text.split("```yaml\n").skip(1);
        for block in blocks.filter(|block| block.contains("kind: SessionPolicy")) {
            let yaml = block.split("```").next().unwrap();
            let policy: mirrord_sessions_crds::SessionPolicy =
                serde_saphyr::from_str(yaml).unwrap();
            Policy::try_from(&policy).unwrap_or_else(|error| panic!("{file}: {error}"));
            read += 1;
        }
    }
    assert_eq!(read, 2);
}
