//! Searches and attributes, with few and with many objects.

use super::{Effort, in_turns, of};
use crate::{
    contestant::{Contestant, Slice, median},
    report::{Goal, MODULE, Row, Unit},
};

/// Contestants on a token each of few and of many certificates.
pub type Contestants<'a> = &'a mut [(&'static str, Contestant)];

/// What is searched by: the worker's word for it, and a title.
const SEARCHES: [(&str, &str); 4] = [
    ("id", "CKA_ID"),
    ("label", "CKA_LABEL"),
    ("subject", "CKA_SUBJECT"),
    ("issuer-serial", "CKA_ISSUER and CKA_SERIAL_NUMBER"),
];

/// C_FindObjectsInit, C_FindObjects, C_FindObjectsFinal.
pub fn find(
    few: Contestants<'_>,
    many: Contestants<'_>,
    counts: [usize; 2],
    effort: Effort,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, title) in SEARCHES {
        let question = format!("find {what}");
        let (few, many) = (
            in_turns(few, &question, effort),
            in_turns(many, &question, effort),
        );
        for (answers, count) in [(&few, counts[0]), (&many, counts[1])] {
            let mut row = Row::new(
                format!("search by {title}, {count} objects"),
                Unit::Nanoseconds,
            );
            for (who, answer) in answers {
                row.value(who, cost(answer));
            }
            if count == counts[1] {
                if what == "id" {
                    let time = row.get(MODULE);
                    row.check("time", Unit::Nanoseconds, time, Goal::AtMost(5_000.0));
                }
                let growth = of(&many, MODULE)
                    .zip(of(&few, MODULE))
                    .map(|(many, few)| time_of(many) / time_of(few));
                let against = format!("against {} objects", counts[0]);
                if what == "id" {
                    row.check(&against, Unit::Times, growth, Goal::AtMost(1.5));
                } else if let Some(growth) = growth {
                    row.note(format!("{against} {growth:.2}×"));
                }
            }
            rows.push(row);
        }
    }
    rows
}

/// C_GetAttributeValue of CKA_VALUE and CKA_ID in one call.
pub fn attributes(contestants: Contestants<'_>, effort: Effort) -> Vec<Row> {
    let answers = in_turns(contestants, "attributes", effort);
    let mut row = Row::new(
        "C_GetAttributeValue, VALUE and ID of a certificate",
        Unit::Nanoseconds,
    );
    for (who, answer) in &answers {
        row.value(who, cost(answer));
    }
    let time = row.get(MODULE);
    row.check("time", Unit::Nanoseconds, time, Goal::AtMost(1_000.0));
    vec![row]
}

fn time_of(slices: &[Slice]) -> f64 {
    median(slices.iter().map(|slice| slice.cpu_ns))
}

fn cost(answer: &Result<Vec<Slice>, String>) -> Result<f64, String> {
    answer
        .as_ref()
        .map(|slices| time_of(slices))
        .map_err(String::clone)
}
