//! The matrix: who may do what to which session, by which policies.

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
const CI_SEES_NOTHING: &str = "
subjects: [{kind: ServiceAccount, name: ci, namespace: tools}]
deny:
  rules:
  - {resources: [session_tracker], verbs: ['*']}
";
const NOT_LISTED_IN_PROD: &str = "
deny:
  rules:
  - {resources: [session_tracker], verbs: [list], where: 'tracker.namespace == \"policy-prod\"'}
";
const READ_BY_ROOT: &str = "
allow:
  rules:
  - {resources: [session_tracker], verbs: [read], where: 'user.metadata.name == \"root\"'}
";

const STOPPED_BY_OWNER: &str = "
deny:
  rules:
  - {resources: [session_tracker], verbs: [delete], where: 'tracker.host_user != user.metadata.name'}
";
const JOINED_BY_DEVS: &str = "
allow:
  rules:
  - {resources: [session_tracker], verbs: [join], where: 'contains(user.spec.roles, \"devs\")'}
";
const PROD_IS_LOOKED_AT: &str = "
deny:
  rules:
  - {resources: ['*'], verbs: [join, delete], where: 'tracker.namespace == \"policy-prod\"'}
";

/// What somebody gets: names of sessions by their letters, or `!` for Forbidden.
pub(super) type Seen = &'static str;

/// What alice, bob, tools/ci and root may do by these policies.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) policies: &'static [&'static str],
    pub(super) lists: [Seen; 4],
    pub(super) reads: [Seen; 4],
    pub(super) deletes: [Seen; 4],
    pub(super) joins: [Seen; 4],
}

/// All in the same way, where nothing else is said.
const fn case(name: &'static str, policies: &'static [&'static str], all: [Seen; 4]) -> Case {
    Case { name, policies, lists: all, reads: all, deletes: all, joins: all }
}

pub(super) const CASES: [Case; 12] = [
    case("no policy", &[], ["abjr"; 4]),
    case("RFD 82: not one's own", &[RFD_DENY_OWN], ["br", "ar", "abjr", "abj"]),
    case("RFD 82: the auditor", &[RFD_AUDITOR], ["abjr"; 4]),
    case("both, deny before allow", &[RFD_AUDITOR, RFD_DENY_OWN], ["br", "ar", "abjr", "abj"]),
    case("developers see their own", &[OWN_ONLY], ["aj", "bj", "abjr", "abjr"]),
    Case {
        lists: ["aj", "abjr", "abjr", "abjr"],
        reads: ["aj", "abjr", "abjr", "abjr"],
        ..case("and auditors all", &[OWN_ONLY, AUDITORS_SEE_ALL], ["aj", "bj", "abjr", "abjr"])
    },
    case("one is refused as a whole", &[CI_SEES_NOTHING], ["abjr", "abjr", "!", "abjr"]),
    Case {
        lists: ["aj"; 4],
        ..case("not listed, and read all the same", &[NOT_LISTED_IN_PROD], ["abjr"; 4])
    },
    Case {
        lists: ["abjr"; 4],
        ..case("settled by who asks", &[READ_BY_ROOT], ["!", "!", "!", "abjr"])
    },
    Case {
        deletes: ["a", "bj", "", "r"],
        ..case("stopped by their owners", &[STOPPED_BY_OWNER], ["abjr"; 4])
    },
    Case {
        joins: ["abjr", "abjr", "", "r"],
        ..case("joined by developers", &[JOINED_BY_DEVS], ["abjr"; 4])
    },
    Case {
        deletes: ["aj"; 4],
        // Who takes part already has joined.
        joins: ["aj", "abj", "aj", "ajr"],
        ..case("prod is only looked at", &[PROD_IS_LOOKED_AT], ["abjr"; 4])
    },
];

/// Namespace, owner and name of the sessions.
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
