//! Certificates beside the service, which has none: a file, or the files of a folder.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use ctk_token::{Reason, Result, TokenError};

use crate::{base64, certificate::Facts};

/// The most that is read of a file, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// The most files of a folder.
const MAX_FILES: usize = 1000;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";

/// What is there.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// X.509, DER.
    pub(super) certificates: Vec<Vec<u8>>,
    /// What cannot be read, each a sentence for a person.
    pub(super) left_out: Vec<String>,
}

/// Reads a file of certificates in PEM, or one in DER; of a folder all files that are called so (`.pem`, `.crt`, `.cer`,
/// `.der`), by their names.
///
/// # Errors
/// [`TokenError::Unreachable`] if there is no such file or folder, or it cannot be read.
pub(super) fn read(path: &Path) -> Result<Found> {
    let mut found = Found::default();
    let cannot = |error: std::io::Error| {
        TokenError::Unreachable(Reason::new(format!(
            "the certificates in {} cannot be read: {error}",
            path.display()
        )))
    };
    if !fs::metadata(path).map_err(cannot)?.is_dir() {
        let bytes = content(path).map_err(cannot)?;
        read_file(path, &bytes, &mut found);
        return Ok(found);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(cannot)? {
        let file = entry.map_err(cannot)?.path();
        if is_called_certificate(&file) {
            files.push(file);
        }
    }
    files.sort_unstable();
    if files.len() > MAX_FILES {
        let sentence = format!(
            "of the files in {} only {MAX_FILES} are read",
            path.display()
        );
        found.left_out.push(sentence);
    }
    for file in files.iter().take(MAX_FILES) {
        match content(file) {
            Ok(bytes) => read_file(file, &bytes, &mut found),
            Err(error) => leave_out(file, &error.to_string(), &mut found),
        }
    }
    Ok(found)
}

fn is_called_certificate(file: &Path) -> bool {
    let is_hidden = file
        .file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = file.extension().and_then(|extension| extension.to_str());
    let extension = extension.map(str::to_ascii_lowercase);
    !is_hidden && matches!(extension.as_deref(), Some("pem" | "crt" | "cer" | "der"))
}

/// Looks at regular files only: anything else might be waited for.
fn content(file: &Path) -> std::io::Result<Vec<u8>> {
    let metadata = fs::metadata(file)?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    if metadata.len() > MAX_FILE {
        return Err(std::io::Error::other("it is longer than 1 MiB"));
    }
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_file(file: &Path, bytes: &[u8], found: &mut Found) {
    // SEQUENCE: DER.
    if bytes.first() == Some(&0x30) {
        return keep(file, bytes, found);
    }
    let before = (found.certificates.len(), found.left_out.len());
    let text = String::from_utf8_lossy(bytes);
    let mut blocks = text.split(BEGIN);
    // What stands before the first block is a comment.
    blocks.next();
    for block in blocks {
        let Some((kind, rest)) = block.split_once("-----") else {
            leave_out(file, "a PEM block is cut off", found);
            continue;
        };
        // A file may have the key as well, which is none of our business.
        if !matches!(kind, "CERTIFICATE" | "X509 CERTIFICATE") {
            continue;
        }
        let content = rest.split_once(END);
        match content.and_then(|(content, _)| base64::decode(content)) {
            Some(der) => keep(file, &der, found),
            None => leave_out(file, "a certificate in it is cut off or not in PEM", found),
        }
    }
    if before == (found.certificates.len(), found.left_out.len()) {
        leave_out(
            file,
            "there is no certificate in it, neither PEM nor DER",
            found,
        );
    }
}

fn keep(file: &Path, der: &[u8], found: &mut Found) {
    match Facts::read(der) {
        Some(facts) => found.certificates.push(facts.der.to_vec()),
        None => leave_out(file, "a certificate in it cannot be read", found),
    }
}

fn leave_out(file: &Path, why: &str, found: &mut Found) {
    found
        .left_out
        .push(format!("{} is left out: {why}", file.display()));
}
