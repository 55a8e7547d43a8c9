//! What is measured, one file for each kind of figure.

pub mod counts;
pub mod objects;
pub mod process;
pub mod sign;

use std::time::Duration;

use crate::contestant::{Contestant, Slice, median};

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How often each contestant has its turn.
    pub rounds: usize,
    /// How long one turn is.
    pub turn: Duration,
    /// How many processes are started of each kind.
    pub processes: usize,
}

impl Effort {
    /// For figures that are quoted.
    pub const FULL: Self = Self {
        rounds: 9,
        turn: Duration::from_millis(400),
        processes: 41,
    };
    /// For a look.
    pub const QUICK: Self = Self {
        rounds: 3,
        turn: Duration::from_millis(100),
        processes: 9,
    };
}

/// The contestants' answers to one question, in turns: what disturbs the machine disturbs all of them.
///
/// Every second round goes the other way round, so that nobody is always the one after another.
pub fn in_turns(
    contestants: &mut [(&'static str, Contestant)],
    question: &str,
    effort: Effort,
) -> Vec<(&'static str, Result<Vec<Slice>, String>)> {
    let question = format!("{question} {}", effort.turn.as_millis());
    let mut answers: Vec<_> = contestants
        .iter()
        .map(|(name, _)| (*name, Ok(Vec::new())))
        .collect();
    for round in 0..effort.rounds {
        let mut order: Vec<_> = (0..contestants.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let (_, all) = &mut answers[at];
            let Ok(slices) = all else { continue };
            match contestants[at].1.slice(&question) {
                Ok(slice) => slices.push(slice),
                Err(reason) => *all = Err(reason),
            }
        }
    }
    answers
}

/// The answers of one contestant.
pub fn of<'a>(
    answers: &'a [(&'static str, Result<Vec<Slice>, String>)],
    who: &str,
) -> Option<&'a [Slice]> {
    let (_, answer) = answers.iter().find(|(name, _)| *name == who)?;
    answer.as_deref().ok()
}

/// How many times as fast `one` is as `other`, by CPU time: the median of the rounds' ratios.
pub fn speed_ratio(one: &[Slice], other: &[Slice]) -> f64 {
    median(
        one.iter()
            .zip(other)
            .map(|(one, other)| other.cpu_ns / one.cpu_ns),
    )
}
