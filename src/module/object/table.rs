//! The attributes: one row each, with the kinds of objects that have it and where its value comes
//! from.

use std::borrow::Cow;

use cryptoki_sys::*;
use ctk_token::{Constraint, Digest, KeyType, ObjectId, Operation, Origin, PublicKey};

use super::{
    Answer, Class, Value, View,
    certificate::{Parts, octet_string},
    public_key,
};

/// An attribute's row.
struct Row {
    kind: CK_ATTRIBUTE_TYPE,
    #[cfg(test)]
    name: &'static str,
    classes: &'static [Class],
    column: Column,
}

enum Column {
    /// Shown to everybody who sees the object; `None` if this one lacks it.
    Shown(for<'a> fn(&View<'a>) -> Option<Value<'a>>),
    /// The same, but what is lacking here is read from the token.
    Read(for<'a> fn(&View<'a>) -> Option<Value<'a>>),
    /// Never shown, whoever asks; says whether the object has it at all.
    Secret(fn(&View<'_>) -> bool),
}

/// The attribute `kind` of an object.
pub(super) fn attribute<'a>(view: &View<'a>, kind: CK_ATTRIBUTE_TYPE) -> Answer<'a> {
    let start = ROWS.partition_point(|row| row.kind < kind);
    let row = ROWS
        .iter()
        .skip(start)
        .take_while(|row| row.kind == kind)
        .find(|row| row.classes.contains(&view.object.class));
    match row.map(|row| &row.column) {
        Some(Column::Shown(value)) => value(view).map_or(Answer::Absent, Answer::Shown),
        Some(Column::Read(value)) => value(view).map_or(Answer::Unread, Answer::Shown),
        Some(Column::Secret(applies)) if applies(view) => Answer::Sensitive,
        Some(Column::Secret(_)) | None => Answer::Absent,
    }
}

const ALL: &[Class] = Class::ALL;
const CERTIFICATE: &[Class] = &[Class::Certificate];
const NO_CERTIFICATE: &[Class] = &[
    Class::Data,
    Class::PublicKey,
    Class::PrivateKey,
    Class::SecretKey,
    Class::Profile,
];
const DATA: &[Class] = &[Class::Data];
const PROFILE: &[Class] = &[Class::Profile];
const PUBLIC: &[Class] = &[Class::PublicKey];
const PRIVATE: &[Class] = &[Class::PrivateKey];
const KEYS: &[Class] = &[Class::PublicKey, Class::PrivateKey];
const KEYS_AND_CERTIFICATE: &[Class] = &[Class::Certificate, Class::PublicKey, Class::PrivateKey];

macro_rules! rows {
    ($($kind:ident $classes:ident $column:ident($value:expr);)*) => {
        static ROWS: &[Row] = &[$(Row {
            kind: $kind,
            #[cfg(test)]
            name: stringify!($kind),
            classes: $classes,
            column: Column::$column($value),
        },)*];
    };
}

// Sorted by value; an attribute that is another thing for another class has a second row.
rows! {
    CKA_CLASS ALL Shown(|view| Some(Value::ulong(view.object.class.value())));
    CKA_TOKEN ALL Shown(|_| yes());
    CKA_PRIVATE ALL Shown(|view| Some(Value::bool(view.object.private)));
    CKA_LABEL ALL Shown(|view| bytes(view.label().as_bytes()));
    CKA_UNIQUE_ID ALL Shown(|view| owned(unique_id(view)));
    CKA_APPLICATION DATA Shown(|view| bytes(view.data()?.application.as_bytes()));
    CKA_VALUE CERTIFICATE Shown(|view| bytes(&view.certificate()?.der));
    CKA_VALUE DATA Read(|view| bytes(view.data()?.value.as_deref()?));
    CKA_VALUE PUBLIC Shown(|view| bytes(public_key::encoded(public(view)?)?));
    CKA_VALUE PRIVATE Secret(|view| has_secret(view, CKA_VALUE));
    CKA_OBJECT_ID DATA Shown(|view| bytes(&view.data()?.object_id));
    CKA_CERTIFICATE_TYPE CERTIFICATE Shown(|_| Some(Value::ulong(CKC_X_509)));
    CKA_ISSUER CERTIFICATE Shown(|view| bytes(parts(view)?.issuer));
    CKA_SERIAL_NUMBER CERTIFICATE Shown(|view| bytes(parts(view)?.serial_number));
    CKA_TRUSTED CERTIFICATE Shown(|_| no());
    CKA_TRUSTED PUBLIC Shown(|_| no());
    CKA_CERTIFICATE_CATEGORY CERTIFICATE Shown(|view| Some(Value::ulong(category(view))));
    CKA_JAVA_MIDP_SECURITY_DOMAIN CERTIFICATE
        Shown(|_| Some(Value::ulong(CK_SECURITY_DOMAIN_UNSPECIFIED)));
    CKA_URL CERTIFICATE Shown(|_| bytes(&[]));
    CKA_CHECK_VALUE CERTIFICATE Shown(check_value);
    CKA_KEY_TYPE KEYS Shown(|view| Some(Value::ulong(public_key::key_type(kind(view)?))));
    CKA_SUBJECT CERTIFICATE Shown(|view| bytes(parts(view)?.subject));
    CKA_SUBJECT KEYS Shown(|view| bytes(view.key()?.subject.as_deref().unwrap_or_default()));
    CKA_ID KEYS_AND_CERTIFICATE Shown(|view| bytes(view.identity()?));
    CKA_SENSITIVE PRIVATE Shown(|_| yes());
    CKA_ENCRYPT PUBLIC Shown(|view| usable(view, Operation::Decrypt));
    CKA_DECRYPT PRIVATE Shown(|view| usable(view, Operation::Decrypt));
    CKA_WRAP PUBLIC Shown(|view| usable(view, Operation::Decrypt));
    CKA_UNWRAP PRIVATE Shown(|view| usable(view, Operation::Decrypt));
    CKA_SIGN PRIVATE Shown(|view| usable(view, Operation::Sign));
    CKA_SIGN_RECOVER PRIVATE Shown(recovers);
    CKA_VERIFY PUBLIC Shown(|view| usable(view, Operation::Sign));
    CKA_VERIFY_RECOVER PUBLIC Shown(recovers);
    CKA_DERIVE KEYS Shown(|view| agrees(view, false));
    CKA_START_DATE CERTIFICATE
        Shown(|view| owned(parts(view)?.start_date().map(Vec::from).unwrap_or_default()));
    CKA_START_DATE KEYS Shown(|_| bytes(&[]));
    CKA_END_DATE CERTIFICATE
        Shown(|view| owned(parts(view)?.end_date().map(Vec::from).unwrap_or_default()));
    CKA_END_DATE KEYS Shown(|_| bytes(&[]));
    CKA_MODULUS KEYS Shown(|view| bytes(public_key::rsa(public(view)?)?.0));
    CKA_MODULUS_BITS PUBLIC
        Shown(|view| Some(Value::ulong(public_key::modulus_bits(public(view)?)?)));
    CKA_PUBLIC_EXPONENT KEYS Shown(|view| bytes(public_key::rsa(public(view)?)?.1));
    CKA_PRIVATE_EXPONENT PRIVATE Secret(|view| has_secret(view, CKA_PRIVATE_EXPONENT));
    CKA_PRIME_1 PRIVATE Secret(|view| has_secret(view, CKA_PRIME_1));
    CKA_PRIME_2 PRIVATE Secret(|view| has_secret(view, CKA_PRIME_2));
    CKA_EXPONENT_1 PRIVATE Secret(|view| has_secret(view, CKA_EXPONENT_1));
    CKA_EXPONENT_2 PRIVATE Secret(|view| has_secret(view, CKA_EXPONENT_2));
    CKA_COEFFICIENT PRIVATE Secret(|view| has_secret(view, CKA_COEFFICIENT));
    CKA_PUBLIC_KEY_INFO CERTIFICATE Shown(|view| bytes(parts(view)?.public_key_info));
    CKA_PUBLIC_KEY_INFO KEYS Shown(|view| bytes(public(view)?.spki()));
    CKA_EXTRACTABLE PRIVATE Shown(|_| no());
    CKA_LOCAL KEYS Shown(|view| Some(Value::bool(is_local(view)?)));
    CKA_NEVER_EXTRACTABLE PRIVATE Shown(|view| Some(Value::bool(is_local(view)?)));
    CKA_ALWAYS_SENSITIVE PRIVATE Shown(|view| Some(Value::bool(is_local(view)?)));
    CKA_KEY_GEN_MECHANISM KEYS Shown(key_gen_mechanism);
    CKA_MODIFIABLE ALL Shown(|_| no());
    CKA_COPYABLE ALL Shown(|_| no());
    // What else is on a token is made again, but does not go.
    CKA_DESTROYABLE CERTIFICATE Shown(|view| Some(Value::bool(view.insertion.is_writable())));
    CKA_DESTROYABLE NO_CERTIFICATE Shown(|_| no());
    CKA_EC_PARAMS KEYS Shown(|view| owned(public_key::ec_params(kind(view)?)?));
    // On the private key it is none of the specification's, and saves programs a search for the
    // public key.
    CKA_EC_POINT KEYS Shown(|view| owned(octet_string(public_key::point(public(view)?)?)));
    CKA_ALWAYS_AUTHENTICATE PRIVATE
        Shown(|view| Some(Value::bool(view.catalog.authenticates_always(view.key()?))));
    CKA_WRAP_WITH_TRUSTED PRIVATE Shown(|_| no());
    CKA_PROFILE_ID PROFILE Shown(|view| Some(Value::ulong(view.profile()?)));
    CKA_PARAMETER_SET KEYS
        Shown(|view| Some(Value::ulong(public_key::parameter_set(kind(view)?)?)));
    CKA_ENCAPSULATE PUBLIC Shown(|view| agrees(view, true));
    CKA_DECAPSULATE PRIVATE Shown(|view| agrees(view, true));
    CKA_SEED PRIVATE Secret(|view| has_secret(view, CKA_SEED));
    CKA_ALLOWED_MECHANISMS PRIVATE Shown(|view| owned(
        view.allowed(view.key()?).iter().flat_map(|mechanism| mechanism.to_ne_bytes()).collect(),
    ));
}

#[allow(clippy::unnecessary_wraps)] // what a row's function returns
fn yes<'a>() -> Option<Value<'a>> {
    Some(Value::bool(true))
}

#[allow(clippy::unnecessary_wraps)]
fn no<'a>() -> Option<Value<'a>> {
    Some(Value::bool(false))
}

#[allow(clippy::unnecessary_wraps)]
fn bytes(value: &[u8]) -> Option<Value<'_>> {
    Some(Value::Bytes(Cow::Borrowed(value)))
}

#[allow(clippy::unnecessary_wraps)]
fn owned<'a>(value: Vec<u8>) -> Option<Value<'a>> {
    Some(Value::Bytes(Cow::Owned(value)))
}

/// Whether the key may be used so, and is of a kind that can.
fn usable<'a>(view: &View<'a>, operation: Operation) -> Option<Value<'a>> {
    let key = view.key()?;
    let allowed = key.constraint(operation) != Constraint::Never;
    Some(Value::bool(
        allowed && public_key::serves(&key.public_key, operation),
    ))
}

/// Unique on the token: the class and the token's own name for the item.
fn unique_id(view: &View<'_>) -> Vec<u8> {
    let mut id = format!("{}-", view.object.class.value());
    if let Some(profile) = view.profile() {
        id.push_str(&profile.to_string());
    }
    for byte in view.id().map(ObjectId::as_bytes).unwrap_or_default() {
        id.push_str(&format!("{byte:02x}"));
    }
    id.into_bytes()
}

fn parts<'a>(view: &View<'a>) -> Option<Parts<'a>> {
    Parts::of(&view.certificate()?.der)
}

/// A self-signed authority whose key is here is the person's own certificate before it is an
/// authority's.
fn category(view: &View<'_>) -> CK_ULONG {
    if view.has_private_key() {
        CK_CERTIFICATE_CATEGORY_TOKEN_USER
    } else if parts(view).is_some_and(|parts| parts.is_authority()) {
        CK_CERTIFICATE_CATEGORY_AUTHORITY
    } else {
        CK_CERTIFICATE_CATEGORY_UNSPECIFIED
    }
}

/// The first three bytes of the SHA-1 hash of the certificate (PKCS#11 §4.6.2).
fn check_value<'a>(view: &View<'a>) -> Option<Value<'a>> {
    let hash = ctk_crypto::hash(Digest::Sha1, &view.certificate()?.der).ok()?;
    owned(hash.get(..3)?.to_vec())
}

fn public<'a>(view: &View<'a>) -> Option<&'a PublicKey> {
    Some(&view.key()?.public_key)
}

fn kind(view: &View<'_>) -> Option<KeyType> {
    Some(public(view)?.key_type())
}

fn has_secret(view: &View<'_>, attribute: CK_ATTRIBUTE_TYPE) -> bool {
    kind(view).is_some_and(|kind| public_key::has_secret(kind, attribute))
}

/// Signatures out of which the data can be recovered are RSA's with PKCS#1 padding or none.
fn recovers<'a>(view: &View<'a>) -> Option<Value<'a>> {
    let key = view.key()?;
    let rsa = matches!(key.public_key.key_type(), KeyType::Rsa { .. });
    let recovers = rsa && !key.public_key.is_pss_only();
    Some(Value::bool(recovers && key.sign != Constraint::Never))
}

/// Whether the key agrees on secrets, by encapsulation or the other way.
fn agrees<'a>(view: &View<'a>, encapsulates: bool) -> Option<Value<'a>> {
    if kind(view)?.ciphertext_len().is_some() != encapsulates {
        return no();
    }
    usable(view, Operation::KeyExchange)
}

/// Whether the key was made on the token.
fn is_local(view: &View<'_>) -> Option<bool> {
    Some(view.key()?.origin == Origin::Generated)
}

fn key_gen_mechanism<'a>(view: &View<'a>) -> Option<Value<'a>> {
    let mechanism = if is_local(view)? {
        match view.key()?.public_key.key_type() {
            KeyType::Rsa { .. } => CKM_RSA_PKCS_KEY_PAIR_GEN,
            KeyType::Ec(_) => CKM_EC_KEY_PAIR_GEN,
            KeyType::Ed25519 | KeyType::Ed448 => CKM_EC_EDWARDS_KEY_PAIR_GEN,
            KeyType::X25519 | KeyType::X448 => CKM_EC_MONTGOMERY_KEY_PAIR_GEN,
            KeyType::MlDsa44 | KeyType::MlDsa65 | KeyType::MlDsa87 => CKM_ML_DSA_KEY_PAIR_GEN,
            KeyType::MlKem512 | KeyType::MlKem768 | KeyType::MlKem1024 => CKM_ML_KEM_KEY_PAIR_GEN,
        }
    } else {
        CK_UNAVAILABLE_INFORMATION
    };
    Some(Value::ulong(mechanism))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_none_is_there_twice() {
        for pair in ROWS.windows(2) {
            let [first, second] = pair else {
                unreachable!()
            };
            assert!(
                first.kind <= second.kind,
                "{} before {}",
                first.name,
                second.name
            );
            if first.kind == second.kind {
                let both = first
                    .classes
                    .iter()
                    .find(|class| second.classes.contains(class));
                assert_eq!(both, None, "{} twice for one class", first.name);
            }
        }
    }

    #[test]
    fn private_material_is_secret_in_every_row() {
        for kind in [
            CKA_PRIVATE_EXPONENT,
            CKA_PRIME_1,
            CKA_PRIME_2,
            CKA_EXPONENT_1,
            CKA_EXPONENT_2,
            CKA_COEFFICIENT,
        ] {
            let rows: Vec<_> = ROWS.iter().filter(|row| row.kind == kind).collect();
            assert_eq!(rows.len(), 1);
            assert!(
                rows.iter()
                    .all(|row| matches!(row.column, Column::Secret(_)))
            );
        }
        for kind in [CKA_VALUE, CKA_SEED] {
            let value = ROWS
                .iter()
                .find(|row| row.kind == kind && row.classes == PRIVATE);
            assert!(value.is_some_and(|row| matches!(row.column, Column::Secret(_))));
        }
    }
}
