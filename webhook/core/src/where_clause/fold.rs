//! The requester's values put into an expression, and everything settled that no tracker can
//! change.
//!
//! RFD 44 calls what is left the largest admissible subcondition.

use super::{
    expr::{Comparison, Expr},
    filter::{Filter, Test, Text, Texts},
    tracker::{Tracker, User},
    vocabulary::{Function, ListField, TrackerField},
};

/// What an expression comes to for one requester.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Folded {
    /// It holds for no tracker.
    Nothing,
    /// It holds for every tracker.
    Everything,
    /// It depends on the tracker.
    Residual(Filter),
}

pub(super) fn fold(expr: &Expr, user: &User<'_>) -> Folded {
    match condition(expr, user) {
        Condition::Known(false) => Folded::Nothing,
        Condition::Known(true) => Folded::Everything,
        Condition::Open(test) => Folded::Residual(Filter(test)),
    }
}

#[derive(Clone)]
enum Condition {
    Known(bool),
    Open(Test),
}

#[derive(Clone)]
enum Value {
    Condition(Condition),
    Integer(i64),
    Text(Text),
    List(List),
}

#[derive(Clone)]
enum List {
    Field(ListField),
    Items(Vec<Value>),
}

impl Condition {
    /// A test between values, settled here if the tracker has no part in it.
    fn of(test: Test) -> Self {
        if test.is_known() {
            return Self::Known(test.holds(&Tracker::default()));
        }
        Self::Open(test)
    }

    fn negated(self) -> Self {
        match self {
            Self::Known(value) => Self::Known(!value),
            Self::Open(Test::Not(test)) => Self::Open(*test),
            Self::Open(test) => Self::Open(Test::Not(Box::new(test))),
        }
    }

    /// `&&` (where `neutral` is true) or `||` of all of them.
    fn joined(conditions: impl Iterator<Item = Self>, neutral: bool) -> Self {
        let mut open = Vec::new();
        for condition in conditions {
            match condition {
                Self::Known(value) if value == neutral => {}
                Self::Known(value) => return Self::Known(value),
                Self::Open(test) => open.push(test),
            }
        }
        if open.len() > 1 {
            let tests = open.into_boxed_slice();
            return Self::Open(if neutral { Test::All(tests) } else { Test::Any(tests) });
        }
        open.pop().map_or(Self::Known(neutral), Self::Open)
    }
}

impl List {
    fn texts(self) -> Option<Texts> {
        let items = match self {
            Self::Field(field) => return Some(Texts::Field(field)),
            Self::Items(items) => items,
        };
        let texts: Vec<Text> = items.into_iter().map(Value::text).collect::<Option<_>>()?;
        let known: Option<Box<[Box<str>]>> = texts
            .iter()
            .map(|text| match text {
                Text::Known(text) => Some(text.clone()),
                Text::Field(_) => None,
            })
            .collect();
        Some(known.map_or_else(|| Texts::Items(texts.into()), Texts::Known))
    }
}

impl Value {
    fn known(text: &str) -> Self {
        Self::Text(Text::Known(text.into()))
    }

    fn all_known<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        Self::List(List::Items(texts.map(Self::known).collect()))
    }

    fn text(self) -> Option<Text> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn texts(self) -> Option<Texts> {
        match self {
            Self::List(list) => list.texts(),
            _ => None,
        }
    }
}

fn condition(expr: &Expr, user: &User<'_>) -> Condition {
    match value(expr, user) {
        Value::Condition(condition) => condition,
        // The parser lets nothing else stand where a condition is wanted.
        _ => Condition::Known(false),
    }
}

fn value(expr: &Expr, user: &User<'_>) -> Value {
    let values = |items: &[Expr]| items.iter().map(|item| value(item, user)).collect();
    Value::Condition(match expr {
        Expr::Text(text) => return Value::known(text),
        Expr::Integer(integer) => return Value::Integer(*integer),
        Expr::List(items) => return Value::List(List::Items(values(items))),
        Expr::Tracker(TrackerField::Text(field)) => return Value::Text(Text::Field(*field)),
        Expr::Tracker(TrackerField::List(field)) => return Value::List(List::Field(*field)),
        Expr::UserName => return Value::known(user.name),
        Expr::UserRoles => return Value::all_known(user.roles.iter().map(String::as_str)),
        Expr::Trait(key) => return Value::all_known(user.values_of(key)),
        Expr::Call(Function::Set, items) => {
            // Teleport's set leaves out what is no string.
            let mut items: Vec<Value> = values(items);
            items.retain(|item| matches!(item, Value::Text(_)));
            return Value::List(List::Items(items));
        }
        Expr::Boolean(boolean) => Condition::Known(*boolean),
        Expr::Not(operand) => condition(operand, user).negated(),
        Expr::And(operands) => {
            Condition::joined(operands.iter().map(|operand| condition(operand, user)), true)
        }
        Expr::Or(operands) => {
            Condition::joined(operands.iter().map(|operand| condition(operand, user)), false)
        }
        Expr::Compare(comparison, left, right) => {
            let (left, right) = (value(left, user), value(right, user));
            match comparison {
                Comparison::Equal => equal(left, right),
                Comparison::Unequal => equal(left, right).negated(),
                Comparison::In => member(left, right),
            }
        }
        Expr::Call(function, arguments) => call(*function, values(arguments))
            // A wrong type makes a function false.
            .map_or(Condition::Known(false), Condition::of),
    })
}

/// CEL's `==`: values of different types are unequal.
fn equal(left: Value, right: Value) -> Condition {
    match (left, right) {
        (Value::Text(a), Value::Text(b)) => Condition::of(Test::Equal(a, b)),
        (Value::Integer(a), Value::Integer(b)) => Condition::Known(a == b),
        (Value::Condition(a), Value::Condition(b)) => match (a, b) {
            (Condition::Known(a), Condition::Known(b)) => Condition::Known(a == b),
            (Condition::Known(known), open) | (open, Condition::Known(known)) => {
                if known {
                    open
                } else {
                    open.negated()
                }
            }
            (Condition::Open(a), Condition::Open(b)) => {
                Condition::Open(Test::Same(Box::new((a, b))))
            }
        },
        (Value::List(List::Items(a)), Value::List(List::Items(b))) => {
            if a.len() != b.len() {
                return Condition::Known(false);
            }
            let pairs = a.into_iter().zip(b);
            Condition::joined(pairs.map(|(a, b)| equal(a, b)), true)
        }
        (Value::List(a), Value::List(b)) => match (a.texts(), b.texts()) {
            (Some(a), Some(b)) => Condition::of(Test::EqualLists(a, b)),
            _ => Condition::Known(false),
        },
        _ => Condition::Known(false),
    }
}

/// CEL's `in`: equal to one of the list.
fn member(item: Value, list: Value) -> Condition {
    let Value::List(list) = list else {
        return Condition::Known(false);
    };
    match (item, list) {
        (Value::Text(text), List::Field(field)) => {
            Condition::of(Test::Member(text, Texts::Field(field)))
        }
        (_, List::Field(_)) => Condition::Known(false),
        (Value::Text(text), List::Items(mut items)) => {
            items.retain(|item| matches!(item, Value::Text(_)));
            let texts = List::Items(items).texts();
            texts.map_or(Condition::Known(false), |texts| Condition::of(Test::Member(text, texts)))
        }
        (item, List::Items(items)) => {
            Condition::joined(items.into_iter().map(|other| equal(item.clone(), other)), false)
        }
    }
}

/// Teleport's functions (`lib/services/parser.go`, `vulcand/predicate`), or nothing where the types
/// are not those that the function knows.
fn call(function: Function, arguments: Vec<Value>) -> Option<Test> {
    let mut arguments = arguments.into_iter();
    let first = arguments.next()?;
    if function == Function::IsSubset {
        let of = List::Items(arguments.collect()).texts()?;
        return match first {
            Value::Text(text) => Some(Test::Member(text, of)),
            first => Some(Test::Subset(first.texts()?, of)),
        };
    }
    let second = arguments.next()?;
    Some(match (function, first) {
        (Function::Equals | Function::AllEqual, Value::Text(a)) => Test::Equal(a, second.text()?),
        (Function::Equals, a) => Test::EqualLists(a.texts()?, second.texts()?),
        (Function::Contains, list) => Test::Member(second.text()?, list.texts()?),
        (Function::ContainsAll, a) => Test::ContainsAll(a.texts()?, second.texts()?),
        (Function::ContainsAny, a) => Test::ContainsAny(a.texts()?, second.texts()?),
        (Function::AllEndWith, Value::Text(a)) => Test::HasSuffix(a, second.text()?),
        (Function::AllEndWith, list) => Test::EachHasSuffix(list.texts()?, second.text()?),
        (Function::AllEqual, list) => Test::EachEquals(list.texts()?, second.text()?),
        (Function::HasPrefix, text) => Test::HasPrefix(text.text()?, second.text()?),
        (Function::Set | Function::IsSubset, _) => return None,
    })
}
