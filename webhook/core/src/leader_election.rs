//! Who of several replicas leads, as client-go elects: by a Lease that the leader renews, and that
//! another takes once it has seen it unchanged for as long as the Lease says.
//!
//! Only how long a replica itself has watched the Lease counts, never the times written in it:
//! clocks differ. A write carries the version that was read, so that of two one wins. As Kubernetes
//! knows no fencing, what a leader writes must carry preconditions of its own.

use std::time::Duration;

use k8s_openapi::{api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::MicroTime};

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a Lease holds that isn't renewed.
    pub lease: Duration,
    /// After how long without success a leader gives up. Shorter, so that it has before another
    /// begins.
    pub renew_deadline: Duration,
    /// How often the Lease is looked at, and renewed.
    pub retry: Duration,
}

impl Default for Timing {
    /// Those of client-go, and so of Kubernetes' own components.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// What a replica does next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Write itself into the Lease.
    Acquire,
    /// It leads: write the time.
    Renew,
    /// Somebody else leads: look again after that.
    Wait(Duration),
}

/// One replica.
#[derive(Clone, Debug)]
pub struct Candidate {
    identity: String,
    timing: Timing,
    /// The Lease as it was seen last, and since when it is so.
    seen: Option<(LeaseSpec, Duration)>,
}

impl Candidate {
    /// A replica of a name that no other has or had.
    #[must_use]
    pub fn new(identity: String, timing: Timing) -> Self {
        Self { identity, timing, seen: None }
    }

    /// The replica's name.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// How long things take.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// What to do about a Lease that was read `now`, on a clock that only goes forward.
    pub fn step(&mut self, lease: &LeaseSpec, now: Duration) -> Step {
        let since = match &self.seen {
            Some((seen, since)) if seen == lease => *since,
            _ => {
                self.seen = Some((lease.clone(), now));
                now
            }
        };
        match lease.holder_identity.as_deref() {
            None | Some("") => Step::Acquire,
            Some(holder) if holder == self.identity => Step::Renew,
            Some(_) => {
                let holds = lease
                    .lease_duration_seconds
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .map_or(self.timing.lease, Duration::from_secs);
                match (since + holds).checked_sub(now) {
                    None | Some(Duration::ZERO) => Step::Acquire,
                    Some(left) => Step::Wait(left.min(self.timing.retry)),
                }
            }
        }
    }

    /// The Lease with this replica as its holder.
    #[must_use]
    pub fn held(&self, lease: &LeaseSpec, time: MicroTime) -> LeaseSpec {
        let mut held = lease.clone();
        if lease.holder_identity.as_deref() != Some(&self.identity) {
            held.holder_identity = Some(self.identity.clone());
            held.acquire_time = Some(time.clone());
            held.lease_transitions =
                Some(lease.lease_transitions.unwrap_or_default().saturating_add(1));
        }
        held.lease_duration_seconds =
            Some(i32::try_from(self.timing.lease.as_secs()).unwrap_or(i32::MAX).max(1));
        held.renew_time = Some(time);
        held
    }

    /// The Lease that this replica gives up; none if it isn't this one's.
    #[must_use]
    pub fn released(&self, lease: &LeaseSpec, time: MicroTime) -> Option<LeaseSpec> {
        (lease.holder_identity.as_deref() == Some(&self.identity)).then(|| LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            renew_time: Some(time),
            ..lease.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn time(second: i64) -> MicroTime {
        MicroTime(Timestamp::from_second(second).unwrap())
    }

    fn candidate(name: &str) -> Candidate {
        Candidate::new(name.into(), Timing::default())
    }

    #[test]
    fn an_empty_lease_is_taken_and_renewed() {
        let mut a = candidate("a");
        for empty in [
            LeaseSpec::default(),
            LeaseSpec { holder_identity: Some(String::new()), ..LeaseSpec::default() },
        ] {
            assert_eq!(a.step(&empty, SECOND), Step::Acquire);
            let held = a.held(&empty, time(5));
            assert_eq!(held.holder_identity.as_deref(), Some("a"));
            assert_eq!((held.lease_transitions, held.lease_duration_seconds), (Some(1), Some(15)));
            assert_eq!(a.step(&held, SECOND), Step::Renew);
            let renewed = a.held(&held, time(7));
            assert_eq!(
                (renewed.acquire_time.clone(), renewed.renew_time.clone()),
                (Some(time(5)), Some(time(7)))
            );
            assert_eq!(renewed.lease_transitions, Some(1));
            // However long ago: nobody else took it.
            assert_eq!(a.step(&renewed, SECOND * 1000), Step::Renew);
        }
    }

    #[test]
    fn anothers_lease_is_taken_when_it_was_seen_unchanged_for_its_duration() {
        let held = candidate("a").held(&LeaseSpec::default(), time(5));
        let mut b = candidate("b");
        let wait = |seconds| Step::Wait(SECOND * seconds);
        // Whatever the times in it say, and whatever the watcher's own clock began with.
        assert_eq!(b.step(&held, SECOND * 100), wait(2));
        assert_eq!(b.step(&held, SECOND * 114), wait(1));
        let renewed = candidate("a").held(&held, time(6));
        assert_eq!(b.step(&renewed, SECOND * 114), wait(2));
        assert_eq!(b.step(&renewed, SECOND * 128), wait(1));
        assert_eq!(b.step(&renewed, SECOND * 129), Step::Acquire);
        let taken = b.held(&renewed, time(30));
        assert_eq!(
            (taken.holder_identity.as_deref(), taken.lease_transitions),
            (Some("b"), Some(2))
        );
    }

    #[test]
    fn a_lease_says_itself_how_long_it_holds() {
        for (seconds, after, taken) in [
            (Some(60), 59, false),
            (Some(60), 60, true),
            (Some(1), 1, true),
            (Some(-1), 14, false),
            (Some(-1), 15, true),
            (None, 14, false),
            (None, 15, true),
        ] {
            let held = LeaseSpec {
                holder_identity: Some("a".into()),
                lease_duration_seconds: seconds,
                ..LeaseSpec::default()
            };
            let mut b = candidate("b");
            b.step(&held, Duration::ZERO);
            let step = b.step(&held, SECOND * after);
            assert_eq!(step == Step::Acquire, taken, "{seconds:?} after {after}: {step:?}");
        }
    }

    #[test]
    fn a_leader_that_goes_leaves_the_lease_to_the_next_at_once() {
        let a = candidate("a");
        let held = a.held(&LeaseSpec::default(), time(5));
        let released = a.released(&held, time(6)).unwrap();
        let mut b = candidate("b");
        assert_eq!(b.step(&released, SECOND), Step::Acquire);
        assert_eq!(b.released(&held, time(6)), None);
        assert_eq!(b.held(&released, time(7)).lease_transitions, Some(2));
    }

    #[test]
    fn a_leader_gives_up_before_another_may_begin() {
        let timing = Timing::default();
        assert!(timing.renew_deadline + timing.retry < timing.lease);
    }
}
