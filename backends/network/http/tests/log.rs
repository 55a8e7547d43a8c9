//! What is logged of a request: that it was made, and nothing that may be secret.

use std::sync::Mutex;

use log::{LevelFilter, Log, Metadata, Record};

use super::{
    asking::{client_of, post},
    server::{Server, answer},
};
use crate::http::Repeat;

/// Keeps what the client logs, in all tests of this process.
struct Recorder(Mutex<Vec<String>>);

static RECORDER: Recorder = Recorder(Mutex::new(Vec::new()));

impl Log for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("ctk_network::http")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut lines = self.0.lock().unwrap();
            lines.push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

#[test]
fn a_request_is_logged_without_its_query_header_and_body() {
    log::set_logger(&RECORDER).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let server = Server::start(|_, wire| answer(wire, 200, "X: s3cret\r\n", "s3cret"));
    post(&client_of(&server), Repeat::Always, "s3cret").unwrap();
    let lines = RECORDER.0.lock().unwrap().clone();
    let place = format!("127.0.0.1:{}", server.port());
    let ours: Vec<_> = lines.iter().filter(|line| line.contains(&place)).collect();
    assert!(
        ours.iter()
            .any(|line| line.contains("POST") && line.ends_with("/path")),
        "{ours:?}"
    );
    assert!(
        ours.iter().any(|line| line.contains("200, 6 bytes")),
        "{ours:?}"
    );
    // Other tests, which run beside this one, send the same secret.
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("s3cret"))
        .collect();
    assert!(told.is_empty(), "{told:?}");
}
