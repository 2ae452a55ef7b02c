//! The `where` language: conditions on sessions in the rules of a SessionPolicy.
//!
//! A strict subset of CEL that covers [RFD 82]: strings in double, single or back quotes, `true`,
//! `false`, integers, lists, fields of `tracker` (or `session_tracker`, as Teleport's code has it)
//! and `user`, `&& || ! == != in`, parentheses, and Teleport's nine functions.
//!
//! An expression is parsed once, when its policy is read ([`WhereClause::parse`]); folded once for
//! each requester ([`WhereClause::fold`]); and what is left is asked about each tracker
//! ([`Filter::matches`]), without allocating.
//!
//! | RFD 82 | here |
//! |---|---|
//! | `tracker.session_id` | `metadata.name` of the Session |
//! | `tracker.kind` | how it reaches the cluster: `job`, `ephemeral`, `process`, `operator` |
//! | `tracker.participants` | the owner's Kubernetes user name, then those who joined |
//! | `tracker.state` | `pending`, `running`, `terminated` |
//! | `tracker.hostname`, `tracker.login` | the client's hostname and whoami (its word) |
//! | `tracker.address` | `namespace/target`; also alone as `tracker.namespace` and `tracker.target` |
//! | `tracker.cluster`, `tracker.kube_cluster` | the cluster's configured name |
//! | `tracker.host_user`, `tracker.host_roles` | the owner's user name and groups (stamped) |
//! | `user.metadata.name`, `user.spec.roles`, `user.spec.traits["k"]` or `.k` | the requester's user name, groups, extra values |
//!
//! Names, types of operands of `&& || ! in` and numbers of arguments are checked when parsing;
//! nothing can go wrong after that. Semantics:
//!
//! * A function is false on arguments of types that it doesn't know, as Teleport's are. So
//!   `equals(1, 1)` is false: it knows strings and lists of strings. Written in the policy, such a
//!   call is the same for every requester and tracker.
//! * `==` and `!=` are CEL's: values of different types are unequal; `1 == 1`.
//! * A missing trait is an empty list.
//! * `is_subset`, `all_end_with` and `all_equal` hold for an empty list; `contains_all` and
//!   `contains_any` don't, whichever side is empty.
//! * Escapes in strings are those that mean the same to Go and CEL. Nothing is escaped in back
//!   quotes.
//!
//! [RFD 82]:
//! https://github.com/gravitational/teleport/blob/master/rfd/0082-session-tracker-resource-rbac.md

mod error;
mod expr;
mod filter;
mod fold;
mod lexer;
mod parser;
mod tracker;
mod vocabulary;

use std::{fmt, str::FromStr};

pub use error::WhereError;
pub use filter::Filter;
pub use fold::Folded;
pub use parser::{MAX_DEPTH, MAX_NODES, MAX_SOURCE};
pub use tracker::{Tracker, Traits, User};

/// A condition on sessions, parsed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WhereClause(expr::Expr);

impl WhereClause {
    /// Reads an expression.
    ///
    /// # Errors
    /// If it is none, or too large: where and what was expected.
    pub fn parse(source: &str) -> Result<Self, WhereError> {
        parser::parse(source).map(Self)
    }

    /// What it comes to for this requester.
    #[must_use]
    pub fn fold(&self, user: &User<'_>) -> Folded {
        fold::fold(&self.0, user)
    }
}

impl FromStr for WhereClause {
    type Err = WhereError;

    fn from_str(source: &str) -> Result<Self, WhereError> {
        Self::parse(source)
    }
}

/// The expression in one line, which reads as the same expression again.
impl fmt::Display for WhereClause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
