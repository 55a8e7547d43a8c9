//! Whether a signature is one: who signs fast has to sign rightly.

use openssl::{
    bn::BigNum,
    ecdsa::EcdsaSig,
    pkey::{PKey, Public},
    pkey_ctx::PkeyCtx,
    rsa::Padding,
    sign::Verifier,
};
use softhsm_bench::Key;

/// Whether `signature`, in hexadecimal as a worker tells it, is of this key over its input.
pub fn is_right(key: Key, public: &PKey<Public>, signature: &str) -> bool {
    let signature = unhex(signature);
    let input = key.input();
    match key {
        Key::Rsa2048 | Key::Rsa4096 => {
            let rsa = public.rsa().expect("an RSA key");
            let mut out = vec![0; signature.len()];
            let len = rsa.public_decrypt(&signature, &mut out, Padding::PKCS1);
            len.is_ok_and(|len| out[..len] == input)
        }
        Key::P256 | Key::P384 => {
            let (r, s) = signature.split_at(signature.len() / 2);
            let number = |bytes| BigNum::from_slice(bytes).expect("a number");
            let der = EcdsaSig::from_private_components(number(r), number(s))
                .and_then(|sides| sides.to_der())
                .expect("DER");
            let mut context = PkeyCtx::new(public).expect("a context");
            context.verify_init().expect("a context");
            context.verify(&input, &der).unwrap_or(false)
        }
        Key::Ed25519 => Verifier::new_without_digest(public)
            .and_then(|mut verifier| verifier.verify_oneshot(&signature, &input))
            .unwrap_or(false),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}
