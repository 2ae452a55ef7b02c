use mirrord_sessions_crds::CONTROLLER_USERNAME;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn ending(reason: &str, by: &str) -> Ending {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ending { reason: some(reason), by: some(by) }
}

#[test]
fn reports_at_the_interval_of_the_server() {
    let mut heartbeat = HeartbeatState::new(SECOND, true);
    assert_eq!(heartbeat.next(SECOND), NextAction::Report);
    for (answered, period) in [(None, 20), (Some(5), 5), (Some(0), 1), (Some(9999), 600)] {
        assert_eq!(heartbeat.on_report_result(Ok(answered), SECOND), None);
        assert_eq!(heartbeat.next(SECOND), NextAction::Wait(SECOND * (1 + period)));
        assert_eq!(heartbeat.next(SECOND * (1 + period)), NextAction::Report);
    }
    // New data is reported at once.
    heartbeat.on_new_data(SECOND * 2);
    assert_eq!(heartbeat.next(SECOND * 2), NextAction::Report);
}

type Expected = fn(&Ending) -> NextAction;

#[test]
fn interprets_endings() {
    // (name, ending, seconds without a report, final action)
    let stop = |ending: &Ending| NextAction::End(ending.clone());
    let again = |_: &Ending| NextAction::Register;
    let (stop, again): (Expected, Expected) = (stop, again);
    let cases = [
        ("stopped", ending("stopped", "bob"), 1, stop),
        ("stopped late", ending("stopped", "bob"), 500, stop),
        ("stopped by an unknown user", ending("stopped", ""), 1, stop),
        ("unknown reason by a user", ending("odd", "bob"), 1, stop),
        ("deleted", ending("deleted", ""), 1, stop),
        ("disputed", ending("disputed", ""), 1, stop),
        ("disputed, after silence", ending("disputed", ""), 61, again),
        ("gone", ending("", ""), 1, stop),
        ("expired", ending("expired", ""), 61, again),
        ("expired in time", ending("expired", ""), 1, again),
        ("expired, as the controller says", ending("expired", CONTROLLER_USERNAME), 61, again),
        ("gone after long silence", ending("", ""), 61, again),
        ("deleted after long silence", ending("deleted", ""), 61, again),
        ("agent ended", ending("agent ended", ""), 1, again),
        ("closed by the controller", ending("agent ended", CONTROLLER_USERNAME), 1, again),
    ];
    // Sessions don't expire if reports are not accepted.
    let unreported = [
        ("gone, no reports", ending("", ""), 61, stop),
        ("deleted, no reports", ending("deleted", ""), 61, stop),
        ("expired, no reports", ending("expired", ""), 61, again),
    ];
    let cases = cases.map(|case| (case, true)).into_iter();
    let cases = cases.chain(unreported.map(|case| (case, false)));
    for ((name, ending, silence, expected), reports) in cases {
        let mut heartbeat = HeartbeatState::new(Duration::ZERO, reports);
        let report = reports.then_some(None).ok_or(RequestFailure::Refused);
        heartbeat.on_report_result(report, Duration::ZERO);
        let now = SECOND * silence;
        heartbeat.on_watch_view(WatchView::Ended(ending.clone()), now);
        let (mut next, mut at, mut lookups) = (heartbeat.next(now), now, 0);
        loop {
            match next {
                NextAction::Wait(until) => {
                    assert_eq!(until, now + REASON_GRACE, "{name}");
                    at = until;
                }
                NextAction::LookUp => {
                    lookups += 1;
                    heartbeat.on_observation(Observation::Ended(ending.clone()), at);
                }
                NextAction::Report => {
                    assert_eq!((&ending, lookups), (&Ending::default(), 2), "{name}");
                    heartbeat.on_report_result(Err(RequestFailure::Gone), at);
                }
                _ => break,
            }
            next = heartbeat.next(at);
        }
        assert_eq!(next, expected(&ending), "{name}");
        // An unexplained end is looked up twice, with a delay, before it ends the command.
        let is_sure = ending.user().is_some() || next == NextAction::Register;
        assert_eq!((lookups, at > now), if is_sure { (0, at > now) } else { (2, true) }, "{name}");
    }
}

#[test]
fn waits_for_the_user_who_stopped() {
    let mut heartbeat = HeartbeatState::new(Duration::ZERO, true);
    heartbeat.on_watch_view(WatchView::Ended(ending("deleted", "")), SECOND);
    assert_eq!(heartbeat.next(SECOND), NextAction::LookUp);
    heartbeat.on_observation(Observation::Ended(ending("deleted", "")), SECOND);
    assert_eq!(heartbeat.next(SECOND), NextAction::Wait(SECOND + REASON_GRACE));
    // Repeated or missing views change nothing.
    heartbeat.on_watch_view(WatchView::Ended(ending("deleted", "")), SECOND * 2);
    heartbeat.on_watch_view(WatchView::Hidden, SECOND * 2);
    assert_eq!(heartbeat.next(SECOND * 2), NextAction::Wait(SECOND + REASON_GRACE));
    heartbeat.on_watch_view(WatchView::Ended(ending("stopped", "bob")), SECOND * 2);
    assert_eq!(heartbeat.next(SECOND * 2), NextAction::End(ending("stopped", "bob")));
    heartbeat.on_watch_view(WatchView::Ended(ending("deleted", "")), SECOND * 2);
    assert_eq!(heartbeat.next(SECOND * 2), NextAction::End(ending("stopped", "bob")));
}

#[test]
fn survives_an_unreachable_cluster_with_one_notice() {
    let mut heartbeat = HeartbeatState::new(Duration::ZERO, true);
    let mut now = Duration::ZERO;
    let mut pauses = Vec::new();
    for round in 0..8 {
        let notice = heartbeat.on_report_result(Err(RequestFailure::Unreachable), now);
        assert_eq!(notice, (round == 2).then_some(Notice::Unreachable));
        let NextAction::Wait(until) = heartbeat.next(now) else {
            panic!("{heartbeat:?}");
        };
        pauses.push(until.saturating_sub(now).as_secs());
        now = until;
        assert_eq!(heartbeat.next(now), NextAction::Report);
        // New data of the monitor changes nothing either.
        heartbeat.on_new_data(now.saturating_sub(SECOND));
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 20, 20, 20]);
    assert_eq!(heartbeat.on_report_result(Ok(None), now), Some(Notice::Reachable));
    assert_eq!(heartbeat.on_report_result(Ok(None), now), None);
}

#[test]
fn registers_an_expired_session_again() {
    let mut heartbeat = HeartbeatState::new(Duration::ZERO, true);
    heartbeat.on_report_result(Err(RequestFailure::Unreachable), SECOND);
    let now = SECOND * 100;
    assert_eq!(heartbeat.on_report_result(Err(RequestFailure::Gone), now), None);
    assert_eq!(heartbeat.next(now), NextAction::LookUp);
    assert_eq!(heartbeat.on_observation(Observation::Ended(ending("expired", "")), now), None);
    assert_eq!(heartbeat.next(now), NextAction::Register);
    heartbeat.on_registering();
    assert_eq!(heartbeat.next(now), NextAction::Register);
    assert_eq!(heartbeat.on_register_result(Err(RequestFailure::Unreachable), now), None);
    let NextAction::Wait(until) = heartbeat.next(now) else {
        panic!("{heartbeat:?}");
    };
    assert_eq!(heartbeat.next(until), NextAction::Register);
    // Views of the previous session are irrelevant.
    heartbeat.on_watch_view(WatchView::Ended(ending("stopped", "bob")), until);
    assert_eq!(heartbeat.next(until), NextAction::Register);
    assert_eq!(heartbeat.on_register_result(Ok(()), until), None);
    assert_eq!(heartbeat.next(until), NextAction::Report);
}

#[test]
fn survives_a_lagging_replica() {
    let mut heartbeat = HeartbeatState::new(Duration::ZERO, true);
    let mut now = Duration::ZERO;
    for pause in [1, 2, 4] {
        heartbeat.on_report_result(Err(RequestFailure::Gone), now);
        assert_eq!(heartbeat.next(now), NextAction::LookUp);
        assert_eq!(heartbeat.on_observation(Observation::Alive, now), None);
        assert_eq!(heartbeat.next(now), NextAction::Wait(now + SECOND * pause));
        now += SECOND * pause;
        assert_eq!(heartbeat.next(now), NextAction::Report);
    }
    // This holds for a requester who may not read the Session too.
    heartbeat.on_report_result(Err(RequestFailure::Gone), now);
    heartbeat.on_observation(Observation::Ended(Ending::default()), now);
    let NextAction::Wait(until) = heartbeat.next(now) else {
        panic!("{heartbeat:?}");
    };
    assert_eq!(heartbeat.next(until), NextAction::LookUp);
    heartbeat.on_observation(Observation::Unknown, until);
    let NextAction::Wait(until) = heartbeat.next(until) else {
        panic!("{heartbeat:?}");
    };
    assert_eq!(heartbeat.next(until), NextAction::LookUp);
    heartbeat.on_observation(Observation::Alive, until);
    now = until + SECOND * 60;
    assert_eq!(heartbeat.next(now), NextAction::Report);
    // An unknown state is no end: it is reported and looked up again.
    for round in 0..5 {
        heartbeat.on_report_result(Err(RequestFailure::Gone), now);
        assert_eq!(heartbeat.next(now), NextAction::LookUp);
        // Two requests have failed before.
        let notice = heartbeat.on_observation(Observation::Unknown, now);
        assert_eq!(notice, (round == 1).then_some(Notice::Unreachable));
        let NextAction::Wait(until) = heartbeat.next(now) else {
            panic!("{heartbeat:?}");
        };
        assert_eq!(heartbeat.next(until), NextAction::Report);
        now = until;
    }
}

type Step<'a> = &'a dyn Fn(&mut HeartbeatState, Duration);

#[test]
fn reports_sessions_hidden_from_their_owner() {
    let hidden: Step<'_> =
        &|heartbeat, at| assert_eq!(heartbeat.on_watch_view(WatchView::Hidden, at), None);
    let accepted: Step<'_> =
        &|heartbeat, at| assert_eq!(heartbeat.on_report_result(Ok(None), at), None);
    let not_found: Step<'_> = &|heartbeat, at| {
        assert_eq!(heartbeat.on_report_result(Err(RequestFailure::Gone), at), None);
    };
    let unreachable: Step<'_> = &|heartbeat, at| {
        heartbeat.on_report_result(Err(RequestFailure::Unreachable), at);
    };
    let rejected: Step<'_> = &|heartbeat, at| {
        heartbeat.on_report_result(Err(RequestFailure::Refused), at);
    };
    let ended: Step<'_> = &|heartbeat, at| {
        assert_eq!(heartbeat.on_observation(Observation::Ended(Ending::default()), at), None);
    };
    let end = || NextAction::End(Ending::default());
    let wait = |seconds: u32| NextAction::Wait(SECOND * (100 + seconds));
    // (name, events, final action)
    let cases: [(&str, &[Step<'_>], NextAction); 12] = [
        ("hidden session", &[hidden], NextAction::Report),
        ("hidden session, accepted report", &[hidden, accepted], wait(20)),
        ("hidden session, unreachable server", &[hidden, unreachable], wait(1)),
        ("unreachable server, then hidden twice", &[unreachable, hidden, hidden], wait(1)),
        ("hidden session, rejected report", &[hidden, rejected], NextAction::LookUp),
        ("rejected report, then hidden", &[rejected, hidden], NextAction::LookUp),
        ("hidden session, report not found", &[hidden, not_found], NextAction::LookUp),
        (
            "report not found, two lookups without it",
            &[not_found, ended, ended],
            NextAction::Report,
        ),
        ("then an accepted report", &[not_found, ended, ended, accepted], wait(22)),
        ("then a report that is not found", &[not_found, ended, ended, not_found], end()),
        ("then a rejected report", &[not_found, ended, ended, rejected], end()),
        (
            "rejected report, then hidden and two lookups without it",
            &[rejected, hidden, ended, ended],
            end(),
        ),
    ];
    for (name, steps, expected) in cases {
        let mut now = SECOND * 100;
        let mut heartbeat = HeartbeatState::new(now, true);
        for step in steps {
            step(&mut heartbeat, now);
            // The second lookup happens later.
            if let State::Ended(_, since, _) = heartbeat.state {
                now = since + REASON_GRACE;
            }
        }
        assert_eq!(heartbeat.next(now), expected, "{name}");
    }
}

#[test]
fn notifies_once_about_rejected_reports() {
    let mut heartbeat = HeartbeatState::new(Duration::ZERO, true);
    let notice = heartbeat.on_report_result(Err(RequestFailure::Refused), Duration::ZERO);
    assert_eq!(notice, Some(Notice::Refused));
    assert_eq!(heartbeat.next(SECOND), NextAction::Wait(PERIOD));
    heartbeat.on_new_data(SECOND);
    assert_eq!(heartbeat.next(SECOND), NextAction::Wait(PERIOD));
    assert_eq!(heartbeat.on_report_result(Err(RequestFailure::Refused), PERIOD), None);
    // The session expires without reports, and the command continues.
    heartbeat.on_watch_view(WatchView::Ended(ending("expired", "")), PERIOD * 3);
    assert_eq!(heartbeat.next(PERIOD * 3), NextAction::Register);
}

type Events<'a> = &'a dyn Fn(&mut HeartbeatState) -> Option<Notice>;

#[test]
fn survives_the_deletion_of_the_definition() {
    let stop = ending("stopped", "bob");
    let ended = |heartbeat: &mut HeartbeatState, at| {
        heartbeat.on_watch_view(WatchView::Ended(ending("deleted", "")), at)
    };
    // (name, events, whether the command continues)
    let cases: [(&str, Events<'_>, bool); 6] = [
        (
            "the watch reports it",
            &|heartbeat| heartbeat.on_watch_view(WatchView::Undefined, SECOND),
            true,
        ),
        (
            "the session ends, and the first lookup reports it",
            &|heartbeat| {
                ended(heartbeat, SECOND);
                heartbeat.on_observation(Observation::Undefined, SECOND)
            },
            true,
        ),
        (
            "the session ends, and the second lookup reports it",
            &|heartbeat| {
                ended(heartbeat, SECOND);
                heartbeat.on_observation(Observation::Ended(ending("deleted", "")), SECOND);
                heartbeat.on_observation(Observation::Undefined, SECOND + REASON_GRACE)
            },
            true,
        ),
        (
            "a report fails because of it",
            &|heartbeat| heartbeat.on_report_result(Err(RequestFailure::Undefined), SECOND),
            true,
        ),
        (
            "a report finds no session, and the lookup reports it",
            &|heartbeat| {
                heartbeat.on_report_result(Err(RequestFailure::Gone), SECOND);
                heartbeat.on_observation(Observation::Undefined, SECOND)
            },
            true,
        ),
        (
            "a user stopped it just before",
            &|heartbeat| {
                heartbeat.on_watch_view(WatchView::Ended(ending("stopped", "bob")), SECOND);
                heartbeat.on_watch_view(WatchView::Undefined, SECOND)
            },
            false,
        ),
    ];
    for (name, events, continues) in cases {
        let mut heartbeat = HeartbeatState::new(Duration::ZERO, true);
        heartbeat.on_report_result(Ok(None), Duration::ZERO);
        let notice = events(&mut heartbeat);
        if !continues {
            assert_eq!(
                (notice, heartbeat.next(SECOND)),
                (None, NextAction::End(stop.clone())),
                "{name}"
            );
            continue;
        }
        assert_eq!(notice, Some(Notice::Undefined), "{name}");
        // The user is notified once, and attempts continue with increasing delays.
        let mut now = SECOND;
        for _ in 0..20 {
            if let NextAction::Wait(until) = heartbeat.next(now) {
                assert!(until.saturating_sub(now) <= PERIOD, "{name}");
                now = until;
            }
            assert_eq!(heartbeat.next(now), NextAction::Register, "{name}");
            assert_eq!(heartbeat.on_watch_view(WatchView::Undefined, now), None, "{name}");
            assert_eq!(
                heartbeat.on_register_result(Err(RequestFailure::Undefined), now),
                None,
                "{name}"
            );
        }
        let NextAction::Wait(until) = heartbeat.next(now) else {
            panic!("{name}: {heartbeat:?}");
        };
        assert_eq!(heartbeat.on_register_result(Ok(()), until), None, "{name}");
        assert_eq!(heartbeat.next(until), NextAction::Report, "{name}");
        // The next occurrence is notified again.
        assert_eq!(
            heartbeat.on_watch_view(WatchView::Undefined, until),
            Some(Notice::Undefined),
            "{name}"
        );
    }
}

#[test]
fn notifies_once_about_rejected_sessions() {
    let mut heartbeat = HeartbeatState::new(Duration::ZERO, true);
    heartbeat.on_watch_view(WatchView::Ended(ending("expired", "")), SECOND);
    assert_eq!(heartbeat.next(SECOND), NextAction::Register);
    heartbeat.on_registering();
    let refused = heartbeat.on_register_result(Err(RequestFailure::Refused), SECOND);
    assert_eq!(refused, Some(Notice::Unregistered));
    for _ in 0..3 {
        assert_eq!(heartbeat.on_register_result(Err(RequestFailure::Refused), SECOND), None);
    }
    assert_eq!(heartbeat.on_register_result(Ok(()), SECOND), None);
}

#[test]
fn interprets_missing_reports() {
    let accepted: Step<'_> = &|heartbeat, at| {
        heartbeat.on_report_result(Ok(None), at);
    };
    let rejected: Step<'_> = &|heartbeat, at| {
        heartbeat.on_report_result(Err(RequestFailure::Refused), at);
    };
    let registered_again: Step<'_> = &|heartbeat, at| {
        heartbeat.on_registering();
        heartbeat.on_register_result(Ok(()), at);
    };
    // (name, whether reports are announced, events, whether a late end counts as expiry)
    let cases: [(&str, bool, &[Step<'_>], bool); 8] = [
        ("announced", true, &[], true),
        ("not announced", false, &[], false),
        ("not announced, accepted", false, &[accepted], true),
        ("not announced, accepted, rejected", false, &[accepted, rejected], true),
        ("announced, rejected", true, &[rejected], true),
        ("announced, rejected, registered again", true, &[rejected, registered_again], false),
        ("announced, accepted, registered again", true, &[accepted, registered_again], true),
        ("not announced, accepted, registered again", false, &[accepted, registered_again], false),
    ];
    for (name, announced, steps, expires) in cases {
        let mut heartbeat = HeartbeatState::new(Duration::ZERO, announced);
        for step in steps {
            step(&mut heartbeat, Duration::ZERO);
        }
        let now = SECOND * 100;
        heartbeat.on_watch_view(WatchView::Ended(Ending::default()), now);
        let expected =
            if expires { NextAction::Wait(now + REASON_GRACE) } else { NextAction::LookUp };
        assert_eq!(heartbeat.next(now), expected, "{name}");
    }
}

#[test]
fn reports_rejected_credentials_apart_from_an_unreachable_cluster() {
    use RequestFailure::{Unauthenticated, Unreachable};
    // (failures in their order, notices with their positions)
    for (failures, expected) in [
        (vec![Unauthenticated; 5], vec![(2, Notice::Unauthenticated)]),
        (vec![Unreachable; 5], vec![(2, Notice::Unreachable)]),
        (vec![Unreachable, Unauthenticated, Unauthenticated], vec![(2, Notice::Unauthenticated)]),
        (
            vec![
                Unreachable,
                Unreachable,
                Unreachable,
                Unauthenticated,
                Unauthenticated,
                Unauthenticated,
            ],
            vec![(2, Notice::Unreachable), (5, Notice::Unauthenticated)],
        ),
        (
            vec![Unauthenticated, Unreachable, Unauthenticated, Unreachable],
            vec![(2, Notice::Unauthenticated)],
        ),
    ] {
        let mut heartbeat = HeartbeatState::new(Duration::ZERO, true);
        let mut notices = Vec::new();
        for (at, failure) in failures.iter().enumerate() {
            let notice = heartbeat.on_report_result(Err(*failure), SECOND);
            notices.extend(notice.map(|notice| (at, notice)));
        }
        assert_eq!(notices, expected, "{failures:?}");
        assert_eq!(heartbeat.on_report_result(Ok(None), SECOND), Some(Notice::Reachable));
        assert_eq!(heartbeat.on_report_result(Ok(None), SECOND), None);
    }
}
