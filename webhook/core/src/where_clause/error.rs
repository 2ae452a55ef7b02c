//! Why an expression is refused.

use crate::text::printable;

/// What is wrong with an expression, where, and what would be right there, in one line.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("column {column}: {found}; expected {expected}")]
pub struct WhereError {
    /// Where it went wrong, counted in characters from 1.
    pub column: usize,
    /// What is there.
    pub found: String,
    /// What could be there instead.
    pub expected: String,
}

impl WhereError {
    pub(super) fn new(
        column: usize,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self { column, found: found.into(), expected: expected.into() }
    }
}

/// A piece of the source in quotes, short and harmless to a terminal.
pub(super) fn quoted(source: &str) -> String {
    format!("\"{}\"", printable(source, 40))
}
