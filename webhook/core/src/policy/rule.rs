//! A policy as it is decided by: parsed, nothing left to check.

use std::{fmt, sync::Arc};

use crate::where_clause::{User, WhereClause};

/// What a requester would do with a session.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verb {
    /// Have it in a list or a watch.
    List,
    /// Get it by name.
    Read,
    /// Stop it.
    Delete,
    /// Join it.
    Join,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 4] = [Self::List, Self::Read, Self::Delete, Self::Join];

    /// The verb as a rule spells it.
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

/// Verbs of a rule.
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

    pub(super) fn has(self, verb: Verb) -> bool {
        self.0 & 1 << verb as u8 != 0
    }
}

/// What a rule does to the sessions it matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Lets the requester.
    Allow,
    /// Doesn't.
    Deny,
}

impl Effect {
    /// The effect as a policy spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// A rule by its place. Shown as `own-only spec.deny.rules[0]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleRef {
    /// Name of the policy.
    pub policy: Arc<str>,
    /// In which of its lists the rule is.
    pub effect: Effect,
    /// At which place, from 0.
    pub index: usize,
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = self.effect.as_str();
        write!(f, "{} spec.{effect}.rules[{}]", self.policy, self.index)
    }
}

/// A SessionPolicy, parsed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    pub(super) name: Arc<str>,
    /// Nobody named: everyone.
    pub(super) subjects: Vec<Subject>,
    /// Of both effects.
    pub(super) rules: Vec<Rule>,
}

impl Policy {
    /// Name of the policy.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the policy is for this requester.
    #[must_use]
    pub fn is_for(&self, user: &User<'_>) -> bool {
        self.subjects.is_empty() || self.subjects.iter().any(|subject| subject.is(user))
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Subject {
    /// A user name; a service account's is `system:serviceaccount:NAMESPACE:NAME`.
    User(String),
    Group(String),
}

impl Subject {
    fn is(&self, user: &User<'_>) -> bool {
        match self {
            Self::User(name) => user.name == name,
            Self::Group(name) => user.roles.contains(name),
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Rule {
    pub(super) place: RuleRef,
    pub(super) verbs: Verbs,
    pub(super) when: When,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum When {
    Always,
    /// A rule that can't be read, and would let.
    Never,
    Where(WhereClause),
}
