//! The bordered table of mirrord's own status command.

use tabled::{builder::Builder, settings::Style};

/// A table with a line around every cell. Cells may have several lines.
#[must_use]
pub fn bordered<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut builder = Builder::default();
    builder.push_record(header);
    for row in rows {
        builder.push_record(row);
    }
    let mut table = builder.build();
    table.with(Style::ascii());
    format!("{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_several_lines() {
        let row = ["1".to_owned(), "Port: 80\nPort: 81".to_owned()];
        assert_eq!(
            bordered(["Session ID", "Ports"], [row]),
            "+------------+----------+\n\
             | Session ID | Ports    |\n\
             +------------+----------+\n\
             | 1          | Port: 80 |\n\
             |            | Port: 81 |\n\
             +------------+----------+\n"
        );
    }
}
