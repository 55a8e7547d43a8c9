//! The proxy passes, counts, and makes each fault as it is told to.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use ctk_services::{
    Authority, Connecting, Fault, Proxy, Request, Response, ServerCertificate, Tls, ask,
};
use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVersion};

const LIMIT: Duration = Duration::from_secs(20);

/// Answers with what it was asked.
fn echo(request: &Request) -> Response {
    Response::new(200, "text/plain", &String::from_utf8_lossy(&request.body))
}

fn post(target: &str, body: &str) -> Request {
    Request {
        method: "POST".to_owned(),
        target: target.to_owned(),
        headers: Vec::new(),
        body: body.as_bytes().to_vec(),
    }
}

/// A connection of its own.
fn connect(proxy: &Proxy) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", proxy.port())).expect("a connection");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    BufReader::new(stream)
}

fn send(connection: &mut BufReader<TcpStream>, body: &str) {
    let message = format!(
        "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let stream = connection.get_mut();
    stream.write_all(message.as_bytes()).expect("a request");
}

/// The answer's lines up to its body.
fn head(connection: &mut BufReader<TcpStream>) -> Vec<String> {
    let lines = connection.lines().map(|line| line.expect("a line"));
    lines.take_while(|line| !line.is_empty()).collect()
}

#[test]
fn requests_pass_on_a_kept_connection_and_are_counted() {
    let proxy = Proxy::start(echo);
    let mut connection = connect(&proxy);
    for body in ["one", "two", "three"] {
        send(&mut connection, body);
        assert_eq!(head(&mut connection)[0], "HTTP/1.1 200 OK");
        let mut answer = vec![0; body.len()];
        connection.read_exact(&mut answer).expect("a body");
        assert_eq!(answer, body.as_bytes());
    }
    let counts = proxy.counts();
    assert_eq!((counts.requests, counts.connections), (3, 1));
    assert_eq!(
        (counts.open, counts.most_open, counts.handshakes),
        (1, 1, 0)
    );
    let bodies: Vec<_> = proxy
        .requests_for("x")
        .iter()
        .map(|request| request.body.clone())
        .collect();
    assert_eq!(
        bodies,
        [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]
    );
    assert_eq!(proxy.requests_for("y"), []);
}

#[test]
fn faults_are_for_an_operation_and_so_many_times() {
    let proxy = Proxy::start(echo);
    let busy = Response::new(503, "text/plain", "later").with("Retry-After", "1");
    proxy.fault_times("signHash", 2, Fault::Answer(busy));
    for status in [503, 503, 200] {
        let response =
            ask(proxy.port(), &post("/csc/v1/signatures/signHash", "x")).expect("an answer");
        assert_eq!(response.status, status);
        assert_eq!(response.header("retry-after").is_some(), status == 503);
        let other = ask(proxy.port(), &post("/csc/v1/info", "x")).expect("an answer");
        assert_eq!(other.status, 200);
    }
    proxy.fault(
        "Sign",
        Fault::Answer(Response::new(400, "text/xml", "<Error/>")),
    );
    let sign = post("/", "").with("X-Amz-Target", "TrentService.Sign");
    assert_eq!(ask(proxy.port(), &sign).expect("an answer").status, 400);
    proxy.clear();
    assert_eq!(ask(proxy.port(), &sign).expect("an answer").status, 200);
}

#[test]
fn answers_are_cut_and_connections_lost() {
    let proxy = Proxy::start(echo);
    let failure = |fault: Fault| {
        proxy.fault_times("*", 1, fault);
        ask(proxy.port(), &post("/", "a body of some length"))
            .expect_err("no answer")
            .kind()
    };
    assert_eq!(failure(Fault::Truncate(4)), ErrorKind::UnexpectedEof);
    assert_eq!(failure(Fault::Close), ErrorKind::UnexpectedEof);
    assert_eq!(failure(Fault::Garbage), ErrorKind::InvalidData);
    assert_eq!(failure(Fault::Reset), ErrorKind::ConnectionReset);
    proxy.connecting(Connecting::Reset);
    assert_eq!(failure(Fault::Close), ErrorKind::ConnectionReset);
}

#[test]
fn a_connection_ends_behind_an_answer() {
    let proxy = Proxy::start(echo);
    proxy.fault("*", Fault::CloseAfter);
    let mut connection = connect(&proxy);
    send(&mut connection, "ab");
    let head = head(&mut connection);
    assert!(
        !head.iter().any(|line| line.starts_with("Connection")),
        "{head:?}"
    );
    let mut rest = Vec::new();
    connection.read_to_end(&mut rest).expect("the end");
    assert_eq!(rest, b"ab");
}

#[test]
fn long_answers_are_as_long_as_asked_for() {
    let proxy = Proxy::start(echo);
    proxy.fault("*", Fault::Long(3_000_000));
    let response = ask(proxy.port(), &post("/", "")).expect("an answer");
    assert_eq!(response.body.len(), 3_000_000);
    proxy.fault("*", Fault::Endless);
    let mut connection = connect(&proxy);
    send(&mut connection, "");
    assert!(head(&mut connection).contains(&"Transfer-Encoding: chunked".to_owned()));
    let mut part = vec![0; 5_000_000];
    connection.read_exact(&mut part).expect("more and more");
}

#[test]
fn answers_come_late_byte_by_byte_or_not_at_all() {
    let proxy = Proxy::start(echo);
    let start = Instant::now();
    proxy.fault_times("*", 1, Fault::Delay(Duration::from_millis(200)));
    ask(proxy.port(), &post("/", "")).expect("an answer");
    assert!(start.elapsed() >= Duration::from_millis(200));
    let start = Instant::now();
    proxy.fault_times("*", 1, Fault::Drip(Duration::from_millis(1)));
    let response = ask(proxy.port(), &post("/", "abc")).expect("an answer");
    assert_eq!(response.body, b"abc");
    assert!(start.elapsed() >= Duration::from_millis(60));

    for stalled in [false, true] {
        if stalled {
            proxy.connecting(Connecting::Stall);
        } else {
            proxy.fault("*", Fault::Stall);
        }
        let mut connection = connect(&proxy);
        send(&mut connection, "x");
        let stream = connection.get_mut();
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .expect("a timeout");
        let error = connection.read(&mut [0]).expect_err("silence");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        proxy.clear();
        connection
            .get_mut()
            .set_read_timeout(Some(LIMIT))
            .expect("a timeout");
        let _ = connection.read(&mut [0]);
    }
}

#[test]
fn it_goes_down_and_comes_up() {
    let mut proxy = Proxy::start(echo);
    let mut connection = connect(&proxy);
    send(&mut connection, "");
    head(&mut connection);
    proxy.fault("*", Fault::Stall);
    let mut stalled = connect(&proxy);
    send(&mut stalled, "");
    proxy.go_down();
    let error = TcpStream::connect(("127.0.0.1", proxy.port())).expect_err("nobody there");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(
        matches!(connection.read(&mut [0]), Ok(0) | Err(_)),
        "it was ended"
    );
    proxy.clear();
    proxy.come_up();
    assert_eq!(
        ask(proxy.port(), &post("/", "")).expect("an answer").status,
        200
    );
}

/// A handshake of a client that trusts the authority.
fn shake_hands(
    proxy: &Proxy,
    authority: &Authority,
    client: Option<&Authority>,
) -> Result<SslStream<TcpStream>, String> {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).expect("TLS");
    connector
        .set_min_proto_version(Some(SslVersion::TLS1_2))
        .expect("TLS 1.2");
    connector
        .set_ca_file(authority.file())
        .expect("an authority");
    if let Some(client) = client {
        let (certificate, key) = client.client("somebody");
        connector
            .set_certificate_chain_file(certificate)
            .expect("a certificate");
        connector
            .set_private_key_file(key, openssl::ssl::SslFiletype::PEM)
            .expect("a key");
    }
    let stream = TcpStream::connect(("127.0.0.1", proxy.port())).expect("a connection");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    let mut stream = connector
        .build()
        .connect("localhost", stream)
        .map_err(|error| error.to_string())?;
    // In TLS 1.3 a client is refused only behind its own handshake.
    stream
        .write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        .map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .map_err(|error| error.to_string())?;
    if answer.starts_with("HTTP/1.1 200") {
        Ok(stream)
    } else {
        Err("no answer".to_owned())
    }
}

#[test]
fn tls_is_good_or_bad_as_asked_for() {
    let authority = Authority::new();
    let attempt = |tls: Tls, client: Option<&Authority>| {
        let proxy = Proxy::start_tls(echo, &tls);
        assert!(proxy.url().starts_with("https://localhost:"));
        let result = shake_hands(&proxy, &authority, client);
        let counts = proxy.counts();
        assert_eq!(counts.connections, 1);
        if result.is_ok() {
            assert_eq!((counts.handshakes, counts.requests), (1, 1));
        }
        result.map(|stream| stream.ssl().version_str().to_owned())
    };
    let with = |certificate| Tls::new(&authority, certificate);
    let good = || with(ServerCertificate::Good);
    assert_eq!(attempt(good(), None).as_deref(), Ok("TLSv1.3"));
    assert_eq!(
        attempt(good().only_tls_1_2(), None).as_deref(),
        Ok("TLSv1.2")
    );
    for (certificate, why) in [
        (ServerCertificate::Expired, "expired"),
        (ServerCertificate::NotYetValid, "not yet valid"),
        (ServerCertificate::WrongHost, "mismatch"),
        (ServerCertificate::UnknownAuthority, "issuer certificate"),
    ] {
        let error = attempt(with(certificate), None).expect_err("a bad certificate");
        let text = error.to_lowercase();
        assert!(text.contains(why), "{certificate:?}: {error}");
    }
    let error = attempt(good().only_tls_1_1(), None).expect_err("an old version");
    assert!(error.to_lowercase().contains("version"), "{error}");

    let clients = || good().for_clients_of(&authority);
    assert!(attempt(clients(), Some(&authority)).is_ok());
    attempt(clients(), None).expect_err("no certificate");
    attempt(clients(), Some(&Authority::new())).expect_err("somebody else's certificate");
}

#[test]
fn a_backend_can_be_shared() {
    let shared: Arc<dyn ctk_services::Backend> = Arc::new(echo);
    let (one, other) = (Proxy::start(Arc::clone(&shared)), Proxy::start(shared));
    for proxy in [one, other] {
        assert_eq!(
            ask(proxy.port(), &post("/", "x")).expect("an answer").body,
            b"x"
        );
    }
}
