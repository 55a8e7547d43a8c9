//! What is being waited for: one line at the terminal that the next one overwrites, and that is gone in the end.

use std::io::{self, IsTerminal, Write};

use crate::{console::Console, table::printable};

/// A line on standard error. Nothing is shown where that is no terminal, and nothing beside JSON.
#[derive(Debug)]
pub(crate) struct Progress {
    is_shown: bool,
    is_there: bool,
}

impl Progress {
    pub(crate) fn new(console: &Console) -> Self {
        Self {
            is_shown: !console.json && io::stderr().is_terminal(),
            is_there: false,
        }
    }

    /// Says what is being done now.
    pub(crate) fn tell(&mut self, step: &str) {
        if self.is_shown {
            self.is_there = true;
            let _ = write!(io::stderr(), "\r\x1b[K{}", line(step));
            let _ = io::stderr().flush();
        }
    }

    /// Takes the line away, so that something else can be said.
    pub(crate) fn clear(&mut self) {
        if self.is_there {
            self.is_there = false;
            let _ = write!(io::stderr(), "\r\x1b[K");
            let _ = io::stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The most of a step that stands in one line of most terminals: a longer one would leave its beginning behind.
const WIDTH: usize = 76;

fn line(step: &str) -> String {
    let step = printable(step);
    match step.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", step.get(..end).unwrap_or_default()),
        None => format!("{step} …"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_one_line_that_steers_nothing() {
        assert_eq!(
            line("asking kms\x1b[2J\n"),
            "asking kms\u{FFFD}[2J\u{FFFD} …"
        );
        let long = line(&"é".repeat(200));
        assert_eq!((long.chars().count(), long.chars().last()), (77, Some('…')));
    }
}
