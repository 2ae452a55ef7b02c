//! Durations in the formats of kubectl's AGE column and of mirrord's status table.

use std::time::Duration;

use jiff::Timestamp;

/// The text for an unknown start.
const UNKNOWN: &str = "<unknown>";

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// The precision of ages below a limit.
struct Step {
    below: i64,
    unit: (i64, &'static str),
    /// The smaller unit that is shown too, unless its number is zero.
    rest: Option<(i64, &'static str)>,
}

/// The steps of Kubernetes' `duration.HumanDuration`, with two or three significant digits.
const STEPS: [Step; 8] = [
    Step { below: 2 * MINUTE, unit: (1, "s"), rest: None },
    Step { below: 10 * MINUTE, unit: (MINUTE, "m"), rest: Some((1, "s")) },
    Step { below: 3 * HOUR, unit: (MINUTE, "m"), rest: None },
    Step { below: 8 * HOUR, unit: (HOUR, "h"), rest: Some((MINUTE, "m")) },
    Step { below: 2 * DAY, unit: (HOUR, "h"), rest: None },
    Step { below: 8 * DAY, unit: (DAY, "d"), rest: Some((HOUR, "h")) },
    Step { below: 2 * YEAR, unit: (DAY, "d"), rest: None },
    Step { below: 8 * YEAR, unit: (YEAR, "y"), rest: Some((DAY, "d")) },
];

/// Returns the age since `start` in the format of kubectl's AGE column.
#[must_use]
pub fn age(start: Option<Timestamp>, now: Timestamp) -> String {
    start.map_or_else(|| UNKNOWN.to_owned(), |start| format_human(seconds(start, now)))
}

/// Returns the age since `start` in the format of mirrord's status table, such as `1m 3s`.
#[must_use]
pub fn exact_age(start: Option<Timestamp>, now: Timestamp) -> String {
    start.map_or_else(
        || UNKNOWN.to_owned(),
        |start| {
            let seconds = u64::try_from(seconds(start, now)).unwrap_or_default();
            humantime::format_duration(Duration::from_secs(seconds)).to_string()
        },
    )
}

fn seconds(start: Timestamp, now: Timestamp) -> i64 {
    now.duration_since(start).as_secs()
}

fn format_human(seconds: i64) -> String {
    // The clocks of two machines may differ by a second or so.
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let seconds = seconds.max(0);
    let Some(step) = STEPS.iter().find(|step| seconds < step.below) else {
        return format!("{}y", seconds / YEAR);
    };
    let (size, name) = step.unit;
    let whole = format!("{}{name}", seconds / size);
    match step.rest {
        Some((small, small_name)) if seconds % size >= small => {
            format!("{whole}{}{small_name}", seconds % size / small)
        }
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_ages_like_kubectl() {
        // The table of k8s.io/apimachinery/pkg/util/duration with its boundaries.
        let cases = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (1, "1s"),
            (63, "63s"),
            (119, "119s"),
            (2 * MINUTE, "2m"),
            (2 * MINUTE + 1, "2m1s"),
            (3 * MINUTE + 4, "3m4s"),
            (10 * MINUTE - 1, "9m59s"),
            (10 * MINUTE, "10m"),
            (10 * MINUTE + 59, "10m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + MINUTE - 1, "3h"),
            (5 * HOUR + 20 * MINUTE, "5h20m"),
            (8 * HOUR - 1, "7h59m"),
            (8 * HOUR, "8h"),
            (48 * HOUR - 1, "47h"),
            (48 * HOUR, "2d"),
            (2 * DAY + 3 * HOUR, "2d3h"),
            (8 * DAY - 1, "7d23h"),
            (8 * DAY, "8d"),
            (2 * YEAR - 1, "729d"),
            (2 * YEAR, "2y"),
            (2 * YEAR + DAY, "2y1d"),
            (8 * YEAR - 1, "7y364d"),
            (8 * YEAR, "8y"),
            (9 * YEAR + 364 * DAY, "9y"),
        ];
        let start = Timestamp::UNIX_EPOCH;
        for (seconds, expected) in cases {
            let now = Timestamp::from_second(seconds).unwrap();
            assert_eq!(age(Some(start), now), expected, "{seconds} s");
        }
        assert_eq!(age(None, start), "<unknown>");
    }

    #[test]
    fn formats_ages_like_mirrord() {
        let cases = [(-5, "0s"), (0, "0s"), (63, "1m 3s"), (2 * DAY + 5, "2days 5s")];
        let start = Timestamp::UNIX_EPOCH;
        for (seconds, expected) in cases {
            let now = Timestamp::from_second(seconds).unwrap();
            assert_eq!(exact_age(Some(start), now), expected, "{seconds} s");
        }
        assert_eq!(exact_age(None, start), "<unknown>");
    }
}
