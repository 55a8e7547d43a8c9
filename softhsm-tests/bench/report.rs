//! What was measured: a table for people, JSON for programs.

use serde_json::{Value, json};

/// The unit of a row's figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Operations per second of CPU time.
    PerCpuSecond,
    /// Nanoseconds.
    Nanoseconds,
    /// A plain number.
    Count,
    /// Bytes.
    Bytes,
    /// How many times as much.
    Times,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::PerCpuSecond => "per CPU second",
            Self::Nanoseconds => "ns",
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::Times => "times",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::PerCpuSecond => format!("{value:.0}/s"),
            Self::Nanoseconds if value < 10_000.0 => format!("{:.2} µs", value / 1e3),
            Self::Nanoseconds if value < 1e6 => format!("{:.0} µs", value / 1e3),
            Self::Nanoseconds => format!("{:.2} ms", value / 1e6),
            Self::Count => format!("{value:.4}")
                .trim_end_matches('0')
                .trim_end_matches('.')
                .to_owned(),
            Self::Bytes if value < 10_485_760.0 => format!("{:.0} KiB", value / 1024.0),
            Self::Bytes => format!("{:.1} MiB", value / 1_048_576.0),
            Self::Times => format!("{value:.2}×"),
        }
    }
}

/// Which way a figure is good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// At least the target.
    AtLeast(f64),
    /// At most the target.
    AtMost(f64),
}

/// A figure held against its target.
#[derive(Clone, Debug)]
pub struct Check {
    what: String,
    unit: Unit,
    value: f64,
    goal: Goal,
}

impl Check {
    /// Holds `value` against `goal`.
    pub fn new(what: impl Into<String>, unit: Unit, value: f64, goal: Goal) -> Self {
        Self {
            what: what.into(),
            unit,
            value,
            goal,
        }
    }

    fn met(&self) -> bool {
        match self.goal {
            Goal::AtLeast(target) => self.value >= target,
            Goal::AtMost(target) => self.value <= target,
        }
    }

    fn text(&self) -> String {
        let (sign, target) = match self.goal {
            Goal::AtLeast(target) => ("≥", target),
            Goal::AtMost(target) => ("≤", target),
        };
        format!(
            "{} {} (target {sign} {}): {}",
            self.what,
            self.unit.show(self.value),
            self.unit.show(target),
            if self.met() { "met" } else { "MISSED" }
        )
    }

    fn json(&self) -> Value {
        let (goal, target) = match self.goal {
            Goal::AtLeast(target) => ("at least", target),
            Goal::AtMost(target) => ("at most", target),
        };
        json!({
            "what": self.what, "unit": self.unit.name(), "value": self.value,
            "goal": goal, "target": target, "met": self.met(),
        })
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    figure: String,
    unit: Unit,
    values: Vec<(String, f64)>,
    checks: Vec<Check>,
    undecided: bool,
    notes: Vec<String>,
}

impl Row {
    /// A line without figures.
    pub fn new(figure: impl Into<String>, unit: Unit) -> Self {
        Self {
            figure: figure.into(),
            unit,
            values: Vec::new(),
            checks: Vec::new(),
            undecided: false,
            notes: Vec::new(),
        }
    }

    /// A contestant's figure, or why there is none.
    pub fn value(&mut self, who: &str, value: Result<f64, String>) {
        match value {
            Ok(value) => self.values.push((who.to_owned(), value)),
            Err(reason) => self.notes.push(format!("{who}: {reason}")),
        }
    }

    /// A contestant's figure.
    pub fn get(&self, who: &str) -> Option<f64> {
        self.values
            .iter()
            .find(|(name, _)| name == who)
            .map(|(_, value)| *value)
    }

    /// Holds a figure against its target.
    pub fn check(&mut self, what: &str, unit: Unit, value: Option<f64>, goal: Goal) {
        if let Some(value) = value {
            self.checks.push(Check::new(what, unit, value, goal));
        }
    }

    /// The target could not be held against anything, for this reason.
    pub fn undecided(&mut self, reason: impl Into<String>) {
        self.undecided = true;
        self.note(reason);
    }

    /// Something that a reader has to know.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    fn json(&self) -> Value {
        let values: serde_json::Map<_, _> = self
            .values
            .iter()
            .map(|(who, value)| (who.clone(), json!(value)))
            .collect();
        let checks: Vec<_> = self.checks.iter().map(Check::json).collect();
        json!({
            "figure": self.figure, "unit": self.unit.name(), "values": values,
            "checks": checks, "undecided": self.undecided, "notes": self.notes,
        })
    }
}

/// The module under test.
pub const MODULE: &str = "module";
/// SoftHSM2.
pub const SOFTHSM: &str = "SoftHSM2";
/// The crypto library in a loop.
pub const LIBRARY: &str = "library";

/// Everything of one run.
#[derive(Debug)]
pub struct Report {
    /// What was run, and on what.
    pub facts: Vec<(String, String)>,
    /// Whose figures stand beside each other.
    columns: &'static [&'static str],
    rows: Vec<Row>,
}

impl Report {
    /// Without lines, with these contestants' figures in columns.
    pub fn new(columns: &'static [&'static str]) -> Self {
        Self {
            facts: Vec::new(),
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds lines and prints them, so that a person who waits sees something.
    pub fn add(&mut self, rows: Vec<Row>) {
        for row in &rows {
            print!("{}", lines(row, self.columns));
        }
        self.rows.extend(rows);
    }

    /// Prints what the lines are about.
    pub fn head(&self) {
        for (name, value) in &self.facts {
            println!("{name}: {value}");
        }
        println!();
        println!("{:<FIGURE$}{}", "", cells(self.columns.iter().copied()));
    }

    /// Prints how many targets were met.
    pub fn foot(&self) {
        let checks: Vec<_> = self.rows.iter().flat_map(|row| &row.checks).collect();
        let met = checks.iter().filter(|check| check.met()).count();
        let undecided = self.rows.iter().filter(|row| row.undecided).count();
        println!(
            "\n{met} of {} targets met, {undecided} undecided",
            checks.len() + undecided
        );
        for row in &self.rows {
            for check in row.checks.iter().filter(|check| !check.met()) {
                println!("  {}: {}", row.figure, check.text());
            }
        }
    }

    /// All of it.
    pub fn json(&self) -> String {
        let facts: serde_json::Map<_, _> = self
            .facts
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        let rows: Vec<_> = self.rows.iter().map(Row::json).collect();
        let all = json!({ "run": facts, "figures": rows });
        serde_json::to_string_pretty(&all).expect("JSON") + "\n"
    }
}

/// How wide the first column is.
const FIGURE: usize = 58;

fn lines(row: &Row, columns: &[&str]) -> String {
    let cell = |who: &&str| row.get(who).map_or("-".to_owned(), |v| row.unit.show(v));
    let values: Vec<_> = columns.iter().map(cell).collect();
    let values = cells(values.iter().map(String::as_str));
    let mut text = format!("{:<FIGURE$}{values}\n", row.figure);
    let others = row
        .values
        .iter()
        .filter(|(who, _)| !columns.contains(&who.as_str()))
        .map(|(who, value)| format!("{who} {}", row.unit.show(*value)));
    let checks = row.checks.iter().map(Check::text);
    for line in checks.chain(others).chain(row.notes.iter().cloned()) {
        text += &format!("    {line}\n");
    }
    text
}

fn cells<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.map(|text| format!("{text:>13}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_was_met_and_what_not() {
        let mut row = Row::new("Signatures", Unit::PerCpuSecond);
        row.value(MODULE, Ok(95.0));
        row.value(SOFTHSM, Err("is not there".to_owned()));
        row.value("another", Ok(1.0));
        row.check(
            "of the library",
            Unit::Times,
            Some(0.95),
            Goal::AtLeast(0.95),
        );
        row.check("of SoftHSM2", Unit::Times, None, Goal::AtLeast(2.0));
        row.check("time", Unit::Nanoseconds, Some(2e6), Goal::AtMost(1e6));
        let text = lines(&row, &[MODULE, SOFTHSM]);
        assert!(text.starts_with("Signatures"));
        assert!(text.contains("95/s"));
        assert!(text.contains("0.95× (target ≥ 0.95×): met"));
        assert!(text.contains("2.00 ms (target ≤ 1.00 ms): MISSED"));
        assert!(text.contains("SoftHSM2: is not there"));
        assert!(text.contains("another 1/s"));
        assert_eq!(row.json()["checks"][1]["met"], json!(false));
        assert_eq!(row.json()["checks"].as_array().map(Vec::len), Some(2));
    }
}
