//! The tree of an expression, as it is written, and writing it again.

use std::fmt::{self, Write as _};

use super::vocabulary::{Function, TrackerField};
use crate::text::is_unsafe;

/// An expression. The parser makes only those whose operands are of the right [`Kind`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Expr {
    Text(Box<str>),
    Boolean(bool),
    Integer(i64),
    /// Of strings, integers, `true` and `false`.
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

/// How two values are compared.
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

/// What an expression stands for. Known from its form alone.
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

    /// How tightly it binds, from `||` to what needs no parentheses anywhere.
    fn binding(&self) -> u8 {
        match self {
            Self::Or(_) => 0,
            Self::And(_) => 1,
            Self::Compare(..) => 2,
            Self::Not(_) => 3,
            _ => 4,
        }
    }

    /// Writes it as an operand that must bind at least this tightly.
    fn write_operand(&self, f: &mut fmt::Formatter<'_>, binding: u8) -> fmt::Result {
        if self.binding() >= binding {
            return write!(f, "{self}");
        }
        write!(f, "({self})")
    }
}

/// The same expression again, in one line; strings in double quotes.
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
            // One more than their own: operands that are chains themselves had parentheses.
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
    binding: u8,
) -> fmt::Result {
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            f.write_str(separator)?;
        }
        item.write_operand(f, binding)?;
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
