//! The `where` language, for conditions on sessions in the rules of a SessionPolicy.
//!
//! The language is a strict subset of CEL that covers [RFD 82]. It has strings in double, single or
//! back quotes, `true`, `false`, integers, lists, parentheses, the operators `&& || ! == != in`,
//! and Teleport's nine functions. Fields are those of `user` and `tracker`; `session_tracker` is an
//! alias, since Teleport's code uses it.
//!
//! 1. [`WhereClause::parse`] parses an expression once, when its policy is read.
//! 2. [`WhereClause::fold`] folds it once for each requester.
//! 3. [`Filter::matches`] evaluates the residual for each tracker, without allocating.
//!
//! | RFD 82 | here |
//! |---|---|
//! | `tracker.session_id` | `metadata.name` of the Session |
//! | `tracker.kind` | how it reaches the cluster: `job`, `ephemeral`, `process`, `operator` |
//! | `tracker.participants` | the owner's Kubernetes user name, then those who joined |
//! | `tracker.state` | `pending`, `running`, `terminated` |
//! | `tracker.hostname`, `tracker.login` | hostname and user name that the client reports |
//! | `tracker.address` | `namespace/target` |
//! | `tracker.namespace`, `tracker.target` | the parts of `tracker.address` |
//! | `tracker.cluster`, `tracker.kube_cluster` | the cluster's configured name |
//! | `tracker.host_user`, `tracker.host_roles` | the owner's user name and groups (stamped), without [`IMPLICIT_GROUPS`] |
//! | `user.metadata.name`, `user.spec.roles` | the requester's user name and groups, without [`IMPLICIT_GROUPS`] |
//! | `user.spec.traits["k"]`, `user.spec.traits.k` | the requester's extra values of `k` |
//!
//! The parser checks names, numbers of arguments, and the types of operands of `&& || ! in`.
//! Evaluation never fails. Semantics:
//!
//! * Like in Teleport, a function returns false for arguments of unsupported types. `equals(1, 1)`
//!   is false, since `equals` supports strings and lists of strings. Such a call is false for every
//!   requester and tracker.
//! * `==` and `!=` have the semantics of CEL: values of different types are unequal, and `1 == 1`.
//! * A missing trait is an empty list.
//! * `is_subset`, `all_end_with` and `all_equal` are true for an empty list. `contains_all` and
//!   `contains_any` are false if either side is empty.
//! * Strings support the escapes that have the same meaning in Go and CEL. Strings in back quotes
//!   have no escapes.
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
use expr::Expr;
pub use filter::Filter;
pub use fold::Folded;
pub use parser::{MAX_DEPTH, MAX_NODES, MAX_SOURCE};
pub use tracker::{IMPLICIT_GROUPS, Tracker, Traits, User};

/// A parsed condition on sessions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WhereClause(expr::Expr);

impl WhereClause {
    /// Parses an expression of the language.
    ///
    /// # Errors
    /// Returns an error with column and expectation if the expression is invalid or too large.
    pub fn parse(source: &str) -> Result<Self, WhereError> {
        parser::parse(source).map(Self)
    }

    /// Returns whether the condition refers to the requester and not to the session.
    #[must_use]
    pub fn refers_to_user_only(&self) -> bool {
        let is_tracker = |expr: &Expr| matches!(expr, Expr::Tracker(_));
        let is_user =
            |expr: &Expr| matches!(expr, Expr::UserName | Expr::UserRoles | Expr::Trait(_));
        self.0.any(&is_user) && !self.0.any(&is_tracker)
    }

    /// Returns the [`IMPLICIT_GROUPS`] that the condition names.
    ///
    /// Fields of groups leave them out, so such a comparison is not what its author means.
    #[must_use]
    pub fn named_implicit_groups(&self) -> Vec<&'static str> {
        let is_named = |group: &&str| {
            self.0.any(&|expr: &Expr| matches!(expr, Expr::Text(text) if **text == **group))
        };
        IMPLICIT_GROUPS.into_iter().filter(|group| is_named(group)).collect()
    }

    /// Folds the condition for a requester.
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

/// Formats the expression in one line, which parses to the same expression.
impl fmt::Display for WhereClause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
