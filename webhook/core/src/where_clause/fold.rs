//! Partial evaluation of expressions with the requester's values.
//!
//! RFD 44 calls the residual the largest admissible subcondition.

use super::{
    expr::{Comparison, Expr},
    filter::{Filter, Test, Text, Texts},
    tracker::{Tracker, User},
    vocabulary::{Function, ListField, TrackerField},
};

/// An expression folded for one requester.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Folded {
    /// The expression is false for every tracker.
    Nothing,
    /// The expression is true for every tracker.
    Everything,
    /// The expression depends on the tracker.
    Residual(Filter),
}

pub(super) fn fold(expr: &Expr, user: &User<'_>) -> Folded {
    match condition(expr, user) {
        Condition::Constant(false) => Folded::Nothing,
        Condition::Constant(true) => Folded::Everything,
        Condition::Residual(test) => Folded::Residual(Filter(test)),
    }
}

#[derive(Clone)]
enum Condition {
    Constant(bool),
    Residual(Test),
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
    /// Evaluates a test if it does not depend on the tracker.
    fn from_test(test: Test) -> Self {
        if test.is_constant() {
            return Self::Constant(test.holds(&Tracker::default()));
        }
        Self::Residual(test)
    }

    fn negate(self) -> Self {
        match self {
            Self::Constant(value) => Self::Constant(!value),
            Self::Residual(Test::Not(test)) => Self::Residual(*test),
            Self::Residual(test) => Self::Residual(Test::Not(Box::new(test))),
        }
    }

    /// Combines conditions with `&&` if `neutral` is true, and with `||` otherwise.
    fn combine(conditions: impl Iterator<Item = Self>, neutral: bool) -> Self {
        let mut residual = Vec::new();
        for condition in conditions {
            match condition {
                Self::Constant(value) if value == neutral => {}
                Self::Constant(value) => return Self::Constant(value),
                Self::Residual(test) => residual.push(test),
            }
        }
        if residual.len() > 1 {
            let tests = residual.into_boxed_slice();
            return Self::Residual(if neutral { Test::All(tests) } else { Test::Any(tests) });
        }
        residual.pop().map_or(Self::Constant(neutral), Self::Residual)
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
                Text::Constant(text) => Some(text.clone()),
                Text::Field(_) => None,
            })
            .collect();
        Some(known.map_or_else(|| Texts::Items(texts.into()), Texts::Constant))
    }
}

impl Value {
    fn constant(text: &str) -> Self {
        Self::Text(Text::Constant(text.into()))
    }

    fn constant_list<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        Self::List(List::Items(texts.map(Self::constant).collect()))
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
        // The parser accepts conditions only here.
        _ => Condition::Constant(false),
    }
}

fn value(expr: &Expr, user: &User<'_>) -> Value {
    let values = |items: &[Expr]| items.iter().map(|item| value(item, user)).collect();
    Value::Condition(match expr {
        Expr::Text(text) => return Value::constant(text),
        Expr::Integer(integer) => return Value::Integer(*integer),
        Expr::List(items) => return Value::List(List::Items(values(items))),
        Expr::Tracker(TrackerField::Text(field)) => return Value::Text(Text::Field(*field)),
        Expr::Tracker(TrackerField::List(field)) => return Value::List(List::Field(*field)),
        Expr::UserName => return Value::constant(user.name),
        Expr::UserRoles => return Value::constant_list(user.own_roles()),
        Expr::Trait(key) => return Value::constant_list(user.trait_values(key)),
        Expr::Call(Function::Set, items) => {
            // Teleport's `set` drops values that are not strings.
            let mut items: Vec<Value> = values(items);
            items.retain(|item| matches!(item, Value::Text(_)));
            return Value::List(List::Items(items));
        }
        Expr::Boolean(boolean) => Condition::Constant(*boolean),
        Expr::Not(operand) => condition(operand, user).negate(),
        Expr::And(operands) => {
            Condition::combine(operands.iter().map(|operand| condition(operand, user)), true)
        }
        Expr::Or(operands) => {
            Condition::combine(operands.iter().map(|operand| condition(operand, user)), false)
        }
        Expr::Compare(comparison, left, right) => {
            let (left, right) = (value(left, user), value(right, user));
            match comparison {
                Comparison::Equal => equal(left, right),
                Comparison::Unequal => equal(left, right).negate(),
                Comparison::In => member(left, right),
            }
        }
        Expr::Call(function, arguments) => call(*function, values(arguments))
            // A function with an argument of an unsupported type is false.
            .map_or(Condition::Constant(false), Condition::from_test),
    })
}

/// Compares values like `==` in CEL: values of different types are unequal.
fn equal(left: Value, right: Value) -> Condition {
    match (left, right) {
        (Value::Text(a), Value::Text(b)) => Condition::from_test(Test::Equal(a, b)),
        (Value::Integer(a), Value::Integer(b)) => Condition::Constant(a == b),
        (Value::Condition(a), Value::Condition(b)) => match (a, b) {
            (Condition::Constant(a), Condition::Constant(b)) => Condition::Constant(a == b),
            (Condition::Constant(known), residual) | (residual, Condition::Constant(known)) => {
                if known {
                    residual
                } else {
                    residual.negate()
                }
            }
            (Condition::Residual(a), Condition::Residual(b)) => {
                Condition::Residual(Test::Same(Box::new((a, b))))
            }
        },
        (Value::List(List::Items(a)), Value::List(List::Items(b))) => {
            if a.len() != b.len() {
                return Condition::Constant(false);
            }
            let pairs = a.into_iter().zip(b);
            Condition::combine(pairs.map(|(a, b)| equal(a, b)), true)
        }
        (Value::List(a), Value::List(b)) => match (a.texts(), b.texts()) {
            (Some(a), Some(b)) => Condition::from_test(Test::EqualLists(a, b)),
            _ => Condition::Constant(false),
        },
        _ => Condition::Constant(false),
    }
}

/// Evaluates `in` like CEL: the value equals an element of the list.
fn member(item: Value, list: Value) -> Condition {
    let Value::List(list) = list else {
        return Condition::Constant(false);
    };
    match (item, list) {
        (Value::Text(text), List::Field(field)) => {
            Condition::from_test(Test::Member(text, Texts::Field(field)))
        }
        (_, List::Field(_)) => Condition::Constant(false),
        (Value::Text(text), List::Items(mut items)) => {
            items.retain(|item| matches!(item, Value::Text(_)));
            let texts = List::Items(items).texts();
            texts.map_or(Condition::Constant(false), |texts| {
                Condition::from_test(Test::Member(text, texts))
            })
        }
        (item, List::Items(items)) => {
            Condition::combine(items.into_iter().map(|other| equal(item.clone(), other)), false)
        }
    }
}

/// Builds the test of a function call, or returns `None` for arguments of unsupported types.
///
/// The functions are those of Teleport's `lib/services/parser.go` and of `vulcand/predicate`.
fn call(function: Function, arguments: Vec<Value>) -> Option<Test> {
    let mut arguments = arguments.into_iter();
    let first = arguments.next()?;
    if function == Function::IsSubset {
        let superset = List::Items(arguments.collect()).texts()?;
        return match first {
            Value::Text(text) => Some(Test::Member(text, superset)),
            first => Some(Test::Subset(first.texts()?, superset)),
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
