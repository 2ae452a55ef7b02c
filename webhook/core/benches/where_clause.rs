//! Benchmark of one `where` evaluation per session, against the best use of the `cel` crate.
//!
//! The `cel` programs are compiled beforehand, with the requester's name as a literal, operators in
//! place of functions, functions as typed overloads, and fields by their full names. The values of
//! each session are created beforehand too. Only the evaluation is measured.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{hint::black_box, sync::Arc};

use cel::{
    Context, Env, Program,
    common::{
        types::{CelBool, CelList, CelString, LIST_TYPE, STRING_TYPE},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use criterion::{Criterion, criterion_group, criterion_main};
use mirrord_sessions_core::where_clause::{Filter, Folded, Tracker, Traits, User, WhereClause};

/// Name, `where` expression and equivalent CEL expression.
const EXPRESSIONS: [(&str, &str, &str); 5] = [
    (
        "rfd82_own",
        "contains(tracker.participants, user.metadata.name)",
        "'alice@corp' in tracker.participants",
    ),
    ("namespace", "tracker.namespace == 'prod'", "tracker.namespace == 'prod'"),
    (
        "address_prefix",
        "has_prefix(tracker.address, 'prod/deployment/')",
        "has_prefix(tracker.address, 'prod/deployment/')",
    ),
    (
        "groups",
        "contains_any(tracker.host_roles, user.spec.roles)",
        "contains_any(tracker.host_roles, roles)",
    ),
    (
        "all_of_it",
        "(tracker.kind == 'job' || tracker.kind == 'ephemeral') && has_prefix(tracker.address, 'prod/') && !contains(tracker.participants, 'eve@corp') && contains_any(tracker.host_roles, user.spec.roles)",
        "(tracker.kind == 'job' || tracker.kind == 'ephemeral') && has_prefix(tracker.address, 'prod/') && !('eve@corp' in tracker.participants) && contains_any(tracker.host_roles, roles)",
    ),
];

const SESSIONS: usize = 64;

struct Sessions {
    ids: Vec<String>,
    roles: Vec<String>,
    joined: Vec<String>,
}

impl Sessions {
    fn new() -> Self {
        let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            ids: (0..SESSIONS).map(|id| format!("{id:016x}")).collect(),
            roles: strings(&["system:authenticated", "ops", "payments"]),
            joined: strings(&["carol@corp", "alice@corp"]),
        }
    }

    fn trackers(&self) -> Vec<Tracker<'_>> {
        let every = |period: usize, at: usize| at.is_multiple_of(period);
        let trackers = self.ids.iter().enumerate().map(|(at, id)| Tracker {
            session_id: id,
            kind: if every(4, at) { "process" } else { "job" },
            state: "running",
            hostname: "bobs-macbook-pro.local",
            login: "Bob",
            namespace: if every(3, at) { "staging" } else { "prod" },
            target: "deployment/ip-visit-counter",
            cluster: "west",
            kube_cluster: "west",
            host_user: "bob@corp",
            host_roles: &self.roles[usize::from(every(5, at))..],
            joined: &self.joined[usize::from(every(2, at))..],
        });
        trackers.collect()
    }
}

/// Borrowed values of a session by full name.
struct Values<'a>(Vec<(&'static str, Box<dyn Val + 'a>)>);

impl<'a> Values<'a> {
    fn new(tracker: &Tracker<'a>) -> Self {
        let address = format!("{}/{}", tracker.namespace, tracker.target);
        Self(vec![
            ("tracker.kind", text(tracker.kind)),
            ("tracker.namespace", text(tracker.namespace)),
            ("tracker.address", Box::new(CelString::from(address))),
            ("tracker.participants", list(tracker.participants())),
            ("tracker.host_roles", list(tracker.host_roles.iter().map(String::as_str))),
            ("roles", list(["devs", "payments"].into_iter())),
        ])
    }
}

impl VariableResolver for Values<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let mut values = self.0.iter();
        values
            .find(|(name, _)| *name == variable)
            .map(|(_, value)| CowVal::Borrowed(value.as_ref()))
    }
}

fn text<'a>(text: &'a str) -> Box<dyn Val + 'a> {
    Box::new(CelString::from(text))
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> Box<dyn Val + 'a> {
    Box::new(CelList::from(texts.map(text).collect::<Vec<_>>()))
}

fn cel_functions() -> Env {
    let mut env = Env::default();
    env.add_overload("has_prefix", "has_prefix", vec![STRING_TYPE, STRING_TYPE], |arguments| {
        let [a, b] =
            [0, 1].map(|at| arguments[at].downcast_ref::<CelString<'_>>().unwrap().inner());
        Ok(CowVal::owned(CelBool::from(a.starts_with(b))))
    })
    .unwrap();
    env.add_overload("contains_any", "contains_any", vec![LIST_TYPE, LIST_TYPE], |arguments| {
        let [a, b] = [0, 1].map(|at| arguments[at].downcast_ref::<CelList<'_>>().unwrap());
        let any = a.iter().any(|item| b.iter().any(|other| item.equals(other.as_ref())));
        Ok(CowVal::owned(CelBool::from(any)))
    })
    .unwrap();
    env
}

fn residual(expression: &str) -> Filter {
    let user = User {
        name: "alice@corp",
        roles: &["devs".to_owned(), "payments".to_owned()],
        traits: &Traits::new(),
    };
    match WhereClause::parse(expression).unwrap().fold(&user) {
        Folded::Residual(filter) => filter,
        folded => unreachable!("{folded:?}"),
    }
}

fn evaluation(c: &mut Criterion) {
    let sessions = Sessions::new();
    let trackers = sessions.trackers();
    let values: Vec<Values<'_>> = trackers.iter().map(Values::new).collect();
    let env = Arc::new(cel_functions());
    let contexts: Vec<Context<'_, '_>> = values
        .iter()
        .map(|values| {
            let mut context = Context::with_env(Arc::clone(&env));
            context.set_variable_resolver(values);
            context
        })
        .collect();

    for (name, expression, cel_expression) in EXPRESSIONS {
        let filter = residual(expression);
        let program = Program::compile(cel_expression).unwrap();
        let evaluate = |context| program.execute(context).unwrap() == cel::Value::Bool(true);
        for (tracker, context) in trackers.iter().zip(&contexts) {
            assert_eq!(filter.matches(tracker), evaluate(context), "{name}");
        }
        // Cycle through the sessions, so that the branch predictor learns no pattern.
        let mut group = c.benchmark_group(name);
        let mut next = (0..SESSIONS).cycle();
        group.bench_function("where", |b| {
            b.iter(|| {
                let at = next.next().unwrap_or_default();
                black_box(&filter).matches(black_box(&trackers[at]))
            });
        });
        group.bench_function("cel", |b| {
            b.iter(|| {
                let at = next.next().unwrap_or_default();
                evaluate(black_box(&contexts[at]))
            });
        });
        group.finish();
    }
}

fn preparation(c: &mut Criterion) {
    let (_, expression, _) = EXPRESSIONS[4];
    c.bench_function("parse", |b| {
        b.iter(|| WhereClause::parse(black_box(expression)).unwrap());
    });
    c.bench_function("parse_and_fold", |b| {
        b.iter(|| residual(black_box(expression)));
    });
}

criterion_group!(benches, evaluation, preparation);
criterion_main!(benches);
