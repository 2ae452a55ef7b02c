//! Policies resolved for one requester and verb.

use std::fmt;

use super::rule::{Condition, Effect, Policy, RuleRef, Verb};
use crate::where_clause::{Filter, Folded, Tracker, User};

/// Sessions that a requester may see, delete or join.
///
/// A list resolves it once, and a watch each time that policies change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Visibility {
    /// No session, so the whole request is forbidden.
    Nothing(Cause),
    /// Every session is visible.
    Everything(Cause),
    /// The sessions that a filter matches.
    Filtered(Filtered),
}

/// Reason why a session is visible or hidden.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cause {
    /// A rule that matches the session.
    Rule(RuleRef),
    /// There are allow rules, but none matches the session.
    NoAllowRule,
    /// No rule applies to the requester and verb.
    NoRule,
    /// No deny rule matches the session, and there are no allow rules.
    NotDenied,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => write!(f, "by {rule}"),
            Self::NoAllowRule => f.write_str("because no allow rule matches"),
            Self::NoRule => f.write_str("because no rule applies to it"),
            Self::NotDenied => f.write_str("because no deny rule matches"),
        }
    }
}

/// Decision on one session with its reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// True if the session is visible.
    pub visible: bool,
    /// The reason for the decision.
    pub cause: Cause,
}

/// Filters of the rules that depend on the session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Filtered {
    deny: Vec<(RuleRef, Filter)>,
    allow: Allow,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Allow {
    /// Allows every session, for this reason.
    All(Cause),
    /// Allows the sessions that one of the rules matches.
    AnyOf(Vec<(RuleRef, Filter)>),
}

impl Visibility {
    /// Resolves policies, in any order, for a user and a verb.
    pub fn resolve<'a>(
        policies: impl IntoIterator<Item = &'a Policy>,
        user: &User<'_>,
        verb: Verb,
    ) -> Self {
        let mut deny = Vec::new();
        let mut allow = Vec::new();
        let mut has_allow_rules = false;
        let mut denies_all = None;
        let mut allows_all = None;
        let rules = policies
            .into_iter()
            .filter(|policy| policy.applies_to(user))
            .flat_map(|policy| &policy.rules)
            .filter(|rule| rule.verbs.contains(verb));
        for rule in rules {
            let (filters, matches_all) = match rule.reference.effect {
                Effect::Allow => {
                    has_allow_rules = true;
                    (&mut allow, &mut allows_all)
                }
                Effect::Deny => (&mut deny, &mut denies_all),
            };
            let folded = match &rule.condition {
                Condition::Always => Folded::Everything,
                Condition::Never => Folded::Nothing,
                Condition::Where(clause) => clause.fold(user),
            };
            match folded {
                Folded::Nothing => {}
                Folded::Everything => {
                    matches_all.get_or_insert_with(|| rule.reference.clone());
                }
                Folded::Residual(filter) => filters.push((rule.reference.clone(), filter)),
            }
        }
        if let Some(rule) = denies_all {
            return Self::Nothing(Cause::Rule(rule));
        }
        let allow = match allows_all {
            Some(rule) => Allow::All(Cause::Rule(rule)),
            None if has_allow_rules && allow.is_empty() => {
                return Self::Nothing(Cause::NoAllowRule);
            }
            None if has_allow_rules => Allow::AnyOf(allow),
            None if deny.is_empty() => Allow::All(Cause::NoRule),
            None => Allow::All(Cause::NotDenied),
        };
        match allow {
            Allow::All(cause) if deny.is_empty() => Self::Everything(cause),
            allow => Self::Filtered(Filtered { deny, allow }),
        }
    }

    /// Returns whether a session is visible, without allocating.
    #[must_use]
    pub fn includes(&self, tracker: &Tracker<'_>) -> bool {
        match self {
            Self::Nothing(_) => false,
            Self::Everything(_) => true,
            Self::Filtered(filtered) => filtered.includes(tracker),
        }
    }

    /// Returns whether a session is visible, and the deciding rule.
    #[must_use]
    pub fn explain(&self, tracker: &Tracker<'_>) -> Verdict {
        let (visible, cause) = match self {
            Self::Nothing(cause) => (false, cause.clone()),
            Self::Everything(cause) => (true, cause.clone()),
            Self::Filtered(filtered) => filtered.explain(tracker),
        };
        Verdict { visible, cause }
    }
}

/// Returns the rules whose conditions match all of these sessions, as if they were absent.
///
/// The sessions must have several owners. A condition on the requester alone selects users and not
/// sessions, so it is left out.
pub fn unrestrictive_rules<'a>(
    policies: impl IntoIterator<Item = &'a Policy>,
    user: &User<'_>,
    verb: Verb,
    trackers: &[Tracker<'_>],
) -> Vec<RuleRef> {
    let has_several_owners =
        trackers.windows(2).any(|pair| matches!(pair, [a, b] if a.host_user != b.host_user));
    let matches_all = |condition: &Condition| {
        let Condition::Where(clause) = condition else {
            return false;
        };
        !clause.refers_to_user_only()
            && match clause.fold(user) {
                Folded::Nothing => false,
                Folded::Everything => true,
                Folded::Residual(filter) => {
                    has_several_owners && trackers.iter().all(|tracker| filter.matches(tracker))
                }
            }
    };
    policies
        .into_iter()
        .filter(|policy| policy.applies_to(user))
        .flat_map(|policy| &policy.rules)
        .filter(|rule| rule.verbs.contains(verb) && matches_all(&rule.condition))
        .map(|rule| rule.reference.clone())
        .collect()
}

impl Filtered {
    fn includes(&self, tracker: &Tracker<'_>) -> bool {
        let matches =
            |rules: &[(RuleRef, Filter)]| rules.iter().any(|(_, filter)| filter.matches(tracker));
        !matches(&self.deny)
            && match &self.allow {
                Allow::All(_) => true,
                Allow::AnyOf(rules) => matches(rules),
            }
    }

    fn explain(&self, tracker: &Tracker<'_>) -> (bool, Cause) {
        let first = |rules: &[(RuleRef, Filter)]| {
            let mut rules = rules.iter();
            rules
                .find(|(_, filter)| filter.matches(tracker))
                .map(|(rule, _)| Cause::Rule(rule.clone()))
        };
        if let Some(rule) = first(&self.deny) {
            return (false, rule);
        }
        match &self.allow {
            Allow::All(cause) => (true, cause.clone()),
            Allow::AnyOf(rules) => {
                first(rules).map_or((false, Cause::NoAllowRule), |rule| (true, rule))
            }
        }
    }
}
