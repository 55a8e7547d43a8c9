//! What a key is tried with: one trial for each thing that it can do, with a result that is checked.

use ctk_crypto::{Decryption, PrivateKey, Reduction, RsaEncryption};
use ctk_token::{
    Constraint, Digest, Key, KeyAlgorithm, KeyType, Operation, Pss, PublicKeyMaterial, Reason,
    TokenError, TokenSession,
};
use zeroize::Zeroizing;

use crate::sign::sign;

/// Called just before each use of a key, for one that wants an authentication each time.
pub(crate) type Ready<'a> = &'a dyn Fn() -> Result;

/// One thing that is asked of a key.
pub(crate) struct Trial {
    /// For a person.
    pub(crate) name: &'static str,
    how: How,
}

enum How {
    Sign(KeyAlgorithm),
    Decrypt(RsaEncryption),
    Agree(KeyAlgorithm),
}

type Result<T = ()> = std::result::Result<T, TokenError>;

/// What a key of this kind is tried with; nothing for one that this build cannot use.
pub(crate) fn trials(key: &Key) -> Vec<Trial> {
    let sign = |name, form| (Operation::Sign, name, How::Sign(form));
    let agree = |name, form| (Operation::KeyExchange, name, How::Agree(form));
    let decrypt = |name, form| (Operation::Decrypt, name, How::Decrypt(form));
    let all = match key.public_key.key_type() {
        KeyType::Rsa { .. } => {
            let oaep = RsaEncryption::Oaep {
                digest: Digest::Sha256,
                mgf: Digest::Sha256,
                label: Vec::new(),
            };
            let pkcs1 = KeyAlgorithm::RsaPkcs1Message(Digest::Sha256);
            let mut all = vec![sign("RSA PKCS#1 v1.5 SHA-256", pkcs1), pss(key)];
            if key.public_key.is_pss_only() {
                all.remove(0);
            }
            all.push(decrypt("RSA PKCS#1 v1.5 decryption", RsaEncryption::Pkcs1));
            all.push(decrypt("RSA-OAEP SHA-256 decryption", oaep));
            all
        }
        KeyType::Ec(_) => vec![
            sign("ECDSA SHA-256", KeyAlgorithm::EcdsaMessage(Digest::Sha256)),
            agree("ECDH", KeyAlgorithm::Ecdh),
        ],
        KeyType::Ed25519 | KeyType::Ed448 => vec![sign("EdDSA", KeyAlgorithm::EdDsa)],
        KeyType::MlDsa44 | KeyType::MlDsa65 | KeyType::MlDsa87 => {
            vec![sign("ML-DSA", KeyAlgorithm::MlDsa)]
        }
        KeyType::X25519 | KeyType::X448 => vec![agree("ECDH", KeyAlgorithm::Ecdh)],
        KeyType::MlKem512 | KeyType::MlKem768 | KeyType::MlKem1024 => {
            vec![agree("ML-KEM decapsulation", KeyAlgorithm::MlKem)]
        }
    };
    let is_for = |operation| key.constraint(operation) != Constraint::Never;
    let wanted = all.into_iter().filter(|(operation, ..)| is_for(*operation));
    wanted.map(|(_, name, how)| Trial { name, how }).collect()
}

/// RSA-PSS with parameters that the key allows.
fn pss(key: &Key) -> (Operation, &'static str, How) {
    let mut all = PSS.into_iter();
    let allowed = all.find(|(_, digest)| key.public_key.allows_pss(same(*digest)));
    let (name, digest) = allowed.unwrap_or(("RSA-PSS SHA-1", Digest::Sha1));
    let form = KeyAlgorithm::RsaPssMessage(same(digest));
    (Operation::Sign, name, How::Sign(form))
}

const PSS: [(&str, Digest); 3] = [
    ("RSA-PSS SHA-256", Digest::Sha256),
    ("RSA-PSS SHA-384", Digest::Sha384),
    ("RSA-PSS SHA-512", Digest::Sha512),
];

/// PSS with one digest for everything.
fn same(digest: Digest) -> Pss {
    Pss {
        digest,
        mgf: digest,
        salt_len: u32::try_from(digest.len()).unwrap_or(0),
    }
}

/// One trial for each operation that a key is for: the first that its key store offers. For a service that counts uses.
pub(crate) fn few(session: &dyn TokenSession, key: &Key) -> Vec<Trial> {
    let mut trials = trials(key);
    if matches!(key.public_key.key_type(), KeyType::Rsa { .. }) {
        trials.extend(rsa_with_other_digests(key));
    }
    trials.retain(|trial| trial.is_offered(session, key));
    let mut done = Vec::new();
    trials.retain(|trial| {
        let operation = trial.operation();
        let is_first = !done.contains(&operation);
        done.push(operation);
        is_first
    });
    trials
}

/// What a service may offer that has no SHA-256.
fn rsa_with_other_digests(key: &Key) -> Vec<Trial> {
    let pkcs1 = [
        ("RSA PKCS#1 v1.5 SHA-384", Digest::Sha384),
        ("RSA PKCS#1 v1.5 SHA-512", Digest::Sha512),
    ];
    let pkcs1 = pkcs1.map(|(name, digest)| (name, KeyAlgorithm::RsaPkcs1Message(digest)));
    let pss = PSS.map(|(name, digest)| (name, KeyAlgorithm::RsaPssMessage(same(digest))));
    let sign = pkcs1.into_iter().chain(pss);
    let sign = sign.map(|(name, form)| (name, How::Sign(form)));
    let oaep = RsaEncryption::Oaep {
        digest: Digest::Sha1,
        mgf: Digest::Sha1,
        label: Vec::new(),
    };
    let all = sign.chain([("RSA-OAEP SHA-1 decryption", How::Decrypt(oaep))]);
    let all = all.map(|(name, how)| Trial { name, how });
    let is_for = |trial: &Trial| key.constraint(trial.operation()) != Constraint::Never;
    all.filter(is_for).collect()
}

impl Trial {
    fn operation(&self) -> Operation {
        match self.how {
            How::Sign(_) => Operation::Sign,
            How::Decrypt(_) => Operation::Decrypt,
            How::Agree(_) => Operation::KeyExchange,
        }
    }

    /// Whether the key store offers it, by itself or with help: a card may do one padding only.
    pub(crate) fn is_offered(&self, session: &dyn TokenSession, key: &Key) -> bool {
        let public = &key.public_key;
        let supports = |operation| move |form| session.supports(operation, &key.id, form);
        match &self.how {
            How::Sign(algorithm) => {
                let reduction = Reduction::new(*algorithm, public, supports(Operation::Sign));
                !matches!(reduction, Ok(None))
            }
            How::Decrypt(how) => {
                let way = Decryption::new(how.clone(), public, supports(Operation::Decrypt));
                !matches!(way, Ok(None))
            }
            How::Agree(algorithm) => supports(Operation::KeyExchange)(*algorithm),
        }
    }

    /// Does it, and checks the result with the public key that is known.
    pub(crate) fn run(&self, session: &dyn TokenSession, key: &Key, ready: Ready<'_>) -> Result {
        match &self.how {
            How::Sign(algorithm) => sign_and_verify(session, key, *algorithm, ready),
            How::Decrypt(how) => encrypt_and_decrypt(session, key, how, ready),
            How::Agree(algorithm) => agree(session, key, *algorithm, ready),
        }
    }
}

fn sign_and_verify(
    session: &dyn TokenSession,
    key: &Key,
    algorithm: KeyAlgorithm,
    ready: Ready<'_>,
) -> Result {
    let mut message = [0; 64];
    ctk_crypto::random(&mut message)?;
    let signature = sign(session, key, algorithm, &message, ready)?;
    match ctk_crypto::verify(&key.public_key, algorithm, &message, &signature)? {
        true => Ok(()),
        false => Err(another_key("the signature is not of")),
    }
}

fn encrypt_and_decrypt(
    session: &dyn TokenSession,
    key: &Key,
    how: &RsaEncryption,
    ready: Ready<'_>,
) -> Result {
    let mut message = [0; 32];
    ctk_crypto::random(&mut message)?;
    let public = &key.public_key;
    let supports = |form| session.supports(Operation::Decrypt, &key.id, form);
    let decryption = Decryption::new(how.clone(), public, supports)?;
    let decryption = decryption.ok_or(TokenError::NotSupported)?;
    let mut ciphertext = vec![0; decryption.input_len()];
    let len = ctk_crypto::encrypt(how, public, &message, &mut ciphertext)?;
    ciphertext.truncate(len);
    let mut performed = Zeroizing::new(vec![0; decryption.input_len()]);
    let id = &key.id;
    ready()?;
    let len = session.decrypt(id, decryption.performed(), &ciphertext, &mut performed)?;
    let performed = performed.get(..len).unwrap_or_default();
    // What a wrong padding would become is not compared with anything.
    let mut rejection_key = Zeroizing::new([0; 32]);
    ctk_crypto::random(&mut *rejection_key)?;
    let mut plaintext = Zeroizing::new(vec![0; decryption.input_len()]);
    let len = decryption.finish(&ciphertext, performed, &rejection_key, &mut plaintext)?;
    match plaintext.get(..len) == Some(&message) {
        true => Ok(()),
        false => Err(another_key("what was decrypted was not encrypted with")),
    }
}

fn agree(
    session: &dyn TokenSession,
    key: &Key,
    algorithm: KeyAlgorithm,
    ready: Ready<'_>,
) -> Result {
    if !session.supports(Operation::KeyExchange, &key.id, algorithm) {
        return Err(TokenError::NotSupported);
    }
    let public = &key.public_key;
    let mut theirs = Zeroizing::new(vec![0; public.shared_secret_len()]);
    let peer = match public.key_type().ciphertext_len() {
        Some(len) => {
            let mut ciphertext = vec![0; len];
            ctk_crypto::encapsulate(public, &mut ciphertext, &mut theirs)?;
            ciphertext
        }
        None => {
            let other = PrivateKey::generate(public.key_type())?;
            other.key_exchange(algorithm, numbers(public.material()), &mut theirs)?;
            numbers(other.public_key().material()).to_vec()
        }
    };
    let mut ours = Zeroizing::new(vec![0; public.shared_secret_len()]);
    ready()?;
    let len = session.key_exchange(&key.id, algorithm, &peer, &mut ours)?;
    match ours.get(..len) == Some(&theirs) {
        true => Ok(()),
        false => Err(another_key("the secret is not that of")),
    }
}

/// A public key as another party takes it.
fn numbers(material: &PublicKeyMaterial) -> &[u8] {
    match material {
        PublicKeyMaterial::Rsa { .. } => &[],
        PublicKeyMaterial::Ec { point, .. } => point,
        PublicKeyMaterial::Raw { bytes, .. } => bytes,
    }
}

fn another_key(what: &str) -> TokenError {
    TokenError::Corrupted(Reason::new(format!(
        "{what} the public key that is known of it; for a file, ctk update reads it again"
    )))
}
