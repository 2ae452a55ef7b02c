//! Matrix of policies and the sessions that each requester may list, read, delete and join.

const DENY_OWN_SESSIONS: &str = "
deny:
  rules:
  - resources: [session_tracker]
    verbs: [list, read]
    where: 'contains(tracker.participants, user.metadata.name)'
";
const ALLOW_ALL: &str = "
allow:
  rules:
  - resources: [session_tracker]
    verbs: [list, read]
";
const DEVS_SEE_OWN: &str = "
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
const CI_SEES_NOTHING: &str = "
subjects: [{kind: ServiceAccount, name: ci, namespace: tools}]
deny:
  rules:
  - {resources: [session_tracker], verbs: ['*']}
";
const HIDE_PROD_FROM_LISTS: &str = "
deny:
  rules:
  - {resources: [session_tracker], verbs: [list], where: 'tracker.namespace == \"policy-prod\"'}
";
const ONLY_ROOT_READS: &str = "
allow:
  rules:
  - {resources: [session_tracker], verbs: [read], where: 'user.metadata.name == \"root\"'}
";

const ONLY_OWNER_DELETES: &str = "
deny:
  rules:
  - {resources: [session_tracker], verbs: [delete], where: 'tracker.host_user != user.metadata.name'}
";
const ONLY_DEVS_JOIN: &str = "
allow:
  rules:
  - {resources: [session_tracker], verbs: [join], where: 'contains(user.spec.roles, \"devs\")'}
";
const PROD_IS_READ_ONLY: &str = "
deny:
  rules:
  - {resources: ['*'], verbs: [join, delete], where: 'tracker.namespace == \"policy-prod\"'}
";

/// Names of the sessions that a requester gets, one letter each, or `!` for Forbidden.
pub(super) type Letters = &'static str;

/// Policies and the sessions on which alice, bob, tools/ci and root may perform each verb.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) policies: &'static [&'static str],
    pub(super) lists: [Letters; 4],
    pub(super) reads: [Letters; 4],
    pub(super) deletes: [Letters; 4],
    pub(super) joins: [Letters; 4],
}

/// Returns a case with the same sessions for every verb.
const fn case(name: &'static str, policies: &'static [&'static str], all: [Letters; 4]) -> Case {
    Case { name, policies, lists: all, reads: all, deletes: all, joins: all }
}

pub(super) const CASES: [Case; 12] = [
    case("no policy", &[], ["abjr"; 4]),
    case("RFD 82: own sessions are denied", &[DENY_OWN_SESSIONS], ["br", "ar", "abjr", "abj"]),
    case("RFD 82: auditor", &[ALLOW_ALL], ["abjr"; 4]),
    case(
        "deny takes precedence over allow",
        &[ALLOW_ALL, DENY_OWN_SESSIONS],
        ["br", "ar", "abjr", "abj"],
    ),
    case("developers see only their own sessions", &[DEVS_SEE_OWN], ["aj", "bj", "abjr", "abjr"]),
    Case {
        lists: ["aj", "abjr", "abjr", "abjr"],
        reads: ["aj", "abjr", "abjr", "abjr"],
        ..case(
            "auditors see all sessions",
            &[DEVS_SEE_OWN, AUDITORS_SEE_ALL],
            ["aj", "bj", "abjr", "abjr"],
        )
    },
    case("a service account is denied", &[CI_SEES_NOTHING], ["abjr", "abjr", "!", "abjr"]),
    Case {
        lists: ["aj"; 4],
        ..case("sessions are hidden from lists only", &[HIDE_PROD_FROM_LISTS], ["abjr"; 4])
    },
    Case {
        lists: ["abjr"; 4],
        ..case(
            "the condition depends only on the requester",
            &[ONLY_ROOT_READS],
            ["!", "!", "!", "abjr"],
        )
    },
    Case {
        deletes: ["a", "bj", "", "r"],
        ..case("only owners delete", &[ONLY_OWNER_DELETES], ["abjr"; 4])
    },
    Case {
        joins: ["abjr", "abjr", "", "r"],
        ..case("only developers join", &[ONLY_DEVS_JOIN], ["abjr"; 4])
    },
    Case {
        deletes: ["aj"; 4],
        // A participant may always join again.
        joins: ["aj", "abj", "aj", "ajr"],
        ..case("production is read-only", &[PROD_IS_READ_ONLY], ["abjr"; 4])
    },
];

/// Namespace, owner and name of each session.
pub(super) const SESSIONS: [(&str, &str, &str); 4] = [
    ("policy-dev", "alice", "a"),
    ("policy-prod", "bob", "b"),
    ("policy-dev", "bob", "j"),
    ("policy-prod", "root", "r"),
];

pub(super) const REQUESTERS: [(&str, &[&str]); 4] = [
    ("alice", &["devs"]),
    ("bob", &["devs", "auditors"]),
    ("system:serviceaccount:tools:ci", &["system:serviceaccounts"]),
    ("root", &["system:masters"]),
];
