//! What is wrong with a policy.

use std::fmt;

use crate::where_clause::WhereError;

/// A field that isn't right.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct FieldError {
    /// Where it is, as `spec.allow.rules[0].where`.
    pub path: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Problem {
    /// An expression, with the column in it.
    #[error(transparent)]
    Where(#[from] WhereError),
    /// A value that is none of those that are known.
    #[error("{found}; expected {expected}")]
    Value {
        /// What is there.
        found: String,
        /// What could be there instead.
        expected: String,
    },
}

/// All that is wrong with a policy; there is at least one error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidPolicy(pub Vec<FieldError>);

/// How many errors a message tells: the API server and kubectl show it as one line.
const SHOWN: usize = 8;

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.0.iter().take(SHOWN).enumerate() {
            if position > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{error}")?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for InvalidPolicy {}
