//! Whether the numbers of an RSA private key belong together (RFC 8017 §3.2), told in about the time of one signature.

use openssl::{pkey::Private, rsa::Rsa};

/// Whether they do. Nothing proves that p and q are prime: with numbers that are not, no signature comes out right, which
/// OpenSSL's round trip sees here, and AWS-LC with each signature. The caller is inside the library.
pub(crate) fn is_sound(key: &Rsa<Private>) -> bool {
    library::is_sound(key).unwrap_or(false)
}

/// AWS-LC's own check is this one: products and remainders, in constant time.
#[cfg(feature = "aws-lc")]
mod library {
    use openssl::{error::ErrorStack, pkey::Private, rsa::Rsa};

    pub(super) fn is_sound(key: &Rsa<Private>) -> Result<bool, ErrorStack> {
        key.check_key()
    }
}

/// OpenSSL's own check proves at each login again that p and q are prime: 0.25 s for RSA-4096, 3.7 s for RSA-8192.
#[cfg(not(feature = "aws-lc"))]
mod library {
    use openssl::{
        bn::{BigNum, BigNumContext, BigNumContextRef, BigNumRef},
        error::ErrorStack,
        pkey::Private,
        rsa::{Padding, Rsa},
    };

    /// What a single damaged number breaks, and every fault attack needs: n = p·q; e·d ≡ 1 modulo p − 1 and q − 1; the
    /// Chinese remainders are those of d and q.
    pub(super) fn is_sound(key: &Rsa<Private>) -> Result<bool, ErrorStack> {
        let (Some(p), Some(q), Some(dp), Some(dq), Some(inverse)) =
            (key.p(), key.q(), key.dmp1(), key.dmq1(), key.iqmp())
        else {
            return Ok(false);
        };
        let odd = |number: &BigNumRef| number.num_bits() > 1 && number.is_odd();
        let negative = [key.n(), key.e(), key.d(), p, q, dp, dq, inverse]
            .iter()
            .any(|number| number.is_negative());
        let below_modulus = [key.e(), key.d(), p, q]
            .iter()
            .all(|number| *number < key.n());
        if negative || !below_modulus || inverse >= p {
            return Ok(false);
        }
        if ![key.n(), key.e(), p, q].into_iter().all(odd) {
            return Ok(false);
        }
        // Secure numbers are those that OpenSSL wipes when it frees them.
        let mut context = BigNumContext::new_secure()?;
        let mut product = BigNum::new_secure()?;
        product.checked_mul(p, q, &mut context)?;
        Ok(*product == *key.n()
            && is_remainder(key, p, dp, &mut context)?
            && is_remainder(key, q, dq, &mut context)?
            && is_inverse(inverse, q, p, &mut context)?
            && round_trip(key, &mut context)?)
    }

    /// Whether `remainder` is d modulo `prime` − 1, and undoes e there.
    fn is_remainder(
        key: &Rsa<Private>,
        prime: &BigNumRef,
        remainder: &BigNumRef,
        context: &mut BigNumContextRef,
    ) -> Result<bool, ErrorStack> {
        let (mut order, mut computed) = (BigNum::new_secure()?, BigNum::new_secure()?);
        order.checked_sub(prime, &*BigNum::from_u32(1)?)?;
        computed.nnmod(key.d(), &order, context)?;
        Ok(*computed == *remainder && is_inverse(key.e(), remainder, &order, context)?)
    }

    /// Whether a · b ≡ 1 modulo `modulus`.
    fn is_inverse(
        a: &BigNumRef,
        b: &BigNumRef,
        modulus: &BigNumRef,
        context: &mut BigNumContextRef,
    ) -> Result<bool, ErrorStack> {
        let (mut product, mut remainder) = (BigNum::new_secure()?, BigNum::new_secure()?);
        product.checked_mul(a, b, context)?;
        remainder.nnmod(&product, modulus, context)?;
        Ok(*remainder == *BigNum::from_u32(1)?)
    }

    /// Whether the public key undoes what the private one does, with a block that says nothing of either.
    fn round_trip(key: &Rsa<Private>, context: &mut BigNumContextRef) -> Result<bool, ErrorStack> {
        let mut block = vec![0x5a; key.size() as usize];
        if let Some(first) = block.first_mut() {
            *first = 0;
        }
        let mut signature = vec![0; block.len()];
        key.private_encrypt(&block, &mut signature, Padding::NONE)?;
        let mut opened = BigNum::new()?;
        opened.mod_exp(&*BigNum::from_slice(&signature)?, key.e(), key.n(), context)?;
        Ok(*opened == *BigNum::from_slice(&block)?)
    }
}
