//! Parsing and validation of SessionPolicies.

use std::sync::Arc;

use mirrord_sessions_crds::session_policy::{
    self, RULE_RESOURCES, RULE_VERBS, SessionPolicy, SessionPolicySpec, SubjectKind,
};

use super::{
    error::{FieldError, InvalidPolicy, Problem},
    rule::{Condition, Effect, Policy, Rule, RuleRef, Subject, Verb, Verbs},
};
use crate::{text::printable, where_clause::WhereClause};

/// The API group of users and groups in a ClusterRoleBinding.
const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

impl TryFrom<&SessionPolicy> for Policy {
    type Error = InvalidPolicy;

    fn try_from(policy: &SessionPolicy) -> Result<Self, InvalidPolicy> {
        let name = policy.metadata.name.as_deref().unwrap_or_default();
        let (policy, errors) = Self::from_spec(name, &policy.spec);
        if errors.is_empty() {
            return Ok(policy);
        }
        Err(InvalidPolicy(errors))
    }
}

impl Policy {
    /// Parses a policy and returns it with its errors.
    ///
    /// Errors narrow the policy and never widen it. An invalid rule applies to every verb that it
    /// may be meant for; it always matches if it denies, and never if it allows. With an invalid
    /// subject, the policy applies to every user and none of its allow rules matches.
    #[must_use]
    pub fn from_spec(name: &str, spec: &SessionPolicySpec) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let mut subjects = Vec::new();
        for (index, subject) in spec.subjects.iter().enumerate() {
            subjects.extend(parse_subject(
                subject,
                &format!("spec.subjects[{index}]"),
                &mut errors,
            ));
        }
        let has_invalid_subjects = subjects.len() < spec.subjects.len();
        if has_invalid_subjects {
            subjects.clear();
        }

        let name: Arc<str> = name.into();
        let allow = spec.allow.rules.iter().enumerate();
        let deny = spec.deny.rules.iter().enumerate();
        let rules =
            allow.map(|rule| (Effect::Allow, rule)).chain(deny.map(|rule| (Effect::Deny, rule)));
        let rules = rules
            .map(|(effect, (index, rule))| {
                let reference = RuleRef { policy: Arc::clone(&name), effect, index };
                let mut rule = parse_rule(rule, reference, &mut errors);
                if has_invalid_subjects && effect == Effect::Allow {
                    rule.condition = Condition::Never;
                }
                rule
            })
            .collect();
        let policy = Self { name, subjects, rules };
        (policy, errors)
    }
}

impl Policy {
    /// Returns a policy that denies everything to every user, for an unreadable SessionPolicy.
    #[must_use]
    pub fn deny_all(name: &str) -> Self {
        let name: Arc<str> = name.into();
        let reference = RuleRef { policy: Arc::clone(&name), effect: Effect::Deny, index: 0 };
        Self {
            name,
            subjects: Vec::new(),
            rules: vec![Rule { reference, verbs: Verbs::ALL, condition: Condition::Always }],
        }
    }
}

fn parse_subject(
    subject: &session_policy::Subject,
    path: &str,
    errors: &mut Vec<FieldError>,
) -> Option<Subject> {
    let before = errors.len();
    let mut reject = |field: &str, found: String, expected: String| {
        errors.push(value_error(format!("{path}.{field}"), found, expected));
    };
    let (group, namespaced) = match subject.kind {
        SubjectKind::User | SubjectKind::Group => (RBAC_GROUP, false),
        SubjectKind::ServiceAccount => ("", true),
    };
    if subject.name.is_empty() {
        reject("name", "nothing".into(), "a name".into());
    }
    match &subject.api_group {
        Some(api_group) if api_group != group => {
            let expected = if group.is_empty() { "\"\"" } else { group };
            reject("apiGroup", quoted(api_group), format!("{expected} or nothing"));
        }
        _ => {}
    }
    let namespace = subject.namespace.as_deref().unwrap_or_default();
    if namespaced && namespace.is_empty() {
        reject("namespace", "nothing".into(), "the service account's namespace".into());
    }
    if !namespaced && !namespace.is_empty() {
        reject(
            "namespace",
            quoted(namespace),
            "nothing: only a ServiceAccount has a namespace".into(),
        );
    }
    if errors.len() > before {
        return None;
    }
    let name = &subject.name;
    Some(match subject.kind {
        SubjectKind::User => Subject::User(name.clone()),
        SubjectKind::Group => Subject::Group(name.clone()),
        SubjectKind::ServiceAccount => {
            Subject::User(format!("system:serviceaccount:{namespace}:{name}"))
        }
    })
}

fn parse_rule(
    rule: &session_policy::Rule,
    reference: RuleRef,
    errors: &mut Vec<FieldError>,
) -> Rule {
    let before = errors.len();
    let path = format!("spec.{}.rules[{}]", reference.effect.as_str(), reference.index);

    let known = |word: &str| RULE_RESOURCES.contains(&word).then_some(());
    parse_words(&rule.resources, &format!("{path}.resources"), &RULE_RESOURCES, known, errors);
    let verbs = parse_words(&rule.verbs, &format!("{path}.verbs"), &RULE_VERBS, parse_verb, errors);
    let verbs = if errors.len() > before {
        Verbs::ALL
    } else {
        verbs.into_iter().fold(Verbs::default(), Verbs::union)
    };

    let mut condition = Condition::Always;
    if let Some(source) = &rule.where_clause {
        match WhereClause::parse(source) {
            Ok(clause) => condition = Condition::Where(clause),
            Err(error) => errors
                .push(FieldError { path: format!("{path}.where"), problem: Problem::Where(error) }),
        }
    }
    if errors.len() > before {
        condition = match reference.effect {
            Effect::Allow => Condition::Never,
            Effect::Deny => Condition::Always,
        };
    }
    Rule { reference, verbs, condition }
}

/// Returns the verbs that a word of a rule stands for.
fn parse_verb(word: &str) -> Option<Verbs> {
    let verb = match word {
        "*" => return Some(Verbs::ALL),
        "list" | "watch" => Verb::List,
        "read" => Verb::Read,
        "delete" => Verb::Delete,
        "join" => Verb::Join,
        _ => return None,
    };
    Some(Verbs::default().with(verb))
}

/// Parses the words of a list, which must not be empty.
fn parse_words<T>(
    words: &[String],
    path: &str,
    known: &[&str],
    parse: impl Fn(&str) -> Option<T>,
    errors: &mut Vec<FieldError>,
) -> Vec<T> {
    let expected = || format!("one of {}", known.join(", "));
    if words.is_empty() {
        errors.push(value_error(path.into(), "nothing".into(), expected()));
    }
    let mut parsed = Vec::new();
    for (index, word) in words.iter().enumerate() {
        match parse(word) {
            Some(value) => parsed.push(value),
            None => errors.push(value_error(format!("{path}[{index}]"), quoted(word), expected())),
        }
    }
    parsed
}

fn value_error(path: String, found: String, expected: String) -> FieldError {
    FieldError { path, problem: Problem::Value { found, expected } }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", printable(text, 60))
}
