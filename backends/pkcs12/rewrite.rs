//! Writes a file again under another password: everything that was encrypted, and every private key,
//! with today's protection; the rest as it was.
//!
//! AES-256-CBC with PBKDF2 and HMAC-SHA-256 (RFC 8018 §6.2), and the MAC of RFC 7292 with SHA-256.
//! PBMAC1 (RFC 9579) would be the better MAC, but only the newest readers know it.

use ctk_crypto::{PbeCipher, Pkcs12Purpose, SecretBytes, hmac, pbkdf2, pkcs12_kdf, random};
use ctk_token::Digest;
use zeroize::Zeroizing;

use crate::{
    bags,
    ber::{CONTEXT_0, Element, OCTET_STRING, Reader, SEQUENCE},
    budget::{Budget, Hashing},
    encode::{self, NULL, element, explicit, joined, octets, sequence},
    failure::Result,
    oid,
    password::{Form, Password},
    pbe,
    pfx::{self, Pfx},
};

/// How often a password is hashed for one part at most, and for a whole file, unless the file had
/// more: what .NET 9 and later accept by default (300 000 and 1 000 000), and other readers too.
const MAX_ITERATIONS: u32 = 300_000;
const MAX_ITERATIONS_OF_FILE: u32 = 1_000_000;
/// Fewer than this is too few, however many parts a file has: what openssl writes by default.
const MIN_ITERATIONS: u32 = 2_048;

/// The length of a salt, in bytes: NIST SP 800-132 §5.1 wants 16.
const SALT: usize = 16;

/// The bytes of `file`, which opens with the password `old`, as they are to be under `new`, which
/// is hashed so many times for each part and the MAC: see [`iterations`].
///
/// # Errors
/// [`WrongPassword`](crate::failure::Failure::WrongPassword) if some part does not open: it would be lost.
pub(crate) fn rewrite(
    file: &[u8],
    old: &[u8],
    new: &[u8],
    iterations: u32,
) -> Result<Zeroizing<Vec<u8>>> {
    let pfx = Pfx::read(file)?;
    let mut old = Password::new(old);
    let mut budget = Budget::new();
    pfx.authenticate(&mut old, &mut budget)?;
    let mut rewriter = Rewriter {
        old: &mut old,
        new: &Password::new(new),
        budget,
        iterations,
    };
    let mut safes = Vec::new();
    let mut read = Reader::new(&pfx.content).sequence()?;
    while let Some(safe) = read.next()? {
        safes.push(rewriter.safe(&safe)?);
    }
    let content = sequence(&[&joined(&safes)]);
    let mac = rewriter.mac(&content)?;
    let auth_safe = sequence(&[&encode::oid(oid::DATA), &explicit(&octets(&content))]);
    Ok(sequence(&[&encode::integer(3), &auth_safe, &mac]))
}

/// How often a new password is hashed for the MAC and each of so many parts that are encrypted or
/// will be. A file that made guessing harder than we would stays so, as far as it would open again.
pub(crate) fn iterations(parts: usize, now: Hashing) -> u32 {
    let parts = u32::try_from(parts).unwrap_or(u32::MAX).saturating_add(1);
    let ours = (MAX_ITERATIONS_OF_FILE / parts).clamp(MIN_ITERATIONS, MAX_ITERATIONS);
    let wanted = ours.max(now.least.unwrap_or(0));
    wanted.min(now.most).max(MIN_ITERATIONS)
}

struct Rewriter<'p> {
    old: &'p mut Password,
    new: &'p Password,
    budget: Budget,
    iterations: u32,
}

impl Rewriter<'_> {
    /// One ContentInfo of the AuthenticatedSafe.
    fn safe(&mut self, safe: &Element<'_>) -> Result<Zeroizing<Vec<u8>>> {
        let mut parts = safe.children()?;
        let kind = parts.oid()?;
        if oid::is(kind, oid::DATA) {
            let content = parts.explicit()?.string(OCTET_STRING)?;
            let bags = self.safe_contents(Reader::new(&content).sequence()?, false)?;
            return Ok(sequence(&[
                &encode::oid(oid::DATA),
                &explicit(&octets(&bags)),
            ]));
        }
        let sealed = pfx::EncryptedData::read(parts)?;
        let plaintext = pbe::open(
            sealed.algorithm,
            &sealed.ciphertext,
            self.old,
            &mut self.budget,
            bags::are_safe_contents,
        )?;
        let bags = self.safe_contents(Reader::new(&plaintext).sequence()?, true)?;
        let (algorithm, ciphertext) = self.seal(&bags)?;
        let info = sequence(&[
            &encode::oid(oid::DATA),
            &algorithm,
            &element(CONTEXT_0, &[&ciphertext]),
        ]);
        let encrypted = sequence(&[&encode::integer(0), &info]);
        Ok(sequence(&[
            &encode::oid(oid::ENCRYPTED_DATA),
            &explicit(&encrypted),
        ]))
    }

    /// SafeContents; `is_closed` if they are encrypted as a whole.
    fn safe_contents(
        &mut self,
        mut read: Reader<'_>,
        is_closed: bool,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let mut bags = Vec::new();
        while let Some(bag) = read.next()? {
            bags.push(self.bag(&bag, is_closed)?);
        }
        Ok(sequence(&[&joined(&bags)]))
    }

    /// A bag: its value may change, its attributes do not.
    fn bag(&mut self, bag: &Element<'_>, is_closed: bool) -> Result<Zeroizing<Vec<u8>>> {
        let mut parts = bag.children()?;
        let kind = parts.oid()?;
        let mut value = parts.explicit()?;
        let (kind, value) = if oid::is(kind, oid::SAFE_CONTENTS_BAG) {
            let inner = self.safe_contents(value.sequence()?, is_closed)?;
            (oid::SAFE_CONTENTS_BAG, inner)
        } else if oid::is(kind, oid::KEY_BAG) {
            let pkcs8 = value.element(SEQUENCE)?.raw;
            match is_closed {
                true => (oid::KEY_BAG, Zeroizing::new(pkcs8.to_vec())),
                // In the clear until now, it is closed to whoever does not know the new password.
                false => (oid::SHROUDED_KEY_BAG, self.sealed_key(pkcs8)?),
            }
        } else if oid::is(kind, oid::SHROUDED_KEY_BAG) {
            let sealed = self.private_key_info(value.sequence()?)?;
            (oid::SHROUDED_KEY_BAG, sealed)
        } else if oid::is(kind, oid::SECRET_BAG) {
            (oid::SECRET_BAG, self.secret(&value.any()?)?)
        } else {
            return Ok(encode::definite(bag)?);
        };
        Ok(sequence(&[
            &encode::oid(kind),
            &explicit(&value),
            &encode::all_definite(parts)?,
        ]))
    }

    /// EncryptedPrivateKeyInfo, from the inside of its SEQUENCE. What was encrypted stays byte for
    /// byte.
    fn private_key_info(&mut self, mut sealed: Reader<'_>) -> Result<Zeroizing<Vec<u8>>> {
        let algorithm = sealed.sequence()?;
        let ciphertext = sealed.string(OCTET_STRING)?;
        let fits = bags::is_private_key_info;
        let plaintext = pbe::open(algorithm, &ciphertext, self.old, &mut self.budget, fits)?;
        self.sealed_key(&plaintext)
    }

    /// EncryptedPrivateKeyInfo (RFC 5208 §6).
    fn sealed_key(&self, pkcs8: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let (algorithm, ciphertext) = self.seal(pkcs8)?;
        Ok(sequence(&[&algorithm, &octets(&ciphertext)]))
    }

    /// SecretBag: Java keeps secret keys there, in an EncryptedPrivateKeyInfo inside an OCTET
    /// STRING. Whatever else is in one stays as it is.
    fn secret(&mut self, bag: &Element<'_>) -> Result<Zeroizing<Vec<u8>>> {
        let mut parts = bag.children()?;
        if !oid::is(parts.oid()?, oid::SHROUDED_KEY_BAG) {
            return Ok(encode::definite(bag)?);
        }
        let value = parts.explicit()?.string(OCTET_STRING)?;
        let sealed = self.private_key_info(Reader::new(&value).sequence()?)?;
        Ok(sequence(&[
            &encode::oid(oid::SHROUDED_KEY_BAG),
            &explicit(&octets(&sealed)),
            &encode::all_definite(parts)?,
        ]))
    }

    /// PBES2: AlgorithmIdentifier and ciphertext. Each part has salt, key and IV of its own.
    fn seal(&self, plaintext: &[u8]) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>)> {
        let (mut salt, mut iv) = ([0; SALT], [0; 16]);
        random(&mut salt)?;
        random(&mut iv)?;
        let mut key = SecretBytes::zeroed(PbeCipher::Aes256.key_len());
        let password = self.new.likeliest(Form::Bytes);
        pbkdf2(Digest::Sha256, password, &salt, self.iterations, &mut key)?;
        let ciphertext = pbe::encrypt_aes256(&key, &iv, plaintext)?;
        let prf = sequence(&[&encode::oid(oid::HMAC_SHA256), NULL]);
        let pbkdf2 = sequence(&[&octets(&salt), &encode::integer(self.iterations), &prf]);
        let derivation = sequence(&[&encode::oid(oid::PBKDF2), &pbkdf2]);
        let cipher = sequence(&[&encode::oid(oid::AES256_CBC), &octets(&iv)]);
        let parameters = sequence(&[&derivation, &cipher]);
        let algorithm = sequence(&[&encode::oid(oid::PBES2), &parameters]);
        Ok((algorithm, ciphertext))
    }

    /// MacData over the AuthenticatedSafe.
    fn mac(&self, content: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let mut salt = [0; SALT];
        random(&mut salt)?;
        let digest = Digest::Sha256;
        let mut key = SecretBytes::zeroed(digest.len());
        let password = self.new.likeliest(Form::Bmp);
        let purpose = Pkcs12Purpose::Mac;
        pkcs12_kdf(digest, purpose, password, &salt, self.iterations, &mut key)?;
        let mac = hmac(digest, &key, content)?;
        let algorithm = sequence(&[&encode::oid(oid::SHA256), NULL]);
        Ok(sequence(&[
            &sequence(&[&algorithm, &octets(&mac)]),
            &octets(&salt),
            &encode::integer(self.iterations),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use der::asn1::ObjectIdentifier;

    use super::*;
    use crate::{ber::SET, failure::Failure};

    /// PrivateKeyInfo with this algorithm and private key.
    fn pkcs8(algorithm: &str, key: &[u8]) -> Zeroizing<Vec<u8>> {
        let algorithm = sequence(&[&encode::oid(ObjectIdentifier::new_unwrap(algorithm))]);
        sequence(&[&encode::integer(0), &algorithm, &octets(key)])
    }

    fn bag(kind: ObjectIdentifier, value: &[u8], attributes: &[u8]) -> Zeroizing<Vec<u8>> {
        sequence(&[&encode::oid(kind), &explicit(value), attributes])
    }

    fn file(bags: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        let data =
            |content: &[u8]| sequence(&[&encode::oid(oid::DATA), &explicit(&octets(content))]);
        let safes = sequence(&[&data(&sequence(bags))]);
        sequence(&[&encode::integer(3), &data(&safes)])
    }

    /// What a bag holds is compared as bytes: a key whose seed was lost would still sign.
    #[test]
    fn keys_attributes_and_unknown_bags_stay_as_they_were() {
        let odd = ObjectIdentifier::new_unwrap("1.2.3.4");
        let seeded = pkcs8("2.16.840.1.101.3.4.3.17", &element(CONTEXT_0, &[&[7; 32]]));
        // A length in long form, which DER would not have.
        let long: &[u8] = &[
            0x30, 0x81, 0x0d, 2, 1, 0, 0x30, 4, 6, 2, 0x2a, 3, 0x04, 2, 0xab, 0xcd,
        ];
        let attribute = sequence(&[&encode::oid(odd), &element(SET, &[&octets(b"kept")])]);
        let attributes = element(SET, &[&attribute, &attribute]);
        let unknown = bag(odd, &octets(b"nobody knows what this is"), &attributes);
        let secret = sequence(&[&encode::oid(odd), &explicit(&octets(b"a secret"))]);
        let secret = bag(oid::SECRET_BAG, &secret, &[]);
        let bags: [&[u8]; 4] = [
            &bag(oid::KEY_BAG, &seeded, &attributes),
            &unknown,
            &secret,
            &bag(
                oid::SAFE_CONTENTS_BAG,
                &sequence(&[&bag(oid::KEY_BAG, long, &[])]),
                &[],
            ),
        ];
        let before = file(&bags);
        let first = rewrite(&before, b"", b"first", 2_048).unwrap();
        let second = rewrite(&first, b"first", "zwéite".as_bytes(), 2_048).unwrap();
        for (file, password) in [(&first, "first"), (&second, "zwéite")] {
            let opened = pfx::open(file, password.as_bytes()).unwrap();
            let keys: Vec<&[u8]> = opened.keys.iter().map(|key| &*key.pkcs8).collect();
            assert_eq!(keys, [&**seeded, long]);
            for kept in [&attributes, &unknown, &secret] {
                let mut windows = file.windows(kept.len());
                assert!(windows.any(|window| window == &***kept));
            }
            let mut windows = file.windows(32);
            assert!(
                !windows.any(|window| window == [7; 32]),
                "a key in the clear"
            );
            assert!(pfx::open(file, b"").is_err());
            assert!(pfx::open(file, b"wrong").is_err());
        }
    }

    #[test]
    fn what_has_another_password_is_not_lost() {
        let key = pkcs8("1.2.3", b"key");
        let closed = rewrite(&file(&[&bag(oid::KEY_BAG, &key, &[])]), b"", b"one", 2_048).unwrap();
        let pfx = Pfx::read(&closed).unwrap();
        let mut safes = Reader::new(&pfx.content).sequence().unwrap();
        let mut safe = safes.sequence().unwrap();
        safe.oid().unwrap();
        let contents = safe.explicit().unwrap().string(OCTET_STRING).unwrap();
        let mut bags = Reader::new(&contents).sequence().unwrap();
        let other = file(&[bags.any().unwrap().raw, &bag(oid::KEY_BAG, &key, &[])]);
        assert_eq!(
            rewrite(&other, b"", b"two", 2_048).err(),
            Some(Failure::WrongPassword)
        );
    }

    #[test]
    fn many_parts_are_hashed_less_often_each() {
        for least in [None, Some(1), Some(2_048)] {
            let now = |parts| Hashing {
                least,
                ..Budget::new().hashing(parts)
            };
            let iterations = |parts| iterations(parts, now(parts));
            assert_eq!(iterations(0), MAX_ITERATIONS);
            assert_eq!(iterations(2), MAX_ITERATIONS);
            assert_eq!(iterations(9), 100_000);
            assert_eq!(iterations(10_000), MIN_ITERATIONS);
            assert_eq!(iterations(usize::MAX), MIN_ITERATIONS);
        }
    }

    #[test]
    fn a_file_is_hashed_as_often_as_before_if_it_would_open() {
        let rewritten = |parts, least| {
            let now = Budget::new().hashing(parts);
            let least = Some(least);
            (iterations(parts, Hashing { least, ..now }), now.most)
        };
        assert_eq!(rewritten(2, 300_001).0, 300_001);
        // Eight identities of GnuTLS.
        assert_eq!(rewritten(16, 600_000).0, 600_000);
        let (iterations, most) = rewritten(2, u32::MAX);
        assert_eq!(iterations, most);
        assert!(most > 4_000_000);
    }
}
