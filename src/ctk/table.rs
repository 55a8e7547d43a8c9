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

/// Labels and subjects come from files and services: they must not steer the terminal, nor turn what stands around them.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c.is_control() || is_format(c) {
            true => '\u{FFFD}',
            false => c,
        })
        .collect()
}

/// Characters that are not seen and change how others are: writing directions, joiners, separators of lines, tags.
fn is_format(c: char) -> bool {
    matches!(
        c,
        '\u{AD}'
            | '\u{61C}'
            | '\u{180E}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E007F}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = vec![
            vec!["ä".into(), "long cell".into()],
            vec!["abc".into(), "x\x1b[2J\u{202E}".into()],
        ];
        assert_eq!(
            table(&["A", "B"], &rows),
            "A    B\nä    long cell\nabc  x\u{FFFD}[2J\u{FFFD}\n"
        );
    }
}
