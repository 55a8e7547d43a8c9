//! What a template may say of an object that a program makes or changes: one row for each attribute
//! and kind of object (PKCS#11 §4.4 to §4.11, §6.1 to §6.3, §6.67, §6.68).

use cryptoki_sys::*;

use super::Class;
use crate::error::{Error, Result};

/// What the value of an attribute looks like on the C side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shape {
    Bool,
    Ulong,
    /// Eight digits, or nothing.
    Date,
    Bytes,
    /// Any number of CK_ULONG.
    Ulongs,
}

/// What a program is doing with a template.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Act {
    /// C_CreateObject.
    Create,
    /// C_GenerateKey, C_GenerateKeyPair.
    Generate,
    /// C_UnwrapKey, C_DeriveKey, C_EncapsulateKey, C_DecapsulateKey.
    Unwrap,
    /// C_SetAttributeValue.
    Set,
    /// C_CopyObject.
    Copy,
}

/// Which acts may name an attribute.
type Acts = &'static [Act];

const MAKE: Acts = &[Act::Create, Act::Generate, Act::Unwrap];
const CREATE: Acts = &[Act::Create];
const GENERATE: Acts = &[Act::Generate];
const CREATE_AND_GENERATE: Acts = &[Act::Create, Act::Generate];
/// The length is that of the key, so that it can be compared wherever it is named.
const LENGTH: Acts = &[Act::Generate, Act::Unwrap];
const CREATE_AND_SET: Acts = &[Act::Create, Act::Set, Act::Copy];
const MAKE_AND_COPY: Acts = &[Act::Create, Act::Generate, Act::Unwrap, Act::Copy];
const ALWAYS: Acts = &[Act::Create, Act::Generate, Act::Unwrap, Act::Set, Act::Copy];
/// What the library says of an object, and nobody else.
const NEVER: Acts = &[];

struct Row {
    kind: CK_ATTRIBUTE_TYPE,
    classes: &'static [Class],
    shape: Shape,
    acts: Acts,
}

const STORED: &[Class] = &[
    Class::Data,
    Class::Certificate,
    Class::PublicKey,
    Class::PrivateKey,
    Class::SecretKey,
];
const DATA: &[Class] = &[Class::Data];
const CERTIFICATE: &[Class] = &[Class::Certificate];
const PUBLIC: &[Class] = &[Class::PublicKey];
const PRIVATE: &[Class] = &[Class::PrivateKey];
const SECRET: &[Class] = &[Class::SecretKey];
const PAIR: &[Class] = &[Class::PublicKey, Class::PrivateKey];
const HIDDEN: &[Class] = &[Class::PrivateKey, Class::SecretKey];
const OPEN: &[Class] = &[Class::PublicKey, Class::SecretKey];
const KEYS: &[Class] = &[Class::PublicKey, Class::PrivateKey, Class::SecretKey];
const NAMED: &[Class] = &[
    Class::Certificate,
    Class::PublicKey,
    Class::PrivateKey,
    Class::SecretKey,
];
const TRUSTED: &[Class] = &[Class::Certificate, Class::PublicKey, Class::SecretKey];
const CHECKED: &[Class] = &[Class::Certificate, Class::SecretKey];
const PAIR_AND_CERTIFICATE: &[Class] = &[Class::Certificate, Class::PublicKey, Class::PrivateKey];

macro_rules! rows {
    ($($kind:ident $classes:ident $shape:ident $acts:ident;)*) => {
        static ROWS: &[Row] = &[$(Row {
            kind: $kind,
            classes: $classes,
            shape: Shape::$shape,
            acts: $acts,
        },)*];
    };
}

// Sorted by value; an attribute with other rules for another class has a second row.
rows! {
    CKA_CLASS STORED Ulong MAKE;
    CKA_TOKEN STORED Bool MAKE_AND_COPY;
    CKA_PRIVATE STORED Bool MAKE_AND_COPY;
    CKA_LABEL STORED Bytes ALWAYS;
    CKA_UNIQUE_ID STORED Bytes NEVER;
    CKA_APPLICATION DATA Bytes CREATE_AND_SET;
    CKA_VALUE DATA Bytes CREATE_AND_SET;
    CKA_VALUE CERTIFICATE Bytes CREATE;
    CKA_VALUE KEYS Bytes CREATE;
    CKA_OBJECT_ID DATA Bytes CREATE_AND_SET;
    CKA_CERTIFICATE_TYPE CERTIFICATE Ulong CREATE;
    CKA_ISSUER CERTIFICATE Bytes CREATE_AND_SET;
    CKA_SERIAL_NUMBER CERTIFICATE Bytes CREATE_AND_SET;
    CKA_TRUSTED TRUSTED Bool ALWAYS;
    CKA_CERTIFICATE_CATEGORY CERTIFICATE Ulong CREATE;
    CKA_JAVA_MIDP_SECURITY_DOMAIN CERTIFICATE Ulong CREATE;
    CKA_URL CERTIFICATE Bytes CREATE;
    CKA_HASH_OF_SUBJECT_PUBLIC_KEY CERTIFICATE Bytes CREATE;
    CKA_HASH_OF_ISSUER_PUBLIC_KEY CERTIFICATE Bytes CREATE;
    CKA_NAME_HASH_ALGORITHM CERTIFICATE Ulong CREATE;
    CKA_CHECK_VALUE CHECKED Bytes MAKE;
    CKA_KEY_TYPE KEYS Ulong MAKE;
    CKA_SUBJECT CERTIFICATE Bytes CREATE;
    CKA_SUBJECT PAIR Bytes ALWAYS;
    CKA_ID NAMED Bytes ALWAYS;
    CKA_SENSITIVE HIDDEN Bool ALWAYS;
    CKA_ENCRYPT OPEN Bool ALWAYS;
    CKA_DECRYPT HIDDEN Bool ALWAYS;
    CKA_WRAP OPEN Bool ALWAYS;
    CKA_UNWRAP HIDDEN Bool ALWAYS;
    CKA_SIGN HIDDEN Bool ALWAYS;
    CKA_SIGN_RECOVER PRIVATE Bool ALWAYS;
    CKA_VERIFY OPEN Bool ALWAYS;
    CKA_VERIFY_RECOVER PUBLIC Bool ALWAYS;
    CKA_DERIVE KEYS Bool ALWAYS;
    CKA_START_DATE CERTIFICATE Date CREATE;
    CKA_START_DATE KEYS Date ALWAYS;
    CKA_END_DATE CERTIFICATE Date CREATE;
    CKA_END_DATE KEYS Date ALWAYS;
    CKA_MODULUS PAIR Bytes CREATE;
    CKA_MODULUS_BITS PUBLIC Ulong GENERATE;
    CKA_PUBLIC_EXPONENT PAIR Bytes CREATE_AND_GENERATE;
    CKA_PRIVATE_EXPONENT PRIVATE Bytes CREATE;
    CKA_PRIME_1 PRIVATE Bytes CREATE;
    CKA_PRIME_2 PRIVATE Bytes CREATE;
    CKA_EXPONENT_1 PRIVATE Bytes CREATE;
    CKA_EXPONENT_2 PRIVATE Bytes CREATE;
    CKA_COEFFICIENT PRIVATE Bytes CREATE;
    CKA_PUBLIC_KEY_INFO PAIR_AND_CERTIFICATE Bytes CREATE;
    CKA_VALUE_LEN SECRET Ulong LENGTH;
    CKA_EXTRACTABLE HIDDEN Bool ALWAYS;
    CKA_LOCAL KEYS Bool NEVER;
    CKA_NEVER_EXTRACTABLE HIDDEN Bool NEVER;
    CKA_ALWAYS_SENSITIVE HIDDEN Bool NEVER;
    CKA_KEY_GEN_MECHANISM KEYS Ulong NEVER;
    CKA_MODIFIABLE STORED Bool MAKE_AND_COPY;
    CKA_COPYABLE STORED Bool ALWAYS;
    CKA_DESTROYABLE STORED Bool MAKE_AND_COPY;
    CKA_EC_PARAMS PAIR Bytes CREATE_AND_GENERATE;
    CKA_EC_POINT PUBLIC Bytes CREATE;
    CKA_ALWAYS_AUTHENTICATE PRIVATE Bool MAKE_AND_COPY;
    CKA_WRAP_WITH_TRUSTED HIDDEN Bool ALWAYS;
    CKA_PARAMETER_SET PAIR Ulong CREATE_AND_GENERATE;
    CKA_ENCAPSULATE PUBLIC Bool ALWAYS;
    CKA_DECAPSULATE PRIVATE Bool ALWAYS;
    CKA_SEED PRIVATE Bytes CREATE;
    // Of a key whose list could be changed, the list would say nothing.
    CKA_ALLOWED_MECHANISMS KEYS Ulongs MAKE;
}

fn rows_of(kind: CK_ATTRIBUTE_TYPE) -> impl Iterator<Item = &'static Row> {
    let start = ROWS.partition_point(|row| row.kind < kind);
    let rows = ROWS.iter().skip(start);
    rows.take_while(move |row| row.kind == kind)
}

/// All attributes that objects can have.
pub(super) fn kinds() -> impl Iterator<Item = CK_ATTRIBUTE_TYPE> {
    // Rows of one attribute stand side by side.
    let mut last = None;
    let kinds = ROWS.iter().map(|row| row.kind);
    kinds.filter(move |kind| last.replace(*kind) != Some(*kind))
}

/// Whether it is a CK_BBOOL.
pub(super) fn is_bool(kind: CK_ATTRIBUTE_TYPE) -> bool {
    rows_of(kind).any(|row| matches!(row.shape, Shape::Bool))
}

/// Whether a template for `act` with an object of this class may have the attribute, with a value
/// of that length.
///
/// # Errors
/// CKR_ATTRIBUTE_TYPE_INVALID for one that no object of ours has, CKR_TEMPLATE_INCONSISTENT for one
/// that other objects have, CKR_ATTRIBUTE_READ_ONLY for one that is not the program's to say, and
/// CKR_ATTRIBUTE_VALUE_INVALID (PKCS#11 §4.1.1).
pub(super) fn check(class: Class, act: Act, kind: CK_ATTRIBUTE_TYPE, value: &[u8]) -> Result<()> {
    let mut rows = rows_of(kind).peekable();
    if rows.peek().is_none() {
        return Err(Error::AttributeTypeInvalid);
    }
    let row = rows
        .find(|row| row.classes.contains(&class))
        .ok_or(Error::TemplateInconsistent)?;
    if !row.acts.contains(&act) {
        return Err(Error::AttributeReadOnly);
    }
    if row.shape.takes(value) {
        Ok(())
    } else {
        Err(Error::AttributeValueInvalid)
    }
}

impl Shape {
    fn takes(self, value: &[u8]) -> bool {
        match self {
            Self::Bool => value.len() == size_of::<CK_BBOOL>(),
            Self::Ulong => value.len() == size_of::<CK_ULONG>(),
            Self::Date => {
                value.is_empty() || value.len() == 8 && value.iter().all(u8::is_ascii_digit)
            }
            Self::Bytes => true,
            Self::Ulongs => value.len().is_multiple_of(size_of::<CK_ULONG>()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_a_class_has_one_for_each_attribute() {
        for pair in ROWS.windows(2) {
            let [first, second] = pair else {
                unreachable!()
            };
            assert!(first.kind <= second.kind, "{:#x}", second.kind);
            if first.kind == second.kind {
                let twice = first
                    .classes
                    .iter()
                    .any(|class| second.classes.contains(class));
                assert!(!twice, "{:#x} twice for one class", first.kind);
            }
        }
    }

    #[test]
    fn each_mistake_has_its_own_answer() {
        let secret = |act, kind, value: &[u8]| check(Class::SecretKey, act, kind, value);
        let bytes = CK_ULONG::from(16u8).to_ne_bytes();
        assert_eq!(secret(Act::Generate, CKA_VALUE_LEN, &bytes), Ok(()));
        assert_eq!(
            secret(Act::Create, CKA_VALUE_LEN, &bytes),
            Err(Error::AttributeReadOnly)
        );
        assert_eq!(
            secret(Act::Generate, CKA_VALUE_LEN, &[16]),
            Err(Error::AttributeValueInvalid)
        );
        assert_eq!(
            secret(Act::Create, CKA_MODULUS, &[1]),
            Err(Error::TemplateInconsistent)
        );
        assert_eq!(
            secret(Act::Create, CKA_VENDOR_DEFINED, &[]),
            Err(Error::AttributeTypeInvalid)
        );
        assert_eq!(
            secret(Act::Create, CKA_LOCAL, &[CK_TRUE]),
            Err(Error::AttributeReadOnly)
        );
        for (value, good) in [
            (&b""[..], true),
            (b"20260102", true),
            (b"2026010", false),
            (b"2026-1-2", false),
        ] {
            assert_eq!(secret(Act::Set, CKA_START_DATE, value).is_ok(), good);
        }
    }
}
