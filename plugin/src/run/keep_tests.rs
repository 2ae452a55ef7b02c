use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn ending(reason: &str, by: &str) -> Ending {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ending {
        reason: some(reason),
        by: some(by),
    }
}

#[test]
fn it_reports_as_often_as_the_server_says() {
    let mut keep = Keep::new(SECOND);
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
        (
            "told differently, after silence",
            ending("disputed", ""),
            61,
            again,
        ),
        ("gone", ending("", ""), 1, stop),
        ("expired", ending("expired", ""), 61, again),
        ("expired in time", ending("expired", ""), 1, again),
        (
            "expired, as the controller says",
            ending("expired", CONTROLLER_USERNAME),
            61,
            again,
        ),
        ("gone after long silence", ending("", ""), 61, again),
        (
            "deleted after long silence",
            ending("deleted", ""),
            61,
            again,
        ),
        ("its agent ended", ending("agent ended", ""), 1, again),
        (
            "closed by the controller",
            ending("agent ended", CONTROLLER_USERNAME),
            1,
            again,
        ),
    ];
    for (name, ending, silence, expected) in cases {
        let mut keep = Keep::new(Duration::ZERO);
        keep.reported(Ok(None), Duration::ZERO);
        let now = SECOND * silence;
        keep.ended(Some(ending.clone()), now);
        let mut next = keep.next(now);
        if let Next::Wait(until) = next {
            assert_eq!(until, now + HEARSAY, "{name}");
            next = keep.next(until);
            if next == Next::Look {
                keep.looked(Look::Ended(ending.clone()), until);
                next = keep.next(until);
            }
        }
        assert_eq!(next, expected(&ending), "{name}");
    }
}

#[test]
fn who_stopped_it_may_be_told_later() {
    let mut keep = Keep::new(Duration::ZERO);
    keep.ended(Some(ending("deleted", "")), SECOND);
    assert_eq!(keep.next(SECOND), Next::Wait(SECOND + HEARSAY));
    // The same again, or that it is out of sight, changes nothing.
    keep.ended(Some(ending("deleted", "")), SECOND * 2);
    keep.ended(None, SECOND * 2);
    assert_eq!(keep.next(SECOND * 2), Next::Wait(SECOND + HEARSAY));
    keep.ended(Some(ending("stopped", "bob")), SECOND * 2);
    assert_eq!(keep.next(SECOND * 2), Next::End(ending("stopped", "bob")));
    keep.ended(Some(ending("deleted", "")), SECOND * 2);
    assert_eq!(keep.next(SECOND * 2), Next::End(ending("stopped", "bob")));
}

#[test]
fn a_lost_cluster_ends_nothing_and_is_told_once() {
    let mut keep = Keep::new(Duration::ZERO);
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
    let mut keep = Keep::new(Duration::ZERO);
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
    keep.ended(Some(ending("stopped", "bob")), until);
    assert_eq!(keep.next(until), Next::Register);
    assert_eq!(keep.registered(Ok(()), until), None);
    assert_eq!(keep.next(until), Next::Report);
}

#[test]
fn a_replica_that_lags_ends_nothing() {
    let mut keep = Keep::new(Duration::ZERO);
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
    // Out of sight is no end either, nor what can't be told.
    keep.ended(None, now);
    assert_eq!(keep.next(now), Next::Look);
    assert_eq!(keep.looked(Look::Unknown, now), None);
    let Next::Wait(until) = keep.next(now) else {
        panic!("{keep:?}");
    };
    assert_eq!(keep.next(until), Next::Look);
}

#[test]
fn a_cluster_that_takes_no_reports_is_told_of_once() {
    let mut keep = Keep::new(Duration::ZERO);
    let news = keep.reported(Err(Failure::Refused), Duration::ZERO);
    assert_eq!(news, Some(News::Refused));
    assert_eq!(keep.next(SECOND), Next::Wait(PERIOD));
    keep.changed(SECOND);
    assert_eq!(keep.next(SECOND), Next::Wait(PERIOD));
    assert_eq!(keep.reported(Err(Failure::Refused), PERIOD), None);
    // It expires, since nothing is heard of it: whoever looks sees so, but CMD goes on.
    keep.ended(Some(ending("expired", "")), PERIOD * 3);
    assert_eq!(keep.next(PERIOD * 3), Next::Register);
}
