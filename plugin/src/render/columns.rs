//! Plain columns, as kubectl's printer aligns them.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// kubectl's printer: a column is at least this wide …
const MIN_WIDTH: usize = 6;
/// … and at least this much wider than its longest cell. The last column isn't padded.
const PADDING: usize = 3;

/// The least that is left of a column that is cut.
const LEAST: usize = 8;

/// Lines of cells as `kubectl get` aligns them: no spaces at the end of a line, unless its last
/// cells are empty.
#[must_use]
pub fn kubectl_get<S: AsRef<str>>(rows: &[Vec<S>]) -> String {
    align(rows, MIN_WIDTH, PADDING)
}

/// Lines of cells, each column but the last at least `min_width` wide and `padding` wider than its
/// longest cell.
#[must_use]
pub fn align<S: AsRef<str>>(rows: &[Vec<S>], min_width: usize, padding: usize) -> String {
    Aligner::new(min_width, padding).lines(rows)
}

/// Aligns lines that come piece by piece: a column that has been wide once stays so, as kubectl's
/// do while it watches.
#[derive(Clone, Debug)]
pub struct Aligner {
    min_width: usize,
    padding: usize,
    widths: Vec<usize>,
    fit: Option<Fit>,
}

/// What to do where lines are too long.
#[derive(Clone, Debug)]
struct Fit {
    width: usize,
    flexible: Vec<usize>,
}

impl Aligner {
    fn new(min_width: usize, padding: usize) -> Self {
        Self { min_width, padding, widths: Vec::new(), fit: None }
    }

    /// As `kubectl get` aligns.
    #[must_use]
    pub fn kubectl_get() -> Self {
        Self::new(MIN_WIDTH, PADDING)
    }

    /// Keeps lines within this width, if there is one, by cutting the cells of these columns, the
    /// first ones first.
    #[must_use]
    pub fn within(mut self, width: Option<usize>, flexible: Vec<usize>) -> Self {
        self.fit = width.map(|width| Fit { width, flexible });
        self
    }

    /// Aligns more lines.
    #[must_use]
    pub fn lines<S: AsRef<str>>(&mut self, rows: &[Vec<S>]) -> String {
        let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
        if self.widths.len() < columns {
            self.widths.resize(columns, self.min_width);
        }
        let mut last_width = 0;
        for row in rows {
            // The last cell of a line doesn't make its column wider: nothing comes after it.
            let Some((last, cells)) = row.split_last() else {
                continue;
            };
            last_width = last_width.max(last.as_ref().width());
            for (width, cell) in self.widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.as_ref().width() + self.padding);
            }
        }
        let widths = self.fitted(columns, last_width);
        let mut text = String::new();
        for row in rows {
            let Some((last, cells)) = row.split_last() else {
                continue;
            };
            for (width, cell) in widths.iter().zip(cells) {
                let cell = cut(cell.as_ref(), width.saturating_sub(self.padding));
                text.push_str(&cell);
                text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width())));
            }
            text.push_str(last.as_ref());
            text.push('\n');
        }
        text
    }

    /// The widths of the columns, made smaller where lines would be too long.
    fn fitted(&self, columns: usize, last_width: usize) -> Vec<usize> {
        let mut widths = self.widths.clone();
        let Some(fit) = &self.fit else {
            return widths;
        };
        let before_last = columns.saturating_sub(1);
        let total: usize = widths.iter().take(before_last).sum::<usize>() + last_width;
        let mut over = total.saturating_sub(fit.width);
        for column in &fit.flexible {
            if let Some(width) = widths.get_mut(*column) {
                let less = over.min(width.saturating_sub(LEAST + self.padding));
                *width -= less;
                over -= less;
            }
        }
        widths
    }
}

/// The text, cut to a width.
fn cut(text: &str, width: usize) -> Cow<'_, str> {
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
    fn columns_as_kubectl_aligns_them() {
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
    fn short_columns_keep_the_least_width() {
        assert_eq!(kubectl_get(&[vec!["A", "B"], vec!["1", "2"]]), "A     B\n1     2\n");
    }

    #[test]
    fn later_lines_keep_the_columns_of_earlier_ones() {
        let mut aligner = Aligner::kubectl_get();
        assert_eq!(
            aligner.lines(&[vec!["NAME", "B"], vec!["12345678", "1"]]),
            "NAME       B\n12345678   1\n"
        );
        assert_eq!(aligner.lines(&[vec!["1", "2"]]), "1          2\n");
        assert_eq!(aligner.lines(&[vec!["123456789", "2"]]), "123456789   2\n");
    }

    #[test]
    fn lines_fit_into_a_terminal() {
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
        // There is a least width, below which the terminal breaks the lines.
        assert_eq!(fitted(1).lines().nth(1), Some("1     deploym…   Port: 8…   63s"));
    }

    #[test]
    fn wide_characters_are_cut_whole() {
        assert_eq!(cut("東京東京", 4), "東…");
        assert_eq!(cut("東京", 4), "東京");
        assert_eq!(cut("abc", 0), "…");
    }
}
