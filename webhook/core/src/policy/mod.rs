//! Who may see, delete and join which sessions: SessionPolicies, and what they come to for a
//! requester.
//!
//! RBAC must allow a verb first; policies only narrow it, after Teleport's [RFD 82] and [RFD 44]:
//!
//! 1. Policies whose subjects don't name the requester don't matter.
//! 2. Deny rules before allow rules: a session that a deny rule for the verb matches is hidden.
//! 3. If there are allow rules for the verb, one of them must match. If there are none, all do.
//! 4. What depends only on the requester is settled once: nothing visible → the request is
//!    forbidden; everything → no filter.
//!
//! | subjects | allow rules | deny rules | comes to |
//! |---|---|---|---|
//! | not the requester | any | any | as if there were no policy |
//! | the requester | none for the verb | none for the verb | everything |
//! | the requester | none for the verb | some | all but those that a deny rule matches |
//! | the requester | some | some | those that an allow rule matches, but for those that a deny rule matches |
//! | the requester | some, none of which can match | any | nothing |
//! | the requester | any | one that always matches | nothing |
//!
//! A policy is read once ([`Policy::read`]); admission refuses it with the same errors that the
//! reader reports. What can't be read and is there all the same (written while admission was off)
//! narrows what its subjects may do and never widens it.
//!
//! [RFD 82]:
//! https://github.com/gravitational/teleport/blob/master/rfd/0082-session-tracker-resource-rbac.md
//! [RFD 44]:
//! https://github.com/gravitational/teleport/blob/master/rfd/0044-session-where-condition.md

mod error;
mod read;
mod rule;
mod viewer;
mod visibility;

pub use error::{FieldError, InvalidPolicy, Problem};
pub use rule::{Effect, Policy, RuleRef, Verb};
pub use viewer::{JoinRights, PolicySet, Viewer};
pub use visibility::{Cause, Filtered, Verdict, Visibility};

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
