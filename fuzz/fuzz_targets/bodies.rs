//! What is sent to the subresources, policies, and what others left as records.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirrord_sessions_core::{apiserver::{join, report}, identity::Requester, policy::{JoinRights, Policy, PolicySet, Verb, Visibility}, sessions::Tracker};
use mirrord_sessions_crds::SessionPolicySpec;

fuzz_target!(|body: &[u8]| {
    for failure in [join::read(body).err(), report::read(body).err()].into_iter().flatten() {
        assert!((400..500).contains(&failure.code));
    }
    let Ok(text) = std::str::from_utf8(body) else {
        return;
    };
    if let Ok(tracker) = Tracker::kept(text) {
        assert!(tracker.ended.is_some() && !tracker.has_secrets());
        let again = std::str::from_utf8(&tracker.form(true).object).unwrap();
        let again = Tracker::kept(again).unwrap();
        assert_eq!(again.form(true).object, tracker.form(true).object);
    }
    let Ok(spec) = serde_json::from_str::<SessionPolicySpec>(text) else {
        return;
    };
    let (policy, errors) = Policy::read("p", &spec);
    let set = PolicySet::new("", [policy]);
    for verb in Verb::ALL {
        let decided = set.decide(&Requester::default(), verb);
        let viewer = set.viewer(&Requester::default(), JoinRights::Everywhere);
        assert_eq!(viewer.refuses(verb).is_some(), matches!(decided, Visibility::Nothing(_)));
    }
    for error in errors {
        assert!(!error.to_string().contains('\u{1b}'));
    }
});
