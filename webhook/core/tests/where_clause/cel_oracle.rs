//! Evaluation of the same expressions by the `cel` crate, with Teleport's functions over its
//! values.

use std::{collections::HashMap, sync::Arc};

use cel::{
    Context, Program, Value,
    extractors::Arguments,
    objects::{Key, Map},
};

use crate::random::{KEYS, Session, TestUser};

pub(crate) struct Oracle<'a> {
    program: Program,
    root: Context<'a, 'a>,
}

impl Oracle<'_> {
    pub(crate) fn new(source: &str, user: &TestUser) -> Self {
        let program = Program::compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        // The standard library is left out, since its `contains` differs. Operators are built in.
        let mut root = Context::empty();
        for (name, function) in FUNCTIONS {
            root.add_function(name, move |Arguments(arguments): Arguments| {
                Value::Bool(function(&arguments).unwrap_or(false))
            })
            .unwrap();
        }
        root.add_function("set", |Arguments(arguments): Arguments| {
            let texts = arguments.iter().filter(|value| text(value).is_some());
            Value::List(Arc::new(texts.cloned().collect()))
        })
        .unwrap();
        // A missing key is an error in CEL and an empty list in Teleport.
        let traits = KEYS.map(|key| {
            let values = user.traits.get(key).map(Vec::as_slice);
            (key, strings(values.unwrap_or_default().iter().map(String::as_str)))
        });
        let user_value = map([
            ("metadata", map([("name", string(&user.name))])),
            (
                "spec",
                map([
                    ("roles", strings(user.roles.iter().map(String::as_str))),
                    ("traits", map(traits)),
                ]),
            ),
        ]);
        root.add_variable_from_value("user", user_value);
        Self { program, root }
    }

    pub(crate) fn evaluate(&self, session: &Session) -> bool {
        let tracker = session.tracker();
        let value = map([
            ("session_id", string(tracker.session_id)),
            ("kind", string(tracker.kind)),
            ("state", string(tracker.state)),
            ("hostname", string(tracker.hostname)),
            ("login", string(tracker.login)),
            ("namespace", string(tracker.namespace)),
            ("target", string(tracker.target)),
            ("address", string(&format!("{}/{}", tracker.namespace, tracker.target))),
            ("cluster", string(tracker.cluster)),
            ("kube_cluster", string(tracker.kube_cluster)),
            ("host_user", string(tracker.host_user)),
            ("host_roles", strings(tracker.host_roles.iter().map(String::as_str))),
            ("participants", strings(tracker.participants())),
        ]);
        let mut scope = self.root.new_inner_scope();
        scope.add_variable_from_value("tracker", value.clone());
        scope.add_variable_from_value("session_tracker", value);
        match self.program.execute(&scope) {
            Ok(Value::Bool(result)) => result,
            other => panic!("{other:?}"),
        }
    }
}

type Predicate = fn(&[Value]) -> Option<bool>;

/// Functions by name; `None` stands for an unsupported type and counts as false.
const FUNCTIONS: [(&str, Predicate); 8] = [
    ("equals", |arguments| match arguments {
        [Value::String(a), Value::String(b)] => Some(a == b),
        [a, b] => Some(texts(a)? == texts(b)?),
        _ => None,
    }),
    ("contains", |arguments| Some(texts(&arguments[0])?.contains(&text(&arguments[1])?))),
    ("contains_all", |arguments| {
        let (a, b) = (texts(&arguments[0])?, texts(&arguments[1])?);
        Some(!a.is_empty() && !b.is_empty() && b.iter().all(|item| a.contains(item)))
    }),
    ("contains_any", |arguments| {
        let (a, b) = (texts(&arguments[0])?, texts(&arguments[1])?);
        Some(b.iter().any(|item| a.contains(item)))
    }),
    ("all_end_with", |arguments| {
        let suffix = text(&arguments[1])?;
        Some(text_or_texts(&arguments[0])?.iter().all(|item| item.ends_with(suffix)))
    }),
    ("all_equal", |arguments| {
        let other = text(&arguments[1])?;
        Some(text_or_texts(&arguments[0])?.iter().all(|item| *item == other))
    }),
    ("is_subset", |arguments| {
        let superset: Vec<&str> = arguments[1..].iter().map(text).collect::<Option<_>>()?;
        Some(text_or_texts(&arguments[0])?.iter().all(|item| superset.contains(item)))
    }),
    ("has_prefix", |arguments| Some(text(&arguments[0])?.starts_with(text(&arguments[1])?))),
];

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::List(items) => items.iter().map(text).collect(),
        _ => None,
    }
}

fn text_or_texts(value: &Value) -> Option<Vec<&str>> {
    text(value).map(|text| vec![text]).or_else(|| texts(value))
}

fn string(text: &str) -> Value {
    Value::String(Arc::new(text.to_owned()))
}

fn strings<'a>(texts: impl Iterator<Item = &'a str>) -> Value {
    Value::List(Arc::new(texts.map(string).collect()))
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    let entries: HashMap<Key, Value> =
        entries.into_iter().map(|(key, value)| (Key::from(key), value)).collect();
    Value::Map(Map { map: Arc::new(entries) })
}
