//! Sixteen threads of one process, each with a session, against one thread: how much more is signed, over how many connections.

use softhsm_bench::{
    contestant::{Contestant, Slice, median},
    report::{Goal, MODULE, Row, Unit},
};

use crate::{
    BARE, Effort,
    bare::Bare,
    services::{Services, Which, Wire},
};

const THREADS: usize = 16;
/// How many times as many signatures sixteen threads have to make.
const TARGET: f64 = 14.0;

/// With a key in a KMS, plain and in TLS.
pub(crate) fn sixteen(services: &Services, effort: Effort) -> Vec<Row> {
    Wire::ALL
        .into_iter()
        .map(|wire| row(services, wire, effort))
        .collect()
}

fn row(services: &Services, wire: Wire, effort: Effort) -> Row {
    let key = Which::Kms.keys()[0];
    let (remote, answers) = services.fixed(Which::Kms, wire);
    let figure = format!(
        "{THREADS} threads against 1: {}, {}",
        remote.title(),
        key.title()
    );
    let mut row = Row::new(figure, Unit::Times);
    let mut module = Contestant::module(&remote.place);
    if let Err(reason) = module.signature(key) {
        row.value(MODULE, Err(reason));
        return row;
    }
    let asked = remote.proxy.requests_for(Which::Kms.operation());
    // It has a server of its own, so that connections are counted for the module alone.
    let other = services.serve(&answers, wire);
    let mut bare = Bare::new(services, &other, wire, asked.last().expect("a request"));
    remote.proxy.forget();

    let millis = effort.turn.as_millis();
    let sign = |threads| format!("sign {} {threads} {millis}", key.name());
    let mut pairs = [const { Vec::new() }; 2];
    let mut failed = None;
    for _ in 0..effort.rounds {
        for (worker, pairs) in [&mut module, &mut bare.worker].into_iter().zip(&mut pairs) {
            // One after the other: only then do both see the same machine.
            let pair = worker
                .slice(&sign(1))
                .and_then(|one| Ok((one, worker.slice(&sign(THREADS))?)));
            match pair {
                Ok(pair) => pairs.push(pair),
                Err(reason) => failed = Some(reason),
            }
        }
    }
    if let Some(reason) = failed {
        row.value(MODULE, Err(reason));
        return row;
    }
    let [ours, bares] = &pairs;
    row.value(MODULE, Ok(speed_up(ours)));
    row.value(BARE, Ok(speed_up(bares)));
    let goal = Goal::AtLeast(TARGET);
    row.check("speed-up", Unit::Times, row.get(MODULE), goal);
    let seen = remote.proxy.counts();
    row.check(
        "connections at a time",
        Unit::Count,
        Some(seen.most_open as f64),
        Goal::AtMost(THREADS as f64),
    );
    row.note(format!(
        "{:.0} signatures a second instead of {:.0}; {} new connections for {} signatures",
        median(ours.iter().map(|(_, many)| many.rate)),
        median(ours.iter().map(|(one, _)| one.rate)),
        seen.connections,
        seen.requests,
    ));
    row
}

/// How many times as much was done in the second of each pair: the median.
fn speed_up(pairs: &[(Slice, Slice)]) -> f64 {
    median(pairs.iter().map(|(one, many)| many.rate / one.rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speed_up_is_that_of_turns_next_to_each_other() {
        let slice = |rate| Slice { cpu_ns: 0.0, rate };
        let pairs = [
            (slice(50.0), slice(750.0)),
            // The machine was slower all the time.
            (slice(10.0), slice(160.0)),
            (slice(50.0), slice(100.0)),
        ];
        assert_eq!(speed_up(&pairs), 15.0);
    }
}
