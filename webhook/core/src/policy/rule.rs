//! Parsed policies and their rules.

use std::{fmt, sync::Arc};

use crate::where_clause::{User, WhereClause};

/// Action of a requester on a session.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verb {
    /// List or watch the session.
    List,
    /// Get the session by name.
    Read,
    /// Stop the session by deleting it.
    Delete,
    /// Join the session as a participant.
    Join,
}

impl Verb {
    /// The verbs that rules may name.
    pub const ALL: [Self; 4] = [Self::List, Self::Read, Self::Delete, Self::Join];

    /// Returns the verb as written in a rule.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Read => "read",
            Self::Delete => "delete",
            Self::Join => "join",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Set of verbs of a rule.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Verbs(u8);

impl Verbs {
    pub(super) const ALL: Self = Self(0b1111);

    pub(super) fn with(self, verb: Verb) -> Self {
        Self(self.0 | 1 << verb as u8)
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn contains(self, verb: Verb) -> bool {
        self.0 & 1 << verb as u8 != 0
    }
}

/// Effect of a rule on the sessions it matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Allows the action on matching sessions.
    Allow,
    /// Denies the action on matching sessions.
    Deny,
}

impl Effect {
    /// Returns the effect as written in a policy.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// Reference to a rule, displayed as `own-only spec.deny.rules[0]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleRef {
    /// Name of the policy.
    pub policy: Arc<str>,
    /// The list that the rule is in.
    pub effect: Effect,
    /// Index in the list, from 0.
    pub index: usize,
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = self.effect.as_str();
        write!(f, "{} spec.{effect}.rules[{}]", self.policy, self.index)
    }
}

/// A SessionPolicy after parsing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    pub(super) name: Arc<str>,
    /// The subjects; none means every user.
    pub(super) subjects: Vec<Subject>,
    /// Rules of both effects.
    pub(super) rules: Vec<Rule>,
}

impl Policy {
    /// Returns the name of the policy.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns a warning for each rule with a condition on a group that conditions leave out.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let warning = |rule: &Rule| {
            let Condition::Where(clause) = &rule.condition else {
                return None;
            };
            let groups = clause.named_implicit_groups();
            (!groups.is_empty()).then(|| {
                format!(
                    "{}: user.spec.roles and tracker.host_roles leave out {}: name such a group in spec.subjects",
                    rule.reference,
                    groups.join(", ")
                )
            })
        };
        self.rules.iter().filter_map(warning).collect()
    }

    /// Returns whether the subjects include this requester.
    #[must_use]
    pub fn applies_to(&self, user: &User<'_>) -> bool {
        self.subjects.is_empty() || self.subjects.iter().any(|subject| subject.matches(user))
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Subject {
    /// A user by name; for a service account, `system:serviceaccount:NAMESPACE:NAME`.
    User(String),
    Group(String),
}

impl Subject {
    fn matches(&self, user: &User<'_>) -> bool {
        match self {
            Self::User(name) => user.name == name,
            Self::Group(name) => user.roles.contains(name),
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Rule {
    pub(super) reference: RuleRef,
    pub(super) verbs: Verbs,
    pub(super) condition: Condition,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Condition {
    Always,
    /// An invalid allow rule.
    Never,
    Where(WhereClause),
}
