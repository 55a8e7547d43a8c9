//! A person at a terminal, which `script` makes.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use super::Bed;

/// Types each text when what stands before it was printed, and gives all that was printed.
pub(crate) fn typing(bed: &Bed, shell: &str, dialogue: &[(&str, &str)]) -> String {
    let mut child = Command::new("timeout")
        .args(["60", "script", "-qec", shell, "/dev/null"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("SHELL", "/bin/sh")
        .env("HOME", bed.home())
        .env("PCSCLITE_CSOCK_NAME", bed.path("no-pcscd"))
        .env("CTK", env!("CARGO_BIN_EXE_ctk"))
        .current_dir(bed.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    let (mut printed, mut seen) = (Vec::new(), 0);
    let mut buffer = [0; 4096];
    for (prompt, typed) in dialogue {
        loop {
            let text = String::from_utf8_lossy(&printed[seen..]);
            if text.contains(prompt) {
                break;
            }
            let len = output.read(&mut buffer).unwrap();
            assert_ne!(len, 0, "{prompt:?} is not in {text:?}");
            printed.extend_from_slice(&buffer[..len]);
        }
        seen = printed.len();
        // The question is printed just before the echo is switched off, which nobody outside can wait for. Typed too
        // early, the text is read all the same, so only the test's sharpness depends on it.
        thread::sleep(Duration::from_millis(200));
        input.write_all(typed.as_bytes()).unwrap();
    }
    output.read_to_end(&mut printed).unwrap();
    child.wait().unwrap();
    String::from_utf8(printed).unwrap()
}
