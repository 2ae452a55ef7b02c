//! What a person waiting is told.

use std::io::Write;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(10);

/// Writes a line to the process' real stderr: what goes through `eprintln!` is held back by the
/// test harness until a test ends, and minutes without a line read as a hang.
pub(crate) fn say(line: &str) {
    // With stderr closed nobody is there to be told.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Says every ten seconds that something still goes on.
pub(crate) struct Ticker {
    what: String,
    since: Instant,
    said: Instant,
}

impl Ticker {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        let now = Instant::now();
        Self { what: what.into(), since: now, said: now }
    }

    pub(crate) fn tick(&mut self) {
        if self.said.elapsed() >= EVERY {
            self.said = Instant::now();
            say(&format!("  … {}, {}", self.what, minutes(self.elapsed())));
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}

/// `4 min 10 s`, or `25 s`.
pub(crate) fn minutes(time: Duration) -> String {
    match (time.as_secs() / 60, time.as_secs() % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (250, "4 min 10 s")] {
            assert_eq!(minutes(Duration::from_secs(seconds)), text);
        }
    }
}
