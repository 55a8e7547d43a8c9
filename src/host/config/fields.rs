//! A TOML table with typed access, which remembers each mistake with its line instead of stopping
//! at the first.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Turns places in a text into line numbers.
#[derive(Debug)]
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    pub(crate) fn new(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(ends.map(|(at, _)| at).collect())
    }

    /// The line that the byte at `offset` is in, counted from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|end| *end < offset) + 1
    }
}

/// A mistake in a table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Mistake {
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// Where the text of a table stands in its file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) lines: &'a Lines,
    /// What is to be added to the places in the table, because only a part of the file was parsed.
    pub(crate) offset: usize,
}

impl Origin<'_> {
    pub(crate) fn line<T>(&self, value: &Spanned<T>) -> usize {
        self.lines.line(self.offset + value.span().start)
    }
}

/// One table.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    table: &'a DeTable<'a>,
    origin: Origin<'a>,
    line: usize,
    mistakes: Vec<Mistake>,
}

impl<'a> Fields<'a> {
    /// The fields of `table`, whose header is on `line`.
    pub(crate) fn new(table: &'a DeTable<'a>, origin: Origin<'a>, line: usize) -> Self {
        Self {
            table,
            origin,
            line,
            mistakes: Vec::new(),
        }
    }

    /// The line of the table's header.
    pub(crate) fn line(&self) -> usize {
        self.line
    }

    /// All mistakes so far, in the order of their lines.
    pub(crate) fn into_mistakes(mut self) -> Vec<Mistake> {
        self.mistakes.sort_by_key(|mistake| mistake.line);
        self.mistakes
    }

    /// Notes a mistake about `key`, or about the whole table if it has no such key.
    pub(crate) fn refuse(&mut self, key: &str, message: impl Into<String>) {
        let line = self.table.iter().find(|(name, _)| name.get_ref() == key);
        self.mistakes.push(Mistake {
            line: line.map_or(self.line, |(name, _)| self.origin.line(name)),
            message: message.into(),
        });
    }

    /// Notes each key that is not among the `known` ones.
    pub(crate) fn refuse_unknown(&mut self, owner: &str, known: &[&str]) {
        for (name, _) in self.table {
            let key = name.get_ref();
            if known.contains(&key.as_ref()) {
                continue;
            }
            let advice = match nearest(key, known) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("known keys are {}", known.join(", ")),
            };
            self.mistakes.push(Mistake {
                line: self.origin.line(name),
                message: format!("unknown key {key:?} in {owner}; {advice}"),
            });
        }
    }

    pub(crate) fn text(&mut self, key: &str) -> Option<String> {
        self.typed(key, "text in quotes", |value| {
            value.as_str().map(str::to_owned)
        })
    }

    /// Notes a mistake if there is no such key.
    pub(crate) fn require(&mut self, key: &str, owner: &str) {
        if self.table.get(key).is_none() {
            self.refuse(key, format!("missing key {key:?} in {owner}"));
        }
    }

    /// A text that must be there.
    pub(crate) fn required_text(&mut self, key: &str, owner: &str) -> Option<String> {
        self.require(key, owner);
        self.text(key)
    }

    pub(crate) fn boolean(&mut self, key: &str) -> Option<bool> {
        self.typed(key, "true or false", DeValue::as_bool)
    }

    pub(crate) fn integer(&mut self, key: &str) -> Option<i64> {
        self.typed(key, "a whole number", |value| {
            let number = value.as_integer()?;
            i64::from_str_radix(number.as_str(), number.radix()).ok()
        })
    }

    pub(crate) fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        self.typed(key, "a list of texts in quotes", |value| {
            let entries = value.as_array()?.iter();
            entries
                .map(|entry| entry.get_ref().as_str().map(str::to_owned))
                .collect()
        })
    }

    /// The tables of `[[owner.key]]`. An entry that is none costs itself only.
    pub(crate) fn tables(&mut self, key: &str) -> Vec<Fields<'a>> {
        const EXPECTED: &str = "a list of tables";
        let origin = self.origin;
        let entries = self.typed(key, EXPECTED, DeValue::as_array);
        let mut tables = Vec::new();
        for entry in entries.into_iter().flatten() {
            let line = origin.line(entry);
            match entry.get_ref().as_table() {
                Some(table) => tables.push(Fields::new(table, origin, line)),
                None => self.mistakes.push(Mistake {
                    line,
                    message: format!("{key} must be {EXPECTED}, and this entry is none"),
                }),
            }
        }
        tables
    }

    /// The table of `[key]`.
    pub(crate) fn table(&mut self, key: &str) -> Option<Fields<'a>> {
        let table = self.typed(key, "a table", DeValue::as_table)?;
        let header = self.table.iter().find(|(name, _)| name.get_ref() == key);
        let line = header.map_or(self.line, |(name, _)| self.origin.line(name));
        Some(Fields::new(table, self.origin, line))
    }

    /// Takes over the mistakes of an inner table.
    pub(crate) fn absorb(&mut self, inner: Fields<'_>) {
        self.mistakes.extend(inner.mistakes);
    }

    fn typed<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<T> {
        let value = self.table.get(key)?;
        let read = read(value.get_ref());
        if read.is_none() {
            self.refuse(key, format!("{key} must be {expected}"));
        }
        read
    }
}

/// The known key that was probably meant: at most two letters away, and less than half of them.
fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let distances = known.iter().map(|near| (distance(key, near), *near));
    let (distance, near) = distances.min()?;
    (distance <= 2 && distance * 2 < near.len()).then_some(near)
}

/// How many letters have to be added, dropped or changed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(b.chars()) {
            let changed = diagonal + usize::from(from != to);
            diagonal = *cell;
            left = changed.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        let lines = Lines::new("a\nbc\n\nd");
        let found: Vec<_> = (0..8).map(|offset| lines.line(offset)).collect();
        assert_eq!(found, [1, 1, 2, 2, 2, 3, 4, 4]);
    }

    #[test]
    fn the_probable_key_is_named() {
        let known = ["pin", "login", "file", "not_programs"];
        assert_eq!(nearest("pinn", &known), Some("pin"));
        assert_eq!(nearest("flie", &known), None);
        assert_eq!(nearest("fil", &known), Some("file"));
        assert_eq!(nearest("not-programs", &known), Some("not_programs"));
        assert_eq!(nearest("x", &known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
    }
}
