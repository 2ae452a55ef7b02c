//! Progress of long steps, reported on stderr from their first second.

use std::io::{self, IsTerminal as _, Stderr, Write};
use std::time::{Duration, Instant};

/// Time between two lines of progress where stderr is a pipe or a file.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Longest status line, so that a terminal of 80 columns doesn't wrap it.
const STATUS_WIDTH: usize = 79;

/// Prints a line on the process's real stderr.
///
/// The test harness captures `eprintln!` until a test ends, and minutes without a line look like a
/// hang.
pub(crate) fn print_line(line: &str) {
    // A closed stderr must not fail the caller.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Progress of one step, with its estimated and its elapsed time.
///
/// The first line names the step and the estimate. On a terminal, a status line below it is
/// rewritten in place. Elsewhere a line is added every ten seconds, without control characters.
pub(crate) struct Progress<W: Write = Stderr> {
    out: W,
    is_terminal: bool,
    started: Instant,
    last_line: Instant,
    /// Text of the status line, empty if there is none.
    status_line: String,
}

impl Progress {
    /// Announces a step on stderr.
    pub(crate) fn start(step: &str, estimate: &str) -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self::on(io::stderr(), io::stderr().is_terminal() && !is_dumb, step, estimate)
    }
}

impl<W: Write> Progress<W> {
    fn on(out: W, is_terminal: bool, step: &str, estimate: &str) -> Self {
        let now = Instant::now();
        let mut progress =
            Self { out, is_terminal, started: now, last_line: now, status_line: String::new() };
        progress.write(&format!("{step} ({estimate})\n"));
        progress
    }

    /// Returns the time since the step began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns whether the output is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Reports the current activity. Callers call this several times a second.
    pub(crate) fn update(&mut self, activity: &str) {
        let status = format!("  {:>11}  {activity}", format_duration(self.elapsed()));
        if self.is_terminal {
            let status: String = status.chars().take(STATUS_WIDTH).collect();
            if status != self.status_line {
                self.write(&format!("\r\x1b[K{status}"));
                self.status_line = status;
            }
        } else if self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            self.write(&format!("{status}\n"));
        }
    }

    /// Prints a line above the status line.
    pub(crate) fn print_line(&mut self, line: &str) {
        self.clear_status_line();
        self.write(&format!("{line}\n"));
    }

    /// Ends the step with a line that states how long it took.
    pub(crate) fn finish(mut self) {
        let took = format_duration(self.elapsed());
        self.print_line(&format!("  done in {took}"));
    }

    fn clear_status_line(&mut self) {
        if !std::mem::take(&mut self.status_line).is_empty() {
            self.write("\r\x1b[K");
        }
    }

    fn write(&mut self, text: &str) {
        // A closed stderr must not fail the step.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

impl<W: Write> Drop for Progress<W> {
    fn drop(&mut self) {
        self.clear_status_line();
    }
}

/// Formats a duration as `4 min 10 s` or `25 s`.
pub(crate) fn format_duration(duration: Duration) -> String {
    match (duration.as_secs() / 60, duration.as_secs() % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output_of(is_terminal: bool, steps: impl FnOnce(Progress<&mut Vec<u8>>)) -> String {
        let mut out = Vec::new();
        steps(Progress::on(&mut out, is_terminal, "Building etcd", "half a minute"));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn formats_minutes_and_seconds() {
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (250, "4 min 10 s")] {
            assert_eq!(format_duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn announces_the_step_with_its_estimate_before_any_update() {
        for is_terminal in [true, false] {
            let output = output_of(is_terminal, |progress| drop(progress));
            assert_eq!(output, "Building etcd (half a minute)\n", "terminal: {is_terminal}");
        }
    }

    #[test]
    fn adds_a_line_per_interval_to_a_pipe() {
        let output = output_of(false, |mut progress| {
            progress.update("compiling a");
            progress.last_line -= LINE_INTERVAL;
            progress.started -= Duration::from_secs(70);
            progress.update("compiling b");
            progress.update("compiling c");
            progress.finish();
        });
        assert_eq!(
            output,
            "Building etcd (half a minute)\n   1 min 10 s  compiling b\n  done in 1 min 10 s\n"
        );
    }

    #[test]
    fn rewrites_a_changed_status_line_on_a_terminal() {
        let output = output_of(true, |mut progress| {
            progress.update("compiling a");
            progress.update("compiling a");
            progress.update(&"long ".repeat(100));
            progress.print_line("warning: unused");
            progress.update("compiling b");
        });
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(lines[0], "Building etcd (half a minute)");
        let (first, second) = lines[1].split_once("compiling a").unwrap();
        assert_eq!(first, "\r\x1b[K          0 s  ");
        let (second, printed) = second[4..].split_once('\r').unwrap();
        assert_eq!(second.chars().count(), STATUS_WIDTH);
        assert_eq!(printed, "\x1b[Kwarning: unused");
        assert!(lines[2].ends_with("compiling b\r\x1b[K"), "{output:?}");
    }
}
