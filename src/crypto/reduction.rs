//! From the signature that is asked for to one that the key store performs.

use ctk_token::{Digest, KeyAlgorithm, KeyType, PublicKey, Result, TokenError};
use zeroize::Zeroizing;

use crate::digest_info;
use crate::encoding::{Block, MAX_BLOCK, digest_info_prefix, encode_pss, pad_pkcs1, pss_fits};

/// The way from the signature that is asked for to one that the key store performs, decided once.
///
/// Everything that can be refused for the key or the parameters is refused by [`Reduction::new`];
/// [`apply`](Self::apply) fails only for an input of the wrong length, and for a DigestInfo that is none.
#[derive(Clone, Copy, Debug)]
pub struct Reduction {
    /// What [`apply`](Self::apply) takes: `asked`, or its digest form if the message is hashed here.
    taken: KeyAlgorithm,
    performed: Performed,
    message_digest: Option<Digest>,
    key_type: KeyType,
}

/// What the key store is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Performed {
    Form(KeyAlgorithm),
    /// The digest form for whatever hash the input is a DigestInfo of, if it is one of those marked, in the order of
    /// [`Digest::ALL`].
    OfDigestInfo([bool; Digest::ALL.len()]),
}

/// What a key store is asked to perform, and on what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Request<'a> {
    /// The form that it performs.
    pub algorithm: KeyAlgorithm,
    /// What it takes.
    pub input: &'a [u8],
}

impl Reduction {
    /// Walks down from `asked` to the first form that `supported` affirms. For a message form the walk prefers the
    /// digest form and what is below it (hash here, never send big data) and takes the message form only if none of
    /// them is supported.
    ///
    /// There is one way up: a key store that does RSASSA-PKCS1-v1_5 over hashes only, as services do, is asked for
    /// the digest form if [`RsaPkcs1`](KeyAlgorithm::RsaPkcs1) is asked for and the input is a DigestInfo of a hash that it takes.
    ///
    /// `None` if no form is supported, if the key is of another kind, or if it is for RSASSA-PSS only and the form another.
    ///
    /// # Errors
    /// [`TokenError::BadParameter`] if the modulus is too short for the hash or the salt, whoever performs it, or the key
    /// is restricted to others.
    pub fn new(
        asked: KeyAlgorithm,
        key: &PublicKey,
        supported: impl Fn(KeyAlgorithm) -> bool,
    ) -> Result<Option<Self>> {
        if !fits(asked, key) {
            return Ok(None);
        }
        refuse_parameters(asked, key)?;
        let key_type = key.key_type();
        let modulus_bits = modulus_bits(key_type);

        let message_digest = asked.message_digest();
        let start = match message_digest {
            Some(_) => asked.simpler(),
            None => Some(asked),
        };
        let mut steps = std::iter::successors(start, |algorithm| algorithm.simpler());
        if let (Some(taken), Some(performed)) = (start, steps.find(|step| supported(*step))) {
            if taken != performed && modulus_bits.div_ceil(8) as usize > MAX_BLOCK {
                return Ok(None);
            }
            return Ok(Some(Self {
                taken,
                performed: Performed::Form(performed),
                message_digest,
                key_type,
            }));
        }
        if asked == KeyAlgorithm::RsaPkcs1 {
            let hashes = Digest::ALL.map(|digest| {
                let form = KeyAlgorithm::RsaPkcs1Digest(digest);
                supported(form) && refuse_parameters(form, key).is_ok()
            });
            return Ok(hashes.contains(&true).then_some(Self {
                taken: asked,
                performed: Performed::OfDigestInfo(hashes),
                message_digest: None,
                key_type,
            }));
        }
        let whole_message = message_digest.is_some() && supported(asked);
        Ok(whole_message.then_some(Self {
            taken: asked,
            performed: Performed::Form(asked),
            message_digest: None,
            key_type,
        }))
    }

    /// The hash that the caller streams the message through; [`apply`](Self::apply) then takes the hash instead of
    /// the message.
    pub fn message_digest(&self) -> Option<Digest> {
        self.message_digest
    }

    /// The only lengths that what is signed can have, in bytes, for an early CKR_DATA_LEN_RANGE: (min, max). A
    /// message may have any.
    pub fn input_len(&self) -> (usize, usize) {
        if self.message_digest.is_some() {
            return (0, usize::MAX);
        }
        self.taken_len()
    }

    /// Turns the input (the hash, if [`message_digest`](Self::message_digest) says so) into what the key store takes:
    /// DigestInfo, padding, PSS encoding. `place` is for that, and left empty if the input is handed through.
    ///
    /// # Errors
    /// [`TokenError::DataLength`] for an input of another length than the form takes, and
    /// [`DataInvalid`](TokenError::DataInvalid) where it has to be a DigestInfo of a hash that the key store takes and is not.
    pub fn apply<'a>(&self, input: &'a [u8], place: &'a mut Option<Block>) -> Result<Request<'a>> {
        let (min, max) = self.taken_len();
        if !(min..=max).contains(&input.len()) {
            return Err(TokenError::DataLength);
        }
        let algorithm = match self.performed {
            Performed::Form(form) => form,
            Performed::OfDigestInfo(hashes) => return of_digest_info(input, hashes),
        };
        if self.taken == algorithm {
            return Ok(Request { algorithm, input });
        }
        let block = place.insert(Zeroizing::new([0; MAX_BLOCK]));
        let input = self.encode(input, algorithm, block)?;
        Ok(Request { algorithm, input })
    }

    /// Writes what `performed` takes.
    fn encode<'a>(
        &self,
        input: &[u8],
        performed: KeyAlgorithm,
        block: &'a mut Block,
    ) -> Result<&'a [u8]> {
        let modulus_bits = modulus_bits(self.key_type);
        let modulus_len = modulus_bits.div_ceil(8) as usize;
        let block = block
            .get_mut(..modulus_len)
            .ok_or(TokenError::BadParameter)?;

        let prefix: &[u8] = match self.taken {
            KeyAlgorithm::RsaPssDigest(pss) => {
                encode_pss(pss, input, modulus_bits, block)?;
                return Ok(block);
            }
            KeyAlgorithm::RsaPkcs1Digest(digest) => digest_info_prefix(digest),
            // RsaPkcs1 alone is left: the other forms are primitives or take a message.
            _ => &[],
        };
        // 00 01 FF … FF 00 ‖ prefix ‖ input, from the end of the block.
        let padding_len = modulus_len
            .checked_sub(prefix.len() + input.len())
            .ok_or(TokenError::DataLength)?;
        let (padding, signed) = block.split_at_mut(padding_len);
        let (prefix_place, input_place) = signed.split_at_mut(prefix.len());
        prefix_place.copy_from_slice(prefix);
        input_place.copy_from_slice(input);
        if performed == KeyAlgorithm::RsaRaw {
            pad_pkcs1(padding)?;
            return Ok(block);
        }
        block.get(padding_len..).ok_or(TokenError::DataLength)
    }

    /// The lengths that `taken` takes.
    fn taken_len(&self) -> (usize, usize) {
        input_len(self.taken, self.key_type)
    }
}

fn of_digest_info(input: &[u8], hashes: [bool; Digest::ALL.len()]) -> Result<Request<'_>> {
    let (digest, hash) = digest_info::read(input).ok_or(TokenError::DataInvalid)?;
    let taken = Digest::ALL.into_iter().zip(hashes);
    if !taken.into_iter().any(|known| known == (digest, true)) {
        return Err(TokenError::DataInvalid);
    }
    Ok(Request {
        algorithm: KeyAlgorithm::RsaPkcs1Digest(digest),
        input: hash,
    })
}

/// 0 for other keys than RSA's.
fn modulus_bits(key_type: KeyType) -> u32 {
    match key_type {
        KeyType::Rsa { bits } => bits,
        _ => 0,
    }
}

/// The lengths that a form takes as its input with this kind of key: (min, max).
pub(crate) fn input_len(algorithm: KeyAlgorithm, key_type: KeyType) -> (usize, usize) {
    let modulus_len = modulus_bits(key_type).div_ceil(8) as usize;
    match algorithm {
        KeyAlgorithm::RsaRaw => (modulus_len, modulus_len),
        KeyAlgorithm::RsaPkcs1 => (0, modulus_len.saturating_sub(11)),
        KeyAlgorithm::RsaPkcs1Digest(digest) => (digest.len(), digest.len()),
        KeyAlgorithm::RsaPssDigest(pss) => (pss.digest.len(), pss.digest.len()),
        // A hash of no bytes is somebody's mistake, and its signature fits every such mistake. What is longer than a hash
        // can be (1024 bits, PKCS#11 §6.3) is a message: its signature would fit all that begin like it.
        KeyAlgorithm::EcdsaDigest => (1, 128),
        KeyAlgorithm::RsaPkcs1Message(_)
        | KeyAlgorithm::RsaPssMessage(_)
        | KeyAlgorithm::EcdsaMessage(_)
        | KeyAlgorithm::EdDsa
        | KeyAlgorithm::MlDsa => (0, usize::MAX),
        // Not signed with.
        KeyAlgorithm::RsaOaep(_)
        | KeyAlgorithm::Ecdh
        | KeyAlgorithm::EcdhCofactor
        | KeyAlgorithm::MlKem => (0, 0),
    }
}

/// Whether this kind of key signs in this form at all.
pub(crate) fn fits(algorithm: KeyAlgorithm, key: &PublicKey) -> bool {
    let key_type = key.key_type();
    match algorithm {
        // Made from the raw operation, PSS is all that a key for it alone signs (RFC 4055 §1.2).
        KeyAlgorithm::RsaRaw
        | KeyAlgorithm::RsaPkcs1
        | KeyAlgorithm::RsaPkcs1Digest(_)
        | KeyAlgorithm::RsaPkcs1Message(_) => {
            matches!(key_type, KeyType::Rsa { .. }) && !key.is_pss_only()
        }
        KeyAlgorithm::RsaPssDigest(_) | KeyAlgorithm::RsaPssMessage(_) => {
            matches!(key_type, KeyType::Rsa { .. })
        }
        KeyAlgorithm::EcdsaDigest | KeyAlgorithm::EcdsaMessage(_) => {
            matches!(key_type, KeyType::Ec(_))
        }
        KeyAlgorithm::EdDsa => matches!(key_type, KeyType::Ed25519 | KeyType::Ed448),
        KeyAlgorithm::MlDsa => matches!(
            key_type,
            KeyType::MlDsa44 | KeyType::MlDsa65 | KeyType::MlDsa87
        ),
        KeyAlgorithm::RsaOaep(_)
        | KeyAlgorithm::Ecdh
        | KeyAlgorithm::EcdhCofactor
        | KeyAlgorithm::MlKem => false,
    }
}

/// Refuses what can never fit: a hash or a salt too long for the modulus, or PSS parameters that the key forbids.
pub(crate) fn refuse_parameters(algorithm: KeyAlgorithm, key: &PublicKey) -> Result<()> {
    let bits = modulus_bits(key.key_type());
    let modulus_len = bits.div_ceil(8) as usize;
    let fits = match algorithm {
        KeyAlgorithm::RsaPssDigest(pss) | KeyAlgorithm::RsaPssMessage(pss) => {
            pss_fits(pss, bits) && key.allows_pss(pss)
        }
        KeyAlgorithm::RsaPkcs1Digest(digest) | KeyAlgorithm::RsaPkcs1Message(digest) => {
            modulus_len >= digest_info_prefix(digest).len() + digest.len() + 11
        }
        KeyAlgorithm::RsaPkcs1 => modulus_len >= 11,
        KeyAlgorithm::RsaRaw
        | KeyAlgorithm::EcdsaDigest
        | KeyAlgorithm::EcdsaMessage(_)
        | KeyAlgorithm::RsaOaep(_)
        | KeyAlgorithm::EdDsa
        | KeyAlgorithm::MlDsa
        | KeyAlgorithm::Ecdh
        | KeyAlgorithm::EcdhCofactor
        | KeyAlgorithm::MlKem => true,
    };
    if fits {
        Ok(())
    } else {
        Err(TokenError::BadParameter)
    }
}
