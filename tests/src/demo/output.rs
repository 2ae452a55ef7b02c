//! Output of the demo on stdout, styled on a terminal and plain elsewhere.

use std::io::{IsTerminal as _, Write as _};

const BOLD: &str = "1";
const CYAN: &str = "36";

/// Prints a line to stdout.
///
/// A closed stdout (`cargo demo | head`) does not stop the checks.
pub(super) fn print_line(text: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Prints the heading of a part.
pub(super) fn print_heading(text: &str) {
    print_line(&format!("\n{}", styled(BOLD, &format!("=== {text} ==="))));
}

/// Prints the description of a numbered step.
pub(super) fn print_step(number: usize, description: &str) {
    print_line(&format!("\n{}", styled(BOLD, &format!("# {number}. {description}"))));
}

/// Prints a command line as a shell shows it, with its standard input as a here-document.
pub(super) fn print_command(words: &[&str], input: Option<&str>) {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    let command = words.join(" ");
    match input {
        Some(input) => {
            print_line(&styled(CYAN, &format!("$ {command} <<'EOF'")));
            print_line(&format!("{}\nEOF", input.trim_end()));
        }
        None => print_line(&styled(CYAN, &format!("$ {command}"))),
    }
}

/// Returns the text with an ANSI style if stdout is a terminal that should be styled.
fn styled(style: &str, text: &str) -> String {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb {
        format!("\x1b[{style}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Quotes a word for a shell if necessary.
fn quote(word: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@".contains(c);
    if !word.is_empty() && word.chars().all(is_safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_words_for_a_shell() {
        for (word, expected) in [
            ("--context", "--context"),
            ("", "''"),
            ("it's", r"'it'\''s'"),
            ("{.metadata.name}", "'{.metadata.name}'"),
        ] {
            assert_eq!(quote(word), expected);
        }
    }
}
