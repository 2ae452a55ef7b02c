//! `sessionpolicies.operator.metalbear.co/v1alpha1`: who may see, delete and join which sessions.

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Narrows, per session, what Kubernetes RBAC has already allowed. Rules read as those of
/// Teleport's roles (RFD 82).
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
    doc = "SessionPolicy says who may see, delete and join which sessions, among those that RBAC lets them. If any policy for a requester has allow rules for a verb, one of them must match the session; no deny rule may."
)]
#[schemars(description = "Whom the policy is for, and its rules.")]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionPolicySpec {
    /// Whom the policy is for: everyone, if it names nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub subjects: Vec<Subject>,

    /// Sessions that a subject may see, delete or join. As soon as a subject has allow rules for a
    /// verb, in this policy or another, what none of them matches is hidden or refused.
    #[serde(default, skip_serializing_if = "Rules::is_empty")]
    pub allow: Rules,

    /// Sessions that a subject may not see, delete or join, whatever is allowed.
    #[serde(default, skip_serializing_if = "Rules::is_empty")]
    pub deny: Rules,
}

/// A user, a group or a service account.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subject {
    /// User, Group or ServiceAccount.
    pub kind: SubjectKind,

    /// Name of the user, group or service account.
    #[schemars(length(min = 1, max = 1024))]
    pub name: String,

    /// Namespace of a service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,

    /// As in a ClusterRoleBinding: rbac.authorization.k8s.io for users and groups, empty for
    /// service accounts. May be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub api_group: Option<String>,
}

/// What a subject is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
pub enum SubjectKind {
    /// A user by name.
    #[default]
    User,
    /// A group.
    Group,
    /// A service account by namespace and name.
    ServiceAccount,
}

/// A list of rules.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rules {
    /// The rules. Their order means nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub rules: Vec<Rule>,
}

impl Rules {
    /// Whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// Sessions, and what a requester would do with them.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Kinds of objects: session_tracker, or * for all.
    #[schemars(schema_with = "resources")]
    pub resources: Vec<String>,

    /// list (and watch, which counts as list), read, delete, join, or * for all.
    #[schemars(schema_with = "verbs")]
    pub verbs: Vec<String>,

    /// Condition on the session and the requester, as contains(tracker.participants,
    /// user.metadata.name). Without one the rule matches every session.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub where_clause: Option<String>,
}

/// Resources that a rule may name.
pub const RULE_RESOURCES: [&str; 2] = ["session_tracker", "*"];

/// Verbs that a rule may name.
pub const RULE_VERBS: [&str; 6] = ["list", "watch", "read", "delete", "join", "*"];

fn resources(_: &mut SchemaGenerator) -> Schema {
    some_of(&RULE_RESOURCES)
}

fn verbs(_: &mut SchemaGenerator) -> Schema {
    some_of(&RULE_VERBS)
}

fn some_of(words: &[&str]) -> Schema {
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

    /// RFD 82's two examples, word by word.
    #[test]
    fn the_rfds_examples() {
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
    fn subjects_of_a_binding() {
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
