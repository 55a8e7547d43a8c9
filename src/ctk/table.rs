//! Aligned columns of text.

/// Rows under a heading, columns two blanks apart, without blanks at the ends of lines.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = heading.iter().map(|cell| (*cell).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(&heading)
        .chain(rows)
        .map(|row| row.iter().map(|cell| printable(cell)).collect())
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}  "));
            format!("{}\n", cells.collect::<String>().trim_end())
        })
        .collect()
}

/// Labels and subjects come from files: they must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{FFFD}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = vec![
            vec!["ä".into(), "long cell".into()],
            vec!["abc".into(), "x\x1b[2J".into()],
        ];
        assert_eq!(
            table(&["A", "B"], &rows),
            "A    B\nä    long cell\nabc  x\u{FFFD}[2J\n"
        );
    }
}
