//! Where the servers are installed, and how they are started so that they end with the test.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    http::{self, Request},
    process::Server,
};

/// A program of one of the two virtual environments that `make_network_venv` of install.sh makes: `servers` or
/// `localstack`. `CTK_NETWORK_SERVERS` names another folder than softhsm-tests/work/network.
pub(crate) fn program(environment: &str, name: &str) -> PathBuf {
    let folder = std::env::var_os("CTK_NETWORK_SERVERS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../work/network"),
        PathBuf::from,
    );
    let path = folder.join(environment).join("bin").join(name);
    assert!(
        path.exists(),
        "{} is not there: softhsm-tests/run.sh makes it, or make_network_venv of softhsm-tests/install.sh",
        path.display()
    );
    path
}

/// The command that runs a program until its own standard input ends: with the process that started it, however that ended.
/// All of its processes are in one group. `litter` is a folder that is removed then.
pub(crate) fn tied(program: impl AsRef<OsStr>, litter: Option<&Path>) -> Command {
    // A server that ended by itself leaves its folder: somebody wants to read what it said.
    const SCRIPT: &str = r#"litter=$1
shift
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
{ cat <&3 >/dev/null; kill -KILL "$server"; } &
wait "$server"
[ $? -ne 137 ] || [ -z "$litter" ] || rm -rf -- "$litter"
kill -KILL 0"#;
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", SCRIPT, "sh"])
        .arg(litter.unwrap_or(Path::new("")))
        .arg(program);
    command
}

/// Waits until a request is answered, with whatever status.
#[track_caller]
pub(crate) fn wait_for_answer(server: &mut Server, port: u16, request: &Request) {
    server.wait_until("answering", |_| http::ask(port, request).is_ok());
}
