//! Plain columns, aligned like those of kubectl's printer.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The minimum width of a column in kubectl's printer.
const MIN_WIDTH: usize = 6;
/// The minimum distance to the longest cell in kubectl's printer. The last column is not padded.
const PADDING: usize = 3;

/// The minimum width of a truncated column.
const MIN_TRUNCATED_WIDTH: usize = 8;

/// Aligns rows like `kubectl get`: lines have no trailing spaces, unless their last cells are
/// empty.
#[must_use]
pub fn kubectl_get<S: AsRef<str>>(rows: &[Vec<S>]) -> String {
    align(rows, MIN_WIDTH, PADDING)
}

/// Aligns the columns of rows. Each column but the last has at least `min_width`, and `padding`
/// after its longest cell.
#[must_use]
pub fn align<S: AsRef<str>>(rows: &[Vec<S>], min_width: usize, padding: usize) -> String {
    Aligner::new(min_width, padding).lines(rows)
}

/// Aligns rows that arrive in batches. Columns never shrink, like those of kubectl's watches.
#[derive(Clone, Debug)]
pub struct Aligner {
    min_width: usize,
    padding: usize,
    widths: Vec<usize>,
    fit: Option<Fit>,
}

/// The limit of the line width.
#[derive(Clone, Debug)]
struct Fit {
    width: usize,
    flexible: Vec<usize>,
}

impl Aligner {
    fn new(min_width: usize, padding: usize) -> Self {
        Self { min_width, padding, widths: Vec::new(), fit: None }
    }

    /// Returns an aligner with the parameters of `kubectl get`.
    #[must_use]
    pub fn kubectl_get() -> Self {
        Self::new(MIN_WIDTH, PADDING)
    }

    /// Limits lines to a width, if there is one, by truncating cells of these columns in this
    /// order.
    #[must_use]
    pub fn within(mut self, width: Option<usize>, flexible: Vec<usize>) -> Self {
        self.fit = width.map(|width| Fit { width, flexible });
        self
    }

    /// Aligns a batch of rows.
    #[must_use]
    pub fn lines<S: AsRef<str>>(&mut self, rows: &[Vec<S>]) -> String {
        let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
        if self.widths.len() < columns {
            self.widths.resize(columns, self.min_width);
        }
        let mut last_width = 0;
        for row in rows {
            // The last cell of a line does not widen its column, since no column follows.
            let Some((last, cells)) = row.split_last() else {
                continue;
            };
            last_width = last_width.max(last.as_ref().width());
            for (width, cell) in self.widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.as_ref().width() + self.padding);
            }
        }
        let widths = self.fit_widths(columns, last_width);
        let mut text = String::new();
        for row in rows {
            let Some((last, cells)) = row.split_last() else {
                continue;
            };
            for (width, cell) in widths.iter().zip(cells) {
                let cell = truncate(cell.as_ref(), width.saturating_sub(self.padding));
                text.push_str(&cell);
                text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width())));
            }
            text.push_str(last.as_ref());
            text.push('\n');
        }
        text
    }

    /// Returns the widths of the columns, reduced to fit the limit.
    fn fit_widths(&self, columns: usize, last_width: usize) -> Vec<usize> {
        let mut widths = self.widths.clone();
        let Some(fit) = &self.fit else {
            return widths;
        };
        let before_last = columns.saturating_sub(1);
        let total: usize = widths.iter().take(before_last).sum::<usize>() + last_width;
        let mut over = total.saturating_sub(fit.width);
        for column in &fit.flexible {
            if let Some(width) = widths.get_mut(*column) {
                let less = over.min(width.saturating_sub(MIN_TRUNCATED_WIDTH + self.padding));
                *width -= less;
                over -= less;
            }
        }
        widths
    }
}

/// Truncates text to a width.
fn truncate(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    let mut left = width.saturating_sub(1);
    let mut shown = String::new();
    for c in text.chars() {
        let Some(rest) = left.checked_sub(c.width().unwrap_or_default()) else {
            break;
        };
        left = rest;
        shown.push(c);
    }
    shown.push('…');
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_columns_like_kubectl() {
        let rows = [
            vec!["NAME", "A", "USER", "AGE"],
            vec!["487F4F2B6D2376AD", "1", "東京", "63s"],
            vec!["x", "12345678", "", "5h20m"],
        ];
        assert_eq!(
            kubectl_get(&rows),
            "NAME               A          USER   AGE\n\
             487F4F2B6D2376AD   1          東京   63s\n\
             x                  12345678          5h20m\n"
        );
        assert_eq!(kubectl_get(&[vec!["NAME"], vec!["a"]]), "NAME\na\n");
        assert_eq!(kubectl_get::<&str>(&[]), "");
    }

    #[test]
    fn keeps_the_minimum_width() {
        assert_eq!(kubectl_get(&[vec!["A", "B"], vec!["1", "2"]]), "A     B\n1     2\n");
    }

    #[test]
    fn keeps_columns_across_batches() {
        let mut aligner = Aligner::kubectl_get();
        assert_eq!(
            aligner.lines(&[vec!["NAME", "B"], vec!["12345678", "1"]]),
            "NAME       B\n12345678   1\n"
        );
        assert_eq!(aligner.lines(&[vec!["1", "2"]]), "1          2\n");
        assert_eq!(aligner.lines(&[vec!["123456789", "2"]]), "123456789   2\n");
    }

    #[test]
    fn fits_lines_into_a_terminal() {
        let rows = [
            vec!["ID", "TARGET", "PORTS", "AGE"],
            vec!["1", "deployment/visit-counter", "Port: 80, Type: steal", "63s"],
        ];
        let fitted = |width| {
            let aligner = Aligner::kubectl_get().within(Some(width), vec![2, 1]);
            aligner.clone().lines(&rows)
        };
        assert_eq!(fitted(80), kubectl_get(&rows));
        assert_eq!(
            fitted(55),
            "ID    TARGET                     PORTS              AGE\n\
             1     deployment/visit-counter   Port: 80, Type:…   63s\n"
        );
        let narrow = fitted(40);
        assert_eq!(narrow.lines().nth(1), Some("1     deployment/visit…   Port: 8…   63s"));
        // Below the minimum widths, the terminal wraps the lines.
        assert_eq!(fitted(1).lines().nth(1), Some("1     deploym…   Port: 8…   63s"));
    }

    #[test]
    fn truncates_between_wide_characters() {
        assert_eq!(truncate("東京東京", 4), "東…");
        assert_eq!(truncate("東京", 4), "東京");
        assert_eq!(truncate("abc", 0), "…");
    }
}
