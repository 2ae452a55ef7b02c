//! The bordered table of mirrord's status command.

use tabled::{
    builder::Builder,
    settings::{Style, Width, peaker::Priority},
};

/// Returns a table with a border around every cell. Cells may have several lines, and are wrapped
/// if the table would exceed `width`.
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
    fn renders_cells_of_several_lines() {
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
    fn wraps_cells_to_the_width() {
        let row = ["1".to_owned(), "a long cell, longer than the other".to_owned()];
        let text = bordered(Some(["Session ID", "Ports"]), [row], Some(30));
        assert!(text.lines().all(|line| line.len() <= 30), "{text}");
    }
}
