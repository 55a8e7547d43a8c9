//! Whom to trust: the system's certificates, or a person's own.

use std::{fs, io, path::Path};

use openssl::{
    error::ErrorStack,
    x509::{X509, store::X509StoreBuilderRef},
};

use super::TlsError;

/// Where systems keep all their roots in one file. SSL_CERT_FILE is not read: it is the program's own affair.
const SYSTEM: [&str; 7] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Arch, Alpine, NixOS
    "/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, RHEL
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // the same, newer
    "/etc/ssl/ca-bundle.pem",             // SUSE
    "/var/lib/ca-certificates/ca-bundle.pem", // the same, newer
    "/etc/ssl/cert.pem",                  // macOS, the BSDs
    "/usr/local/share/certs/ca-root-nss.crt", // FreeBSD
];

/// The file that the system's roots are read from now, if there is one: who keeps a [`TlsContext`](super::TlsContext) can see
/// whether it has changed.
pub fn system_roots() -> Option<&'static Path> {
    SYSTEM.iter().map(Path::new).find(|path| path.exists())
}

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

/// # Errors
/// [`TlsProblem::LocalFile`](super::TlsProblem::LocalFile) if there is none of the system's files, or it cannot be read.
pub(super) fn read_system() -> Result<Vec<u8>, TlsError> {
    read_first(&SYSTEM)
}

fn read_first(paths: &[&str]) -> Result<Vec<u8>, TlsError> {
    for path in paths {
        match fs::read(path) {
            Ok(pem) => return Ok(pem),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(TlsError::local(format!("{path}: {error}"))),
        }
    }
    Err(TlsError::local(
        "this system has no list of trusted certificates; install the package ca-certificates, or set ca_file",
    ))
}

/// Adds the system's. One that the library cannot read is left out: the others are not worse for it.
///
/// # Errors
/// [`TlsProblem::LocalFile`](super::TlsProblem::LocalFile) if none is left.
pub(super) fn add_system(store: &mut X509StoreBuilderRef, pem: &[u8]) -> Result<(), TlsError> {
    let added = certificates(pem)
        .flatten()
        .filter_map(|root| store.add_cert(root).ok());
    if added.count() == 0 {
        return Err(TlsError::local(
            "the system's list of trusted certificates is empty; install ca-certificates again, or set ca_file",
        ));
    }
    Ok(())
}

/// Adds a person's own, each of which is meant.
///
/// # Errors
/// [`TlsProblem::LocalFile`](super::TlsProblem::LocalFile) if there is none, or one that the library cannot read.
pub(super) fn add_own(store: &mut X509StoreBuilderRef, pem: &[u8]) -> Result<(), TlsError> {
    let mut count = 0;
    for root in certificates(pem) {
        count += 1;
        let root = root.map_err(|_| {
            TlsError::local(format!("certificate {count} of ca_file cannot be read"))
        })?;
        store.add_cert(root).map_err(|_| TlsError::library())?;
    }
    if count == 0 {
        return Err(TlsError::local("ca_file has no certificate in PEM"));
    }
    Ok(())
}

/// The certificates in a PEM file, whatever else is in it. One by one: the library would stop at the first it dislikes.
pub(super) fn certificates(pem: &[u8]) -> impl Iterator<Item = Result<X509, ErrorStack>> {
    let mut rest = pem;
    std::iter::from_fn(move || {
        let (_, from) = rest.split_at(find(rest, BEGIN)?);
        let len = find(from, END)? + END.len();
        let (one, after) = from.split_at_checked(len)?;
        rest = after;
        Some(X509::from_pem(one))
    })
}

fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    text.windows(mark.len()).position(|part| part == mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::TlsProblem;

    #[test]
    fn the_first_file_there_is_counts() {
        let this = file!().rsplit('/').next().unwrap();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tls/");
        let there = format!("{folder}{this}");
        assert!(read_first(&["/nowhere/at.all", &there]).unwrap().len() > 100);

        let none = read_first(&["/nowhere/at.all"]).unwrap_err();
        assert_eq!(none.problem, TlsProblem::LocalFile);
        assert!(none.text.contains("ca_file"), "{none}");

        let unreadable = read_first(&[folder, &there]).unwrap_err();
        assert!(unreadable.text.starts_with(folder), "{unreadable}");
    }

    #[test]
    fn the_system_has_roots_that_can_be_read() {
        let pem = read_system().unwrap();
        assert_eq!(fs::read(system_roots().unwrap()).unwrap(), pem);
        let (good, bad): (Vec<_>, Vec<_>) = certificates(&pem).partition(Result::is_ok);
        assert!(good.len() > 50, "{} good, {} bad", good.len(), bad.len());
    }
}
