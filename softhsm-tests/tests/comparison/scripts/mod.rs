//! The scripts, by the chapters of PKCS#11.

mod agreed_keys;
mod ciphers;
mod digests_and_macs;
mod general;
mod generated_keys;
mod keys;
mod login;
mod object_changes;
mod objects;
mod rsa_encryption;
mod session_objects;
mod signatures;
mod signing_mistakes;

use crate::script::Script;

/// All scripts.
pub fn all() -> Vec<Script> {
    [
        general::all(),
        login::all(),
        objects::all(),
        session_objects::all(),
        object_changes::all(),
        digests_and_macs::all(),
        signatures::all(),
        signing_mistakes::all(),
        rsa_encryption::all(),
        ciphers::all(),
        generated_keys::all(),
        keys::all(),
        agreed_keys::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
