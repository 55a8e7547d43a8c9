//! TLS as it is configured: roots, a certificate of our own, pins.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    failure::Failure,
    files::{self, Purpose, Stamp},
    settings::wrong,
};
use crate::{Settings, base64};
use ctk_crypto::tls::{ClientIdentity, Roots, TlsContext, TlsSettings, system_roots};
use ctk_token::Result;
use parking_lot::Mutex;

/// How servers are verified. Its files, and the system's roots, are read when the first connection is made, and again after
/// one of them changed, so that a renewed certificate is used without a restart and a root that is distrusted is not.
#[derive(Debug)]
pub(super) struct Security {
    roots: Option<PathBuf>,
    /// Certificate chain and key.
    client: Option<(PathBuf, PathBuf)>,
    pins: Vec<[u8; 32]>,
    made: Mutex<Option<Made>>,
}

#[derive(Debug)]
struct Made {
    stamps: Vec<Option<Stamp>>,
    context: Arc<TlsContext>,
}

impl Security {
    /// What is configured. No file is touched.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`](ctk_token::TokenError::Unreachable) that names the setting.
    pub(super) fn of(settings: &Settings) -> Result<Self> {
        let path = |name| settings.path(name).map(Path::to_owned);
        let client = match (path("client_certificate"), path("client_key")) {
            (Some(chain), Some(key)) => Some((chain, key)),
            (None, None) => None,
            _ => {
                return Err(wrong(
                    "client_certificate and client_key belong together: one of them is missing",
                ));
            }
        };
        let pins: Option<Vec<[u8; 32]>> = settings
            .texts("public_key_pins")
            .iter()
            .map(|pin| pin_of(pin))
            .collect();
        let pins = pins.ok_or_else(|| {
            wrong(
                "public_key_pins: each is the base64 of a SHA-256, 44 characters with an = at the end",
            )
        })?;
        Ok(Self {
            roots: path("ca_file"),
            client,
            pins,
            made: Mutex::new(None),
        })
    }

    /// The same settings, with nothing made from them yet.
    pub(super) fn anew(&self) -> Self {
        Self {
            roots: self.roots.clone(),
            client: self.client.clone(),
            pins: self.pins.clone(),
            made: Mutex::new(None),
        }
    }

    /// What connections are made from.
    ///
    /// # Errors
    /// What is wrong with a file.
    pub(super) fn context(&self) -> std::result::Result<Arc<TlsContext>, Failure> {
        let stamps = self.paths().map(files::stamp).collect::<Vec<_>>();
        if let Some(made) = &*self.made.lock()
            && made.stamps == stamps
        {
            return Ok(Arc::clone(&made.context));
        }
        // No lock is held while files are read: two threads may do it at once, and the later one counts.
        let context = TlsContext::new(&self.read().map_err(Failure::misconfigured)?)
            .map_err(|error| Failure::misconfigured(error.to_string()))?;
        let context = Arc::new(context);
        *self.made.lock() = Some(Made {
            stamps,
            context: Arc::clone(&context),
        });
        Ok(context)
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let client = self.client.iter().flat_map(|(chain, key)| [chain, key]);
        let roots = match &self.roots {
            Some(own) => Some(own.as_path()),
            None => system_roots(),
        };
        roots.into_iter().chain(client.map(PathBuf::as_path))
    }

    fn read(&self) -> std::result::Result<TlsSettings, String> {
        let public = |path: &Path| Ok::<_, String>(files::read(path, Purpose::Public)?.to_vec());
        Ok(TlsSettings {
            roots: match &self.roots {
                Some(path) => Roots::Pem(public(path)?),
                None => Roots::System,
            },
            client: match &self.client {
                Some((chain, key)) => Some(ClientIdentity {
                    chain_pem: public(chain)?,
                    key_pem: files::read(key, Purpose::Secret)?,
                }),
                None => None,
            },
            pins: self.pins.clone(),
        })
    }
}

/// The hash in a pin, with or without what other programs write before it.
fn pin_of(pin: &str) -> Option<[u8; 32]> {
    // A hash may begin with a slash itself: only the length tells.
    ["", "sha256/", "sha256//"].into_iter().find_map(|prefix| {
        let hash = base64::decode(pin.trim().strip_prefix(prefix)?)?;
        <[u8; 32]>::try_from(hash.as_slice()).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;

    #[test]
    fn pins_are_base64_of_32_bytes() {
        let hash = base64::encode(&[0xff; 32]);
        for pin in [
            hash.clone(),
            format!("sha256/{hash}"),
            format!("sha256//{hash}"),
        ] {
            assert_eq!(pin_of(&pin), Some([0xff; 32]), "{pin}");
        }
        for wrong in ["", "AAAA", "sha256/", &hash[1..], &format!("{hash}{hash}")] {
            assert_eq!(pin_of(wrong), None, "{wrong}");
            let mut settings = Settings::default();
            let pins = Value::Texts(vec![hash.clone(), wrong.to_owned()]);
            settings.0.insert("public_key_pins".into(), pins);
            let refused = Security::of(&settings).unwrap_err().to_string();
            assert!(refused.contains("public_key_pins"), "{refused}");
        }
    }

    #[test]
    fn a_certificate_needs_its_key_and_files_are_read_late() {
        let mut settings = Settings::default();
        let missing = || Value::Path("/nonexistent/file.pem".into());
        settings.0.insert("client_certificate".into(), missing());
        let refused = Security::of(&settings).unwrap_err().to_string();
        assert!(refused.contains("client_key"), "{refused}");
        // Without a file of one's own the system's is looked at.
        let usual = Security::of(&Settings::default()).unwrap();
        let looked_at: Vec<_> = usual.paths().collect();
        assert_eq!(looked_at, [system_roots().unwrap()]);
        settings.0.insert("client_key".into(), missing());
        settings.0.insert("ca_file".into(), missing());
        let security = Security::of(&settings).unwrap();
        let refused = security.context().unwrap_err().to_string();
        assert!(refused.contains("/nonexistent/file.pem"), "{refused}");
    }
}
