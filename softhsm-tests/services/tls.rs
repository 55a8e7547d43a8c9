//! What the proxy shows and wants in TLS.

use std::net::TcpStream;

use openssl::{
    error::ErrorStack,
    ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslStream, SslVerifyMode, SslVersion},
    x509::{X509, store::X509StoreBuilder},
};

use crate::authority::{Authority, ServerCertificate, ServerIdentity};

/// How a [`Proxy`](crate::Proxy) serves TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    identity: ServerIdentity,
    clients: Option<X509>,
    only_tls_1_1: bool,
    only_tls_1_2: bool,
}

impl Tls {
    /// TLS 1.2 and 1.3 with a certificate of this authority.
    pub fn new(authority: &Authority, certificate: ServerCertificate) -> Self {
        Self::with(authority.server(certificate))
    }

    /// TLS 1.2 and 1.3 with this certificate.
    pub fn with(identity: ServerIdentity) -> Self {
        Self {
            identity,
            clients: None,
            only_tls_1_1: false,
            only_tls_1_2: false,
        }
    }

    /// Nothing newer than TLS 1.1.
    #[must_use]
    pub fn only_tls_1_1(mut self) -> Self {
        self.only_tls_1_1 = true;
        self
    }

    /// Nothing newer than TLS 1.2.
    #[must_use]
    pub fn only_tls_1_2(mut self) -> Self {
        self.only_tls_1_2 = true;
        self
    }

    /// Only for clients with a certificate of this authority.
    #[must_use]
    pub fn for_clients_of(mut self, authority: &Authority) -> Self {
        self.clients = Some(authority.certificate().clone());
        self
    }

    pub(crate) fn context(&self) -> SslContext {
        self.build().expect("a TLS context")
    }

    fn build(&self) -> Result<SslContext, ErrorStack> {
        let mut context = SslContextBuilder::new(SslMethod::tls_server())?;
        context.set_certificate(&self.identity.certificate)?;
        context.set_private_key(&self.identity.key)?;
        let (oldest, newest) = match (self.only_tls_1_1, self.only_tls_1_2) {
            (true, _) => (SslVersion::TLS1_1, SslVersion::TLS1_1),
            (false, true) => (SslVersion::TLS1_2, SslVersion::TLS1_2),
            (false, false) => (SslVersion::TLS1_2, SslVersion::TLS1_3),
        };
        context.set_min_proto_version(Some(oldest))?;
        context.set_max_proto_version(Some(newest))?;
        if self.only_tls_1_1 && context.set_cipher_list("ALL:@SECLEVEL=0").is_err() {
            // AWS-LC knows no security levels.
            context.set_cipher_list("ALL")?;
        }
        if let Some(authority) = &self.clients {
            let mut store = X509StoreBuilder::new()?;
            store.add_cert(authority.clone())?;
            context.set_cert_store(store.build());
            context.add_client_ca(authority)?;
            context.set_session_id_context(b"clients")?;
            context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        }
        Ok(context.build())
    }
}

/// The server's side of a handshake; `None` if it fails.
pub(crate) fn accept(context: &SslContext, stream: TcpStream) -> Option<SslStream<TcpStream>> {
    let ssl = Ssl::new(context).expect("a TLS connection");
    ssl.accept(stream).ok()
}
