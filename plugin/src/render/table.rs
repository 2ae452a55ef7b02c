//! The bordered table of mirrord's own status command.

use tabled::{
    builder::Builder,
    settings::{Style, Width, peaker::Priority},
};

/// A table with a line around every cell. Cells may have several lines, and get more of them where
/// the table would be wider than `width`.
#[must_use]
pub fn bordered<const N: usize>(
    header: Option<[&str; N]>,
    rows: impl IntoIterator<Item = [String; N]>,
    width: Option<usize>,
) -> String {
    let mut builder = Builder::default();
    if let Some(header) = header {
        builder.push_record(header);
    }
    for row in rows {
        builder.push_record(row);
    }
    let mut table = builder.build();
    table.with(Style::ascii());
    if let Some(width) = width {
        table.with(Width::wrap(width).priority(Priority::max(true)));
    }
    format!("{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_several_lines() {
        let row = ["1".to_owned(), "Port: 80\nPort: 81".to_owned()];
        assert_eq!(
            bordered(Some(["Session ID", "Ports"]), [row], None),
            "+------------+----------+\n\
             | Session ID | Ports    |\n\
             +------------+----------+\n\
             | 1          | Port: 80 |\n\
             |            | Port: 81 |\n\
             +------------+----------+\n"
        );
    }

    #[test]
    fn no_wider_than_the_terminal() {
        let row = ["1".to_owned(), "a long cell, longer than the other".to_owned()];
        let text = bordered(Some(["Session ID", "Ports"]), [row], Some(30));
        assert!(text.lines().all(|line| line.len() <= 30), "{text}");
    }
}
