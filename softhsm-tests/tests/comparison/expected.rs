//! What a row of the table of expected differences is.

/// Why two modules differ, and where PKCS#11 3.2 says so.
#[derive(Clone, Copy, Debug)]
pub struct Reason {
    pub text: &'static str,
    pub section: &'static str,
}

/// The same difference in one or more steps of a script.
#[derive(Debug)]
pub struct Difference {
    pub script: &'static str,
    /// Titles of steps; a `*` stands for any text. Each step that this fits has to differ.
    pub steps: &'static [&'static str],
    pub ours: &'static str,
    pub theirs: &'static str,
    pub reason: Reason,
}

impl Difference {
    /// Whether a step of its script has to differ so.
    pub fn is_for(&self, title: &str) -> bool {
        self.steps.iter().any(|pattern| matches(pattern, title))
    }
}

/// Whether a title fits a pattern with at most one `*`.
pub fn matches(pattern: &str, title: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == title,
        Some((start, end)) => {
            title.len() >= start.len() + end.len()
                && title.starts_with(start)
                && title.ends_with(end)
        }
    }
}

/// A row of the table.
pub const fn row(
    script: &'static str,
    steps: &'static [&'static str],
    ours: &'static str,
    theirs: &'static str,
    reason: Reason,
) -> Difference {
    Difference {
        script,
        steps,
        ours,
        theirs,
        reason,
    }
}
