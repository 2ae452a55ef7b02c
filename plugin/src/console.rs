//! Output and messages of the process, on separate streams.

use std::io::{self, BufRead, BufReader, IsTerminal, Write};

use crate::{error::Error, render::escape::visible};

/// The streams for output, messages and confirmations.
pub struct Console<'a> {
    out: Box<dyn Write + 'a>,
    messages: Box<dyn Write + 'a>,
    /// The source of answers.
    accepts_yes_only: Option<Box<dyn BufRead + 'a>>,
    /// Whether a user at a terminal is asked for confirmation by default.
    interactive: bool,
    /// Whether the reader of the output has closed it, as `head` does.
    closed: bool,
    /// The width of the output, if it is a terminal.
    width: Option<usize>,
}

impl Console<'static> {
    /// Returns a console of the process's streams.
    #[must_use]
    pub fn for_process() -> Self {
        let stdin = io::stdin();
        let interactive = stdin.is_terminal();
        Self {
            out: Box::new(io::stdout()),
            messages: Box::new(io::stderr()),
            accepts_yes_only: Some(Box::new(BufReader::new(stdin))),
            interactive,
            closed: false,
            width: terminal_size::terminal_size_of(io::stdout())
                .map(|(width, _)| usize::from(width.0)),
        }
    }
}

impl<'a> Console<'a> {
    /// Returns a console of other streams. Without `answers`, no confirmation is requested.
    pub fn new(
        out: impl Write + 'a,
        messages: impl Write + 'a,
        accepts_yes_only: Option<Box<dyn BufRead + 'a>>,
    ) -> Self {
        Self {
            out: Box::new(out),
            messages: Box::new(messages),
            interactive: accepts_yes_only.is_some(),
            accepts_yes_only,
            closed: false,
            width: None,
        }
    }

    /// Returns the width of the output, if it is a terminal.
    #[must_use]
    pub fn width(&self) -> Option<usize> {
        self.width
    }

    /// Returns whether the reader of the output has closed it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Writes text to standard output.
    ///
    /// # Errors
    /// Returns an error if the output can't be written, for example because the disk is
    /// full. A closed reader is not an error: the command continues without output.
    pub fn print(&mut self, text: &str) -> Result<(), Error> {
        if self.closed {
            return Ok(());
        }
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => Err(Error::Output(error)),
        }
    }

    /// Writes a message for the user to standard error, on one line.
    pub fn say(&mut self, message: &str) {
        // A failure to write a message can't be reported.
        let _ = writeln!(self.messages, "{}", visible(message));
    }

    /// Writes a message of several lines, which may be indented.
    pub fn say_lines(&mut self, message: &str) {
        for line in message.lines() {
            let text = line.trim_start_matches('\t');
            let _ = self.messages.write_all(&line.as_bytes()[..line.len() - text.len()]);
            self.say(text);
        }
    }

    /// Returns whether a user at a terminal is asked for confirmation by default.
    #[must_use]
    pub fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Shows the text and asks for confirmation by "y" or "yes". Returns true if no answer can be
    /// read.
    pub fn confirm(&mut self, text: &str, question: &str) -> bool {
        let Some(accepts_yes_only) = &mut self.accepts_yes_only else {
            return true;
        };
        let _ = write!(self.messages, "{text}{question} (y/N): ");
        let _ = self.messages.flush();
        let mut answer = String::new();
        if !matches!(accepts_yes_only.read_line(&mut answer), Ok(1..)) {
            // At the end of input, the line of the question is not ended by the user.
            let _ = writeln!(self.messages);
            return false;
        }
        ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn ignores_a_closed_reader_and_reports_a_full_disk() {
        let mut console = Console::new(Broken(io::ErrorKind::BrokenPipe), io::sink(), None);
        assert!(console.print("a").is_ok());
        assert!(console.print("b").is_ok());
        let mut console = Console::new(Broken(io::ErrorKind::StorageFull), io::sink(), None);
        assert!(matches!(console.print("a"), Err(Error::Output(_))));
    }

    #[test]
    fn accepts_yes_only() {
        let cases: [(&str, bool); 7] = [
            ("y\n", true),
            (" YES \n", true),
            ("n\n", false),
            ("\n", false),
            ("", false),
            ("yep\n", false),
            ("y", true),
        ];
        for (typed, expected) in cases {
            let mut console =
                Console::new(io::sink(), io::sink(), Some(Box::new(typed.as_bytes())));
            assert_eq!(console.confirm("", "Sure?"), expected, "{typed:?}");
        }
        assert!(Console::new(io::sink(), io::sink(), None).confirm("", "Sure?"));
    }

    #[test]
    fn prints_messages_escaped_on_one_line() {
        let mut messages = Vec::new();
        Console::new(io::sink(), &mut messages, None).say("a\u{1b}[2J\nb");
        assert_eq!(messages, b"a\\x1b[2J\\nb\n");
    }
}
