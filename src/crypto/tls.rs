//! TLS as a client, without a socket: bytes go in and come out, and whoever calls moves them.
//!
//! So nothing in here waits, the library is entered only while it computes (a fork need not wait for a server), and a child of
//! a fork that drops what it inherited sends nothing. Nothing of the process is set either: no signal, no environment, no
//! configuration file; and the roots are read by ourselves, because the library would ask the environment where they are.
//!
//! TLS 1.2 and 1.3 with the server's certificate verified up to a root, for the name or address that was asked for
//! (RFC 9525). Sessions are not resumed: with TLS 1.3 that saves no round trip, connections are kept anyway, and
//! each handshake looks at the certificate and the pins anew.

mod client;
mod identity;
mod problem;
mod roots;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use openssl::{
    error::ErrorStack,
    nid::Nid,
    sha::sha256,
    ssl::{
        Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode,
        SslVerifyMode, SslVersion,
    },
    x509::{
        X509Ref, X509StoreContextRef, X509VerifyResult,
        verify::{X509CheckFlags, X509VerifyFlags},
    },
};
use zeroize::Zeroizing;

use crate::{fork, sys};

pub use client::{Peer, Received, TlsClient};
pub use problem::{TlsError, TlsProblem};
pub use roots::system_roots;

/// What suites TLS 1.2 may use: forward secrecy and no 3DES. Those of TLS 1.3 are all good.
const TLS_1_2_SUITES: &str = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:DHE+AESGCM";

/// Which certificates a server's must come from.
#[derive(Clone, Debug)]
pub enum Roots {
    /// The system's: `/etc/ssl/certs/ca-certificates.crt`, or where other systems have it.
    System,
    /// These certificates (PEM) and no others. Each is trusted as it is: an intermediate or the server's own will do.
    Pem(Vec<u8>),
}

/// What a server is shown that asks for a certificate.
#[derive(Clone)]
pub struct ClientIdentity {
    /// The certificate, then those above it (PEM).
    pub chain_pem: Vec<u8>,
    /// Its private key (PEM), unencrypted.
    pub key_pem: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientIdentity")
    }
}

/// How servers are verified and who the client is.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Whom to trust.
    pub roots: Roots,
    /// Who we are, if a server asks.
    pub client: Option<ClientIdentity>,
    /// SHA-256 of SubjectPublicKeyInfos, of which the server's verified chain must contain one, its root
    /// included (RFC 7469 §2.6). Empty: any.
    pub pins: Vec<[u8; 32]>,
}

/// What connections have in common. Making one reads and parses the roots: keep it.
pub struct TlsContext {
    /// Taken when dropped, inside the gate.
    context: Option<SslContext>,
    pins: Arc<[[u8; 32]]>,
}

impl TlsContext {
    /// # Errors
    /// [`TlsProblem::LocalFile`] for roots, certificates or keys that cannot be used.
    pub fn new(settings: &TlsSettings) -> Result<Self, TlsError> {
        // Read before the gate: a fork need not wait for a disk.
        let (pem, own) = match &settings.roots {
            Roots::System => (roots::read_system()?, false),
            Roots::Pem(pem) => (pem.clone(), true),
        };
        sys::ready();
        let _inside = fork::enter();
        let mut builder = builder().map_err(|_| TlsError::library())?;
        if own {
            roots::add_own(builder.cert_store_mut(), &pem)?;
            let parameters = builder.verify_param_mut();
            parameters
                .set_flags(X509VerifyFlags::PARTIAL_CHAIN)
                .map_err(|_| TlsError::library())?;
        } else {
            roots::add_system(builder.cert_store_mut(), &pem)?;
        }
        if let Some(client) = &settings.client {
            identity::add(&mut builder, client)?;
        }
        Ok(Self {
            context: Some(builder.build()),
            pins: settings.pins.as_slice().into(),
        })
    }

    /// A connection to `host`, a DNS name or an IP address (in brackets or not), which the certificate must be for. It begins
    /// with [`TlsClient::handshake`].
    ///
    /// # Errors
    /// [`TlsProblem::WrongName`] for what no certificate can be for.
    pub fn connect(&self, host: &str) -> Result<TlsClient, TlsError> {
        let host = host.trim_start_matches('[').trim_end_matches([']', '.']);
        // The library takes a dot in front for every name under it.
        if host.starts_with('.') {
            return Err(TlsError::no_name(host));
        }
        let _inside = fork::enter();
        let context = self.context.as_ref().ok_or_else(TlsError::library)?;
        let mut ssl = Ssl::new(context).map_err(|_| TlsError::library())?;
        name(&mut ssl, host).map_err(|_| TlsError::no_name(host))?;

        let seen = Arc::new(Mutex::new(Seen::default()));
        let (place, asked) = (Arc::clone(&seen), host.to_owned());
        let pins = Arc::clone(&self.pins);
        ssl.set_verify_callback(SslVerifyMode::PEER, move |good, chain| {
            let mut seen = place.lock().unwrap_or_else(PoisonError::into_inner);
            seen.look(good, chain, &asked, &pins)
        });
        ssl.set_connect_state();
        TlsClient::new(ssl, seen, Arc::clone(&self.pins))
    }
}

impl Drop for TlsContext {
    fn drop(&mut self) {
        let _inside = fork::enter();
        self.context = None;
    }
}

impl std::fmt::Debug for TlsContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TlsContext({} pins)", self.pins.len())
    }
}

/// What the verification of a chain has shown, which the library keeps only if it was good, or not at all.
#[derive(Default)]
struct Seen {
    problem: Option<TlsError>,
    /// SHA-256 of the public keys of the chain as it was verified. What the server sent beside it proves nothing.
    keys: Vec<[u8; 32]>,
}

impl Seen {
    /// Called for each certificate that is good, the server's own at last, and for what is not. Says whether to go on: a
    /// server that is not pinned must not get to see who we are, which TLS would show it next.
    fn look(
        &mut self,
        good: bool,
        chain: &mut X509StoreContextRef,
        host: &str,
        pins: &[[u8; 32]],
    ) -> bool {
        if !good {
            let problem = || TlsError::certificate(chain.error(), chain.current_cert(), host);
            self.problem.get_or_insert_with(problem);
            return false;
        }
        let certificates = chain.chain().into_iter().flatten();
        self.keys = certificates.filter_map(key_hash).collect();
        if chain.error_depth() == 0 && !self.has_pin(pins) {
            chain.set_error(X509VerifyResult::APPLICATION_VERIFICATION);
            self.problem.get_or_insert_with(TlsError::no_pin);
            return false;
        }
        true
    }

    /// Whether the chain has one of these keys, if it must.
    fn has_pin(&self, pins: &[[u8; 32]]) -> bool {
        pins.is_empty() || self.keys.iter().any(|key| pins.contains(key))
    }
}

fn key_hash(certificate: &X509Ref) -> Option<[u8; 32]> {
    let key = certificate.public_key().ok()?;
    Some(sha256(&key.public_key_to_der().ok()?))
}

fn builder() -> Result<SslContextBuilder, ErrorStack> {
    let mut builder = SslContextBuilder::new(SslMethod::tls_client())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_cipher_list(TLS_1_2_SUITES)?;
    builder.set_mode(
        SslMode::AUTO_RETRY | SslMode::ACCEPT_MOVING_WRITE_BUFFER | SslMode::RELEASE_BUFFERS,
    );
    builder.set_options(SslOptions::NO_RENEGOTIATION);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_verify(SslVerifyMode::PEER);
    Ok(builder)
}

/// X509_CHECK_FLAG_NEVER_CHECK_SUBJECT of both libraries, which the bindings have for one of them only.
const NEVER_CHECK_SUBJECT: u32 = 0x20;

/// Says whom the certificate must be for, by its subjectAltName: a common name is no host's (RFC 9525 §2), and what an issuer
/// may certify does not bind it. Only names are sent (RFC 6066 §3).
fn name(ssl: &mut Ssl, host: &str) -> Result<(), ErrorStack> {
    if let Ok(address) = host.parse() {
        return ssl.param_mut().set_ip(address);
    }
    ssl.param_mut().set_hostflags(
        X509CheckFlags::NO_PARTIAL_WILDCARDS
            | X509CheckFlags::from_bits_retain(NEVER_CHECK_SUBJECT),
    );
    ssl.param_mut().set_host(host)?;
    ssl.set_hostname(host)
}

/// The common name, or else the first part of a certificate's subject or issuer.
fn short_name(name: &openssl::x509::X509NameRef) -> String {
    let common = name.entries_by_nid(Nid::COMMONNAME).next();
    let entry = common.or_else(|| name.entries().next());
    let text = entry.and_then(|entry| entry.data().to_string().ok());
    text.map_or_else(|| "(no name)".to_owned(), |text| problem::clean(&text))
}
