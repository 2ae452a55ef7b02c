//! SessionPolicies: which sessions a requester may see, delete and join.
//!
//! RBAC must allow a verb first; policies only narrow it, after Teleport's [RFD 82] and [RFD 44]:
//!
//! 1. Policies whose subjects don't include the requester are ignored.
//! 2. Deny rules take precedence: a session that a deny rule for the verb matches is hidden.
//! 3. If there are allow rules for the verb, one of them must match. Without allow rules, every
//!    session is allowed.
//! 4. Conditions that depend on the requester only are folded once. If no session can be visible,
//!    the request is forbidden. If every session is visible, there is no filter.
//!
//! | subjects | allow rules | deny rules | result |
//! |---|---|---|---|
//! | not the requester | any | any | the policy is ignored |
//! | the requester | none for the verb | none for the verb | everything |
//! | the requester | none for the verb | some | every session that no deny rule matches |
//! | the requester | some | some | sessions that an allow rule matches and no deny rule does |
//! | the requester | some, none of which can match | any | nothing |
//! | the requester | any | one that always matches | nothing |
//!
//! A policy is parsed once, by [`Policy::from_spec`]. Admission rejects it with the errors that
//! this function returns. An invalid policy that was stored while admission was off narrows the
//! rights of its subjects and never widens them.
//!
//! [RFD 82]:
//! https://github.com/gravitational/teleport/blob/master/rfd/0082-session-tracker-resource-rbac.md
//! [RFD 44]:
//! https://github.com/gravitational/teleport/blob/master/rfd/0044-session-where-condition.md

mod error;
mod parse;
mod rule;
mod viewer;
mod visibility;

pub use error::{FieldError, InvalidPolicy, Problem};
pub use rule::{Effect, Policy, RuleRef, Verb};
pub use viewer::{JoinRights, PolicySet, Viewer};
pub use visibility::{Cause, Filtered, Verdict, Visibility, unrestrictive_rules};

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
