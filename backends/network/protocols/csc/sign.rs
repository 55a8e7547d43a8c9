//! `signatures/signHash`, and whether what comes back is the signature that was asked for.

use ctk_crypto::{ecdsa, verify};
use ctk_token::{Curve, KeyAlgorithm, KeyType, PublicKey, Reason, Result, TokenError};
use zeroize::Zeroizing;

use crate::{base64, http::Repeat, json::Body};

use super::{
    algorithm::Plan,
    api::Api,
    error::{Failure, Refusal},
    facts::{Facts, Version},
};

/// What authorises a signature.
pub(super) enum Ticket<'a> {
    /// Activation data.
    Sad(&'a Zeroizing<String>),
    /// A token of scope credential, which is activation data in version 1 and the bearer in version 2.
    Token(&'a Zeroizing<String>),
}

/// Has the service sign, and answers with its bytes as they are.
pub(super) fn sign_hash(
    api: &Api<'_>,
    facts: &Facts,
    plan: &Plan,
    ticket: &Ticket<'_>,
) -> std::result::Result<Vec<u8>, Failure> {
    let operation = "signatures/signHash";
    let body = body(facts, plan, ticket);
    let answer = match (ticket, facts.version) {
        (Ticket::Token(token), Version::V2) => {
            let mut header = Zeroizing::new(String::with_capacity(7 + token.len()));
            header.push_str("Bearer ");
            header.push_str(token);
            let answer = api.send(operation, Repeat::Unsent, &body.finish(), Some(&header));
            answer.map_err(|failure| match failure.refusal() {
                // It is what authorises, and not who we are.
                Some(Refusal::Token) => failure.being(Refusal::Sad),
                _ => failure,
            })
        }
        _ => api.call(operation, Repeat::Unsent, body, facts.version),
    };
    let answer = answer.map_err(|failure| match failure.refusal() {
        // It knows us: what it does not take is what authorises the signature.
        Some(Refusal::Unauthorized) => failure.being(Refusal::Sad),
        _ => failure,
    })?;
    let object = api.object("signatures/signHash", &answer)?;
    let signatures = object.texts("signatures");
    let signature = signatures.first().and_then(|text| bytes(text));
    Ok(signature.ok_or_else(|| api.nonsense("signatures/signHash", "no signature"))?)
}

fn body(facts: &Facts, plan: &Plan, ticket: &Ticket<'_>) -> Body {
    let digest = base64::encode(&plan.digest);
    let hash = plan.hash.oid().to_string();
    let body = Body::new().text("credentialID", &facts.credential);
    let body = match (ticket, facts.version) {
        (Ticket::Token(_), Version::V2) => body,
        (Ticket::Sad(value) | Ticket::Token(value), _) => body.text("SAD", value),
    };
    let body = match facts.version {
        Version::V0 | Version::V1 => body
            .texts("hash", &[&digest])
            .optional("hashAlgo", plan.names_no_hash.then_some(&*hash)),
        Version::V2 => body
            .texts("hashes", &[&digest])
            .text("hashAlgorithmOID", &hash),
    };
    let parameters = plan.parameters.as_deref().map(base64::encode);
    body.text("signAlgo", &plan.algorithm)
        .optional("signAlgoParams", parameters.as_deref())
}

/// Base64 in either alphabet (RFC 4648 §4, §5), with or without padding.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    let mut text: String = text
        .chars()
        .filter(|char| !char.is_ascii_whitespace() && *char != '=')
        .map(|char| match char {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    base64::decode(&text).map(|bytes| bytes.to_vec())
}

/// The signature in the contract's form, if it is this key's over this input.
///
/// Each is verified before it is handed out. A service that signs with another key, or another hash, must not get its
/// answer past a program that trusts its token; and services that are configured wrongly do just that. It costs a few
/// hundredths of a millisecond against the milliseconds of a request.
///
/// # Errors
/// [`TokenError::Corrupted`] if it is anything else.
pub(super) fn checked(
    api: &Api<'_>,
    key: &PublicKey,
    algorithm: KeyAlgorithm,
    input: &[u8],
    signature: Vec<u8>,
) -> Result<Vec<u8>> {
    let formed = match key.key_type() {
        KeyType::Ec(curve) => der(curve, signature),
        KeyType::Rsa { .. } => whole(key.max_signature_len(), signature),
        _ => None,
    };
    let is_right = |signature: &Vec<u8>| verify(key, algorithm, input, signature);
    match formed {
        Some(signature) if is_right(&signature)? => Ok(signature),
        _ => Err(TokenError::Corrupted(Reason::new(format!(
            "{} answers signatures/signHash with something that is no signature of this key over this hash",
            api.place()
        )))),
    }
}

/// An ECDSA signature as DER, from DER or r‖s: the API's document says nothing of its form. One of r‖s's length that
/// is strict DER by chance as well does not verify.
fn der(curve: Curve, signature: Vec<u8>) -> Option<Vec<u8>> {
    let mut fixed = vec![0; 2 * curve.bytes()];
    if ecdsa::der_to_fixed(curve, &signature, &mut fixed).is_ok() {
        return Some(signature);
    }
    if signature.len() != 2 * curve.bytes() {
        return None;
    }
    let mut der = vec![0; 2 * curve.bytes() + 16];
    let len = ecdsa::fixed_to_der(curve, &signature, &mut der).ok()?;
    der.truncate(len);
    Some(der)
}

/// An RSA signature as long as the modulus: services that count in numbers leave zeros out.
fn whole(len: usize, signature: Vec<u8>) -> Option<Vec<u8>> {
    let zeros = len.checked_sub(signature.len())?;
    Some([vec![0; zeros], signature].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_any_kind_is_read() {
        for text in ["-_8=", "+/8=", "+/8", "-_8", " +/\n8 "] {
            assert_eq!(bytes(text).unwrap(), [0xfb, 0xff], "{text}");
        }
        for text in ["!", "A", "ä"] {
            assert!(bytes(text).is_none(), "{text}");
        }
    }

    #[test]
    fn both_forms_of_an_ecdsa_signature_become_der() {
        let fixed = [[0x80; 32], [1; 32]].concat();
        let made = der(Curve::P256, fixed.clone()).unwrap();
        assert_eq!(made.len(), 2 + 2 + 33 + 2 + 32);
        assert_eq!(der(Curve::P256, made.clone()).unwrap(), made);
        assert!(der(Curve::P256, fixed[1..].to_vec()).is_none());
        assert!(der(Curve::P384, fixed).is_none());
        assert!(der(Curve::P256, Vec::new()).is_none());
    }

    #[test]
    fn an_rsa_signature_gets_its_zeros_back() {
        assert_eq!(whole(4, vec![1, 2]).unwrap(), [0, 0, 1, 2]);
        assert!(whole(4, vec![1; 5]).is_none());
    }
}
