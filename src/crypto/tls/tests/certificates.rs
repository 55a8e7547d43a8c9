//! Whom a client believes, and whom it shows itself to.

use std::time::{Duration, SystemTime};

use openssl::{
    asn1::Asn1Time,
    ssl::{SslVerifyMode, SslVersion},
};

use super::*;

#[test]
fn the_server_is_named_to_it_and_tells_who_it_is() {
    let root = make_root();
    let issued = Wanted::default().issue(Some(&root));
    let mut server = Server::of(&issued);
    let client = connected(&settings(&root), &mut server).unwrap();
    let name = server.0.ssl().servername(openssl::ssl::NameType::HOST_NAME);
    assert_eq!(name, Some("sign.example"));
    let peer = client.peer().unwrap();
    assert_eq!((&*peer.subject, &*peer.issuer), ("the server", "the root"));
    assert_eq!(peer.version, "TLSv1.3");
    let left = peer
        .expiry
        .unwrap()
        .duration_since(SystemTime::now())
        .unwrap();
    assert!(left < Duration::from_secs(DAY as u64) && left > Duration::from_secs(DAY as u64 / 2));
}

#[test]
fn names_and_addresses_are_checked() {
    let root = make_root();
    let issued = Wanted::default().issue(Some(&root));
    let context = TlsContext::new(&settings(&root)).unwrap();
    for host in [
        "sign.example",
        "SIGN.example",
        "sign.example.",
        "a.wild.example",
        "127.0.0.1",
        "::1",
        "[::1]",
    ] {
        let mut client = context.connect(host).unwrap();
        shake(&mut client, &mut Server::of(&issued))
            .unwrap_or_else(|error| panic!("{host}: {error}"));
    }
    for host in [
        "other.example",
        "wild.example",
        "a.b.wild.example",
        "127.0.0.2",
        "::2",
        "example",
    ] {
        let error = refusal(&Wanted::default(), host);
        assert_eq!(error.problem, TlsProblem::WrongName, "{host}: {error}");
        for part in ["sign.example", "127.0.0.1", host] {
            assert!(error.text.contains(part), "{error}");
        }
    }
    let nameless = Wanted {
        names: &[],
        addresses: &[],
        ..Wanted::default()
    };
    let error = refusal(&nameless, "sign.example");
    assert_eq!(
        error.text,
        "the certificate names no host, not for sign.example"
    );
    // A common name is no host's, whether there are other names or not.
    for addresses in [&[][..], &["127.0.0.1"]] {
        let common = Wanted {
            subject: "sign.example",
            names: &[],
            addresses,
            ..Wanted::default()
        };
        let error = refusal(&common, "sign.example");
        assert_eq!(error.problem, TlsProblem::WrongName, "{error}");
    }
    for host in ["", "a\0b", ".wild.example"] {
        let error = context.connect(host).unwrap_err();
        assert_eq!(error.problem, TlsProblem::WrongName, "{host:?}");
    }
}

#[test]
fn certificates_have_their_time() {
    let error = refusal(
        &Wanted {
            from: -2 * DAY,
            until: -DAY,
            ..Wanted::default()
        },
        "sign.example",
    );
    assert_eq!(error.problem, TlsProblem::Expired);
    let end = Asn1Time::from_unix(now() - DAY).unwrap().to_string();
    // Without the time of day, which has gone on.
    assert!(
        error.text.contains(&end[..6]) && error.text.contains("the server"),
        "{error}"
    );

    let error = refusal(
        &Wanted {
            from: DAY,
            until: 2 * DAY,
            ..Wanted::default()
        },
        "sign.example",
    );
    assert_eq!(error.problem, TlsProblem::NotYetValid);
    assert!(error.text.contains("the clock here"), "{error}");
}

#[test]
fn strangers_are_not_trusted() {
    let ours = make_root();
    for issued in [
        Wanted::default().issue(Some(&make_root())),
        Wanted::default().issue(None),
    ] {
        let error = connected(&settings(&ours), &mut Server::of(&issued)).unwrap_err();
        assert_eq!(error.problem, TlsProblem::UnknownIssuer, "{error}");
        assert!(error.text.contains("ca_file"), "{error}");
    }
    // A root of the right name and another key.
    let issued = Wanted::default().issue(Some(&ours));
    let error = connected(&settings(&make_root()), &mut Server::of(&issued)).unwrap_err();
    assert_eq!(error.problem, TlsProblem::UnknownIssuer, "{error}");
    // The system's roots do not know ours.
    let system = TlsSettings {
        roots: Roots::System,
        client: None,
        pins: Vec::new(),
    };
    let error = connected(&system, &mut Server::of(&issued)).unwrap_err();
    assert_eq!(error.problem, TlsProblem::UnknownIssuer, "{error}");
}

#[test]
fn what_a_server_calls_itself_does_no_harm() {
    let wanted = Wanted {
        subject: "\x1b[2Jroot\r\nok",
        ..Wanted::default()
    };
    let error = connected(
        &settings(&make_root()),
        &mut Server::of(&wanted.issue(None)),
    )
    .unwrap_err();
    assert!(!error.text.contains(char::is_control), "{error:?}");
}

#[test]
fn each_certificate_of_ones_own_is_trusted_as_it_is() {
    let root = make_root();
    let middle = Wanted {
        subject: "the middle",
        ca: true,
        ..Wanted::default()
    };
    let middle = middle.issue(Some(&root));
    let issued = Wanted::default().issue(Some(&middle));
    let alone = Wanted::default().issue(None);
    for (trusted, issued) in [
        (&root, &issued),
        (&middle, &issued),
        (&issued, &issued),
        (&alone, &alone),
    ] {
        let mut settings = settings(trusted);
        // Twice, beside another and with words around: as people put files together.
        let Roots::Pem(pem) = &mut settings.roots else {
            unreachable!()
        };
        let mut mixed = b"# our roots\n".to_vec();
        for part in [&pem[..], b"\n\n", pem, &make_root().pem()] {
            mixed.extend_from_slice(part);
        }
        *pem = mixed;
        let mut server = Server::new(server_context(issued, &[&middle]));
        connected(&settings, &mut server).unwrap();
    }
}

#[test]
fn pins_look_at_the_chain_that_was_verified() {
    let root = make_root();
    let middle = Wanted {
        subject: "the middle",
        ca: true,
        ..Wanted::default()
    };
    let middle = middle.issue(Some(&root));
    let issued = Wanted::default().issue(Some(&middle));
    let stranger = make_root();
    let connect = |pins: &[[u8; 32]]| {
        let settings = TlsSettings {
            pins: pins.to_vec(),
            ..settings(&root)
        };
        // The stranger is sent along and proves nothing.
        let mut server = Server::new(server_context(&issued, &[&middle, &stranger]));
        connected(&settings, &mut server).map(drop)
    };
    for pinned in [&issued, &middle, &root] {
        connect(&[pinned.pin()]).unwrap();
        connect(&[[7; 32], pinned.pin()]).unwrap();
    }
    for pins in [
        &[stranger.pin()][..],
        &[[0; 32]],
        &[stranger.pin(), [1; 32]],
    ] {
        let error = connect(pins).unwrap_err();
        assert_eq!(error.problem, TlsProblem::Pin, "{error}");
    }
    // A pin does not make an unknown certificate good.
    let settings = TlsSettings {
        pins: vec![issued.pin()],
        ..settings(&stranger)
    };
    let mut server = Server::new(server_context(&issued, &[&middle]));
    let error = connected(&settings, &mut server).unwrap_err();
    assert_eq!(error.problem, TlsProblem::UnknownIssuer, "{error}");
}

/// A server that wants a certificate from `root`.
fn curious(issued: &Issued, root: &Issued, version: SslVersion) -> Server {
    let mut context = server_context(issued, &[]);
    context
        .cert_store_mut()
        .add_cert(root.certificate.clone())
        .unwrap();
    context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    context.set_max_proto_version(Some(version)).unwrap();
    Server::new(context)
}

#[test]
fn a_server_sees_the_certificate_that_it_wants() {
    let root = make_root();
    let issued = Wanted::default().issue(Some(&root));
    let ours = Wanted {
        subject: "the client",
        ..Wanted::default()
    }
    .issue(Some(&root));
    let foreign = Wanted {
        subject: "somebody",
        ..Wanted::default()
    }
    .issue(None);
    let as_client = |client: &Issued| TlsSettings {
        client: Some(ClientIdentity {
            chain_pem: client.pem(),
            key_pem: client.key_pem(),
        }),
        ..settings(&root)
    };
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let mut server = curious(&issued, &root, version);
        let mut client = connected(&as_client(&ours), &mut server).unwrap();
        let seen = server.0.ssl().peer_certificate().unwrap();
        assert_eq!(short_name(seen.subject_name()), "the client");
        server.0.write_all(b"welcome").unwrap();
        client.feed(&server.answer());
        assert_eq!(read_all(&mut client).0, b"welcome");

        for settings in [settings(&root), as_client(&foreign)] {
            let mut server = curious(&issued, &root, version);
            let mut client = TlsContext::new(&settings)
                .unwrap()
                .connect("sign.example")
                .unwrap();
            // TLS 1.3 is done before the server has looked.
            let refused = shake(&mut client, &mut server).and_then(|()| {
                client.feed(&server.answer());
                client.read(&mut [0; 9])
            });
            let error = refused.unwrap_err();
            assert!(matches!(error.problem, TlsProblem::Refused(_)), "{error:?}");
            assert!(error.text.contains("client_certificate"), "{error}");
        }
    }
}

#[test]
fn a_server_that_is_not_pinned_sees_nothing_of_the_client() {
    let root = make_root();
    let issued = Wanted::default().issue(Some(&root));
    let ours = Wanted {
        subject: "the client",
        ..Wanted::default()
    };
    let ours = ours.issue(Some(&root));
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        for (pin, is_shown) in [(issued.pin(), true), ([7; 32], false)] {
            let settings = TlsSettings {
                client: Some(ClientIdentity {
                    chain_pem: ours.pem(),
                    key_pem: ours.key_pem(),
                }),
                pins: vec![pin],
                ..settings(&root)
            };
            let mut server = curious(&issued, &root, version);
            let context = TlsContext::new(&settings).unwrap();
            let mut client = context.connect("sign.example").unwrap();
            let shaken = shake(&mut client, &mut server);
            // What is sent after a failure reaches the server too.
            server.take(&mut client);
            let problem = shaken.err().map(|error| error.problem);
            assert_eq!(problem, (!is_shown).then_some(TlsProblem::Pin));
            let ssl = server.0.ssl();
            assert_eq!(ssl.peer_certificate().is_some(), is_shown);
            let state = ssl.state_string_long();
            let is_done = state.contains("finished successfully");
            assert_eq!(is_done, is_shown, "{version:?}: {state}");
        }
    }
}

#[test]
fn what_the_client_shows_has_to_be_in_order() {
    let root = make_root();
    let (one, other) = (Wanted::default().issue(None), Wanted::default().issue(None));
    let encrypted = one
        .key
        .private_key_to_pem_pkcs8_passphrase(openssl::symm::Cipher::aes_128_cbc(), b"1234")
        .unwrap();
    for (chain_pem, key_pem, word) in [
        (one.pem(), other.key_pem(), "is not the key"),
        (one.pem(), encrypted.into(), "encrypted"),
        (one.pem(), one.pem().into(), "no private key"),
        (one.pem(), Vec::new().into(), "no private key"),
        (one.key_pem().to_vec(), one.key_pem(), "no certificate"),
        (Vec::new(), one.key_pem(), "no certificate"),
    ] {
        let client = Some(ClientIdentity { chain_pem, key_pem });
        let error = TlsContext::new(&TlsSettings {
            client,
            ..settings(&root)
        })
        .unwrap_err();
        assert_eq!(error.problem, TlsProblem::LocalFile);
        assert!(error.text.contains(word), "{error}");
    }
}

#[test]
fn roots_have_to_be_certificates() {
    let mut damaged = make_root().pem();
    let middle = damaged.len() / 2;
    damaged[middle] = b'!';
    for pem in [
        Vec::new(),
        b"no PEM at all".to_vec(),
        damaged,
        make_root().key_pem().to_vec(),
    ] {
        let settings = TlsSettings {
            roots: Roots::Pem(pem),
            client: None,
            pins: Vec::new(),
        };
        let error = TlsContext::new(&settings).unwrap_err();
        assert_eq!(error.problem, TlsProblem::LocalFile);
        assert!(error.text.contains("ca_file"), "{error}");
    }
}

/// With what this file says no handshake would be made. A process of its own is the first to use the library.
#[test]
fn the_hosts_configuration_of_openssl_is_not_read() {
    let path = std::env::temp_dir().join(format!("ctk-tls-{}.cnf", std::process::id()));
    let text = "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nCipherString = NULL\n\
                MaxProtocol = TLSv1.1\n";
    std::fs::write(&path, text).unwrap();
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    let test = "tls::tests::certificates::the_server_is_named_to_it_and_tells_who_it_is";
    alone.args(["--exact", test]).env("OPENSSL_CONF", &path);
    let output = alone.output().unwrap();
    std::fs::remove_file(&path).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{output:?}");
}
