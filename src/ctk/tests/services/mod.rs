//! Signing services with scripted answers, on a port of this machine. They know as much of a protocol as the command asks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail at any step"
)]
#![allow(dead_code, reason = "no file of tests needs all of it")]

pub(crate) mod csc;
pub(crate) mod kms;

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

use serde_json::Value;

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The part of the path that says what is wanted.
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| &**value)
    }
}

pub(crate) type Answer = (u16, Value);
type Answers = dyn Fn(&Request) -> Answer + Send + Sync;

/// A server of HTTP/1.1 with an answer for each request. It ends with the test.
pub(crate) struct Server {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Request>>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(answers: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (ended, seen) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let answers: Arc<Answers> = Arc::new(answers);
        let thread = {
            let (ended, seen) = (Arc::clone(&ended), Arc::clone(&seen));
            thread::spawn(move || {
                for stream in listener.incoming() {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    let (answers, seen) = (Arc::clone(&answers), Arc::clone(&seen));
                    // Ends when the command does.
                    thread::spawn(move || serve(stream.unwrap(), &*answers, &seen));
                }
            })
        };
        Self {
            address,
            ended,
            seen,
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked so far, by the part of the path that says what is wanted.
    pub(crate) fn asked(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|request| request.path.clone()).collect()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        let _ = self.thread.take().unwrap().join();
    }
}

fn serve(mut stream: TcpStream, answers: &Answers, seen: &Mutex<Vec<Request>>) {
    let mut input = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read(&mut input) {
        seen.lock().unwrap().push(request.clone());
        let (status, body) = answers(&request);
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let head = format!(
            "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

fn read(input: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    input.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut request = Request {
        path,
        headers,
        body: Value::Null,
    };
    let len = request
        .header("Content-Length")
        .map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; len];
    input.read_exact(&mut body).ok()?;
    request.body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    // AWS says it in a header.
    let target = request.header("X-Amz-Target").map(str::to_owned);
    if let Some(target) = target {
        request.path = target.rsplit('.').next()?.to_owned();
    }
    Some(request)
}

/// The signature of a hash in base64, by a private key in a file of this folder.
fn sign(folder: &Path, key: &str, hash: &[u8], options: &[&str]) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let file = format!("hash-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    std::fs::write(folder.join(&file), hash).unwrap();
    let mut arguments = vec!["pkeyutl", "-sign", "-inkey", key, "-in", &file];
    arguments.extend(options);
    to_base64(&openssl(folder, &arguments))
}

fn openssl(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output();
    let output = output.expect("openssl is installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// The public key of a private one, DER in base64.
fn public_key(folder: &Path, key: &str) -> String {
    to_base64(&openssl(
        folder,
        &["pkey", "-in", key, "-pubout", "-outform", "DER"],
    ))
}

/// What stands between the lines of a PEM file.
fn base64_of_pem(pem: &[u8]) -> String {
    let pem = String::from_utf8_lossy(pem);
    pem.lines().filter(|line| !line.starts_with('-')).collect()
}

fn to_base64(bytes: &[u8]) -> String {
    piped(&["base64", "-A"], bytes)
        .iter()
        .map(|byte| char::from(*byte))
        .collect()
}

fn from_base64(text: &str) -> Vec<u8> {
    piped(&["base64", "-A", "-d"], text.as_bytes())
}

fn piped(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    let command = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("openssl is installed");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}
