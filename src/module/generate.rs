//! Key generation (PKCS#11 §5.18.1, §5.18.2): keys of the session, and key pairs that a token
//! makes.

use cryptoki_sys::*;
use ctk_crypto::{PrivateKey, SecretBytes, has_key_type, random};
use ctk_token::{KeyType, TokenError};

use crate::{
    abi::ptr::{Mechanism, Place, Template},
    error::{During, Error, Result},
    mechanism::table::{self, Form, KeyPair, SecretKeyType},
    object::{
        Class, curve, make, of_set, provision,
        wish::{How, Wish},
    },
    session::Session,
};

/// The public exponent that all our RSA keys have: 65537.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// C_GenerateKey (PKCS#11 §5.18.1).
pub(crate) fn key(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    template: Result<Template<'_>>,
    handle: Result<Place<'_, CK_OBJECT_HANDLE>>,
) -> Result<()> {
    let (template, handle) = (template?, handle?);
    let mechanism = mechanism.ok_or(Error::ArgumentsBad)?;
    let row = table::row_for(mechanism.kind, CKF_GENERATE)?;
    let key_type = match row.form {
        Form::Key(SecretKeyType::Aes) => CKK_AES,
        _ => CKK_GENERIC_SECRET,
    };
    mechanism.parameter?.none()?;
    let how = How::Generated(row.mechanism);
    let wish = Wish::new(session, Class::SecretKey, how, template)?;
    check_key_type(&wish, key_type)?;
    let len = wish.value_len()?.ok_or(Error::TemplateIncomplete)?;
    if make::check_secret_len(key_type, len).is_err() {
        return Err(Error::AttributeValueInvalid);
    }
    let mut value = SecretBytes::zeroed(len);
    random(&mut value).map_err(|error| Error::from_token(During::Operation, &error))?;
    handle.set(make::new_secret_key(session, wish, key_type, &value)?);
    Ok(())
}

/// C_GenerateKeyPair (PKCS#11 §5.18.2).
pub(crate) fn key_pair(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    public_template: Result<Template<'_>>,
    private_template: Result<Template<'_>>,
    public_handle: Result<Place<'_, CK_OBJECT_HANDLE>>,
    private_handle: Result<Place<'_, CK_OBJECT_HANDLE>>,
) -> Result<()> {
    let (public_template, private_template) = (public_template?, private_template?);
    let (public_handle, private_handle) = (public_handle?, private_handle?);
    let mechanism = mechanism.ok_or(Error::ArgumentsBad)?;
    let row = table::row_for(mechanism.kind, CKF_GENERATE_KEY_PAIR)?;
    let Form::KeyPair(pair) = row.form else {
        return Err(Error::MechanismInvalid);
    };
    mechanism.parameter?.none()?;
    let how = How::Generated(row.mechanism);
    let public = Wish::new(session, Class::PublicKey, how, public_template)?;
    let private = Wish::new(session, Class::PrivateKey, how, private_template)?;
    for wish in [&public, &private] {
        check_key_type(wish, key_type(pair))?;
    }
    if public.on_token != private.on_token {
        // On a token they are one thing.
        return Err(Error::TemplateInconsistent);
    }
    let kind = kind(pair, &public)?;
    make::check_key_pair(&public, &private, kind)?;
    if public.on_token {
        let (public, private) = provision::generate_key_pair(session, &public, &private, kind)?;
        public_handle.set(public);
        private_handle.set(private);
        return Ok(());
    }
    check_library(pair, kind)?;
    let key = PrivateKey::generate(kind).map_err(|error| match error {
        TokenError::BadParameter => Error::AttributeValueInvalid,
        error => Error::from_token(During::Operation, &error),
    })?;
    let (public, private) = make::new_key_pair(session, public, private, key)?;
    public_handle.set(public);
    private_handle.set(private);
    Ok(())
}

/// CKA_KEY_TYPE is in the mechanism already.
fn check_key_type(wish: &Wish, key_type: CK_KEY_TYPE) -> Result<()> {
    match wish.key_type() {
        Some(named) if named != key_type => Err(Error::TemplateInconsistent),
        _ => Ok(()),
    }
}

fn key_type(pair: KeyPair) -> CK_KEY_TYPE {
    match pair {
        KeyPair::Rsa => CKK_RSA,
        KeyPair::Ec => CKK_EC,
        KeyPair::Edwards => CKK_EC_EDWARDS,
        KeyPair::Montgomery => CKK_EC_MONTGOMERY,
        KeyPair::MlDsa => CKK_ML_DSA,
        KeyPair::MlKem => CKK_ML_KEM,
    }
}

/// What kind of key the template for the public one asks for.
fn kind(pair: KeyPair, public: &Wish) -> Result<KeyType> {
    match pair {
        KeyPair::Rsa => rsa(public),
        KeyPair::Ec | KeyPair::Edwards | KeyPair::Montgomery => {
            curve(key_type(pair), public.required(CKA_EC_PARAMS)?)
        }
        KeyPair::MlDsa | KeyPair::MlKem => {
            let set = public.ulong(CKA_PARAMETER_SET);
            let set = set.ok_or(Error::TemplateIncomplete)?;
            of_set(key_type(pair), set)
        }
    }
}

/// Whether the crypto library of this build has such keys.
fn check_library(pair: KeyPair, kind: KeyType) -> Result<()> {
    match pair {
        _ if has_key_type(kind) => Ok(()),
        KeyPair::MlDsa | KeyPair::MlKem => Err(Error::ParameterSetNotSupported),
        _ => Err(Error::CurveNotSupported),
    }
}

fn rsa(public: &Wish) -> Result<KeyType> {
    let bits = public.ulong(CKA_MODULUS_BITS);
    let bits = bits.ok_or(Error::TemplateIncomplete)?;
    if let Some(exponent) = public.bytes(CKA_PUBLIC_EXPONENT) {
        let zeros = exponent.iter().take_while(|byte| **byte == 0).count();
        if exponent.get(zeros..) != Some(&EXPONENT) {
            // The answer that §6.1.4 wants for an exponent that cannot be used.
            return Err(Error::TemplateInconsistent);
        }
    }
    let bits = u32::try_from(bits).map_err(|_| Error::AttributeValueInvalid)?;
    Ok(KeyType::Rsa { bits })
}
