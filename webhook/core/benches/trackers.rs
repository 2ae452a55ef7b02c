//! Benchmarks of lists of 10,000 and 100,000 trackers, of 1,000 open watches, and of the memory per
//! session.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mirrord_sessions_core::{
    apiserver::{
        content_negotiation::{MetaVersion, Representation},
        filter::Filter,
        list,
        options::{IncludeObject, ListOptions},
        render::{self, RenderOptions},
        watch::{StepOutcome, Watch},
        watch_events::EventBuffer,
    },
    identity::Requester,
    policy::{JoinRights, Policy, PolicySet, Viewer},
    sessions::{Index, Tracker},
};
use mirrord_sessions_crds::{Client, Owner, Port, PortType, Session, SessionSpec, SessionStatus};

const OWN_SESSIONS_ONLY: &str = "
allow:
  rules:
  - {resources: [session_tracker], verbs: ['*'], where: 'contains(tracker.participants, user.metadata.name)'}
";

/// Returns a typical mirrord session. Alice owns one in ten.
fn tracker(at: usize, version: u64) -> Arc<Tracker> {
    let owner = if at.is_multiple_of(10) { "alice" } else { "bob" };
    let spec = SessionSpec {
        target: format!("deployment/ip-visit-counter-{}", at % 100),
        client: Some(Client {
            username: Some("Aviram Hassan".into()),
            hostname: Some("avirams-macbook-pro-2.local".into()),
            version: Some("3.250.0".into()),
        }),
        key: Some("avi".into()),
        owner: Some(Owner {
            username: format!("{owner}@metalbear.co"),
            uid: None,
            groups: vec!["developers".into(), "system:authenticated".into()],
        }),
        user: Some(format!("Aviram Hassan/{owner}@metalbear.co@avirams-macbook-pro-2.local")),
    };
    let mut session = Session::new(&format!("{at:016x}"), spec);
    session.metadata.namespace = Some(format!("team-{}", at % 50));
    session.metadata.uid = Some(format!("705ab4f5-6393-11e8-b7cc-{at:012x}"));
    session.metadata.resource_version = Some(version.to_string());
    session.status = Some(SessionStatus {
        ports: vec![Port {
            port: 80,
            type_: PortType::Steal,
            filter: Some("header=baggage: .*mirrord-session=Avi.+".into()),
        }],
        ..SessionStatus::default()
    });
    Arc::new(Tracker::new(&session).unwrap())
}

fn index(sessions: usize) -> Index {
    let mut index = Index::default();
    let trackers = (0..sessions).map(|at| tracker(at, at as u64 + 1));
    index.replace(trackers.collect(), sessions as u64 + 1);
    index
}

fn viewer(policies: &PolicySet) -> Viewer {
    let alice = Requester { username: "alice@metalbear.co".into(), ..Requester::default() };
    policies.viewer(&alice, JoinRights::Nowhere)
}

fn own_only() -> PolicySet {
    let (policy, errors) =
        Policy::from_spec("own", &serde_saphyr::from_str(OWN_SESSIONS_ONLY).unwrap());
    assert_eq!(errors, []);
    PolicySet::new("west", [policy])
}

const OPTIONS: RenderOptions = RenderOptions {
    representation: Representation::Object,
    include: IncludeObject::Metadata,
    now: 0,
};

fn lists(c: &mut Criterion) {
    for sessions in [10_000, 100_000] {
        let before = resident_bytes();
        let index = index(sessions);
        if let (Some(before), Some(after)) = (before, resident_bytes()) {
            let each = after.saturating_sub(before) / sessions;
            eprintln!("memory: {sessions} sessions, {each} bytes each");
        }
        let mut group = c.benchmark_group(format!("list {sessions}"));
        group.sample_size(10).measurement_time(Duration::from_secs(3));
        for (who, policies, visible) in [
            ("everything", PolicySet::default(), sessions),
            ("one in ten", own_only(), sessions / 10),
        ] {
            let viewer = viewer(&policies);
            let options = ListOptions::parse("").unwrap();
            let filter = Filter::new(None, &options);
            for (name, representation) in [
                ("JSON", Representation::Object),
                ("Table", Representation::Table(MetaVersion::V1)),
            ] {
                let render_list = || {
                    let page = list::list(&index, &filter, &options, &viewer).unwrap();
                    assert_eq!(page.items.len(), visible);
                    render::list(&page, RenderOptions { representation, ..OPTIONS })
                };
                group.throughput(Throughput::Bytes(render_list().len() as u64));
                group.bench_function(BenchmarkId::new(name, who), |b| {
                    b.iter(|| black_box(render_list()));
                });
            }
        }
        group.finish();
    }
}

/// Measures one change with 1,000 watches. The target is well over a hundred changes a second.
fn watches(c: &mut Criterion) {
    let mut index = index(10_000);
    let options =
        ListOptions::parse("watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan");
    let options = options.unwrap_or_else(|_| ListOptions::parse("watch=1").unwrap());
    let viewer = viewer(&own_only());
    let mut watches: Vec<(Watch, EventBuffer)> = (0..1000)
        .map(|_| {
            let filter = Filter::new(None, &options);
            let watch = Watch::start(&index, filter, &options, viewer.clone(), &[]).unwrap();
            (watch, EventBuffer::new(OPTIONS))
        })
        .collect();
    let drain = |index: &Index, watches: &mut [(Watch, EventBuffer)]| {
        for (watch, events) in watches {
            while watch.step(index, events, 64 << 10) == StepOutcome::More {
                black_box(std::mem::take(&mut events.bytes));
            }
            events.bytes.clear();
        }
    };
    drain(&index, &mut watches);
    let mut version = 20_000;
    c.bench_function("a change, seen by 1000 watches", |b| {
        b.iter(|| {
            version += 1;
            // The session is alice's, so every watch sends an event.
            index.apply(tracker(10, version));
            drain(&index, &mut watches);
        });
    });
    c.bench_function("a change, hidden from 1000 watches", |b| {
        b.iter(|| {
            version += 1;
            index.apply(tracker(11, version));
            drain(&index, &mut watches);
        });
    });
}

/// Returns the resident memory of this process in bytes, if the system reports it.
fn resident_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes << 10)
}

criterion_group!(benches, lists, watches);
criterion_main!(benches);
