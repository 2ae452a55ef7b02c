//! Leader election with a Lease, following client-go's algorithm.
//!
//! The leader renews the Lease. Another candidate acquires it after observing it unchanged for the
//! Lease's duration.
//!
//! A candidate measures that duration on its own clock and ignores the times in the Lease, because
//! clocks of machines differ. Each write has the resource version that was read as a precondition,
//! so one of two concurrent writes wins. Kubernetes has no fencing tokens, so the writes of a
//! leader need preconditions of their own.

use std::time::Duration;

use k8s_openapi::{api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::MicroTime};

/// The intervals of an election.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The duration for which a Lease is valid without renewal.
    pub lease: Duration,
    /// The time without a successful renewal after which a leader gives up.
    ///
    /// This is shorter than `lease`, so that a leader stops before another one starts.
    pub renew_deadline: Duration,
    /// The interval between attempts to acquire or renew the Lease.
    pub retry: Duration,
}

impl Default for Timing {
    /// Returns client-go's defaults, which the components of Kubernetes use.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// The next step of a candidate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ElectionStep {
    /// Write this candidate into the Lease.
    Acquire,
    /// Renew the Lease that this candidate holds.
    Renew,
    /// Wait for this time, because another candidate holds the Lease.
    Wait(Duration),
}

/// A replica that takes part in an election.
#[derive(Clone, Debug)]
pub struct Candidate {
    identity: String,
    timing: Timing,
    /// The Lease as last observed, and the time at which this state was first observed.
    observed: Option<(LeaseSpec, Duration)>,
}

impl Candidate {
    /// Creates a candidate with an identity that no other candidate has or had.
    #[must_use]
    pub fn new(identity: String, timing: Timing) -> Self {
        Self { identity, timing, observed: None }
    }

    /// Returns the candidate's identity.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Returns the intervals of the election.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// Returns the next step after the Lease was read at `now` on a monotonic clock.
    pub fn next_step(&mut self, lease: &LeaseSpec, now: Duration) -> ElectionStep {
        let since = match &self.observed {
            Some((observed, since)) if observed == lease => *since,
            _ => {
                self.observed = Some((lease.clone(), now));
                now
            }
        };
        match lease.holder_identity.as_deref() {
            None | Some("") => ElectionStep::Acquire,
            Some(holder) if holder == self.identity => ElectionStep::Renew,
            Some(_) => {
                let duration = lease
                    .lease_duration_seconds
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .map_or(self.timing.lease, Duration::from_secs);
                match (since + duration).checked_sub(now) {
                    None | Some(Duration::ZERO) => ElectionStep::Acquire,
                    Some(remaining) => ElectionStep::Wait(remaining.min(self.timing.retry)),
                }
            }
        }
    }

    /// Returns the Lease with this candidate as its holder, renewed at `time`.
    #[must_use]
    pub fn held_spec(&self, lease: &LeaseSpec, time: MicroTime) -> LeaseSpec {
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

    /// Returns the released Lease, or `None` if this candidate does not hold it.
    #[must_use]
    pub fn released_spec(&self, lease: &LeaseSpec, time: MicroTime) -> Option<LeaseSpec> {
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
    fn acquires_and_renews_empty_lease() {
        let mut a = candidate("a");
        for empty in [
            LeaseSpec::default(),
            LeaseSpec { holder_identity: Some(String::new()), ..LeaseSpec::default() },
        ] {
            assert_eq!(a.next_step(&empty, SECOND), ElectionStep::Acquire);
            let held = a.held_spec(&empty, time(5));
            assert_eq!(held.holder_identity.as_deref(), Some("a"));
            assert_eq!((held.lease_transitions, held.lease_duration_seconds), (Some(1), Some(15)));
            assert_eq!(a.next_step(&held, SECOND), ElectionStep::Renew);
            let renewed = a.held_spec(&held, time(7));
            assert_eq!(
                (renewed.acquire_time.clone(), renewed.renew_time.clone()),
                (Some(time(5)), Some(time(7)))
            );
            assert_eq!(renewed.lease_transitions, Some(1));
            // No other candidate acquired it, so the time since the last renewal does not matter.
            assert_eq!(a.next_step(&renewed, SECOND * 1000), ElectionStep::Renew);
        }
    }

    #[test]
    fn acquires_lease_observed_unchanged_for_its_duration() {
        let held = candidate("a").held_spec(&LeaseSpec::default(), time(5));
        let mut b = candidate("b");
        let wait = |seconds| ElectionStep::Wait(SECOND * seconds);
        // Neither the times in the Lease nor the origin of the own clock matter.
        assert_eq!(b.next_step(&held, SECOND * 100), wait(2));
        assert_eq!(b.next_step(&held, SECOND * 114), wait(1));
        let renewed = candidate("a").held_spec(&held, time(6));
        assert_eq!(b.next_step(&renewed, SECOND * 114), wait(2));
        assert_eq!(b.next_step(&renewed, SECOND * 128), wait(1));
        assert_eq!(b.next_step(&renewed, SECOND * 129), ElectionStep::Acquire);
        let taken = b.held_spec(&renewed, time(30));
        assert_eq!(
            (taken.holder_identity.as_deref(), taken.lease_transitions),
            (Some("b"), Some(2))
        );
    }

    #[test]
    fn uses_duration_in_lease() {
        for (seconds, after, acquired) in [
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
            b.next_step(&held, Duration::ZERO);
            let step = b.next_step(&held, SECOND * after);
            assert_eq!(
                step == ElectionStep::Acquire,
                acquired,
                "{seconds:?} after {after}: {step:?}"
            );
        }
    }

    #[test]
    fn released_lease_is_acquired_at_once() {
        let a = candidate("a");
        let held = a.held_spec(&LeaseSpec::default(), time(5));
        let released = a.released_spec(&held, time(6)).unwrap();
        let mut b = candidate("b");
        assert_eq!(b.next_step(&released, SECOND), ElectionStep::Acquire);
        assert_eq!(b.released_spec(&held, time(6)), None);
        assert_eq!(b.held_spec(&released, time(7)).lease_transitions, Some(2));
    }

    #[test]
    fn leader_gives_up_before_lease_expires() {
        let timing = Timing::default();
        assert!(timing.renew_deadline + timing.retry < timing.lease);
    }
}
