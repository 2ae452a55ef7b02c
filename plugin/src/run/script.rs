//! Words of a shell script, as far as they are known without running it.

/// The replacement of a word that depends on an expansion. No argument can contain NUL.
pub(super) const EXPANDED: &str = "\0";

/// The programs that take a script after `-c`.
const SHELLS: [&str; 8] = ["ash", "bash", "dash", "fish", "ksh", "mksh", "sh", "zsh"];

/// Returns whether a program is a shell.
pub(super) fn is_shell(program: &str) -> bool {
    SHELLS.contains(&program)
}

/// Returns the script among the arguments of a shell, which follows a flag such as `-c` or `-lc`.
pub(super) fn script_argument<'a>(arguments: &[&'a str]) -> Option<&'a str> {
    let is_command = |word: &&str| {
        word.starts_with('-')
            && !word.starts_with("--")
            && word.trim_start_matches('-').contains('c')
    };
    let at = arguments.iter().position(is_command)?;
    // Only flags may precede.
    let are_flags = arguments[..at].iter().all(|word| word.starts_with(['-', '+']));
    let rest = arguments.get(at + 1..)?;
    are_flags.then(|| rest.iter().find(|word| !word.starts_with('-')).copied())?
}

/// Splits a script into simple commands, each a list of words.
///
/// Returns nothing if the script is incomplete. Words with expansions become [`EXPANDED`].
pub(super) fn simple_commands(script: &str) -> Option<Vec<Vec<String>>> {
    let mut lexer = Lexer { commands: vec![Vec::new()], word: None, is_expanded: false };
    let mut chars = script.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => loop {
                match chars.next()? {
                    '\'' => break lexer.literal(None),
                    c => lexer.literal(Some(c)),
                }
            },
            '"' => loop {
                match chars.next()? {
                    '"' => break lexer.literal(None),
                    '$' | '`' => lexer.expansion(),
                    '\\' => match chars.next()? {
                        '\n' => {}
                        c @ ('"' | '\\' | '$' | '`') => lexer.literal(Some(c)),
                        c => {
                            lexer.literal(Some('\\'));
                            lexer.literal(Some(c));
                        }
                    },
                    c => lexer.literal(Some(c)),
                }
            },
            '\\' => match chars.next()? {
                '\n' => {}
                c => lexer.literal(Some(c)),
            },
            '#' if lexer.word.is_none() => while chars.next_if(|c| *c != '\n').is_some() {},
            '\n' | ';' | '&' | '|' | '(' | ')' => lexer.end_command(),
            c if c.is_whitespace() => lexer.end_word(),
            '$' | '`' | '*' | '?' | '[' | '{' | '<' | '>' => lexer.expansion(),
            '~' if lexer.word.is_none() => lexer.expansion(),
            c => lexer.literal(Some(c)),
        }
    }
    lexer.end_command();
    lexer.commands.retain(|words| !words.is_empty());
    Some(lexer.commands)
}

struct Lexer {
    commands: Vec<Vec<String>>,
    /// The current word, with its quoted parts.
    word: Option<String>,
    /// Whether the current word has an expansion.
    is_expanded: bool,
}

impl Lexer {
    /// Appends a character to the word; without one, only begins the word.
    fn literal(&mut self, c: Option<char>) {
        self.word.get_or_insert_default().extend(c);
    }

    fn expansion(&mut self) {
        self.literal(None);
        self.is_expanded = true;
    }

    fn end_word(&mut self) {
        let is_expanded = std::mem::take(&mut self.is_expanded);
        if let (Some(word), Some(command)) = (self.word.take(), self.commands.last_mut()) {
            command.push(if is_expanded { EXPANDED.to_owned() } else { word });
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        self.commands.push(Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_scripts_into_commands() {
        for (script, expected) in [
            ("a b", Some(&[&["a", "b"][..]][..])),
            ("cd x && a 'b c' \"d e\"", Some(&[&["cd", "x"], &["a", "b c", "d e"]])),
            ("a; b | c\n(d) # e f", Some(&[&["a"], &["b"], &["c"], &["d"]])),
            ("a \\\n  b\\ c", Some(&[&["a", "b c"]])),
            (
                "a $B \"$C\" '$D' `e` x*y ~/f g~",
                Some(&[&["a", "\0", "\0", "$D", "\0", "\0", "\0", "g~"]]),
            ),
            ("a '' \"\"", Some(&[&["a", "", ""]])),
            ("a 'b", None),
            ("a \"b", None),
            ("a \\", None),
            ("", Some(&[])),
        ] {
            let found = simple_commands(script);
            let expected: Option<Vec<Vec<String>>> = expected.map(|commands| {
                let words = |words: &&[&str]| words.iter().map(|word| (*word).to_owned()).collect();
                commands.iter().map(words).collect()
            });
            assert_eq!(found, expected, "{script:?}");
        }
    }

    #[test]
    fn finds_the_script_of_a_shell() {
        for (line, expected) in [
            ("-c X", Some("X")),
            ("-lc X a", Some("X")),
            ("-e -o -c X", Some("X")),
            ("-c -e X", Some("X")),
            ("-c", None),
            ("file -c X", None),
            ("--rcfile X", None),
            ("", None),
        ] {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(script_argument(&words), expected, "{line}");
        }
    }
}
