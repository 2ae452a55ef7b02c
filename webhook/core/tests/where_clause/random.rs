//! Strategies for expressions, users and sessions, from few words so that they often match.

use mirrord_sessions_core::where_clause::{Tracker, Traits, User};
use proptest::{prelude::*, sample::select};

const WORDS: [&str; 12] =
    ["", "a", "b", "ab", "alice", "bob", "prod", "prod/", "prod/a", "/a", "é\"\\\n", "job"];
const TEXT_FIELDS: [&str; 11] = [
    "session_id",
    "kind",
    "state",
    "hostname",
    "login",
    "address",
    "namespace",
    "target",
    "cluster",
    "kube_cluster",
    "host_user",
];
/// Keys of traits that a user may have.
pub(crate) const KEYS: [&str; 3] = ["team", "k", "a/b"];

#[derive(Clone, Debug)]
pub(crate) struct TestUser {
    pub(crate) name: String,
    pub(crate) roles: Vec<String>,
    pub(crate) traits: Traits,
}

impl TestUser {
    pub(crate) fn user(&self) -> User<'_> {
        User { name: &self.name, roles: &self.roles, traits: &self.traits }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Session {
    words: [String; 10],
    host_roles: Vec<String>,
    joined: Vec<String>,
}

impl Session {
    pub(crate) fn tracker(&self) -> Tracker<'_> {
        let [
            session_id,
            kind,
            state,
            hostname,
            login,
            namespace,
            target,
            cluster,
            kube_cluster,
            host_user,
        ] = self.words.each_ref().map(String::as_str);
        Tracker {
            session_id,
            kind,
            state,
            hostname,
            login,
            namespace,
            target,
            cluster,
            kube_cluster,
            host_user,
            host_roles: &self.host_roles,
            joined: &self.joined,
        }
    }
}

fn word() -> impl Strategy<Value = String> {
    select(&WORDS[..]).prop_map(str::to_owned)
}

fn words() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(word(), 0..4)
}

pub(crate) fn user() -> impl Strategy<Value = TestUser> {
    let traits =
        prop::collection::btree_map(select(&KEYS[..]).prop_map(str::to_owned), words(), 0..3);
    (word(), words(), traits).prop_map(|(name, roles, traits)| TestUser { name, roles, traits })
}

pub(crate) fn session() -> impl Strategy<Value = Session> {
    (prop::array::uniform10(word()), words(), words())
        .prop_map(|(words, host_roles, joined)| Session { words, host_roles, joined })
}

fn literal() -> impl Strategy<Value = String> {
    let text = prop_oneof![4 => word(), 1 => "\\PC{0,4}"];
    (text, select(&['"', '\''][..])).prop_map(|(text, quote)| {
        let mut literal = String::from(quote);
        for c in text.chars() {
            match c {
                '\n' => literal.push_str("\\n"),
                '\\' => literal.push_str("\\\\"),
                c if c == quote => literal.extend(['\\', c]),
                c => literal.push(c),
            }
        }
        literal.push(quote);
        literal
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => literal(),
        3 => select(&TEXT_FIELDS[..]).prop_map(|field| format!("tracker.{field}")),
        1 => select(&TEXT_FIELDS[..]).prop_map(|field| format!("session_tracker.{field}")),
        1 => Just("user.metadata.name".to_owned()),
    ]
}

fn element() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => text(),
        1 => (-2..3_i64).prop_map(|number| number.to_string()),
        1 => any::<bool>().prop_map(|boolean| boolean.to_string()),
    ]
}

fn separated(items: impl Strategy<Value = String>, limit: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(items, 0..=limit).prop_map(|items| items.join(", "))
}

fn list() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => separated(element(), 3).prop_map(|items| format!("[{items}]")),
        2 => separated(text(), 3).prop_map(|items| format!("[{items}]")),
        1 => separated(element(), 3).prop_map(|items| format!("set({items})")),
        4 => select(&["tracker.participants", "tracker.host_roles", "user.spec.roles"][..])
            .prop_map(str::to_owned),
        2 => select(&KEYS[..]).prop_map(|key| format!("user.spec.traits[{key:?}]")),
        1 => Just("user.spec.traits.k".to_owned()),
    ]
}

/// Returns arguments that mostly have the type that a function expects.
fn mostly(
    expected: impl Strategy<Value = String> + 'static,
    other: impl Strategy<Value = String> + 'static,
) -> impl Strategy<Value = String> {
    prop_oneof![8 => expected, 2 => other, 1 => element()]
}

fn call() -> impl Strategy<Value = String> {
    let pair =
        |a: BoxedStrategy<String>, b: BoxedStrategy<String>, names: &'static [&'static str]| {
            (select(names), a, b).prop_map(|(name, a, b)| format!("{name}({a}, {b})"))
        };
    let texts = || mostly(text(), list()).boxed();
    let lists = || mostly(list(), text()).boxed();
    prop_oneof![
        pair(texts(), texts(), &["equals", "has_prefix", "all_end_with", "all_equal"]),
        pair(lists(), lists(), &["equals", "contains_all", "contains_any"]),
        pair(lists(), texts(), &["contains", "all_end_with", "all_equal"]),
        (lists(), prop::collection::vec(texts(), 0..4)).prop_map(|(list, texts)| {
            let arguments: Vec<String> = [list].into_iter().chain(texts).collect();
            format!("is_subset({})", arguments.join(", "))
        }),
    ]
}

fn comparison() -> impl Strategy<Value = String> {
    let operator = || select(&["==", "!="][..]);
    prop_oneof![
        3 => (text(), operator(), text()),
        1 => (element(), operator(), element()),
        2 => (list(), operator(), list()),
        1 => (list(), operator(), element()),
        3 => (element(), Just("in"), list()),
    ]
    .prop_map(|(a, operator, b)| format!("{a} {operator} {b}"))
}

/// Generates valid conditions of the language.
pub(crate) fn condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        1 => any::<bool>().prop_map(|boolean| boolean.to_string()),
        5 => comparison(),
        5 => call(),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|operands| operands.join(" && ")),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|operands| operands.join(" || ")),
            inner.clone().prop_map(|operand| format!("!({operand})")),
            inner.clone().prop_map(|operand| format!("({operand})")),
            (inner.clone(), select(&["==", "!="][..]), inner)
                .prop_map(|(a, operator, b)| format!("({a}) {operator} ({b})")),
        ]
    })
}

/// Returns tokens in random order.
pub(crate) fn token_soup() -> impl Strategy<Value = String> {
    let token = select(
        &[
            "tracker.",
            "tracker.kind",
            "user.spec.traits",
            "user",
            ".",
            "[",
            "]",
            "(",
            ")",
            ",",
            "&&",
            "||",
            "!",
            "==",
            "!=",
            "in",
            "true",
            "1",
            "-",
            "'",
            "\"",
            "`",
            "\\",
            "\\u",
            "'a'",
            "set(",
            "contains(",
            " ",
            "\n",
            "é",
            "\u{0}",
        ][..],
    );
    prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

/// Returns conditions with one character removed or inserted.
pub(crate) fn mutated_condition() -> impl Strategy<Value = String> {
    (condition(), any::<prop::sample::Index>(), prop::option::of(any::<char>())).prop_map(
        |(source, at, put)| {
            let mut characters: Vec<char> = source.chars().collect();
            let at = at.index(characters.len());
            match put {
                Some(c) => characters.insert(at, c),
                None => drop(characters.remove(at)),
            }
            characters.into_iter().collect()
        },
    )
}
