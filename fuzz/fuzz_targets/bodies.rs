//! Fuzzes bodies of subresources, policies, and records of ended sessions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirrord_sessions_core::{
    apiserver::{join, report},
    identity::Requester,
    policy::{JoinRights, Policy, PolicySet, Verb, Visibility},
    sessions::Tracker,
};
use mirrord_sessions_crds::SessionPolicySpec;

fuzz_target!(|body: &[u8]| {
    for error in [join::validate(body).err(), report::parse(body).err()].into_iter().flatten() {
        assert!((400..500).contains(&error.code));
    }
    let Ok(text) = std::str::from_utf8(body) else {
        return;
    };
    if let Ok(tracker) = Tracker::from_record(text) {
        assert!(tracker.ended_at.is_some() && !tracker.has_secrets());
        let again = String::from_utf8(tracker.encoded(true).object()).unwrap();
        let again = Tracker::from_record(again).unwrap();
        assert_eq!(again.encoded(true).object(), tracker.encoded(true).object());
    }
    let Ok(spec) = serde_json::from_str::<SessionPolicySpec>(text) else {
        return;
    };
    let (policy, errors) = Policy::from_spec("p", &spec);
    let set = PolicySet::new("", [policy]);
    for verb in Verb::ALL {
        let visibility = set.visibility(&Requester::default(), verb);
        let viewer = set.viewer(&Requester::default(), JoinRights::Everywhere);
        assert_eq!(
            viewer.forbidden_reason(verb).is_some(),
            matches!(visibility, Visibility::Nothing(_))
        );
    }
    for error in errors {
        assert!(!error.to_string().contains('\u{1b}'));
    }
});
