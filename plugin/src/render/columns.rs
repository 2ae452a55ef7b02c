//! Plain columns, as kubectl's printer aligns them.

use unicode_width::UnicodeWidthStr;

/// kubectl's printer: a column is at least this wide …
const MIN_WIDTH: usize = 6;
/// … and at least this much wider than its longest cell. The last column isn't padded.
const PADDING: usize = 3;

/// Lines of cells as `kubectl get` aligns them: no spaces at the end of a line, unless its last cells
/// are empty.
#[must_use]
pub fn kubectl_get<S: AsRef<str>>(rows: &[Vec<S>]) -> String {
    align(rows, MIN_WIDTH, PADDING)
}

/// Lines of cells, each column but the last at least `min_width` wide and `padding` wider than its
/// longest cell.
#[must_use]
pub fn align<S: AsRef<str>>(rows: &[Vec<S>], min_width: usize, padding: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let mut widths = vec![min_width; columns];
    for row in rows {
        // The last cell of a line doesn't make its column wider: nothing comes after it.
        let cells = row.split_last().map_or(&[][..], |(_, others)| others);
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.as_ref().width() + padding);
        }
    }
    let mut text = String::new();
    for row in rows {
        let Some((last, cells)) = row.split_last() else {
            continue;
        };
        for (width, cell) in widths.iter().zip(cells) {
            let cell = cell.as_ref();
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width - cell.width()));
        }
        text.push_str(last.as_ref());
        text.push('\n');
    }
    text
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
        assert_eq!(
            kubectl_get(&[vec!["A", "B"], vec!["1", "2"]]),
            "A     B\n1     2\n"
        );
    }
}
