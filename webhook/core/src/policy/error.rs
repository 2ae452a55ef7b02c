//! Errors about the fields of SessionPolicies.

use std::fmt;

use crate::where_clause::WhereError;

/// An invalid field of a policy.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct FieldError {
    /// Path of the field, for example `spec.allow.rules[0].where`.
    pub path: String,
    /// The problem with its value.
    pub problem: Problem,
}

/// Problem with the value of a field.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Problem {
    /// Invalid expression, with the column of the error.
    #[error(transparent)]
    Where(#[from] WhereError),
    /// The value is not allowed.
    #[error("{found}; expected {expected}")]
    Value {
        /// The value of the field.
        found: String,
        /// The values that are allowed.
        expected: String,
    },
}

/// All errors in a policy, at least one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidPolicy(pub Vec<FieldError>);

/// The maximum number of errors in a message, since kubectl shows it as one line.
const MAX_SHOWN: usize = 8;

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.0.iter().take(MAX_SHOWN).enumerate() {
            if position > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{error}")?;
        }
        match self.0.len().saturating_sub(MAX_SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for InvalidPolicy {}
