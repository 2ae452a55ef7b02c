//! The minimum rate of a body, which ends slow uploads.

use std::time::Duration;

/// The minimum rate of a body.
#[derive(Clone, Copy, Debug)]
pub struct MinimumRate {
    /// The rate that a body must reach.
    pub bytes_per_second: u32,
    /// The longest pause. A body that was quick before can't pause for longer.
    pub pause: Duration,
}

/// Tracks when a body falls below its minimum rate.
///
/// Times are measured from any fixed moment.
#[derive(Clone, Copy, Debug)]
pub struct RateMeter {
    minimum: MinimumRate,
    deadline: Duration,
}

impl RateMeter {
    /// Starts to measure a body.
    #[must_use]
    pub fn start(minimum: MinimumRate, now: Duration) -> Self {
        Self { minimum, deadline: now + minimum.pause }
    }

    /// Records bytes that arrived.
    pub fn record(&mut self, bytes: usize, now: Duration) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let earned = Duration::from_secs(bytes.into()) / self.minimum.bytes_per_second.max(1);
        self.deadline = (self.deadline + earned).min(now + self.minimum.pause);
    }

    /// Extends the deadline by a time in which the server itself did not read.
    pub fn extend(&mut self, by: Duration) {
        self.deadline += by;
    }

    /// Returns the time by which more bytes must arrive.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times in milliseconds, with the bytes that arrive.
    type Arrivals<'a> = &'a [(u64, usize)];

    #[test]
    fn ends_bodies_below_the_minimum_rate() {
        let minimum = MinimumRate { bytes_per_second: 1000, pause: Duration::from_secs(2) };
        // (name, arrivals, deadline in milliseconds)
        let cases: [(&str, Arrivals<'_>, u64); 6] = [
            ("silent", &[], 2000),
            ("at the rate", &[(500, 500), (1000, 500), (1500, 500)], 3500),
            ("below the rate", &[(500, 100), (1000, 100), (1500, 100)], 2300),
            ("a burst earns no longer pause", &[(10, 1 << 20)], 2010),
            ("a burst, then a trickle", &[(10, 1 << 20), (1000, 1), (1900, 1)], 2012),
            ("huge", &[(0, usize::MAX)], 2000),
        ];
        for (name, arrivals, deadline) in cases {
            let mut meter = RateMeter::start(minimum, Duration::ZERO);
            for (at, bytes) in arrivals {
                meter.record(*bytes, Duration::from_millis(*at));
            }
            assert_eq!(meter.deadline().as_millis(), u128::from(deadline), "{name}");
        }
        let mut waited = RateMeter::start(minimum, Duration::ZERO);
        waited.extend(Duration::from_secs(3));
        assert_eq!(waited.deadline(), Duration::from_secs(5));
    }
}
