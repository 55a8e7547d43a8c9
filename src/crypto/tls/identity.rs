//! The certificate and key that a client shows.

use openssl::{
    error::ErrorStack,
    pkey::{PKey, Private},
    ssl::SslContextBuilder,
};

use super::{ClientIdentity, TlsError, roots};

/// # Errors
/// [`TlsProblem::LocalFile`](super::TlsProblem::LocalFile) with what is wrong with which of the two.
pub(super) fn add(
    builder: &mut SslContextBuilder,
    client: &ClientIdentity,
) -> Result<(), TlsError> {
    let mut chain = roots::certificates(&client.chain_pem);
    let own = chain.next().and_then(Result::ok);
    let own = own.ok_or_else(|| no_certificate("has no certificate in PEM"))?;
    builder
        .set_certificate(&own)
        .map_err(|_| no_certificate("holds a certificate that TLS cannot use"))?;
    for above in chain {
        let above = above.map_err(|_| no_certificate("holds something that is no certificate"))?;
        builder
            .add_extra_chain_cert(above)
            .map_err(|_| TlsError::library())?;
    }
    let key = read_key(&client.key_pem)?;
    let matches = own.public_key().is_ok_and(|public| public.public_eq(&key));
    if !matches {
        return Err(TlsError::local(
            "client_key is not the key of the certificate in client_certificate",
        ));
    }
    builder
        .set_private_key(&key)
        .map_err(|_| TlsError::local("client_key holds a key that TLS cannot use"))
}

fn read_key(pem: &[u8]) -> Result<PKey<Private>, TlsError> {
    let encrypted = pem.windows(9).any(|part| part == b"ENCRYPTED");
    if encrypted {
        return Err(TlsError::local(
            "the key in client_key is encrypted; keep it decrypted in a file that only its owner can read \
             (openssl pkey -in KEY -out NEW)",
        ));
    }
    // Never without a callback: the library would ask for a password at the terminal.
    PKey::private_key_from_pem_callback(pem, |_| Err(ErrorStack::get()))
        .map_err(|_| TlsError::local("client_key has no private key in PEM"))
}

fn no_certificate(what: &str) -> TlsError {
    TlsError::local(format!("client_certificate {what}"))
}
