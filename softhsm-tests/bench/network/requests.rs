//! What a signature costs on the wire when one has been made before: requests, connections, TLS handshakes.

use ctk_services::Counts;
use softhsm_bench::{
    contestant::Contestant,
    report::{Goal, MODULE, Row, Unit},
};

use crate::{
    services::{Remote, Services, Which, Wire},
    verify,
};

/// How many signatures are counted with each key.
const COUNT: u64 = 20;

/// Each service, plain and in TLS.
pub(crate) fn after_the_first(services: &Services) -> Vec<Row> {
    [Which::Kms, Which::CscImplicit, Which::CscPin]
        .into_iter()
        .flat_map(|which| Wire::ALL.map(|wire| services.counted(which, wire)))
        .map(|remote| row(services, &remote))
        .collect()
}

fn row(services: &Services, remote: &Remote) -> Row {
    let figure = format!("requests per later signature: {}", remote.title());
    let mut row = Row::new(figure, Unit::Count);
    let counted = count(services, remote);
    let per_signature = |what: u64, of: u64| what as f64 / of as f64;
    match counted {
        Err(reason) => row.value(MODULE, Err(reason)),
        Ok((seen, signatures)) => {
            let requests = per_signature(seen.requests, signatures);
            row.value(MODULE, Ok(requests));
            let goal = Goal::AtMost(1.0);
            row.check("requests", Unit::Count, Some(requests), goal);
            for (what, seen) in [
                ("new connections", seen.connections),
                ("new TLS handshakes", seen.handshakes),
            ] {
                let value = per_signature(seen, signatures);
                row.check(what, Unit::Count, Some(value), Goal::AtMost(0.0));
            }
        }
    }
    row
}

/// What the server of ours has seen, and of how many signatures.
fn count(services: &Services, remote: &Remote) -> Result<(Counts, u64), String> {
    let mut worker = Contestant::module(&remote.place);
    for &key in remote.which.keys() {
        let signature = worker.signature(key)?;
        let public = services.public_key(remote.which, key);
        let is_right = verify::is_right(key, &public, &signature);
        assert!(is_right, "{}: wrong signature", remote.title());
    }
    remote.proxy.forget();
    let mut signatures = 0;
    for &key in remote.which.keys() {
        worker.each(&format!("each {} {}", key.name(), COUNT - 1))?;
        // One more than are told one by one.
        signatures += COUNT;
    }
    let seen = remote.proxy.counts();
    let signed = remote.proxy.requests_for(remote.which.operation()).len();
    if signed as u64 != signatures {
        return Err(format!(
            "{signed} of {signatures} signatures were asked for"
        ));
    }
    Ok((seen, signatures))
}
