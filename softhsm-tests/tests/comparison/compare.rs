//! Compares two transcripts of one script with each other and with the table of expected differences.

use std::{collections::HashMap, fmt::Write};

use crate::{
    expected::{Difference, Reason, matches},
    script::Script,
    table::EXPECTED,
};

/// What each step answered, for a step that was made: the fields of its line.
pub type Transcript = HashMap<usize, Vec<String>>;

/// What came of all scripts.
#[derive(Default)]
pub struct Report {
    /// How many steps answered alike.
    pub alike: usize,
    /// How many steps were not made in one of the modules, as what they need was not there.
    pub not_compared: Vec<String>,
    /// The expected differences, in the order of the scripts.
    pub expected: Vec<(String, String, String, String, Reason)>,
    /// What must not be, a line each, as a row for the table.
    pub wrong: Vec<String>,
}

impl Report {
    /// Adds one script with what both modules answered.
    pub fn add(&mut self, script: &Script, ours: &Transcript, theirs: &Transcript) {
        let rows: Vec<&Difference> = EXPECTED
            .iter()
            .filter(|row| row.script == script.name)
            .collect();
        // Operations that only one of the modules has begun, or only one has ended.
        let mut apart: Vec<&str> = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for (number, step) in script.steps.iter().enumerate() {
            let unmade = || vec![UNMADE.to_owned()];
            let our = ours.get(&number).cloned().unwrap_or_else(unmade);
            let their = theirs.get(&number).cloned().unwrap_or_else(unmade);
            let place = format!("{}: {}", script.name, step.title);
            if our == unmade() || our.iter().any(|field| field.starts_with("wrote")) {
                self.wrong
                    .push(format!("{place}: ours: {}", our.join(", ")));
                continue;
            }
            let operation = operation(step.function);
            if step.function.ends_with("Init") {
                apart.retain(|other| *other != operation);
            }
            let unreached = |answer: &[String]| answer[0].starts_with("not reached");
            if unreached(&our)
                || unreached(&their)
                || their == unmade()
                || apart.contains(&operation)
            {
                self.not_compared.push(place);
                continue;
            }
            let is_ok = |answer: &[String]| answer[0] == "CKR_OK";
            if !operation.is_empty() && is_ok(&our) != is_ok(&their) {
                apart.push(operation);
            }
            let row = rows.iter().find(|row| row.is_for(&step.title));
            if our == their {
                self.alike += 1;
                if row.is_some() {
                    self.wrong
                        .push(format!("{place}: the expected difference does not occur"));
                }
                continue;
            }
            seen.push(&step.title);
            let (our, their) = told_apart(&our, &their);
            match row {
                Some(row) if row.ours == our && row.theirs == their => self.expected.push((
                    script.name.to_owned(),
                    step.title.clone(),
                    our,
                    their,
                    row.reason,
                )),
                row => self.wrong.push(format!(
                    "{} difference: row({:?}, &[{:?}], {our:?}, {their:?}, ),",
                    row.map_or("unexpected", |_| "another"),
                    script.name,
                    step.title,
                )),
            }
        }
        for row in rows {
            for pattern in row.steps {
                if !seen.iter().any(|title| matches(pattern, title)) {
                    self.wrong
                        .push(format!("{}: no difference at {pattern:?}", row.script));
                }
            }
        }
    }

    /// The expected differences as a table in Markdown.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| script | call | this module | SoftHSM2 | why |\n|---|---|---|---|---|\n",
        );
        for (script, step, ours, theirs, reason) in &self.expected {
            writeln!(
                text,
                "| {script} | {step} | {ours} | {theirs} | {} ({}) |",
                reason.text, reason.section
            )
            .expect("text");
        }
        text
    }
}

/// What a step has that was not made, because the process ended before.
const UNMADE: &str = "no answer";

/// The operation that a function is part of, or nothing.
fn operation(function: &str) -> &str {
    // The longer names first.
    let operations = [
        "C_SignRecover",
        "C_VerifyRecover",
        "C_FindObjects",
        "C_Sign",
        "C_Verify",
        "C_Digest",
        "C_Encrypt",
        "C_Decrypt",
    ];
    let mut operations = operations.into_iter();
    operations
        .find(|operation| function.starts_with(operation))
        .unwrap_or_default()
}

/// Two answers in few words that are the same in each run, though keys are not.
fn told_apart(ours: &[String], theirs: &[String]) -> (String, String) {
    if ours[0] != theirs[0] {
        return (ours[0].clone(), theirs[0].clone());
    }
    let words = |fields: &[String], others: &[String]| {
        let fields = fields.iter().enumerate().skip(1);
        let told: Vec<String> = fields
            .filter(|(at, field)| others.get(*at) != Some(field))
            .map(|(_, field)| match field.strip_prefix('=') {
                None => field.clone(),
                Some("") => "empty".to_owned(),
                Some(digits) if digits.len() <= 16 => digits.to_owned(),
                Some(digits) => format!("{} bytes", digits.len() / 2),
            })
            .collect();
        told.join(", ")
    };
    let (our, their) = (words(ours, theirs), words(theirs, ours));
    if our == their {
        return (our, format!("{their}, others"));
    }
    (our, their)
}

/// Reads what [`crate::runner::run`] has written.
pub fn read(output: &str) -> Transcript {
    let lines = output
        .lines()
        .filter_map(|line| line.split_once(crate::runner::MARK));
    lines
        .map(|(_, line)| {
            let mut fields = line.trim_start_matches('\t').split('\t').map(str::to_owned);
            let number = fields.next().and_then(|number| number.parse().ok());
            (number.expect("the number of a step"), fields.collect())
        })
        .collect()
}

/// The names and digits of what a script kept, from what [`crate::runner::run`] has written.
pub fn kept(output: &str) -> HashMap<String, String> {
    let lines = output
        .lines()
        .filter_map(|line| line.split_once(crate::runner::KEPT));
    let fields = lines.filter_map(|(_, line)| line.trim_start_matches('\t').split_once('\t'));
    fields
        .map(|(name, digits)| (name.to_owned(), digits.to_owned()))
        .collect()
}
