//! What is left of an expression for one requester, and asking it about a tracker.
//!
//! Nothing here allocates: a filter is asked once for each session of a list.

use super::{
    tracker::Tracker,
    vocabulary::{ListField, TextField},
};

/// An expression with the requester's values in it: it depends on the tracker alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Filter(pub(super) Test);

impl Filter {
    /// Whether the expression holds for this tracker.
    #[must_use]
    pub fn matches(&self, tracker: &Tracker<'_>) -> bool {
        self.0.holds(tracker)
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Test {
    All(Box<[Test]>),
    Any(Box<[Test]>),
    Not(Box<Test>),
    /// Both hold or neither does.
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

/// A string.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Text {
    Known(Box<str>),
    Field(TextField),
}

/// A list of strings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Texts {
    Known(Box<[Box<str>]>),
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
            Self::Equal(a, b) => a.with(tracker).equals(b.with(tracker)),
            Self::HasPrefix(a, b) => a.with(tracker).starts_with(b.with(tracker)),
            Self::HasSuffix(a, b) => a.with(tracker).ends_with(b.with(tracker)),
            Self::Member(text, list) => list.contains(tracker, text.with(tracker)),
            Self::EqualLists(a, b) => {
                let length = a.len(tracker);
                length == b.len(tracker)
                    && (0..length).all(|at| match (a.get(tracker, at), b.get(tracker, at)) {
                        (Some(a), Some(b)) => a.equals(b),
                        _ => false,
                    })
            }
            // Teleport: an empty side contains nothing and is contained in nothing.
            Self::ContainsAll(a, b) => {
                b.len(tracker) > 0 && b.all(tracker, |item| a.contains(tracker, item))
            }
            Self::ContainsAny(a, b) => b.any(tracker, |item| a.contains(tracker, item)),
            Self::EachHasSuffix(list, suffix) => {
                let suffix = suffix.with(tracker);
                list.all(tracker, |item| item.ends_with(suffix))
            }
            Self::EachEquals(list, text) => {
                let text = text.with(tracker);
                list.all(tracker, |item| item.equals(text))
            }
            Self::Subset(a, b) => a.all(tracker, |item| b.contains(tracker, item)),
        }
    }

    /// Whether the tracker has no part in it.
    pub(super) fn is_known(&self) -> bool {
        match self {
            Self::All(tests) | Self::Any(tests) => tests.iter().all(Self::is_known),
            Self::Not(test) => test.is_known(),
            Self::Same(tests) => tests.0.is_known() && tests.1.is_known(),
            Self::Equal(a, b) | Self::HasPrefix(a, b) | Self::HasSuffix(a, b) => {
                a.is_known() && b.is_known()
            }
            Self::Member(text, list)
            | Self::EachHasSuffix(list, text)
            | Self::EachEquals(list, text) => text.is_known() && list.is_known(),
            Self::EqualLists(a, b)
            | Self::ContainsAll(a, b)
            | Self::ContainsAny(a, b)
            | Self::Subset(a, b) => a.is_known() && b.is_known(),
        }
    }
}

impl Text {
    fn is_known(&self) -> bool {
        matches!(self, Self::Known(_))
    }

    fn with<'a>(&'a self, tracker: &Tracker<'a>) -> View<'a> {
        match self {
            Self::Known(text) => View::Plain(text),
            Self::Field(field) => field
                .plain(tracker)
                .map_or(View::Address(tracker.namespace, tracker.target), View::Plain),
        }
    }
}

impl Texts {
    fn is_known(&self) -> bool {
        match self {
            Self::Known(_) => true,
            Self::Field(_) => false,
            Self::Items(items) => items.iter().all(Text::is_known),
        }
    }

    fn len(&self, tracker: &Tracker<'_>) -> usize {
        match self {
            Self::Known(texts) => texts.len(),
            Self::Field(ListField::Participants) => tracker.participants().count(),
            Self::Field(ListField::HostRoles) => tracker.host_roles.len(),
            Self::Items(items) => items.len(),
        }
    }

    fn get<'a>(&'a self, tracker: &Tracker<'a>, at: usize) -> Option<View<'a>> {
        match self {
            Self::Known(texts) => texts.get(at).map(|text| View::Plain(text)),
            Self::Field(ListField::Participants) => tracker.participants().nth(at).map(View::Plain),
            Self::Field(ListField::HostRoles) => {
                tracker.host_roles.get(at).map(|role| View::Plain(role))
            }
            Self::Items(items) => items.get(at).map(|text| text.with(tracker)),
        }
    }

    fn any(&self, tracker: &Tracker<'_>, mut wanted: impl FnMut(View<'_>) -> bool) -> bool {
        match self {
            Self::Known(texts) => texts.iter().any(|text| wanted(View::Plain(text))),
            Self::Field(ListField::Participants) => {
                tracker.participants().any(|name| wanted(View::Plain(name)))
            }
            Self::Field(ListField::HostRoles) => {
                let mut roles = tracker.host_roles.iter();
                roles.any(|role| wanted(View::Plain(role)))
            }
            Self::Items(items) => items.iter().any(|text| wanted(text.with(tracker))),
        }
    }

    fn all(&self, tracker: &Tracker<'_>, mut wanted: impl FnMut(View<'_>) -> bool) -> bool {
        !self.any(tracker, |item| !wanted(item))
    }

    fn contains(&self, tracker: &Tracker<'_>, text: View<'_>) -> bool {
        match text {
            View::Plain(text) => self.any(tracker, |item| item.equals(View::Plain(text))),
            address @ View::Address(..) => self.any(tracker, |item| item.equals(address)),
        }
    }
}

/// A string where it lies.
#[derive(Clone, Copy)]
enum View<'a> {
    Plain(&'a str),
    /// `namespace/target`, which lies nowhere in one piece.
    Address(&'a str, &'a str),
}

impl<'a> View<'a> {
    // Inlined, it compares two pieces of memory in most of its callers: their items lie in one
    // piece.
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
            _ => begins(self.bytes(), prefix.bytes()),
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
            _ => begins(self.bytes().rev(), suffix.bytes().rev()),
        }
    }

    /// Its UTF-8: equal prefixes of bytes are equal prefixes of characters.
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

fn begins(mut text: impl Iterator<Item = u8>, mut start: impl Iterator<Item = u8>) -> bool {
    start.all(|byte| text.next() == Some(byte))
}
