//! Errors of the parser of `where` expressions.

use crate::text::printable;

/// Error in an expression, with its column and the expected input.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("column {column}: {found}; expected {expected}")]
pub struct WhereError {
    /// Column of the error, counted in characters from 1.
    pub column: usize,
    /// The input at this column.
    pub found: String,
    /// The input that was expected there.
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

/// Quotes a part of the source, shortened and safe to print on a terminal.
pub(super) fn quoted(source: &str) -> String {
    format!("\"{}\"", printable(source, 40))
}
