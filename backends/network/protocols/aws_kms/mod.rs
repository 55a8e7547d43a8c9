//! AWS Key Management Service (AWS KMS API Reference, version 2014-11-01).
//!
//! A key of the service is a key of the token; an alias is its label. A signature is one signed request and no more.

mod certificates;
mod credentials;
mod error;
mod keys;
mod outside;
mod places;
mod requests;
mod service;
mod sign;
mod sigv4;
#[cfg(test)]
mod tests;
mod time;

use std::sync::Arc;

use crate::{Kind, Protocol, SettingRow};

/// The row of this protocol.
pub(super) static PROTOCOL: Protocol = Protocol {
    name: "aws-kms",
    title: "AWS KMS",
    settings: &[
        row(
            "region",
            Kind::Text,
            "Region, like eu-central-1 [default: AWS_REGION, the profile's, that of the keys' ARNs]",
        ),
        row(
            "endpoints",
            Kind::Texts,
            "Where the service is, if not at the region's own endpoint",
        ),
        row(
            "keys",
            Kind::Texts,
            "Key ids, ARNs or aliases (alias/NAME) [default: all keys of the account and region]",
        ),
        row(
            "profile",
            Kind::Text,
            "Profile in ~/.aws [default: AWS_PROFILE, else default]",
        ),
        row(
            "access_key_id",
            Kind::Text,
            "Access key id, instead of environment and profiles",
        ),
        row("secret_access_key", Kind::Secret, "Its secret"),
        row(
            "session_token",
            Kind::Secret,
            "The session token of temporary credentials",
        ),
        row(
            "metadata_endpoint",
            Kind::Text,
            "Where EC2 metadata are [default: http://169.254.169.254]",
        ),
        row(
            "certificates",
            Kind::Path,
            "File or folder of certificates (PEM, DER), which find their keys by the public key",
        ),
    ],
    key_facts: &[
        fact("key", Kind::Text, "The key's ARN or id"),
        fact("spec", Kind::Text, "Its KeySpec, like ECC_NIST_P256"),
        fact("usage", Kind::Text, "Its KeyUsage, like SIGN_VERIFY"),
        fact(
            "algorithms",
            Kind::Texts,
            "What it signs, decrypts or agrees with, like ECDSA_SHA_256",
        ),
    ],
    open: |configuration| Arc::new(service::Kms::new(configuration)),
};

const fn row(name: &'static str, kind: Kind, about: &'static str) -> SettingRow {
    SettingRow {
        name,
        kind,
        required: false,
        about,
    }
}

const fn fact(name: &'static str, kind: Kind, about: &'static str) -> SettingRow {
    SettingRow {
        required: true,
        ..row(name, kind, about)
    }
}
