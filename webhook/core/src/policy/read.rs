//! A SessionPolicy as it is written → as it is decided by.

use std::sync::Arc;

use mirrord_sessions_crds::session_policy::{
    self, RULE_RESOURCES, RULE_VERBS, SessionPolicy, SessionPolicySpec, SubjectKind,
};

use super::{
    error::{FieldError, InvalidPolicy, Problem},
    rule::{Effect, Policy, Rule, RuleRef, Subject, Verb, Verbs, When},
};
use crate::{text::printable, where_clause::WhereClause};

/// As the API server spells it in a ClusterRoleBinding.
const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

impl TryFrom<&SessionPolicy> for Policy {
    type Error = InvalidPolicy;

    fn try_from(written: &SessionPolicy) -> Result<Self, InvalidPolicy> {
        let name = written.metadata.name.as_deref().unwrap_or_default();
        let (policy, errors) = Self::read(name, &written.spec);
        if errors.is_empty() {
            return Ok(policy);
        }
        Err(InvalidPolicy(errors))
    }
}

impl Policy {
    /// Reads a policy, with all that is wrong with it.
    ///
    /// If something is wrong, the policy narrows and never widens: a broken rule is there for every
    /// verb that it could be for, always matches if it denies and never if it allows. With a broken
    /// subject, the policy is for everyone and none of its allow rules matches.
    #[must_use]
    pub fn read(name: &str, spec: &SessionPolicySpec) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let mut subjects = Vec::new();
        for (index, written) in spec.subjects.iter().enumerate() {
            subjects.extend(subject(written, &format!("spec.subjects[{index}]"), &mut errors));
        }
        let broken_subjects = subjects.len() < spec.subjects.len();
        if broken_subjects {
            subjects.clear();
        }

        let name: Arc<str> = name.into();
        let allow = spec.allow.rules.iter().enumerate();
        let deny = spec.deny.rules.iter().enumerate();
        let written =
            allow.map(|rule| (Effect::Allow, rule)).chain(deny.map(|rule| (Effect::Deny, rule)));
        let rules = written
            .map(|(effect, (index, written))| {
                let place = RuleRef { policy: Arc::clone(&name), effect, index };
                let mut rule = rule(written, place, &mut errors);
                if broken_subjects && effect == Effect::Allow {
                    rule.when = When::Never;
                }
                rule
            })
            .collect();
        let policy = Self { name, subjects, rules };
        (policy, errors)
    }
}

impl Policy {
    /// A policy of which nothing can be read: it denies everything to everyone.
    #[must_use]
    pub fn unreadable(name: &str) -> Self {
        let name: Arc<str> = name.into();
        let place = RuleRef { policy: Arc::clone(&name), effect: Effect::Deny, index: 0 };
        Self {
            name,
            subjects: Vec::new(),
            rules: vec![Rule { place, verbs: Verbs::ALL, when: When::Always }],
        }
    }
}

fn subject(
    written: &session_policy::Subject,
    path: &str,
    errors: &mut Vec<FieldError>,
) -> Option<Subject> {
    let before = errors.len();
    let mut refuse = |field: &str, found: String, expected: String| {
        errors.push(value_error(format!("{path}.{field}"), found, expected));
    };
    let (group, namespaced) = match written.kind {
        SubjectKind::User | SubjectKind::Group => (RBAC_GROUP, false),
        SubjectKind::ServiceAccount => ("", true),
    };
    if written.name.is_empty() {
        refuse("name", "nothing".into(), "a name".into());
    }
    match &written.api_group {
        Some(written) if written != group => {
            let expected = if group.is_empty() { "\"\"" } else { group };
            refuse("apiGroup", quoted(written), format!("{expected} or nothing"));
        }
        _ => {}
    }
    let namespace = written.namespace.as_deref().unwrap_or_default();
    if namespaced && namespace.is_empty() {
        refuse("namespace", "nothing".into(), "the service account's namespace".into());
    }
    if !namespaced && !namespace.is_empty() {
        refuse(
            "namespace",
            quoted(namespace),
            "nothing: only a ServiceAccount has a namespace".into(),
        );
    }
    if errors.len() > before {
        return None;
    }
    let name = &written.name;
    Some(match written.kind {
        SubjectKind::User => Subject::User(name.clone()),
        SubjectKind::Group => Subject::Group(name.clone()),
        SubjectKind::ServiceAccount => {
            Subject::User(format!("system:serviceaccount:{namespace}:{name}"))
        }
    })
}

fn rule(written: &session_policy::Rule, place: RuleRef, errors: &mut Vec<FieldError>) -> Rule {
    let before = errors.len();
    let path = format!("spec.{}.rules[{}]", place.effect.as_str(), place.index);

    let known = |word: &str| RULE_RESOURCES.contains(&word).then_some(());
    words(&written.resources, &format!("{path}.resources"), &RULE_RESOURCES, known, errors);
    let verbs = words(&written.verbs, &format!("{path}.verbs"), &RULE_VERBS, verbs_of, errors);
    let verbs = if errors.len() > before {
        Verbs::ALL
    } else {
        verbs.into_iter().fold(Verbs::default(), Verbs::union)
    };

    let mut when = When::Always;
    if let Some(source) = &written.where_clause {
        match WhereClause::parse(source) {
            Ok(clause) => when = When::Where(clause),
            Err(error) => errors
                .push(FieldError { path: format!("{path}.where"), problem: Problem::Where(error) }),
        }
    }
    if errors.len() > before {
        when = match place.effect {
            Effect::Allow => When::Never,
            Effect::Deny => When::Always,
        };
    }
    Rule { place, verbs, when }
}

/// The verbs that a word of a rule stands for.
fn verbs_of(word: &str) -> Option<Verbs> {
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

/// What the words of a list mean. There must be one, and none that means nothing.
fn words<T>(
    written: &[String],
    path: &str,
    known: &[&str],
    meaning: impl Fn(&str) -> Option<T>,
    errors: &mut Vec<FieldError>,
) -> Vec<T> {
    let expected = || format!("one of {}", known.join(", "));
    if written.is_empty() {
        errors.push(value_error(path.into(), "nothing".into(), expected()));
    }
    let mut meanings = Vec::new();
    for (index, word) in written.iter().enumerate() {
        match meaning(word) {
            Some(meaning) => meanings.push(meaning),
            None => errors.push(value_error(format!("{path}[{index}]"), quoted(word), expected())),
        }
    }
    meanings
}

fn value_error(path: String, found: String, expected: String) -> FieldError {
    FieldError { path, problem: Problem::Value { found, expected } }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", printable(text, 60))
}
