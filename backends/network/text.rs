//! Text of a service, as a person can be shown it.

/// One line of at most `max` characters, with a space for each that would move a cursor, turn the direction of writing or
/// not be seen.
pub(crate) fn shown(text: &str, max: usize) -> String {
    let shown: String = text.trim().chars().map(plain).take(max).collect();
    shown.trim().to_owned()
}

/// The same of one character.
pub(crate) fn plain(char: char) -> char {
    match char {
        char if char.is_control() => ' ',
        // Soft hyphen, marks and overrides of direction, separators of lines, joiners of words, tags. The joiners of letters,
        // which some scripts need, stay.
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}' => ' ',
        char => char,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_stays_in_its_line_and_direction() {
        for (text, expected) in [
            (" a\r\nb\u{7} ", "a  b"),
            ("\u{202e}cba\u{2066}x\u{2069}", "cba x"),
            ("a\u{2028}b\u{200f}c\u{feff}", "a b c"),
            (
                "Zoë 漢字 \u{645}\u{6cc}\u{200c}\u{62e}",
                "Zoë 漢字 \u{645}\u{6cc}\u{200c}\u{62e}",
            ),
            ("\u{202e}\u{202d}", ""),
        ] {
            assert_eq!(shown(text, 100), expected, "{text:?}");
        }
        assert_eq!(shown("abc", 2), "ab");
        assert_eq!(shown(&"\u{202e}".repeat(10), 5), "");
    }
}
