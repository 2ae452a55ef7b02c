use mirrord_sessions_crds::CONTROLLER_USERNAME;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn ending(reason: &str, by: &str) -> Ending {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ending { reason: some(reason), by: some(by) }
}

#[test]
fn it_reports_as_often_as_the_server_says() {
    let mut keep = Keep::new(SECOND, true);
    assert_eq!(keep.next(SECOND), Next::Report);
    for (answered, period) in [(None, 20), (Some(5), 5), (Some(0), 1), (Some(9999), 600)] {
        assert_eq!(keep.reported(Ok(answered), SECOND), None);
        assert_eq!(keep.next(SECOND), Next::Wait(SECOND * (1 + period)));
        assert_eq!(keep.next(SECOND * (1 + period)), Next::Report);
    }
    // What is new is told at once.
    keep.changed(SECOND * 2);
    assert_eq!(keep.next(SECOND * 2), Next::Report);
}

type Expected = fn(&Ending) -> Next;

#[test]
fn what_an_end_means() {
    // (name, the end, after how many seconds of silence, what is done at last)
    let stop = |ending: &Ending| Next::End(ending.clone());
    let again = |_: &Ending| Next::Register;
    let (stop, again): (Expected, Expected) = (stop, again);
    let cases = [
        ("stopped", ending("stopped", "bob"), 1, stop),
        ("stopped late", ending("stopped", "bob"), 500, stop),
        ("stopped by nobody known", ending("stopped", ""), 1, stop),
        ("somebody did something", ending("odd", "bob"), 1, stop),
        ("deleted", ending("deleted", ""), 1, stop),
        ("told differently", ending("disputed", ""), 1, stop),
        ("told differently, after silence", ending("disputed", ""), 61, again),
        ("gone", ending("", ""), 1, stop),
        ("expired", ending("expired", ""), 61, again),
        ("expired in time", ending("expired", ""), 1, again),
        ("expired, as the controller says", ending("expired", CONTROLLER_USERNAME), 61, again),
        ("gone after long silence", ending("", ""), 61, again),
        ("deleted after long silence", ending("deleted", ""), 61, again),
        ("its agent ended", ending("agent ended", ""), 1, again),
        ("closed by the controller", ending("agent ended", CONTROLLER_USERNAME), 1, again),
    ];
    // Where no reports are taken, nothing expires.
    let unreported = [
        ("gone, no reports", ending("", ""), 61, stop),
        ("deleted, no reports", ending("deleted", ""), 61, stop),
        ("expired, no reports", ending("expired", ""), 61, again),
    ];
    let cases = cases.map(|case| (case, true)).into_iter();
    let cases = cases.chain(unreported.map(|case| (case, false)));
    for ((name, ending, silence, expected), reports) in cases {
        let mut keep = Keep::new(Duration::ZERO, reports);
        let report = reports.then_some(None).ok_or(Failure::Refused);
        keep.reported(report, Duration::ZERO);
        let now = SECOND * silence;
        keep.seen(Sight::Over(ending.clone()), now);
        let (mut next, mut at, mut looks) = (keep.next(now), now, 0);
        loop {
            match next {
                Next::Wait(until) => {
                    assert_eq!(until, now + HEARSAY, "{name}");
                    at = until;
                }
                Next::Look => {
                    looks += 1;
                    keep.looked(Look::Ended(ending.clone()), at);
                }
                Next::Report => {
                    assert_eq!((&ending, looks), (&Ending::default(), 2), "{name}");
                    keep.reported(Err(Failure::Gone), at);
                }
                _ => break,
            }
            next = keep.next(at);
        }
        assert_eq!(next, expected(&ending), "{name}");
        // Twice, and some time apart, before somebody's work is ended for a reason that nobody
        // gives.
        let is_sure = ending.person().is_some() || next == Next::Register;
        assert_eq!((looks, at > now), if is_sure { (0, at > now) } else { (2, true) }, "{name}");
    }
}

#[test]
fn who_stopped_it_may_be_told_later() {
    let mut keep = Keep::new(Duration::ZERO, true);
    keep.seen(Sight::Over(ending("deleted", "")), SECOND);
    assert_eq!(keep.next(SECOND), Next::Look);
    keep.looked(Look::Ended(ending("deleted", "")), SECOND);
    assert_eq!(keep.next(SECOND), Next::Wait(SECOND + HEARSAY));
    // The same again, or that it is out of sight, changes nothing.
    keep.seen(Sight::Over(ending("deleted", "")), SECOND * 2);
    keep.seen(Sight::Away, SECOND * 2);
    assert_eq!(keep.next(SECOND * 2), Next::Wait(SECOND + HEARSAY));
    keep.seen(Sight::Over(ending("stopped", "bob")), SECOND * 2);
    assert_eq!(keep.next(SECOND * 2), Next::End(ending("stopped", "bob")));
    keep.seen(Sight::Over(ending("deleted", "")), SECOND * 2);
    assert_eq!(keep.next(SECOND * 2), Next::End(ending("stopped", "bob")));
}

#[test]
fn a_lost_cluster_ends_nothing_and_is_told_once() {
    let mut keep = Keep::new(Duration::ZERO, true);
    let mut now = Duration::ZERO;
    let mut pauses = Vec::new();
    for round in 0..8 {
        let news = keep.reported(Err(Failure::Unreachable), now);
        assert_eq!(news, (round == 2).then_some(News::Lost));
        let Next::Wait(until) = keep.next(now) else {
            panic!("{keep:?}");
        };
        pauses.push(until.saturating_sub(now).as_secs());
        now = until;
        assert_eq!(keep.next(now), Next::Report);
        // Not the monitor's business either.
        keep.changed(now.saturating_sub(SECOND));
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 20, 20, 20]);
    assert_eq!(keep.reported(Ok(None), now), Some(News::Back));
    assert_eq!(keep.reported(Ok(None), now), None);
}

#[test]
fn a_session_that_expired_is_registered_again() {
    let mut keep = Keep::new(Duration::ZERO, true);
    keep.reported(Err(Failure::Unreachable), SECOND);
    let now = SECOND * 100;
    assert_eq!(keep.reported(Err(Failure::Gone), now), None);
    assert_eq!(keep.next(now), Next::Look);
    assert_eq!(keep.looked(Look::Ended(ending("expired", "")), now), None);
    assert_eq!(keep.next(now), Next::Register);
    keep.registering();
    assert_eq!(keep.next(now), Next::Register);
    assert_eq!(keep.registered(Err(Failure::Unreachable), now), None);
    let Next::Wait(until) = keep.next(now) else {
        panic!("{keep:?}");
    };
    assert_eq!(keep.next(until), Next::Register);
    // What is still told of the old one doesn't matter any more.
    keep.seen(Sight::Over(ending("stopped", "bob")), until);
    assert_eq!(keep.next(until), Next::Register);
    assert_eq!(keep.registered(Ok(()), until), None);
    assert_eq!(keep.next(until), Next::Report);
}

#[test]
fn a_replica_that_lags_ends_nothing() {
    let mut keep = Keep::new(Duration::ZERO, true);
    let mut now = Duration::ZERO;
    for pause in [1, 2, 4] {
        keep.reported(Err(Failure::Gone), now);
        assert_eq!(keep.next(now), Next::Look);
        assert_eq!(keep.looked(Look::Alive, now), None);
        assert_eq!(keep.next(now), Next::Wait(now + SECOND * pause));
        now += SECOND * pause;
        assert_eq!(keep.next(now), Next::Report);
    }
    // Not even if nobody may look at the Session itself.
    keep.reported(Err(Failure::Gone), now);
    keep.looked(Look::Ended(Ending::default()), now);
    let Next::Wait(until) = keep.next(now) else {
        panic!("{keep:?}");
    };
    assert_eq!(keep.next(until), Next::Look);
    keep.looked(Look::Unknown, until);
    let Next::Wait(until) = keep.next(until) else {
        panic!("{keep:?}");
    };
    assert_eq!(keep.next(until), Next::Look);
    keep.looked(Look::Alive, until);
    now = until + SECOND * 60;
    assert_eq!(keep.next(now), Next::Report);
    // What can't be told is no end either: it is reported again, and looked.
    for round in 0..5 {
        keep.reported(Err(Failure::Gone), now);
        assert_eq!(keep.next(now), Next::Look);
        // Two have failed before.
        let news = keep.looked(Look::Unknown, now);
        assert_eq!(news, (round == 1).then_some(News::Lost));
        let Next::Wait(until) = keep.next(now) else {
            panic!("{keep:?}");
        };
        assert_eq!(keep.next(until), Next::Report);
        now = until;
    }
}

type Step<'a> = &'a dyn Fn(&mut Keep, Duration);

#[test]
fn what_is_hidden_from_its_owner_is_reported_about() {
    let away: Step<'_> = &|keep, at| assert_eq!(keep.seen(Sight::Away, at), None);
    let taken: Step<'_> = &|keep, at| assert_eq!(keep.reported(Ok(None), at), None);
    let denied: Step<'_> = &|keep, at| assert_eq!(keep.reported(Err(Failure::Gone), at), None);
    let lost: Step<'_> = &|keep, at| {
        keep.reported(Err(Failure::Unreachable), at);
    };
    let refused: Step<'_> = &|keep, at| {
        keep.reported(Err(Failure::Refused), at);
    };
    let gone: Step<'_> = &|keep, at| {
        assert_eq!(keep.looked(Look::Ended(Ending::default()), at), None);
    };
    let end = || Next::End(Ending::default());
    let wait = |seconds: u32| Next::Wait(SECOND * (100 + seconds));
    // (name, what happens, what is done at last)
    let cases: [(&str, &[Step<'_>], Next); 12] = [
        ("out of sight", &[away], Next::Report),
        ("the report is taken", &[away, taken], wait(20)),
        ("not sent", &[away, lost], wait(1)),
        ("again, when none is sent", &[lost, away, away], wait(1)),
        ("no reports are taken", &[away, refused], Next::Look),
        ("nor ever were", &[refused, away], Next::Look),
        ("it isn't there", &[away, denied], Next::Look),
        ("nobody shows it", &[denied, gone, gone], Next::Report),
        ("but it is there", &[denied, gone, gone, taken], wait(22)),
        ("and it isn't", &[denied, gone, gone, denied], end()),
        ("and may not be said", &[denied, gone, gone, refused], end()),
        ("nor was it ever", &[refused, away, gone, gone], end()),
    ];
    for (name, steps, expected) in cases {
        let mut now = SECOND * 100;
        let mut keep = Keep::new(now, true);
        for step in steps {
            step(&mut keep, now);
            // Looked at for the second time later.
            if let State::Over(_, since, _) = keep.state {
                now = since + HEARSAY;
            }
        }
        assert_eq!(keep.next(now), expected, "{name}");
    }
}

#[test]
fn a_cluster_that_takes_no_reports_is_told_of_once() {
    let mut keep = Keep::new(Duration::ZERO, true);
    let news = keep.reported(Err(Failure::Refused), Duration::ZERO);
    assert_eq!(news, Some(News::Refused));
    assert_eq!(keep.next(SECOND), Next::Wait(PERIOD));
    keep.changed(SECOND);
    assert_eq!(keep.next(SECOND), Next::Wait(PERIOD));
    assert_eq!(keep.reported(Err(Failure::Refused), PERIOD), None);
    // It expires, since nothing is heard of it: whoever looks sees so, but CMD goes on.
    keep.seen(Sight::Over(ending("expired", "")), PERIOD * 3);
    assert_eq!(keep.next(PERIOD * 3), Next::Register);
}

type Happens<'a> = &'a dyn Fn(&mut Keep) -> Option<News>;

#[test]
fn a_definition_that_is_removed_stops_nobody() {
    let stop = ending("stopped", "bob");
    let went = |keep: &mut Keep, at| keep.seen(Sight::Over(ending("deleted", "")), at);
    // (name, what happens, whether the command goes on)
    let cases: [(&str, Happens<'_>, bool); 6] = [
        ("a watch ends and finds none", &|keep| keep.seen(Sight::Undefined, SECOND), true),
        (
            "it is seen to go, and looked for at once",
            &|keep| {
                went(keep, SECOND);
                keep.looked(Look::Undefined, SECOND)
            },
            true,
        ),
        (
            "it is seen to go, and looked for once more",
            &|keep| {
                went(keep, SECOND);
                keep.looked(Look::Ended(ending("deleted", "")), SECOND);
                keep.looked(Look::Undefined, SECOND + HEARSAY)
            },
            true,
        ),
        ("a report finds none", &|keep| keep.reported(Err(Failure::Undefined), SECOND), true),
        (
            "a report finds that it is gone",
            &|keep| {
                keep.reported(Err(Failure::Gone), SECOND);
                keep.looked(Look::Undefined, SECOND)
            },
            true,
        ),
        (
            "somebody stopped it just before",
            &|keep| {
                keep.seen(Sight::Over(ending("stopped", "bob")), SECOND);
                keep.seen(Sight::Undefined, SECOND)
            },
            false,
        ),
    ];
    for (name, happens, goes_on) in cases {
        let mut keep = Keep::new(Duration::ZERO, true);
        keep.reported(Ok(None), Duration::ZERO);
        let news = happens(&mut keep);
        if !goes_on {
            assert_eq!((news, keep.next(SECOND)), (None, Next::End(stop.clone())), "{name}");
            continue;
        }
        assert_eq!(news, Some(News::Undefined), "{name}");
        // Told once, and tried until it is back, less and less often.
        let mut now = SECOND;
        for _ in 0..20 {
            if let Next::Wait(until) = keep.next(now) {
                assert!(until.saturating_sub(now) <= PERIOD, "{name}");
                now = until;
            }
            assert_eq!(keep.next(now), Next::Register, "{name}");
            assert_eq!(keep.seen(Sight::Undefined, now), None, "{name}");
            assert_eq!(keep.registered(Err(Failure::Undefined), now), None, "{name}");
        }
        let Next::Wait(until) = keep.next(now) else {
            panic!("{name}: {keep:?}");
        };
        assert_eq!(keep.registered(Ok(()), until), None, "{name}");
        assert_eq!(keep.next(until), Next::Report, "{name}");
        // The next time is another.
        assert_eq!(keep.seen(Sight::Undefined, until), Some(News::Undefined), "{name}");
    }
}

#[test]
fn a_cluster_that_takes_no_session_is_told_of_once() {
    let mut keep = Keep::new(Duration::ZERO, true);
    keep.seen(Sight::Over(ending("expired", "")), SECOND);
    assert_eq!(keep.next(SECOND), Next::Register);
    keep.registering();
    let refused = keep.registered(Err(Failure::Refused), SECOND);
    assert_eq!(refused, Some(News::Unregistered));
    for _ in 0..3 {
        assert_eq!(keep.registered(Err(Failure::Refused), SECOND), None);
    }
    assert_eq!(keep.registered(Ok(()), SECOND), None);
}

#[test]
fn what_silence_means() {
    let taken: Step<'_> = &|keep, at| {
        keep.reported(Ok(None), at);
    };
    let refused: Step<'_> = &|keep, at| {
        keep.reported(Err(Failure::Refused), at);
    };
    let anew: Step<'_> = &|keep, at| {
        keep.registering();
        keep.registered(Ok(()), at);
    };
    // (name, whether reports are promised, what happens, whether an end after silence is an expiry)
    let cases: [(&str, bool, &[Step<'_>], bool); 8] = [
        ("promised", true, &[], true),
        ("not promised", false, &[], false),
        ("and yet taken", false, &[taken], true),
        ("not taken any more", false, &[taken, refused], true),
        ("promised and refused", true, &[refused], true),
        ("without promise then", true, &[refused, anew], false),
        ("with it again", true, &[taken, anew], true),
        ("never with it", false, &[taken, anew], false),
    ];
    for (name, promises, steps, expires) in cases {
        let mut keep = Keep::new(Duration::ZERO, promises);
        for step in steps {
            step(&mut keep, Duration::ZERO);
        }
        let now = SECOND * 100;
        keep.seen(Sight::Over(Ending::default()), now);
        let expected = if expires { Next::Wait(now + HEARSAY) } else { Next::Look };
        assert_eq!(keep.next(now), expected, "{name}");
    }
}
