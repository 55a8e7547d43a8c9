//! The command line of smart cards, as people write it.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use ctk_token::{Curve, KeyType};
use x509_cert::{ext::pkix::name::GeneralName, name::Name};

use super::pkcs10;

#[derive(Debug, Subcommand)]
pub(crate) enum CardCommand {
    /// Show what is on a card and what its PINs are like; asks for no PIN
    Info(ReaderArguments),
    /// Give an empty PIV card its identity (CHUID and CCC), which programs look for; changes nothing if it has one
    Init(AdminArguments),
    /// Make a key pair on the card and print its public key
    ///
    /// The private key never leaves the card. A key that is in the place already is destroyed and its certificate deleted,
    /// so that is confirmed first; a PIV card does not tell of a key without certificate, so look twice. With --request and
    /// from standard input the PIN is the first line, and what the administrator has to give the second.
    Generate(GenerateArguments),
    /// Make a certificate request (PKCS#10) that the card signs, for a certification authority
    Request(RequestArguments),
    /// Write a certificate to the card
    ImportCert(ImportArguments),
    /// Delete a certificate from the card; its key stays, but a PIV card does not tell of it any more
    DeleteCert(DeleteArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum PinCommand {
    /// Give a card another PIN, PUK, admin PIN or management key
    ///
    /// From standard input the old one is the first line, and the new one the second.
    Change(PinArguments),
    /// Set a new PIN after the old one was locked: with the PUK (PIV), or the admin PIN or resetting code (OpenPGP)
    ///
    /// From standard input the secret that may is the first line, and the new PIN the second.
    Unblock(UnblockArguments),
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ReaderArguments {
    /// The reader with the card, by its name or a part of it; needed if there are several cards
    #[arg(long, value_name = "NAME")]
    pub(crate) reader: Option<String>,
}

/// What every command has that only a card's administrator may do.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AdminArguments {
    #[command(flatten)]
    pub(crate) card: ReaderArguments,
    /// Read the management key (PIV: 32, 48 or 64 hexadecimal digits, or the word default) or the admin PIN (OpenPGP) from
    /// this file, which only its owner may read, and not from the terminal
    #[arg(long, value_name = "FILE")]
    pub(crate) management_key_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct PlaceArgument {
    /// The key's place: 9a, 9c, 9d, 9e, 82 to 95 (PIV), sign, decrypt, auth, or its CKA_ID
    pub(crate) place: String,
}

#[derive(Args, Debug)]
pub(crate) struct GenerateArguments {
    #[command(flatten)]
    pub(crate) place: PlaceArgument,
    /// The kind of key
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) key_type: KeyTypeArgument,
    /// Write the public key (PEM) to this file and not to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Make a certificate request with the new key, too; the PIN is asked for
    #[arg(long, value_name = "FILE", requires = "subject")]
    pub(crate) request: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) subject: SubjectArguments,
    /// Destroy the key that is in the place without asking
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
}

#[derive(Args, Debug)]
pub(crate) struct RequestArguments {
    #[command(flatten)]
    pub(crate) place: PlaceArgument,
    #[command(flatten)]
    pub(crate) subject: SubjectArguments,
    /// The public key, as ctk card generate has printed it: for a PIV card that has no certificate in this place
    #[arg(long, value_name = "FILE")]
    pub(crate) public_key: Option<PathBuf>,
    /// Write the request (PEM) to this file and not to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) card: ReaderArguments,
}

/// Whom a request is for.
#[derive(Args, Clone, Debug)]
pub(crate) struct SubjectArguments {
    /// The name in the certificate, like "CN=Alice,O=Example,C=DE" (RFC 4514)
    #[arg(long, value_name = "NAME", value_parser = pkcs10::parse_subject)]
    pub(crate) subject: Option<Name>,
    /// Another name in the certificate: email:…, dns:…, upn:… (of Windows and Kerberos), uri:… or ip:…; can be given
    /// several times
    #[arg(long, value_name = "KIND:NAME", value_parser = pkcs10::parse_alternative, requires = "subject")]
    pub(crate) san: Vec<GeneralName>,
}

#[derive(Args, Debug)]
pub(crate) struct ImportArguments {
    #[command(flatten)]
    pub(crate) place: PlaceArgument,
    /// The certificate (PEM or DER)
    pub(crate) file: PathBuf,
    /// Write it even if the certificate that is there is about another key
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
}

#[derive(Args, Debug)]
pub(crate) struct DeleteArguments {
    #[command(flatten)]
    pub(crate) place: PlaceArgument,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
}

#[derive(Args, Debug)]
pub(crate) struct PinArguments {
    /// Change the PUK (PIV) or the admin PIN (OpenPGP)
    #[arg(long)]
    pub(crate) admin: bool,
    /// Change the management key of a PIV card, for whoever knows that can overwrite its keys; makers give all cards the same
    #[arg(long, conflicts_with = "admin")]
    pub(crate) management_key: bool,
    #[command(flatten)]
    pub(crate) card: ReaderArguments,
}

#[derive(Args, Debug)]
pub(crate) struct UnblockArguments {
    /// Use the resetting code of an OpenPGP card and not its admin PIN
    #[arg(long)]
    pub(crate) resetting_code: bool,
    #[command(flatten)]
    pub(crate) card: ReaderArguments,
}

/// The kinds of keys that cards make.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum KeyTypeArgument {
    Rsa2048,
    Rsa3072,
    Rsa4096,
    P256,
    P384,
    P521,
    Ed25519,
    X25519,
}

impl From<KeyTypeArgument> for KeyType {
    fn from(argument: KeyTypeArgument) -> Self {
        match argument {
            KeyTypeArgument::Rsa2048 => Self::Rsa { bits: 2048 },
            KeyTypeArgument::Rsa3072 => Self::Rsa { bits: 3072 },
            KeyTypeArgument::Rsa4096 => Self::Rsa { bits: 4096 },
            KeyTypeArgument::P256 => Self::Ec(Curve::P256),
            KeyTypeArgument::P384 => Self::Ec(Curve::P384),
            KeyTypeArgument::P521 => Self::Ec(Curve::P521),
            KeyTypeArgument::Ed25519 => Self::Ed25519,
            KeyTypeArgument::X25519 => Self::X25519,
        }
    }
}
