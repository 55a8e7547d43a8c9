//! Bytes on their way: of all sizes, in parts, cut off, damaged, and of other protocols.

use std::io::{Read, Write};

use openssl::ssl::SslVersion;

use super::*;

#[test]
fn bytes_go_both_ways_in_records_of_all_sizes() {
    let root = make_root();
    let issued = Wanted::default().issue(Some(&root));
    let mut server = Server::of(&issued);
    let mut client = connected(&settings(&root), &mut server).unwrap();
    for len in [1, 100, 16 * 1024, 16 * 1024 + 1, 100_000] {
        let mut sent = vec![0; len];
        crate::random(&mut sent).unwrap();
        client.write(&sent).unwrap();
        server.take(&mut client);
        let mut got = vec![0; len];
        server.0.read_exact(&mut got).unwrap();
        assert!(got == sent, "{len} bytes to the server");

        server.0.write_all(&sent).unwrap();
        client.feed(&server.answer());
        let (got, end) = read_all(&mut client);
        assert!(got == sent, "{len} bytes to the client");
        assert_eq!(end, Received::More);
        assert!(!client.has_unread());
    }
    client.write(b"").unwrap();
    assert!(client.outgoing().is_empty());
    assert_eq!(client.read(&mut []), Ok(Received::Bytes(0)));
}

#[test]
fn single_bytes_are_enough() {
    let root = make_root();
    let issued = Wanted::default().issue(Some(&root));
    let mut server = Server::of(&issued);
    let mut client = TlsContext::new(&settings(&root))
        .unwrap()
        .connect("sign.example")
        .unwrap();
    let mut done = client.handshake().unwrap();
    while !done {
        server.take(&mut client);
        let answer = server.answer();
        assert!(!answer.is_empty());
        for byte in answer {
            client.feed(&[byte]);
            done = client.handshake().unwrap();
        }
    }
    server.take(&mut client);
    server.0.write_all(b"an answer").unwrap();
    let mut got = Vec::new();
    for byte in server.answer() {
        client.feed(&[byte]);
        let (bytes, end) = read_all(&mut client);
        got.extend(bytes);
        assert_eq!(end, Received::More);
    }
    assert_eq!(got, b"an answer");
}

#[test]
fn nothing_goes_before_the_handshake() {
    let mut client = TlsContext::new(&settings(&make_root()))
        .unwrap()
        .connect("sign.example")
        .unwrap();
    assert!(client.write(b"secret").is_err());
    assert!(client.read(&mut [0; 9]).is_err());
    assert!(client.outgoing().is_empty());
    assert_eq!(client.peer(), None);
    assert_eq!(client.handshake(), Ok(false));
}

#[test]
fn tls_1_2_will_do_and_1_1_will_not() {
    let root = make_root();
    let issued = Wanted::default().issue(Some(&root));
    let mut context = server_context(&issued, &[]);
    context
        .set_max_proto_version(Some(SslVersion::TLS1_2))
        .unwrap();
    let client = connected(&settings(&root), &mut Server::new(context)).unwrap();
    assert_eq!(client.peer().unwrap().version, "TLSv1.2");

    let mut context = server_context(&issued, &[]);
    context
        .set_min_proto_version(Some(SslVersion::TLS1))
        .unwrap();
    context
        .set_max_proto_version(Some(SslVersion::TLS1_1))
        .unwrap();
    let error = connected(&settings(&root), &mut Server::new(context)).unwrap_err();
    assert_eq!(error.problem, TlsProblem::Version, "{error}");

    // A server that answers in its own old version instead of refusing: ServerHello of TLS 1.1.
    let mut hello = vec![22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0xc0, 0x13, 0]);
    let mut client = TlsContext::new(&settings(&root))
        .unwrap()
        .connect("sign.example")
        .unwrap();
    assert_eq!(client.handshake(), Ok(false));
    client.feed(&hello);
    let error = client.handshake().unwrap_err();
    assert_eq!(error.problem, TlsProblem::Version, "{error}");
}

#[test]
fn the_end_is_told_from_being_cut_off() {
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let root = make_root();
        let issued = Wanted::default().issue(Some(&root));
        let server = || {
            let mut context = server_context(&issued, &[]);
            context.set_max_proto_version(Some(version)).unwrap();
            Server::new(context)
        };
        let mut said = server();
        let mut client = connected(&settings(&root), &mut said).unwrap();
        said.0.write_all(b"all").unwrap();
        said.0.shutdown().unwrap();
        client.feed(&said.answer());
        client.feed_end();
        assert!(client.has_unread());
        assert_eq!(read_all(&mut client), (b"all".to_vec(), Received::End));
        assert_eq!(read_all(&mut client), (Vec::new(), Received::End));

        let mut unsaid = server();
        let mut client = connected(&settings(&root), &mut unsaid).unwrap();
        unsaid.0.write_all(b"all?").unwrap();
        client.feed(&unsaid.answer());
        client.feed_end();
        assert_eq!(
            read_all(&mut client),
            (b"all?".to_vec(), Received::Truncated)
        );
        assert_eq!(read_all(&mut client), (Vec::new(), Received::Truncated));

        // In the middle of a record, whose part is not handed out.
        let mut cut = server();
        let mut client = connected(&settings(&root), &mut cut).unwrap();
        client.feed(&cut.answer());
        assert_eq!(read_all(&mut client), (Vec::new(), Received::More));
        cut.0.write_all(b"all").unwrap();
        let answer = cut.answer();
        client.feed(&answer[..answer.len() - 1]);
        client.feed_end();
        assert_eq!(read_all(&mut client), (Vec::new(), Received::Truncated));
    }
}

#[test]
fn a_handshake_that_is_cut_off_has_failed() {
    let root = make_root();
    let issued = Wanted::default().issue(Some(&root));
    let mut server = Server::of(&issued);
    let context = TlsContext::new(&settings(&root)).unwrap();
    let mut client = context.connect("sign.example").unwrap();
    assert_eq!(client.handshake(), Ok(false));
    server.take(&mut client);
    let answer = server.answer();
    for len in [0, 1, 5, 100, answer.len() - 1] {
        let mut client = context.connect("sign.example").unwrap();
        assert_eq!(client.handshake(), Ok(false));
        client.feed(&answer[..len]);
        client.feed_end();
        let error = client.handshake().unwrap_err();
        assert_eq!(error.problem, TlsProblem::Broken, "{len}: {error}");
    }
}

#[test]
fn other_protocols_are_told() {
    let context = TlsContext::new(&settings(&make_root())).unwrap();
    for first in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "220 mail.example ESMTP\r\n",
        "SSH-2.0-x\r\n",
    ] {
        let mut client = context.connect("sign.example").unwrap();
        assert_eq!(client.handshake(), Ok(false));
        client.feed(first.as_bytes());
        let error = client.handshake().unwrap_err();
        assert_eq!(error.problem, TlsProblem::Broken, "{first}");
        assert!(error.text.contains("does not speak TLS"), "{error}");
    }
}

#[test]
fn alerts_are_told_in_words() {
    let context = TlsContext::new(&settings(&make_root())).unwrap();
    for (alert, problem, word) in [
        (40, TlsProblem::Refused(40), "client_certificate"),
        (70, TlsProblem::Version, "TLS 1.2"),
        (80, TlsProblem::Refused(80), "internal error"),
        (112, TlsProblem::Refused(112), "host name"),
    ] {
        let mut client = context.connect("sign.example").unwrap();
        assert_eq!(client.handshake(), Ok(false));
        client.feed(&[21, 3, 3, 0, 2, 2, alert]);
        let error = client.handshake().unwrap_err();
        assert_eq!(error.problem, problem, "{error}");
        assert!(error.text.contains(word), "{error}");
    }
}

/// A generator of its own: the same damages each time.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

#[test]
fn damage_ends_in_an_error_and_never_in_other_bytes() {
    let root = make_root();
    let issued = Wanted::default().issue(Some(&root));
    let context = TlsContext::new(&settings(&root)).unwrap();
    let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
    let mut refused = 0;
    for round in 0..400 {
        let version = [SslVersion::TLS1_2, SslVersion::TLS1_3][round % 2];
        let mut server_context = server_context(&issued, &[]);
        server_context.set_max_proto_version(Some(version)).unwrap();
        let mut server = Server::new(server_context);
        let mut client = context.connect("sign.example").unwrap();
        let flight = random.below(3);
        let mut got = Vec::new();
        let result = (0..10).try_for_each(|step| {
            let done = client.handshake()?;
            server.take(&mut client);
            if done {
                let _ = server.0.write_all(&[42; 1000]);
            }
            let mut answer = server.answer();
            if step == flight && !answer.is_empty() {
                let place = random.below(answer.len());
                match random.below(4) {
                    0 => answer[place] ^= 1 << random.below(8),
                    1 => drop(answer.remove(place)),
                    2 => answer.insert(place, random.below(256) as u8),
                    _ => answer.truncate(place),
                }
            }
            client.feed(&answer);
            if done {
                client.feed_end();
                let mut buffer = [0; 600];
                while let Received::Bytes(len) = client.read(&mut buffer)? {
                    got.extend_from_slice(&buffer[..len]);
                }
            }
            Ok::<_, TlsError>(())
        });
        refused += usize::from(result.is_err());
        assert!(got.iter().all(|byte| *byte == 42), "round {round}");
        if let Err(error) = result {
            assert!(!error.text.contains(char::is_control), "{error:?}");
        }
    }
    assert!(refused > 100, "only {refused} of 400 damages were seen");
}

#[test]
fn a_forked_child_drops_what_it_inherited_in_silence() {
    let root = make_root();
    let issued = Wanted::default().issue(Some(&root));
    let mut server = Server::of(&issued);
    let client = connected(&settings(&root), &mut server).unwrap();
    let mut client = Some(client);
    let said = sys::run_in_child(|| {
        client.take();
        // The child makes a connection of its own.
        let mut server = Server::of(&issued);
        connected(&settings(&root), &mut server).is_ok()
    });
    assert_eq!(said, Some(true));
    let mut client = client.unwrap();
    server.0.write_all(b"still here").unwrap();
    client.feed(&server.answer());
    assert_eq!(read_all(&mut client).0, b"still here");
}
