//! Certificates made for a test.

use std::{
    net::{IpAddr, TcpStream},
    time::Duration,
};

use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    ssl::{SslAcceptor, SslMethod, SslVerifyMode, SslVersion},
    x509::{
        X509, X509Name,
        extension::{BasicConstraints, SubjectAlternativeName},
        store::X509StoreBuilder,
    },
};

use super::server::{After, Heard, Server, Wire};

/// A certificate and its key.
pub(in crate::http) struct Identity {
    pub(in crate::http) certificate: X509,
    pub(in crate::http) key: PKey<Private>,
}

/// Who signs certificates.
pub(in crate::http) struct Authority(pub(in crate::http) Identity);

impl Authority {
    pub(in crate::http) fn new() -> Self {
        Self::named("Test CA")
    }

    pub(in crate::http) fn named(name: &str) -> Self {
        Self(identity(name, None, (-1, 1), None))
    }

    /// A certificate for a name or address, valid now.
    pub(in crate::http) fn issue(&self, name: &str) -> Identity {
        identity(name, Some(name), (-1, 1), Some(&self.0))
    }

    /// One that was valid until yesterday.
    pub(in crate::http) fn issue_expired(&self, name: &str) -> Identity {
        identity(name, Some(name), (-2, -1), Some(&self.0))
    }

    /// Its certificate, PEM.
    pub(in crate::http) fn pem(&self) -> Vec<u8> {
        self.0.certificate.to_pem().unwrap()
    }
}

/// Valid from and to, in days from now.
fn identity(
    name: &str,
    alternative: Option<&str>,
    days: (i64, i64),
    issuer: Option<&Identity>,
) -> Identity {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut subject = X509Name::builder().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let mut serial = BigNum::new().unwrap();
    serial
        .rand(127, openssl::bn::MsbOption::ONE, false)
        .unwrap();
    builder
        .set_serial_number(&serial.to_asn1_integer().unwrap())
        .unwrap();
    builder.set_subject_name(&subject).unwrap();
    let issuer_name = issuer.map_or(&*subject, |issuer| issuer.certificate.subject_name());
    builder.set_issuer_name(issuer_name).unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let day = |day: i64| {
        Asn1Time::from_unix(i64::try_from(now.as_secs()).unwrap() + day * 86_400).unwrap()
    };
    builder.set_not_before(&day(days.0)).unwrap();
    builder.set_not_after(&day(days.1)).unwrap();
    builder.set_pubkey(&key).unwrap();
    match alternative {
        Some(name) => {
            let mut names = SubjectAlternativeName::new();
            match name.parse::<IpAddr>() {
                Ok(_) => names.ip(name),
                Err(_) => names.dns(name),
            };
            let names = names.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(names).unwrap();
        }
        None => {
            let authority = BasicConstraints::new().critical().ca().build().unwrap();
            builder.append_extension(authority).unwrap();
        }
    }
    let signer = issuer.map_or(&key, |issuer| &issuer.key);
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    Identity {
        certificate: builder.build(),
        key,
    }
}

/// What a TLS server asks of its clients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::http) enum Wants {
    Nothing,
    /// A certificate of the authority's.
    Certificate,
    /// Nothing, and it speaks the newest version only up to 1.2.
    Old,
}

/// A server behind TLS.
pub(in crate::http) fn serve(
    identity: &Identity,
    authority: &Authority,
    wants: Wants,
    answers: impl Fn(&Heard, &mut dyn Wire) -> After + Send + Sync + 'static,
) -> Server {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor.set_private_key(&identity.key).unwrap();
    acceptor.set_certificate(&identity.certificate).unwrap();
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(authority.0.certificate.clone()).unwrap();
    acceptor.set_cert_store(store.build());
    match wants {
        Wants::Nothing => {}
        Wants::Certificate => {
            acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        }
        Wants::Old => acceptor
            .set_max_proto_version(Some(SslVersion::TLS1_2))
            .unwrap(),
    }
    let acceptor = acceptor.build();
    Server::with(
        false,
        move |stream: TcpStream| {
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            let accepted = acceptor.accept(stream);
            let stream = accepted.map_err(|error| std::io::Error::other(error.to_string()))?;
            stream
                .get_ref()
                .set_read_timeout(Some(Duration::from_millis(20)))?;
            Ok(Box::new(stream))
        },
        answers,
    )
}
