//! Making, copying, changing and destroying objects (PKCS#11 §5.7.1 to §5.7.3, §5.7.6): mostly
//! those of a session.

use cryptoki_sys::*;
use ctk_token::{Digest, KeyType, PublicKey, Role};

use super::{
    Class, Sight,
    certificate::Parts as CertificateParts,
    make::{self, Parts},
    provision, public_key,
    schema::{self, Act},
    session_object::{Attributes, Material, SessionObject},
    wish::{self, Given, How, Wish},
};
use crate::{
    abi::ptr::{Place, Template},
    error::{During, Error, Result},
    session::Session,
};

/// The RSA moduli that can be used for something, in bits.
const RSA_BITS: std::ops::RangeInclusive<u32> = 1024..=8192;

/// The RSA exponents: 1 encrypts nothing, and longer ones than 33 bits are not taken by crypto
/// libraries.
const RSA_EXPONENTS: std::ops::Range<u64> = 3..1 << 33;

/// What keys are for (PKCS#11 §4.9 to §4.11).
const USES: [CK_ATTRIBUTE_TYPE; 11] = [
    CKA_ENCRYPT,
    CKA_DECRYPT,
    CKA_WRAP,
    CKA_UNWRAP,
    CKA_SIGN,
    CKA_SIGN_RECOVER,
    CKA_VERIFY,
    CKA_VERIFY_RECOVER,
    CKA_DERIVE,
    CKA_ENCAPSULATE,
    CKA_DECAPSULATE,
];

/// C_CreateObject (PKCS#11 §5.7.1): public keys, secret keys, certificates and data.
///
/// Private keys come from the token or from C_GenerateKeyPair: what a program has in its own memory
/// needs no token to keep it. A token that can be written takes certificates.
pub(crate) fn create(
    session: &Session,
    template: Result<Template<'_>>,
    handle: Result<Place<'_, CK_OBJECT_HANDLE>>,
) -> Result<()> {
    let (template, handle) = (template?, handle?);
    let given = wish::read(template)?;
    let class = given.get(&CKA_CLASS).ok_or(Error::TemplateIncomplete)?;
    let class = <[u8; size_of::<CK_OBJECT_CLASS>()]>::try_from(class.as_slice())
        .map(CK_OBJECT_CLASS::from_ne_bytes)
        .ok()
        .and_then(Class::of_new)
        .ok_or(Error::AttributeValueInvalid)?;
    let wish = Wish::of(session, class, How::Created, given)?;
    handle.set(match class {
        Class::Data => make::new_object(session, data(wish), Material::Nothing),
        Class::Certificate if wish.on_token => {
            // Whatever is wrong with a session's certificate is wrong with the token's.
            let (identity, value) = (wish.copied(CKA_ID), wish.copied(CKA_VALUE));
            certificate(wish)?;
            provision::import_certificate(session, &identity, &value)
        }
        Class::Certificate => make::new_object(session, certificate(wish)?, Material::Nothing),
        Class::PublicKey => {
            let key = public_key(&wish)?;
            make::new_public_key(session, wish, key)
        }
        Class::SecretKey => secret_key(session, wish),
        Class::PrivateKey | Class::Profile => Err(Error::AttributeValueInvalid),
    }?);
    Ok(())
}

/// §4.5.
fn data(wish: Wish) -> Parts {
    let mut parts = Parts::new(wish);
    for kind in [CKA_APPLICATION, CKA_OBJECT_ID, CKA_VALUE] {
        parts.default_bytes(kind);
    }
    parts
}

/// §4.6.3.
fn certificate(wish: Wish) -> Result<Parts> {
    let kind = wish
        .ulong(CKA_CERTIFICATE_TYPE)
        .ok_or(Error::TemplateIncomplete)?;
    if kind != CKC_X_509 {
        return Err(Error::AttributeValueInvalid);
    }
    wish.required(CKA_SUBJECT)?;
    let value = wish.required(CKA_VALUE)?;
    let url = wish.bytes(CKA_URL).unwrap_or_default();
    let has_hashes = [
        CKA_HASH_OF_SUBJECT_PUBLIC_KEY,
        CKA_HASH_OF_ISSUER_PUBLIC_KEY,
    ]
    .iter()
    .all(|kind| wish.bytes(*kind).is_some_and(|hash| !hash.is_empty()));
    // Where it is to be had, and hashes to know it by, stand for a certificate that is not here.
    if value.is_empty() && url.is_empty() || !url.is_empty() && !has_hashes {
        return Err(Error::TemplateIncomplete);
    }
    if !value.is_empty() && CertificateParts::of(value).is_none() {
        return Err(Error::AttributeValueInvalid);
    }
    let check_value = if value.is_empty() {
        Vec::new()
    } else {
        let hash = ctk_crypto::hash(Digest::Sha1, value)
            .map_err(|error| Error::from_token(During::Operation, &error))?;
        hash.get(..3).unwrap_or_default().to_vec()
    };
    let named = wish.bytes(CKA_CHECK_VALUE).unwrap_or_default();
    if !named.is_empty() && named != check_value {
        return Err(Error::AttributeValueInvalid);
    }
    let mut parts = Parts::new(wish);
    parts.set(CKA_CHECK_VALUE, &check_value);
    for kind in [
        CKA_ID,
        CKA_ISSUER,
        CKA_SERIAL_NUMBER,
        CKA_URL,
        CKA_HASH_OF_SUBJECT_PUBLIC_KEY,
        CKA_HASH_OF_ISSUER_PUBLIC_KEY,
        CKA_START_DATE,
        CKA_END_DATE,
        CKA_PUBLIC_KEY_INFO,
    ] {
        parts.default_bytes(kind);
    }
    parts.default_bools(&[(CKA_TRUSTED, false)]);
    parts.default_ulong(
        CKA_CERTIFICATE_CATEGORY,
        CK_CERTIFICATE_CATEGORY_UNSPECIFIED,
    );
    parts.default_ulong(
        CKA_JAVA_MIDP_SECURITY_DOMAIN,
        CK_SECURITY_DOMAIN_UNSPECIFIED,
    );
    parts.default_ulong(CKA_NAME_HASH_ALGORITHM, CKM_SHA_1);
    Ok(parts)
}

/// §4.11. The types that have a length of their own are checked where the key is made.
fn secret_key(session: &Session, mut wish: Wish) -> Result<CK_OBJECT_HANDLE> {
    let key_type = wish.key_type().ok_or(Error::TemplateIncomplete)?;
    let value = wish.given.remove(&CKA_VALUE);
    let value = value.ok_or(Error::TemplateIncomplete)?;
    make::new_secret_key(session, wish, key_type, &value).map_err(|error| match error {
        // Here it is the value that is wrong.
        Error::KeySizeRange => Error::AttributeValueInvalid,
        error => error,
    })
}

/// The public key that a template describes (§6.1.2, §6.3.3 to §6.3.8, §6.67.2, §6.68.2).
fn public_key(wish: &Wish) -> Result<PublicKey> {
    let key_type = wish.key_type().ok_or(Error::TemplateIncomplete)?;
    let invalid = |_| Error::AttributeValueInvalid;
    match key_type {
        CKK_RSA => {
            let modulus = wish.required(CKA_MODULUS)?;
            let exponent = wish.required(CKA_PUBLIC_EXPONENT)?;
            if !is_odd(modulus) || !is_odd(exponent) || !RSA_EXPONENTS.contains(&number(exponent)) {
                return Err(Error::AttributeValueInvalid);
            }
            let key = PublicKey::rsa(modulus, exponent).map_err(invalid)?;
            match key.key_type() {
                KeyType::Rsa { bits } if RSA_BITS.contains(&bits) => Ok(key),
                _ => Err(Error::AttributeValueInvalid),
            }
        }
        CKK_EC | CKK_EC_EDWARDS | CKK_EC_MONTGOMERY => {
            let parameters = wish.required(CKA_EC_PARAMS)?;
            let point = wish.required(CKA_EC_POINT)?;
            public_key::of_point(public_key::curve(key_type, parameters)?, point)
        }
        CKK_ML_DSA | CKK_ML_KEM => {
            let set = wish
                .ulong(CKA_PARAMETER_SET)
                .ok_or(Error::TemplateIncomplete)?;
            let value = wish.required(CKA_VALUE)?;
            let kind = public_key::of_set(key_type, set)?;
            let key = PublicKey::raw(kind, value).map_err(invalid)?;
            if key_type == CKK_ML_KEM {
                ctk_crypto::check_encapsulation_key(&key).map_err(invalid)?;
            }
            Ok(key)
        }
        _ => Err(Error::AttributeValueInvalid),
    }
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|last| last & 1 == 1)
}

/// A big-endian number, or the largest of 64 bits for all that are larger.
fn number(bytes: &[u8]) -> u64 {
    let append = |number: u64, byte: &u8| {
        let larger = number.checked_mul(256)?;
        larger.checked_add(u64::from(*byte))
    };
    bytes.iter().try_fold(0, append).unwrap_or(u64::MAX)
}

/// C_CopyObject (PKCS#11 §5.7.2).
pub(crate) fn copy(
    session: &Session,
    object: CK_OBJECT_HANDLE,
    template: Result<Template<'_>>,
    handle: Result<Place<'_, CK_OBJECT_HANDLE>>,
) -> Result<()> {
    let object = own(session, object)?;
    let (template, handle) = (template?, handle?);
    let changes = wish::read(template)?;
    let material = match &object.material {
        Material::Nothing => Material::Nothing,
        Material::Public(key) => Material::Public(key.clone()),
        Material::Secret(key) => Material::Secret(session.insertion.objects.keep(key)),
        Material::Private(..) => return Err(Error::ActionProhibited),
    };
    if !object.is_true(CKA_COPYABLE) {
        return Err(Error::ActionProhibited);
    }
    let class = object.class().ok_or(Error::GeneralError)?;
    let attributes = object.attributes.read().clone();
    check_changes(session, class, Act::Copy, &attributes, &changes)?;
    check_fixed(&attributes, &changes)?;
    let private = wish::bool_of(&changes, CKA_PRIVATE).unwrap_or(object.private);
    if object.private && !private {
        // Who is not logged in would see what only the user was to see.
        return Err(Error::TemplateInconsistent);
    }
    let parts = Parts::copy(attributes, &changes, private);
    handle.set(make::new_object(session, parts, material)?);
    Ok(())
}

/// C_DestroyObject (PKCS#11 §5.7.3).
pub(crate) fn destroy(session: &Session, object: CK_OBJECT_HANDLE) -> Result<()> {
    if let Some(view) = Sight::new(session)?.object(object) {
        return provision::delete(session, &view);
    }
    let object = own(session, object)?;
    if !object.is_true(CKA_DESTROYABLE) {
        return Err(Error::ActionProhibited);
    }
    session.insertion.objects.remove(object.handle)
}

/// C_SetAttributeValue (PKCS#11 §5.7.6): all of the template or nothing.
pub(crate) fn set_attribute_value(
    session: &Session,
    object: CK_OBJECT_HANDLE,
    template: Result<Template<'_>>,
) -> Result<()> {
    let object = own(session, object)?;
    let changes = wish::read(template?)?;
    let class = object.class().ok_or(Error::GeneralError)?;
    session.insertion.objects.change(&object, |attributes| {
        if is_false(attributes, CKA_MODIFIABLE) {
            return Err(Error::ActionProhibited);
        }
        check_changes(session, class, Act::Set, attributes, &changes)?;
        for (kind, value) in &changes {
            attributes.insert(*kind, value.as_slice().into());
        }
        Ok(())
    })
}

/// A session object, for what cannot be done with those of a token: they say so by CKA_COPYABLE,
/// CKA_DESTROYABLE and CKA_MODIFIABLE.
fn own(session: &Session, handle: CK_OBJECT_HANDLE) -> Result<std::sync::Arc<SessionObject>> {
    if Sight::new(session)?.object(handle).is_some() {
        return Err(Error::ActionProhibited);
    }
    let object = session.insertion.objects.find(session, handle);
    object.ok_or(Error::ObjectHandleInvalid)
}

/// Whether an object may become what a template says (§4.1.2, §4.1.3).
///
/// What the SO trusts stays as it was trusted, in copies too: who could give such a key one use more
/// would open what others have wrapped with it.
///
/// # Errors
/// CKR_ATTRIBUTE_READ_ONLY for what would take protection away, which was given for good.
fn check_changes(
    session: &Session,
    class: Class,
    act: Act,
    attributes: &Attributes,
    changes: &Given,
) -> Result<()> {
    let trusted =
        is_true(attributes, CKA_TRUSTED) && session.insertion.login() != Some(Role::Admin);
    for (kind, value) in changes {
        schema::check(class, act, *kind, value)?;
        let is_set = value.as_slice() != [CK_FALSE];
        let fixed = match *kind {
            CKA_SENSITIVE | CKA_WRAP_WITH_TRUSTED => !is_set && !is_false(attributes, *kind),
            CKA_EXTRACTABLE | CKA_COPYABLE => is_set && is_false(attributes, *kind),
            CKA_TRUSTED => trusted && !is_set,
            kind if USES.contains(&kind) => trusted && is_set && !is_true(attributes, kind),
            _ => false,
        };
        if fixed {
            return Err(Error::AttributeReadOnly);
        }
    }
    wish::check_storage(session, class, changes).map(drop)
}

/// Whether a copy may differ so from an object that is not CKA_MODIFIABLE: in where it is and who sees
/// it, and by being stricter.
///
/// # Errors
/// CKR_ATTRIBUTE_READ_ONLY.
fn check_fixed(attributes: &Attributes, changes: &Given) -> Result<()> {
    let may = |kind: CK_ATTRIBUTE_TYPE, value: &[u8]| {
        let stricter = match kind {
            CKA_TOKEN | CKA_PRIVATE => true,
            CKA_SENSITIVE | CKA_WRAP_WITH_TRUSTED => value != [CK_FALSE],
            CKA_EXTRACTABLE | CKA_COPYABLE => value == [CK_FALSE],
            kind => USES.contains(&kind) && value == [CK_FALSE],
        };
        stricter || attributes.get(&kind).is_some_and(|own| **own == *value)
    };
    let fixed = is_false(attributes, CKA_MODIFIABLE);
    if fixed && !changes.iter().all(|(kind, value)| may(*kind, value)) {
        return Err(Error::AttributeReadOnly);
    }
    Ok(())
}

fn is_true(attributes: &Attributes, kind: CK_ATTRIBUTE_TYPE) -> bool {
    matches!(attributes.get(&kind).map(|value| &**value), Some([value]) if *value != CK_FALSE)
}

fn is_false(attributes: &Attributes, kind: CK_ATTRIBUTE_TYPE) -> bool {
    attributes
        .get(&kind)
        .is_some_and(|value| **value == [CK_FALSE])
}
