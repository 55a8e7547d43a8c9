//! Signature activation data: what `credentials/authorize` hands out and `signatures/signHash` uses up.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::invalid;
use crate::http::Response;

/// One of them, as the service remembers it.
#[derive(Debug)]
pub(super) struct Authorization {
    pub(super) credential: String,
    /// What the server behind wants to see.
    pub(super) inner: String,
    /// The only hashes that it is for.
    pub(super) hashes: Option<Vec<String>>,
    /// How many signatures it is still for.
    pub(super) left: u64,
    pub(super) end: Option<Instant>,
    /// It is for one request, however many signatures are left.
    pub(super) single_use: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Authorizations(HashMap<String, Authorization>);

impl Authorizations {
    pub(super) fn issue(&mut self, authorization: Authorization) -> String {
        let name = random_name();
        self.0.insert(name.clone(), authorization);
        name
    }

    /// All of them have expired.
    pub(super) fn expire(&mut self) {
        for authorization in self.0.values_mut() {
            authorization.end = Some(Instant::now());
        }
    }

    /// No signature is left in any of them.
    pub(super) fn use_up(&mut self) {
        for authorization in self.0.values_mut() {
            authorization.left = 0;
        }
    }

    /// Uses one up for signatures of these hashes: what the server behind wants, or the refusal.
    pub(super) fn take(
        &mut self,
        name: &str,
        credential: &str,
        hashes: &[String],
    ) -> Result<String, Response> {
        let found = self.0.get_mut(name);
        let Some(authorization) = found.filter(|found| found.credential == credential) else {
            return Err(invalid("Invalid parameter SAD"));
        };
        if authorization.end.is_some_and(|end| end <= Instant::now()) {
            return Err(invalid("SAD expired"));
        }
        if let Some(bound) = &authorization.hashes
            && !hashes.iter().all(|hash| bound.contains(hash))
        {
            return Err(invalid("Hash is not authorized by the SAD"));
        }
        if authorization.left == 0 {
            return Err(invalid("Invalid parameter SAD"));
        }
        let Some(left) = authorization.left.checked_sub(hashes.len() as u64) else {
            return Err(invalid("Numbers of signatures is too high"));
        };
        authorization.left = if authorization.single_use { 0 } else { left };
        Ok(authorization.inner.clone())
    }
}

/// When something ends that lasts so long from now.
pub(super) fn end_after(lifetime: Option<Duration>) -> Option<Instant> {
    Instant::now().checked_add(lifetime?)
}

/// A name that nobody guesses.
pub(super) fn random_name() -> String {
    let mut bytes = [0; 18];
    openssl::rand::rand_bytes(&mut bytes).expect("random bytes");
    openssl::base64::encode_block(&bytes)
}
