//! Residual expressions that depend on the tracker only, and their evaluation.
//!
//! Evaluation does not allocate, since a list evaluates a filter for each session.

use super::{
    tracker::Tracker,
    vocabulary::{ListField, TextField},
};

/// An expression folded for a requester, which depends on the tracker only.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Filter(pub(super) Test);

impl Filter {
    /// Returns whether the expression is true for a tracker.
    #[must_use]
    pub fn matches(&self, tracker: &Tracker<'_>) -> bool {
        self.0.holds(tracker)
    }
}

/// A predicate over the fields of a tracker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Test {
    All(Box<[Test]>),
    Any(Box<[Test]>),
    Not(Box<Test>),
    /// Both tests have the same result.
    Same(Box<(Test, Test)>),
    Equal(Text, Text),
    HasPrefix(Text, Text),
    HasSuffix(Text, Text),
    Member(Text, Texts),
    EqualLists(Texts, Texts),
    ContainsAll(Texts, Texts),
    ContainsAny(Texts, Texts),
    EachHasSuffix(Texts, Text),
    EachEquals(Texts, Text),
    Subset(Texts, Texts),
}

/// A string operand of a comparison.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Text {
    Constant(Box<str>),
    Field(TextField),
}

/// Operand that is a list of strings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Texts {
    Constant(Box<[Box<str>]>),
    Field(ListField),
    Items(Box<[Text]>),
}

impl Test {
    pub(super) fn holds(&self, tracker: &Tracker<'_>) -> bool {
        match self {
            Self::All(tests) => tests.iter().all(|test| test.holds(tracker)),
            Self::Any(tests) => tests.iter().any(|test| test.holds(tracker)),
            Self::Not(test) => !test.holds(tracker),
            Self::Same(tests) => tests.0.holds(tracker) == tests.1.holds(tracker),
            Self::Equal(a, b) => a.resolve(tracker).equals(b.resolve(tracker)),
            Self::HasPrefix(a, b) => a.resolve(tracker).starts_with(b.resolve(tracker)),
            Self::HasSuffix(a, b) => a.resolve(tracker).ends_with(b.resolve(tracker)),
            Self::Member(text, list) => list.contains(tracker, text.resolve(tracker)),
            Self::EqualLists(a, b) => {
                let length = a.len(tracker);
                length == b.len(tracker)
                    && (0..length).all(|at| match (a.get(tracker, at), b.get(tracker, at)) {
                        (Some(a), Some(b)) => a.equals(b),
                        _ => false,
                    })
            }
            // Like in Teleport, the result is false if either side is empty.
            Self::ContainsAll(a, b) => {
                b.len(tracker) > 0 && b.all(tracker, |item| a.contains(tracker, item))
            }
            Self::ContainsAny(a, b) => b.any(tracker, |item| a.contains(tracker, item)),
            Self::EachHasSuffix(list, suffix) => {
                let suffix = suffix.resolve(tracker);
                list.all(tracker, |item| item.ends_with(suffix))
            }
            Self::EachEquals(list, text) => {
                let text = text.resolve(tracker);
                list.all(tracker, |item| item.equals(text))
            }
            Self::Subset(a, b) => a.all(tracker, |item| b.contains(tracker, item)),
        }
    }

    /// Returns whether the test does not depend on the tracker.
    pub(super) fn is_constant(&self) -> bool {
        match self {
            Self::All(tests) | Self::Any(tests) => tests.iter().all(Self::is_constant),
            Self::Not(test) => test.is_constant(),
            Self::Same(tests) => tests.0.is_constant() && tests.1.is_constant(),
            Self::Equal(a, b) | Self::HasPrefix(a, b) | Self::HasSuffix(a, b) => {
                a.is_constant() && b.is_constant()
            }
            Self::Member(text, list)
            | Self::EachHasSuffix(list, text)
            | Self::EachEquals(list, text) => text.is_constant() && list.is_constant(),
            Self::EqualLists(a, b)
            | Self::ContainsAll(a, b)
            | Self::ContainsAny(a, b)
            | Self::Subset(a, b) => a.is_constant() && b.is_constant(),
        }
    }
}

impl Text {
    fn is_constant(&self) -> bool {
        matches!(self, Self::Constant(_))
    }

    fn resolve<'a>(&'a self, tracker: &Tracker<'a>) -> View<'a> {
        match self {
            Self::Constant(text) => View::Plain(text),
            Self::Field(field) => field
                .value(tracker)
                .map_or(View::Address(tracker.namespace, tracker.target), View::Plain),
        }
    }
}

impl Texts {
    fn is_constant(&self) -> bool {
        match self {
            Self::Constant(_) => true,
            Self::Field(_) => false,
            Self::Items(items) => items.iter().all(Text::is_constant),
        }
    }

    fn len(&self, tracker: &Tracker<'_>) -> usize {
        match self {
            Self::Constant(texts) => texts.len(),
            Self::Field(ListField::Participants) => tracker.participants().count(),
            Self::Field(ListField::HostRoles) => tracker.own_host_roles().count(),
            Self::Items(items) => items.len(),
        }
    }

    fn get<'a>(&'a self, tracker: &Tracker<'a>, at: usize) -> Option<View<'a>> {
        match self {
            Self::Constant(texts) => texts.get(at).map(|text| View::Plain(text)),
            Self::Field(ListField::Participants) => tracker.participants().nth(at).map(View::Plain),
            Self::Field(ListField::HostRoles) => tracker.own_host_roles().nth(at).map(View::Plain),
            Self::Items(items) => items.get(at).map(|text| text.resolve(tracker)),
        }
    }

    fn any(&self, tracker: &Tracker<'_>, mut predicate: impl FnMut(View<'_>) -> bool) -> bool {
        match self {
            Self::Constant(texts) => texts.iter().any(|text| predicate(View::Plain(text))),
            Self::Field(ListField::Participants) => {
                tracker.participants().any(|name| predicate(View::Plain(name)))
            }
            Self::Field(ListField::HostRoles) => {
                tracker.own_host_roles().any(|role| predicate(View::Plain(role)))
            }
            Self::Items(items) => items.iter().any(|text| predicate(text.resolve(tracker))),
        }
    }

    fn all(&self, tracker: &Tracker<'_>, mut predicate: impl FnMut(View<'_>) -> bool) -> bool {
        !self.any(tracker, |item| !predicate(item))
    }

    fn contains(&self, tracker: &Tracker<'_>, text: View<'_>) -> bool {
        match text {
            View::Plain(text) => self.any(tracker, |item| item.equals(View::Plain(text))),
            address @ View::Address(..) => self.any(tracker, |item| item.equals(address)),
        }
    }
}

/// Borrowed string, in one or two parts.
#[derive(Clone, Copy)]
enum View<'a> {
    Plain(&'a str),
    /// `namespace/target`, which is not stored as one string.
    Address(&'a str, &'a str),
}

impl<'a> View<'a> {
    // Inlining lets most callers compare two slices directly, since their items are plain.
    #[inline]
    fn equals(self, other: View<'a>) -> bool {
        match (self, other) {
            (Self::Plain(a), View::Plain(b)) => a == b,
            (Self::Address(namespace, target), View::Plain(text))
            | (Self::Plain(text), View::Address(namespace, target)) => {
                is_address(text, namespace, target)
            }
            (Self::Address(..), View::Address(..)) => self.bytes().eq(other.bytes()),
        }
    }

    fn starts_with(self, prefix: View<'_>) -> bool {
        match (self, prefix) {
            (Self::Plain(text), View::Plain(prefix)) => text.starts_with(prefix),
            (Self::Address(namespace, target), View::Plain(prefix)) => {
                match prefix.strip_prefix(namespace) {
                    Some("") => true,
                    Some(rest) => {
                        rest.strip_prefix('/').is_some_and(|rest| target.starts_with(rest))
                    }
                    None => namespace.starts_with(prefix),
                }
            }
            _ => starts_with(self.bytes(), prefix.bytes()),
        }
    }

    fn ends_with(self, suffix: View<'_>) -> bool {
        match (self, suffix) {
            (Self::Plain(text), View::Plain(suffix)) => text.ends_with(suffix),
            (Self::Address(namespace, target), View::Plain(suffix)) => {
                match suffix.strip_suffix(target) {
                    Some("") => true,
                    Some(rest) => {
                        rest.strip_suffix('/').is_some_and(|rest| namespace.ends_with(rest))
                    }
                    None => target.ends_with(suffix),
                }
            }
            _ => starts_with(self.bytes().rev(), suffix.bytes().rev()),
        }
    }

    /// Returns the UTF-8 bytes. Equal byte prefixes are equal character prefixes.
    fn bytes(self) -> impl DoubleEndedIterator<Item = u8> + use<'a> {
        let [first, second, third] = match self {
            Self::Plain(text) => [text, "", ""],
            Self::Address(namespace, target) => [namespace, "/", target],
        };
        first.bytes().chain(second.bytes()).chain(third.bytes())
    }
}

fn is_address(text: &str, namespace: &str, target: &str) -> bool {
    text.strip_prefix(namespace).and_then(|rest| rest.strip_prefix('/')) == Some(target)
}

fn starts_with(mut text: impl Iterator<Item = u8>, mut start: impl Iterator<Item = u8>) -> bool {
    start.all(|byte| text.next() == Some(byte))
}
