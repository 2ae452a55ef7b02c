//! Model test: after any sequence of actions, a client holds exactly the trackers it may see, and
//! receives no event of any other.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Action {
    /// Creates or updates the session of this name, with this owner.
    Apply(usize, usize),
    Remove(usize),
    /// Switches to the policies of another requester.
    SetViewer(usize),
    /// The client reads this number of events.
    Read(usize),
    /// The client reconnects and resumes at its version.
    Resume,
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const PEOPLE: [&str; 3] = ["alice", "bob", "*"];

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (0..NAMES.len(), 0..2_usize).prop_map(|(name, owner)| Action::Apply(name, owner)),
        2 => (0..NAMES.len()).prop_map(Action::Remove),
        2 => (0..PEOPLE.len()).prop_map(Action::SetViewer),
        3 => (1..4_usize).prop_map(Action::Read),
        1 => Just(Action::Resume),
    ]
}

struct Client {
    watch: Watch,
    out: EventBuffer,
    /// Name and owner of each tracker that the client holds.
    held: BTreeMap<String, String>,
    version: u64,
    /// True once the client has been up to date.
    complete: bool,
    resumed: bool,
}

impl Client {
    fn from_list(index: &Index, viewer: &Viewer) -> Self {
        let options = ListOptions::default();
        let filter = Filter::new(Some("shop"), &options);
        let visible =
            index.trackers().filter(|tracker| filter.visibility(tracker, viewer).is_some());
        let held = visible
            .map(|tracker| (tracker.key.name.to_string(), tracker.view().host_user.to_owned()));
        let query = "watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
        let options = ListOptions::parse(query).unwrap();
        Self {
            held: held.collect(),
            watch: Watch::start(index, filter, &options, viewer.clone(), &[]).unwrap(),
            out: EventBuffer::new(RenderOptions {
                representation: Representation::Object,
                include: IncludeObject::Metadata,
                now: 0,
            }),
            version: index.version(),
            complete: true,
            resumed: false,
        }
    }

    /// Reads one event; returns `None` if there is none.
    fn read(&mut self, index: &Index, user: &str) -> Option<()> {
        self.out.bytes.clear();
        let step = self.watch.step(index, &mut self.out, 1);
        assert!(!matches!(step, StepOutcome::Ended(_)), "{step:?}");
        self.complete |= self.watch.bookmark_version().is_some();
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
            assert!(user == "*" || owner == user, "{user} receives an event of {owner}");
            self.held.insert(name, owner)
        };
        // A client that resumes may receive events twice.
        assert!(self.resumed || held.is_some() == (kind != "ADDED"), "{event}");
        Some(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn client_holds_what_it_may_see(actions in prop::collection::vec(action(), 1..60)) {
        let mut index = index();
        let mut user = "alice";
        let mut previous_users: Vec<(u64, &str)> = Vec::new();
        let initial = ListOptions::parse("watch=1").unwrap();
        let filter = Filter::new(Some("shop"), &initial);
        let mut client = Client::from_list(&index, &viewer_for(user));
        client.held.clear();
        client.complete = false;
        client.watch = Watch::start(&index, filter, &initial, viewer_for(user), &[]).unwrap();
        for action in actions {
            let version = index.version() + 1;
            match action {
                Action::Apply(name, owner) => index.apply(owned_session(NAMES[name], PEOPLE[owner]).tracker(version)),
                Action::Remove(name) => index.remove(&key(NAMES[name]), version),
                Action::SetViewer(other) => {
                    previous_users.push((index.version(), user));
                    user = PEOPLE[other];
                    if client.watch.set_viewer(&index, viewer_for(user)).is_err() {
                        client = Client::from_list(&index, &viewer_for(user));
                    }
                }
                Action::Read(count) => {
                    for _ in 0..count {
                        client.read(&index, user);
                    }
                }
                Action::Resume if !client.complete => {}
                Action::Resume => {
                    let query = format!("watch=1&resourceVersion={}", client.version);
                    let options = ListOptions::parse(&query).unwrap();
                    let filter = Filter::new(Some("shop"), &options);
                    let others: Vec<_> = previous_users
                        .iter()
                        .filter(|(until, _)| client.version <= *until)
                        .map(|(_, user)| Some(viewer_for(user)))
                        .collect();
                    match Watch::start(&index, filter, &options, viewer_for(user), &others) {
                        Ok(watch) => {
                            client.watch = watch;
                            client.resumed = true;
                        }
                        Err(error) => {
                            assert_eq!(error.code, 410);
                            client = Client::from_list(&index, &viewer_for(user));
                        }
                    }
                }
            }
        }
        while client.read(&index, user).is_some() {}
        let expected = Client::from_list(&index, &viewer_for(user)).held;
        prop_assert_eq!(client.held, expected);
    }
}
