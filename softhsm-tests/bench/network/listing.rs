//! What is listed while nothing listens where the service should be, in a fresh process each time; and what that costs other tokens.

use softhsm_bench::{
    contestant::median,
    host::{self, Fresh, fresh},
    place::Place,
    report::{Goal, MODULE, Row, Unit},
};

use crate::{
    Effort,
    services::{FILE, Services},
};

/// How many keys the tokens have, each with its certificate.
const KEYS: [usize; 2] = [10, 100];
/// The most that listing may take, in nanoseconds.
const TARGET: f64 = 5e6;
/// How many times as long another token may take beside a dead one: what a machine with other work to do makes of the same.
const UNAFFECTED: f64 = 1.1;

/// The same processes without the token whose service is dead.
const WITHOUT: &str = "without it";

/// The token with its service dead, alone and beside the token of a file.
pub(crate) fn of_a_dead_service(services: &Services, effort: Effort) -> Vec<Row> {
    services.file();
    let host = host::compile(services.bed.work.path(), "fresh", false);
    let list = |place: &Place, again: Option<&str>, objects: usize| {
        let mut command = place.command(&host);
        fresh(command.arg(&place.module).args(again), objects as u64)
    };
    let mut rows = Vec::new();
    for count in KEYS {
        eprintln!("making {count} keys …");
        let name = format!("dead-{count}");
        services.dead(&name, count);
        // A private key, a public key and a certificate of each.
        let objects = 3 * count;
        let alone = services.place(&[&name], None);
        let file = services.place(&[FILE], None);
        let both = services.place(&[FILE, &name], None);
        let runs = in_turns(
            [
                &|| list(&alone, None, objects),
                &|| list(&file, Some(FILE), 0),
                &|| list(&both, Some(FILE), objects),
            ],
            effort.processes,
        );
        let mut row = Row::new(
            format!("list all, service dead: KMS, {count} keys"),
            Unit::Nanoseconds,
        );
        match &runs {
            Err(reason) => row.value(MODULE, Err(reason.clone())),
            Ok([alone, ..]) => {
                let took = of(alone, |run| run.listed_ns);
                row.value(MODULE, Ok(took));
                row.check("time", Unit::Nanoseconds, Some(took), Goal::AtMost(TARGET));
                row.note(format!(
                    "from dlopen to C_Finalize {:.2} ms, of it CPU time {:.2} ms",
                    of(alone, |run| run.wall_ns) / 1e6,
                    of(alone, |run| run.cpu_ns) / 1e6,
                ));
            }
        }
        rows.push(row);
        let mut row = Row::new(
            format!("list a .p12 token beside it: {count} keys"),
            Unit::Nanoseconds,
        );
        if let Ok([_, without, with]) = &runs {
            row.value(MODULE, Ok(of(with, |run| run.token_ns)));
            row.value(WITHOUT, Ok(of(without, |run| run.token_ns)));
            let ratio = slowdown(with, without);
            let what = "of the time without it";
            row.check(what, Unit::Times, Some(ratio), Goal::AtMost(UNAFFECTED));
            let more = of(with, |run| run.listed_ns) - of(without, |run| run.listed_ns);
            row.note(format!(
                "the whole process, which lists both, takes {:.2} ms more",
                more / 1e6
            ));
        }
        rows.push(row);
    }
    rows
}

/// What runs of three kinds say, in turns: what disturbs the machine disturbs all of them.
fn in_turns(
    kinds: [&dyn Fn() -> Result<Fresh, String>; 3],
    rounds: usize,
) -> Result<[Vec<Fresh>; 3], String> {
    let mut runs = [const { Vec::new() }; 3];
    // One of each for nothing: it finds the files on the disk.
    for round in 0..=rounds {
        for (kind, runs) in kinds.iter().zip(&mut runs) {
            let run = kind()?;
            if round > 0 {
                runs.push(run);
            }
        }
    }
    Ok(runs)
}

fn of(runs: &[Fresh], of: impl Fn(&Fresh) -> f64) -> f64 {
    median(runs.iter().map(of))
}

/// How many times as long the token took in these runs: the medians' ratio.
fn slowdown(with: &[Fresh], without: &[Fresh]) -> f64 {
    of(with, |run| run.token_ns) / of(without, |run| run.token_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(token_ns: f64) -> Fresh {
        Fresh {
            cpu_ns: 0.0,
            wall_ns: 0.0,
            peak: 0.0,
            listed_ns: 0.0,
            token_ns,
        }
    }

    #[test]
    fn a_slow_run_does_not_decide() {
        let with = [run(110.0), run(5_000.0), run(120.0)];
        let without = [run(100.0), run(100.0), run(90.0)];
        assert_eq!(slowdown(&with, &without), 1.2);
    }

    #[test]
    fn kinds_take_turns_and_the_first_round_does_not_count() {
        let calls = std::cell::RefCell::new(Vec::new());
        let kind = |number: u64| {
            calls.borrow_mut().push(number);
            Ok(run(number as f64))
        };
        let runs = in_turns([&|| kind(0), &|| kind(1), &|| kind(2)], 2).expect("runs");
        assert_eq!(*calls.borrow(), [0, 1, 2, 0, 1, 2, 0, 1, 2]);
        assert!(runs.iter().all(|runs| runs.len() == 2));
        assert_eq!(runs[2][0].token_ns, 2.0);
        let failing = in_turns([&|| kind(0), &|| Err("no".to_owned()), &|| kind(2)], 2);
        assert_eq!(failing.err().as_deref(), Some("no"));
    }
}
