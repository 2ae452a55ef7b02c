//! Whatever happens in whatever order, a client ends up with what it may see, and is told of
//! nothing else.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    /// A session of this name is created or changed, and is somebody's.
    Apply(usize, usize),
    Remove(usize),
    /// Other policies: that of somebody else.
    Decide(usize),
    /// The client takes so many events.
    Read(usize),
    /// The client loses its connection and goes on where it was.
    Resume,
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const PEOPLE: [&str; 3] = ["alice", "bob", "*"];

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..NAMES.len(), 0..2_usize).prop_map(|(name, owner)| Act::Apply(name, owner)),
        2 => (0..NAMES.len()).prop_map(Act::Remove),
        2 => (0..PEOPLE.len()).prop_map(Act::Decide),
        3 => (1..4_usize).prop_map(Act::Read),
        1 => Just(Act::Resume),
    ]
}

struct Client {
    watch: Watch,
    out: Events,
    /// Name and owner of what it holds.
    held: BTreeMap<String, String>,
    version: u64,
    /// Told everything once.
    complete: bool,
    resumed: bool,
}

impl Client {
    fn listed(index: &Index, viewer: &Viewer) -> Self {
        let options = ListOptions::default();
        let filter = Filter::new(Some("shop"), &options);
        let seen = index.all().filter(|it| filter.sees(it, viewer).is_some());
        let held = seen.map(|it| (it.key.name.to_string(), it.view().host_user.to_owned()));
        let query = "watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
        let options = ListOptions::parse(query).unwrap();
        Self {
            held: held.collect(),
            watch: Watch::start(index, filter, &options, viewer.clone(), &[]).unwrap(),
            out: Events::new(Look { shape: Shape::Object, include: Include::Metadata, now: 0 }),
            version: index.version(),
            complete: true,
            resumed: false,
        }
    }

    /// Takes an event; none if there is none.
    fn read(&mut self, index: &Index, who: &str) -> Option<()> {
        self.out.bytes.clear();
        let step = self.watch.step(index, &mut self.out, 1);
        assert!(!matches!(step, Step::Gone(_)), "{step:?}");
        self.complete |= self.watch.bookmark().is_some();
        if self.out.bytes.is_empty() {
            return None;
        }
        let event: Value = serde_json::from_slice(&self.out.bytes).unwrap();
        let metadata = &event["object"]["metadata"];
        let name = metadata["name"].as_str().unwrap().to_owned();
        let owner = &event["object"]["spec"]["owner"]["username"];
        let owner = owner.as_str().unwrap().to_owned();
        self.version = metadata["resourceVersion"].as_str().unwrap().parse().unwrap();
        let kind = event["type"].as_str().unwrap();
        let held = if kind == "DELETED" {
            self.held.remove(&name)
        } else {
            assert!(who == "*" || owner == who, "{who} is told of {owner}");
            self.held.insert(name, owner)
        };
        // Who goes on where it was is told some of it again.
        assert!(self.resumed || held.is_some() == (kind != "ADDED"), "{event}");
        Some(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn a_client_holds_what_it_may_see(acts in prop::collection::vec(act(), 1..60)) {
        let mut index = index();
        let mut who = "alice";
        let mut before: Vec<(u64, &str)> = Vec::new();
        let initial = ListOptions::parse("watch=1").unwrap();
        let filter = Filter::new(Some("shop"), &initial);
        let mut client = Client::listed(&index, &of(who));
        client.held.clear();
        client.complete = false;
        client.watch = Watch::start(&index, filter, &initial, of(who), &[]).unwrap();
        for act in acts {
            let version = index.version() + 1;
            match act {
                Act::Apply(name, owner) => index.apply(s(NAMES[name], PEOPLE[owner]).tracker(version)),
                Act::Remove(name) => index.remove(&key(NAMES[name]), version),
                Act::Decide(other) => {
                    before.push((index.version(), who));
                    who = PEOPLE[other];
                    if client.watch.decide_anew(&index, of(who)).is_err() {
                        client = Client::listed(&index, &of(who));
                    }
                }
                Act::Read(count) => {
                    for _ in 0..count {
                        client.read(&index, who);
                    }
                }
                Act::Resume if !client.complete => {}
                Act::Resume => {
                    let query = format!("watch=1&resourceVersion={}", client.version);
                    let options = ListOptions::parse(&query).unwrap();
                    let filter = Filter::new(Some("shop"), &options);
                    let told_by: Vec<_> = before
                        .iter()
                        .filter(|(until, _)| client.version <= *until)
                        .map(|(_, who)| Some(of(who)))
                        .collect();
                    match Watch::start(&index, filter, &options, of(who), &told_by) {
                        Ok(watch) => {
                            client.watch = watch;
                            client.resumed = true;
                        }
                        Err(gone) => {
                            assert_eq!(gone.code, 410);
                            client = Client::listed(&index, &of(who));
                        }
                    }
                }
            }
        }
        while client.read(&index, who).is_some() {}
        let expected = Client::listed(&index, &of(who)).held;
        prop_assert_eq!(client.held, expected);
    }
}
