//! A TLS server that wants to see a certificate of the bed's authority.

use std::process::Command;

use crate::{
    bed::{Bed, Kind},
    process::{Server, free_port},
};

/// What the server's page holds for a client that has shown a certificate and signed with its key.
pub const PAGE: &str = "HTTP/1.0 200 ok";
/// The same for clients that take the page's header for themselves.
pub const PAGE_TEXT: &str = "s_server -www";

/// `openssl s_server` for the name localhost: its page tells what certificate the client has shown, and there is none for a
/// client without.
pub fn server(bed: &Bed) -> (Server, u16) {
    let own = bed.identity("server", Kind::P256);
    let port = free_port();
    // Not the bed's environment: the server is not what is tested.
    let mut command = Command::new("openssl");
    command
        .args(["s_server", "-www", "-Verify", "1", "-verify_return_error"])
        .args(["-accept", &format!("127.0.0.1:{port}"), "-cert"])
        .arg(&own.certificate)
        .arg("-key")
        .arg(&own.key)
        .arg("-CAfile")
        .arg(&bed.authority)
        .current_dir(bed.work.path());
    let mut server = Server::start(&mut command, &bed.work.path().join("server.log"));
    server.wait_for_port(port);
    (server, port)
}
