//! How deep a template nests, told before it is parsed: the parser goes down a level of the stack
//! with each parenthesis and each `else if`, and what exhausts the stack can't be told as an error
//! any more.

/// How many parentheses, and how many `else if` of blocks around each other, may be open at once.
/// Go's own limit is far higher, and far from what people write as well.
pub(super) const MOST: usize = 100;

/// The line where the template nests deeper than that, if it does.
pub(super) fn too_deep(source: &str) -> Option<usize> {
    let mut rest = source;
    // The `else if`s of each block that is open.
    let mut blocks: Vec<usize> = Vec::new();
    while let Some(at) = rest.find("{{") {
        let inside = &rest[at + 2..];
        let (action, parentheses) = action(inside);
        let (first, behind) = word(action.strip_prefix('-').unwrap_or(action));
        match (first, word(behind).0) {
            ("if" | "range" | "with" | "define" | "block", _) => blocks.push(0),
            ("else", "if") => {
                if let Some(last) = blocks.last_mut() {
                    *last += 1;
                }
            }
            ("end", _) => {
                blocks.pop();
            }
            _ => {}
        }
        rest = &inside[action.len()..];
        if parentheses > MOST || blocks.iter().sum::<usize>() > MOST {
            let read = &source[..source.len() - rest.len()];
            return Some(read.matches('\n').count() + 1);
        }
    }
    None
}

/// The word that it begins with, if it is one, and what is behind it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    text.split_at(end.unwrap_or(text.len()))
}

/// An action from behind its `{{` to its `}}`, and how many parentheses are open at once in it.
fn action(inside: &str) -> (&str, usize) {
    let comment = inside.strip_prefix("- ").unwrap_or(inside);
    if let Some(comment) = comment.strip_prefix("/*") {
        let end = comment.find("*/").unwrap_or(comment.len());
        return (&inside[..inside.len() - comment.len() + end], 0);
    }
    let (mut open, mut most) = (0_usize, 0);
    let mut quote = None;
    let mut is_escaped = false;
    for (at, c) in inside.char_indices() {
        match (quote, c) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some('"' | '\''), '\\') => is_escaped = true,
            (Some(quoted), _) => {
                if c == quoted {
                    quote = None;
                }
            }
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '(') => {
                open += 1;
                most = most.max(open);
            }
            (None, ')') => open = open.saturating_sub(1),
            (None, '}') if inside[at..].starts_with("}}") => return (&inside[..at], most),
            (None, _) => {}
        }
    }
    (inside, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parentheses(count: usize) -> String {
        format!("{}1{}", "(".repeat(count), ")".repeat(count))
    }

    fn chain(count: usize) -> String {
        format!("{{{{if .a}}}}{}{{{{end}}}}", "{{else if .b}}".repeat(count))
    }

    #[test]
    fn what_nests_too_deep() {
        let deep = parentheses(MOST + 1);
        for (source, line) in [
            (String::new(), None),
            (format!("{{{{{}}}}}", parentheses(MOST)), None),
            (format!("{{{{{deep}}}}}"), Some(1)),
            (format!("a\n{{{{.b}}}}\n{{{{- print {deep}}}}}"), Some(3)),
            // One that isn't closed is read so far by the parser, too.
            (format!("{{{{{}", "(".repeat(MOST + 1)), Some(1)),
            // Next to each other, not within.
            (format!("{{{{print{}}}}}", " (1)".repeat(500)), None),
            ("{{(1)}}".repeat(500), None),
            // In no action, or in what is none.
            (format!("{deep}{{{{.a}}}}{deep}"), None),
            (format!("{{{{/* {deep} */}}}}"), None),
            (format!("{{{{- /* {deep} */ -}}}}"), None),
            (format!("{{{{\"\\\"{deep}\"}}}}"), None),
            (format!("{{{{`}}}}{deep}\\`}}}}"), None),
            (format!("{{{{'\\''}}}}{{{{\"}}}}\"}}}}{deep}"), None),
            // Behind it.
            (format!("{{{{/* \" */}}}}{{{{{deep}}}}}"), Some(1)),
            (format!("{{{{\"}}}}\\\\\" {deep}}}}}"), Some(1)),
            (chain(MOST), None),
            (chain(MOST + 1), Some(1)),
            (chain(MOST).repeat(3), None),
            ("{{if .a}}{{else}}{{if .b}}{{end}}{{end}}".repeat(500), None),
            // Words that are names of other things.
            (
                format!(
                    "{{{{if .a}}}}{}{{{{end}}}}",
                    "{{else if .b}}{{.end}}{{$end}}".repeat(MOST + 1)
                ),
                Some(1),
            ),
            (format!("{{{{.if}}}}{{{{ifs}}}}{0}{{{{.if}}}}{0}", chain(60)), None),
            // Within each other.
            (
                format!("{{{{if .a}}}}{}{}{{{{end}}}}", "{{- else if .b -}}".repeat(60), chain(41)),
                Some(1),
            ),
            (format!("{{{{range .a}}}}{}{{{{end}}}}{}", chain(60), chain(60)), None),
        ] {
            assert_eq!(too_deep(&source), line, "{source}");
        }
    }
}
