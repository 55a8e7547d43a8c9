//! Signatures: C_SignInit and C_Sign, in one thread and in two.

use softhsm_bench::Key;

use super::{Effort, in_turns, of, speed_ratio};
use crate::{
    contestant::{Contestant, Slice, median},
    report::{Goal, LIBRARY, MODULE, Row, SOFTHSM, Unit},
};

/// How much faster two threads have to be than one.
const SPEED_UP: f64 = 1.9;

/// How fast each key has to be, as a share of the library and as a multiple of SoftHSM2.
fn targets(key: Key) -> (f64, Option<f64>) {
    match key {
        Key::Rsa2048 => (0.95, Some(2.0)),
        Key::Rsa4096 => (0.95, None),
        Key::P256 => (0.85, Some(3.0)),
        Key::P384 => (0.85, Some(7.0)),
        Key::Ed25519 => (0.85, Some(15.0)),
    }
}

/// One thread, by CPU time.
pub fn one_thread(contestants: &mut [(&'static str, Contestant)], effort: Effort) -> Vec<Row> {
    Key::ALL
        .into_iter()
        .map(|key| {
            let answers = in_turns(contestants, &format!("sign {} 1", key.name()), effort);
            let mut row = Row::new(
                format!("C_SignInit + C_Sign, {}", key.title()),
                Unit::PerCpuSecond,
            );
            for (who, answer) in &answers {
                let rate = answer
                    .as_ref()
                    .map(|slices| 1e9 / median(slices.iter().map(|slice| slice.cpu_ns)));
                row.value(who, rate.map_err(String::clone));
            }
            let ratio = |who| Some(speed_ratio(of(&answers, MODULE)?, of(&answers, who)?));
            let (library, softhsm) = targets(key);
            row.check(
                "of the library",
                Unit::Times,
                ratio(LIBRARY),
                Goal::AtLeast(library),
            );
            match (softhsm, ratio(SOFTHSM)) {
                (Some(target), ratio) => {
                    row.check("of SoftHSM2", Unit::Times, ratio, Goal::AtLeast(target));
                }
                (None, Some(ratio)) => row.note(format!("{ratio:.2}× of SoftHSM2")),
                (None, None) => {}
            }
            row
        })
        .collect()
}

/// Two threads with sessions of their own, by the clock on the wall.
pub fn two_threads(contestants: &mut [(&'static str, Contestant)], effort: Effort) -> Vec<Row> {
    [Key::Rsa2048, Key::P256, Key::Ed25519]
        .into_iter()
        .map(|key| {
            let mut row = Row::new(format!("2 threads against 1, {}", key.title()), Unit::Times);
            let mut pairs: Vec<_> = contestants.iter().map(|_| Ok(Vec::new())).collect();
            for _ in 0..effort.rounds {
                for ((_, contestant), pairs) in contestants.iter_mut().zip(&mut pairs) {
                    let Ok(known) = pairs else { continue };
                    // One after the other: only then do both see the same machine.
                    match one_and_two(contestant, key, effort) {
                        Ok(pair) => known.push(pair),
                        Err(reason) => *pairs = Err(reason),
                    }
                }
            }
            for ((who, _), pairs) in contestants.iter().zip(pairs) {
                let ratio = |of: fn(&Slice, &Slice) -> f64| {
                    let pairs = pairs.as_ref().map_err(String::clone)?;
                    Ok(median(pairs.iter().map(|(one, two)| of(one, two))))
                };
                row.value(who, ratio(|one, two| two.rate / one.rate));
                if let Ok(cost) = ratio(|one, two| two.cpu_ns / one.cpu_ns) {
                    row.note(format!(
                        "{who}: with two threads, a signature costs {cost:.3} times the CPU time"
                    ));
                }
            }
            match row.get(LIBRARY) {
                Some(best) if best < SPEED_UP => row.undecided(format!(
                    "undecided: the machine had other work to do, and the library came to {best:.2}× only"
                )),
                _ => row.check(
                    "speed-up",
                    Unit::Times,
                    row.get(MODULE),
                    Goal::AtLeast(SPEED_UP),
                ),
            }
            row
        })
        .collect()
}

/// A turn with one thread, and a turn with two.
fn one_and_two(
    contestant: &mut Contestant,
    key: Key,
    effort: Effort,
) -> Result<(Slice, Slice), String> {
    let mut turn = |threads| {
        let millis = effort.turn.as_millis();
        contestant.slice(&format!("sign {} {threads} {millis}", key.name()))
    };
    Ok((turn(1)?, turn(2)?))
}
