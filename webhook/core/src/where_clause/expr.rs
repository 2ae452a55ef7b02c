//! Syntax tree of expressions and its formatting.

use std::fmt::{self, Write as _};

use super::vocabulary::{Function, TrackerField};
use crate::text::is_unsafe;

/// Node of the syntax tree. The parser ensures that operands have the right [`Kind`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Expr {
    Text(Box<str>),
    Boolean(bool),
    Integer(i64),
    /// List of strings, integers and booleans.
    List(Vec<Expr>),
    Tracker(TrackerField),
    UserName,
    UserRoles,
    Trait(Box<str>),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    Call(Function, Vec<Expr>),
}

/// A comparison operator of the language.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    In,
}

impl Comparison {
    fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::In => "in",
        }
    }
}

/// Static type of an expression.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Condition,
    Text,
    List,
    Integer,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Condition => "a condition",
            Self::Text => "a string",
            Self::List => "a list",
            Self::Integer => "an integer",
        })
    }
}

impl Expr {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Text(_) | Self::UserName | Self::Tracker(TrackerField::Text(_)) => Kind::Text,
            Self::Integer(_) => Kind::Integer,
            Self::List(_)
            | Self::UserRoles
            | Self::Trait(_)
            | Self::Tracker(TrackerField::List(_))
            | Self::Call(Function::Set, _) => Kind::List,
            Self::Boolean(_)
            | Self::Not(_)
            | Self::And(_)
            | Self::Or(_)
            | Self::Compare(..)
            | Self::Call(..) => Kind::Condition,
        }
    }

    /// Returns whether this node or a node below it has a property.
    pub(super) fn any(&self, has: &impl Fn(&Self) -> bool) -> bool {
        has(self)
            || match self {
                Self::Not(operand) => operand.any(has),
                Self::And(operands)
                | Self::Or(operands)
                | Self::List(operands)
                | Self::Call(_, operands) => operands.iter().any(|operand| operand.any(has)),
                Self::Compare(_, left, right) => left.any(has) || right.any(has),
                Self::Text(_)
                | Self::Boolean(_)
                | Self::Integer(_)
                | Self::Tracker(_)
                | Self::UserName
                | Self::UserRoles
                | Self::Trait(_) => false,
            }
    }

    /// Returns the precedence, from `||` up to expressions that never need parentheses.
    fn precedence(&self) -> u8 {
        match self {
            Self::Or(_) => 0,
            Self::And(_) => 1,
            Self::Compare(..) => 2,
            Self::Not(_) => 3,
            _ => 4,
        }
    }

    /// Writes the expression as an operand, in parentheses unless it has this precedence.
    fn write_operand(&self, f: &mut fmt::Formatter<'_>, precedence: u8) -> fmt::Result {
        if self.precedence() >= precedence {
            return write!(f, "{self}");
        }
        write!(f, "({self})")
    }
}

/// Formats the expression in one line, with strings in double quotes.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write_text(f, text),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::List(items) => {
                f.write_char('[')?;
                write_all(f, items, ", ", 0)?;
                f.write_char(']')
            }
            Self::Tracker(field) => write!(f, "tracker.{}", field.name()),
            Self::UserName => f.write_str("user.metadata.name"),
            Self::UserRoles => f.write_str("user.spec.roles"),
            Self::Trait(key) => {
                f.write_str("user.spec.traits[")?;
                write_text(f, key)?;
                f.write_char(']')
            }
            Self::Not(operand) => {
                f.write_char('!')?;
                operand.write_operand(f, 3)
            }
            // Nested chains of the same operator had parentheses, so require a higher precedence.
            Self::And(operands) => write_all(f, operands, " && ", 2),
            Self::Or(operands) => write_all(f, operands, " || ", 1),
            Self::Compare(comparison, left, right) => {
                left.write_operand(f, 2)?;
                write!(f, " {} ", comparison.symbol())?;
                right.write_operand(f, 3)
            }
            Self::Call(function, arguments) => {
                write!(f, "{}(", function.name())?;
                write_all(f, arguments, ", ", 0)?;
                f.write_char(')')
            }
        }
    }
}

fn write_all(
    f: &mut fmt::Formatter<'_>,
    items: &[Expr],
    separator: &str,
    precedence: u8,
) -> fmt::Result {
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            f.write_str(separator)?;
        }
        item.write_operand(f, precedence)?;
    }
    Ok(())
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if is_unsafe(c) && c <= '\u{ffff}' => write!(f, "\\u{:04x}", u32::from(c))?,
            c if is_unsafe(c) => write!(f, "\\U{:08x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}
