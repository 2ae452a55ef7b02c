//! Output and messages, kept apart.

use std::io::{self, BufRead, BufReader, IsTerminal, Write};

use crate::{error::Error, render::escape::visible};

/// Where output, messages and questions go.
pub struct Console<'a> {
    out: Box<dyn Write + 'a>,
    messages: Box<dyn Write + 'a>,
    /// Who answers questions.
    answers: Option<Box<dyn BufRead + 'a>>,
    /// Whether a person is asked without having asked for it, as one at a terminal is.
    interactive: bool,
    /// Whether the reader of the output has gone away, as `head` does.
    closed: bool,
    /// How wide the output is, if it is a terminal's.
    width: Option<usize>,
}

impl Console<'static> {
    /// The process' own streams.
    #[must_use]
    pub fn of_process() -> Self {
        let stdin = io::stdin();
        let interactive = stdin.is_terminal();
        Self {
            out: Box::new(io::stdout()),
            messages: Box::new(io::stderr()),
            answers: Some(Box::new(BufReader::new(stdin))),
            interactive,
            closed: false,
            width: terminal_size::terminal_size_of(io::stdout())
                .map(|(width, _)| usize::from(width.0)),
        }
    }
}

impl<'a> Console<'a> {
    /// A console of other streams; without `answers` nobody is asked anything.
    pub fn new(
        out: impl Write + 'a,
        messages: impl Write + 'a,
        answers: Option<Box<dyn BufRead + 'a>>,
    ) -> Self {
        Self {
            out: Box::new(out),
            messages: Box::new(messages),
            interactive: answers.is_some(),
            answers,
            closed: false,
            width: None,
        }
    }

    /// How wide the output is, if it is a terminal's.
    #[must_use]
    pub fn width(&self) -> Option<usize> {
        self.width
    }

    /// Whether nobody reads the output any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Writes text to standard output.
    ///
    /// # Errors
    /// If the output can't be written, a full disk say. That the reader went away is no error: the
    /// command goes on with what it was told to do, quietly.
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

    /// Says something to the person, on standard error and on one line.
    pub fn say(&mut self, message: &str) {
        // Nobody is left to be told that messages can't be written.
        let _ = writeln!(self.messages, "{}", visible(message));
    }

    /// The same for several lines, that may be indented.
    pub fn say_lines(&mut self, message: &str) {
        for line in message.lines() {
            let text = line.trim_start_matches('\t');
            let _ = self.messages.write_all(&line.as_bytes()[..line.len() - text.len()]);
            self.say(text);
        }
    }

    /// Whether a person can be asked, without having asked for that.
    #[must_use]
    pub fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Shows the text and asks; only "y" and "yes" are a yes. Where there is nobody to ask, yes.
    pub fn confirm(&mut self, text: &str, question: &str) -> bool {
        let Some(answers) = &mut self.answers else {
            return true;
        };
        let _ = write!(self.messages, "{text}{question} (y/N): ");
        let _ = self.messages.flush();
        let mut answer = String::new();
        if !matches!(answers.read_line(&mut answer), Ok(1..)) {
            // End of input: the question's line isn't ended by the person.
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
    fn a_reader_that_left_is_no_error_and_a_full_disk_is() {
        let mut console = Console::new(Broken(io::ErrorKind::BrokenPipe), io::sink(), None);
        assert!(console.print("a").is_ok());
        assert!(console.print("b").is_ok());
        let mut console = Console::new(Broken(io::ErrorKind::StorageFull), io::sink(), None);
        assert!(matches!(console.print("a"), Err(Error::Output(_))));
    }

    #[test]
    fn answers() {
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
    fn messages_are_one_line_without_control_characters() {
        let mut messages = Vec::new();
        Console::new(io::sink(), &mut messages, None).say("a\u{1b}[2J\nb");
        assert_eq!(messages, b"a\\x1b[2J\\nb\n");
    }
}
