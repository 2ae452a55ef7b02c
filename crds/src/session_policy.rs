//! The resource `sessionpolicies.operator.metalbear.co/v1alpha1`: per-session access rules.

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// SessionPolicy restricts, per session, the access that Kubernetes RBAC has granted. Its rules
/// read like those of Teleport's roles (RFD 82).
#[derive(
    CustomResource, Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize,
)]
#[kube(
    group = "operator.metalbear.co",
    version = "v1alpha1",
    kind = "SessionPolicy",
    shortname = "msp",
    category = "mirrord",
    derive = "PartialEq",
    doc = "SessionPolicy restricts which sessions its subjects may see, delete and join, among those that RBAC allows. If any policy for a requester has allow rules for a verb, at least one of them must match the session. No deny rule may match."
)]
#[schemars(description = "Subjects and rules of the policy.")]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionPolicySpec {
    /// Subjects to which the policy applies. Without subjects, it applies to every user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub subjects: Vec<Subject>,

    /// Sessions that a subject may see, delete or join. If any policy has allow rules for a subject
    /// and a verb, sessions that no such rule matches are hidden or denied.
    #[serde(default, skip_serializing_if = "Rules::is_empty")]
    pub allow: Rules,

    /// Sessions that a subject may not see, delete or join, whatever the allow rules match.
    #[serde(default, skip_serializing_if = "Rules::is_empty")]
    pub deny: Rules,
}

/// Subject is a user, a group or a service account.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subject {
    /// Kind of the subject: User, Group or ServiceAccount.
    pub kind: SubjectKind,

    /// Name of the user, group or service account.
    #[schemars(length(min = 1, max = 1024))]
    pub name: String,

    /// Namespace of a service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,

    /// API group of the subject, as in a ClusterRoleBinding: rbac.authorization.k8s.io for users
    /// and groups, empty for service accounts. It is optional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub api_group: Option<String>,
}

/// SubjectKind is the kind of a subject.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
pub enum SubjectKind {
    /// A user by name.
    #[default]
    User,
    /// A group by name.
    Group,
    /// A service account by namespace and name.
    ServiceAccount,
}

/// Rules is a list of rules.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rules {
    /// Rules of the policy, in any order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub rules: Vec<Rule>,
}

impl Rules {
    /// Returns whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// Rule matches sessions and verbs.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Resources of the rule: session_tracker, or * for all.
    #[schemars(schema_with = "resources")]
    pub resources: Vec<String>,

    /// Verbs of the rule: list (which includes watch), read, delete, join, or * for all.
    #[schemars(schema_with = "verbs")]
    pub verbs: Vec<String>,

    /// Condition on the session and the requester, such as contains(tracker.participants,
    /// user.metadata.name). Without a condition, the rule matches every session.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub where_clause: Option<String>,
}

/// The resources that a rule may name.
pub const RULE_RESOURCES: [&str; 2] = ["session_tracker", "*"];

/// The verbs that a rule may name.
pub const RULE_VERBS: [&str; 6] = ["list", "watch", "read", "delete", "join", "*"];

fn resources(_: &mut SchemaGenerator) -> Schema {
    enum_list(&RULE_RESOURCES)
}

fn verbs(_: &mut SchemaGenerator) -> Schema {
    enum_list(&RULE_VERBS)
}

fn enum_list(words: &[&str]) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 16,
        "items": { "type": "string", "enum": words },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contains the two examples of RFD 82 verbatim.
    #[test]
    fn parses_the_examples_of_rfd_82() {
        let deny_own: SessionPolicySpec = parse(
            "
            spec:
              deny:
                rules:
                - resources: [session_tracker]
                  verbs: [list, read]
                  where: 'contains(tracker.participants, user.metadata.name)'
            ",
        );
        assert!(deny_own.subjects.is_empty() && deny_own.allow.is_empty());
        assert_eq!(
            deny_own.deny.rules,
            [Rule {
                resources: vec!["session_tracker".into()],
                verbs: vec!["list".into(), "read".into()],
                where_clause: Some("contains(tracker.participants, user.metadata.name)".into()),
            }]
        );

        let auditor: SessionPolicySpec = parse(
            "
            spec:
              allow:
                rules:
                - resources: [session_tracker]
                  verbs: [list, read]
            ",
        );
        assert!(auditor.deny.is_empty());
        assert_eq!(auditor.allow.rules.len(), 1);
        assert_eq!(auditor.allow.rules[0].where_clause, None);
    }

    fn parse(yaml: &str) -> SessionPolicySpec {
        #[derive(Deserialize)]
        struct Role {
            spec: SessionPolicySpec,
        }
        serde_saphyr::from_str::<Role>(yaml).unwrap().spec
    }

    #[test]
    fn parses_subjects_like_those_of_bindings() {
        let spec: SessionPolicySpec = parse(
            "
            spec:
              subjects:
              - {kind: Group, name: devs, apiGroup: rbac.authorization.k8s.io}
              - {kind: ServiceAccount, name: ci, namespace: tools}
            ",
        );
        let kinds: Vec<SubjectKind> = spec.subjects.iter().map(|subject| subject.kind).collect();
        assert_eq!(kinds, [SubjectKind::Group, SubjectKind::ServiceAccount]);
        assert_eq!(spec.subjects[1].namespace.as_deref(), Some("tools"));
    }
}
