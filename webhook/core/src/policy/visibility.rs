//! What the policies come to for one requester and verb.

use std::fmt;

use super::rule::{Effect, Policy, RuleRef, Verb, When};
use crate::where_clause::{Filter, Folded, Tracker, User};

/// Which sessions a requester may see, or delete, or join. Made once for a list, and kept with a
/// watch until policies change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Visibility {
    /// None, now and ever: the request as a whole is forbidden.
    Nothing(Cause),
    /// All of them: there is nothing to ask.
    Everything(Cause),
    /// Each session is to be asked about.
    Filtered(Filtered),
}

/// Why a session is visible or isn't.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cause {
    /// This rule matches it.
    Rule(RuleRef),
    /// There are allow rules, and none matches it.
    NoAllowRule,
    /// No rule is about this requester and verb.
    NoRule,
    /// No deny rule matches it, and there are no allow rules.
    NotDenied,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => write!(f, "by {rule}"),
            Self::NoAllowRule => f.write_str("because no allow rule matches"),
            Self::NoRule => f.write_str("because no rule is about it"),
            Self::NotDenied => f.write_str("because no deny rule matches"),
        }
    }
}

/// Whether a session is visible, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// Whether it is.
    pub visible: bool,
    /// What decided.
    pub cause: Cause,
}

/// What there is to ask about a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Filtered {
    deny: Vec<(RuleRef, Filter)>,
    allow: Allow,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Allow {
    /// Every session.
    All(Cause),
    /// Those that one of these matches.
    AnyOf(Vec<(RuleRef, Filter)>),
}

impl Visibility {
    /// What `policies`, in any order, come to for `user`.
    pub fn of<'a>(
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
            .filter(|policy| policy.is_for(user))
            .flat_map(|policy| &policy.rules)
            .filter(|rule| rule.verbs.has(verb));
        for rule in rules {
            let (some, all) = match rule.place.effect {
                Effect::Allow => {
                    has_allow_rules = true;
                    (&mut allow, &mut allows_all)
                }
                Effect::Deny => (&mut deny, &mut denies_all),
            };
            let folded = match &rule.when {
                When::Always => Folded::Everything,
                When::Never => Folded::Nothing,
                When::Where(clause) => clause.fold(user),
            };
            match folded {
                Folded::Nothing => {}
                Folded::Everything => {
                    all.get_or_insert_with(|| rule.place.clone());
                }
                Folded::Residual(filter) => some.push((rule.place.clone(), filter)),
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

    /// Whether the session is visible. Allocates nothing.
    #[must_use]
    pub fn shows(&self, tracker: &Tracker<'_>) -> bool {
        match self {
            Self::Nothing(_) => false,
            Self::Everything(_) => true,
            Self::Filtered(filtered) => filtered.shows(tracker),
        }
    }

    /// Whether the session is visible, and which rule decided.
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

impl Filtered {
    fn shows(&self, tracker: &Tracker<'_>) -> bool {
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
