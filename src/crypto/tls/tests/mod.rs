//! A server of the same library over vectors of bytes, and certificates made for it.

mod certificates;
mod streams;

use std::{
    io::{self, Read, Write},
    time::SystemTime,
};

use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslStream},
    x509::{
        X509, X509NameBuilder,
        extension::{
            AuthorityKeyIdentifier, BasicConstraints, SubjectAlternativeName, SubjectKeyIdentifier,
        },
    },
};

use super::*;

const DAY: i64 = 86_400;

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs() as i64
}

struct Issued {
    certificate: X509,
    key: PKey<Private>,
}

impl Issued {
    fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    fn key_pem(&self) -> Zeroizing<Vec<u8>> {
        self.key.private_key_to_pem_pkcs8().unwrap().into()
    }

    /// As `openssl pkey -pubout -outform der | sha256sum` has it.
    fn pin(&self) -> [u8; 32] {
        sha256(&self.key.public_key_to_der().unwrap())
    }
}

struct Wanted<'a> {
    subject: &'a str,
    names: &'a [&'a str],
    addresses: &'a [&'a str],
    from: i64,
    until: i64,
    ca: bool,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self {
            subject: "the server",
            names: &["sign.example", "*.wild.example"],
            addresses: &["127.0.0.1", "::1"],
            from: -DAY,
            until: DAY,
            ca: false,
        }
    }
}

impl Wanted<'_> {
    /// Signed by `issuer`, or by itself.
    fn issue(&self, issuer: Option<&Issued>) -> Issued {
        // Before the first call: OpenSSL would read the host's openssl.cnf.
        sys::ready();
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut subject = X509NameBuilder::new().unwrap();
        subject
            .append_entry_by_nid(Nid::COMMONNAME, self.subject)
            .unwrap();
        let subject = subject.build();

        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let mut serial = [1; 16];
        crate::random(&mut serial[1..]).unwrap();
        let serial = BigNum::from_slice(&serial).unwrap();
        builder
            .set_serial_number(&serial.to_asn1_integer().unwrap())
            .unwrap();
        let time = |offset| Asn1Time::from_unix(now() + offset).unwrap();
        builder.set_not_before(&time(self.from)).unwrap();
        builder.set_not_after(&time(self.until)).unwrap();
        builder.set_subject_name(&subject).unwrap();
        let issuer_name = issuer.map_or(&*subject, |issuer| issuer.certificate.subject_name());
        builder.set_issuer_name(issuer_name).unwrap();
        builder.set_pubkey(&key).unwrap();
        if self.ca {
            let constraints = BasicConstraints::new().critical().ca().build().unwrap();
            builder.append_extension(constraints).unwrap();
        }
        // Without them, two roots of one name cannot be told apart.
        let own = SubjectKeyIdentifier::new();
        let own = own.build(&builder.x509v3_context(None, None)).unwrap();
        builder.append_extension(own).unwrap();
        if let Some(issuer) = issuer {
            let context = builder.x509v3_context(Some(&issuer.certificate), None);
            let above = AuthorityKeyIdentifier::new()
                .keyid(true)
                .build(&context)
                .unwrap();
            builder.append_extension(above).unwrap();
        }
        let mut names = SubjectAlternativeName::new();
        for name in self.names {
            names.dns(name);
        }
        for address in self.addresses {
            names.ip(address);
        }
        if !(self.names.is_empty() && self.addresses.is_empty()) {
            let names = names.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(names).unwrap();
        }
        let signer = issuer.map_or(&key, |issuer| &issuer.key);
        builder.sign(signer, MessageDigest::sha256()).unwrap();
        Issued {
            certificate: builder.build(),
            key,
        }
    }
}

fn make_root() -> Issued {
    let wanted = Wanted {
        subject: "the root",
        names: &[],
        addresses: &[],
        ca: true,
        ..Wanted::default()
    };
    wanted.issue(None)
}

fn settings(root: &Issued) -> TlsSettings {
    TlsSettings {
        roots: Roots::Pem(root.pem()),
        client: None,
        pins: Vec::new(),
    }
}

/// What the server reads from and writes to.
#[derive(Default, Debug)]
struct Wire {
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.to_server.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = (&self.to_server[..]).read(buffer)?;
        self.to_server.drain(..len);
        Ok(len)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to_client.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Server(SslStream<Wire>);

fn server_context(issued: &Issued, chain: &[&Issued]) -> SslContextBuilder {
    sys::ready();
    let mut builder = SslContext::builder(SslMethod::tls_server()).unwrap();
    builder.set_certificate(&issued.certificate).unwrap();
    builder.set_private_key(&issued.key).unwrap();
    for above in chain {
        builder
            .add_extra_chain_cert(above.certificate.clone())
            .unwrap();
    }
    builder
}

impl Server {
    fn new(context: SslContextBuilder) -> Self {
        let mut ssl = Ssl::new(&context.build()).unwrap();
        ssl.set_accept_state();
        Self(SslStream::new(ssl, Wire::default()).unwrap())
    }

    fn of(issued: &Issued) -> Self {
        Self::new(server_context(issued, &[]))
    }

    /// Takes what the client sends and answers as far as it can.
    fn take(&mut self, client: &mut TlsClient) {
        self.0.get_mut().to_server.append(client.outgoing());
        // Errors are the client's to see, by what the server sends then.
        let _ = self.0.do_handshake();
    }

    fn answer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0.get_mut().to_client)
    }
}

/// Moves bytes until the client is done or has failed.
fn shake(client: &mut TlsClient, server: &mut Server) -> Result<(), TlsError> {
    for _ in 0..10 {
        if client.handshake()? {
            // Its last message has to reach the server too.
            server.take(client);
            return Ok(());
        }
        server.take(client);
        client.feed(&server.answer());
    }
    panic!("the handshake goes round in circles");
}

fn connected(settings: &TlsSettings, server: &mut Server) -> Result<TlsClient, TlsError> {
    let mut client = TlsContext::new(settings)?.connect("sign.example")?;
    shake(&mut client, server)?;
    Ok(client)
}

/// What the client has to say of this certificate, asked as this host.
fn refusal(wanted: &Wanted<'_>, host: &str) -> TlsError {
    let root = make_root();
    let issued = wanted.issue(Some(&root));
    let mut client = TlsContext::new(&settings(&root))
        .unwrap()
        .connect(host)
        .unwrap();
    let mut server = Server::of(&issued);
    let error = shake(&mut client, &mut server).unwrap_err();
    assert!(!client.outgoing().is_empty(), "no alert tells the server");
    assert_eq!(
        client.handshake(),
        Err(error.clone()),
        "once refused, always refused"
    );
    assert_eq!(client.write(b"secret"), Err(error.clone()));
    assert_eq!(client.read(&mut [0; 9]), Err(error.clone()));
    assert_eq!(client.peer(), None);
    error
}

fn read_all(client: &mut TlsClient) -> (Vec<u8>, Received) {
    let (mut all, mut buffer) = (Vec::new(), [0; 1000]);
    loop {
        match client.read(&mut buffer).unwrap() {
            Received::Bytes(len) => all.extend_from_slice(&buffer[..len]),
            other => return (all, other),
        }
    }
}
