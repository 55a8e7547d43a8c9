//! Why this module and SoftHSM2 differ, and where PKCS#11 3.2 says so.

use crate::expected::Reason;

const fn reason(text: &'static str, section: &'static str) -> Reason {
    Reason { text, section }
}

#[rustfmt::skip]
pub const OWN_MUTEXES: Reason = reason("mutexes of the program alone cannot be used, and the module says so", "§5.4.1");
#[rustfmt::skip]
pub const SLOTS: Reason = reason("SoftHSM2 always has one more slot, for a new token", "§5.5.1");
#[rustfmt::skip]
pub const OLD: Reason = reason("MD5 and DES are broken, and nothing that uses keys of people needs them", "§5.5.6");
#[rustfmt::skip]
pub const RESERVED: Reason = reason("pReserved should be NULL", "§5.5.4");
#[rustfmt::skip]
pub const WHERE_TO: Reason = reason("there is no place for the answer, which is looked at first", "§5.5.4");
#[rustfmt::skip]
pub const STATE: Reason = reason("states of operations cannot be saved, whatever the session is", "§5.6.6");
#[rustfmt::skip]
pub const TWO_LOGINS: Reason = reason("both are true: somebody else is logged in, and there is a read-only session", "§5.6.8");
#[rustfmt::skip]
pub const NOT_LOGGED_IN: Reason = reason("nobody is logged in", "§5.6.10");
#[rustfmt::skip]
pub const PIN_LEN: Reason = reason("no try was spent; the text has this code for new PINs, and OpenSC, whose callers know it, has it here as well", "§5.1.6");
#[rustfmt::skip]
pub const LOGOUT: Reason = reason("an operation may or may not end with the login; this one ends, and its key needs a login again", "§5.6.10");
#[rustfmt::skip]
pub const HANDLES: Reason = reason("by the text private handles end with the login; NSS keeps them, so they come back with the next one, never without", "§5.6.10");
#[rustfmt::skip]
pub const NO_SO: Reason = reason("a .p12 file has neither an SO nor a way to be made anew", "§5.5.7, §5.5.8");
#[rustfmt::skip]
pub const SEED: Reason = reason("the crypto library seeds itself", "§5.19.1");
#[rustfmt::skip]
pub const NOTHING_ASKED: Reason = reason("a template of no attributes asks for nothing, and is given it", "§4.1.1, §5.7.5, §5.7.6");
#[rustfmt::skip]
pub const VALUE_LENGTH: Reason = reason("the attribute is there, with a value of a wrong length", "§4.1.1");
#[rustfmt::skip]
pub const WRITE_PROTECTED: Reason = reason("no session could make it: a read-write one would not help", "§5.1.6");
#[rustfmt::skip]
pub const OTHER_CLASS: Reason = reason("the specification has the attribute, but not for this object: a template that is inconsistent", "§4.1.1");
#[rustfmt::skip]
pub const UNIQUE_ID: Reason = reason("the attribute is the library's to give", "§4.4.1");
#[rustfmt::skip]
pub const TWICE: Reason = reason("two values of one attribute contradict each other", "§4.1.1");
#[rustfmt::skip]
pub const BAD_VALUE: Reason = reason("the value is none that such an object can have", "§4.1.1, §6.3");
#[rustfmt::skip]
pub const PUBLIC_DEFAULT: Reason = reason("without a login a new object that does not say is public, as the default is the token's to choose", "§4.4");
#[rustfmt::skip]
pub const NOT_COPYABLE: Reason = reason("a token's objects are CKA_COPYABLE = false", "§5.7.2");
#[rustfmt::skip]
pub const NO_OBJECT: Reason = reason("what is wrong is the handle; there is nothing wrong with no template", "§5.7.2");
#[rustfmt::skip]
pub const NO_FOOTNOTE: Reason = reason("no footnote says whether what data hold can be changed", "§4.5");
#[rustfmt::skip]
pub const NOT_MODIFIABLE: Reason = reason("a token's objects are CKA_MODIFIABLE = false in every session", "§5.7.6");
#[rustfmt::skip]
pub const ATOMIC: Reason = reason("a call does all or nothing", "§5");
#[rustfmt::skip]
pub const KEY_HANDLE: Reason = reason("a handle of a key that is wrong, or not a key's, has its own code", "§5.1.6");
#[rustfmt::skip]
pub const NOT_DESTROYABLE: Reason = reason("a token's objects are CKA_DESTROYABLE = false in every session", "§5.7.3");
#[rustfmt::skip]
pub const NO_PARAMETER: Reason = reason("the mechanism takes no parameter", "§5.1.6");
#[rustfmt::skip]
pub const ENDED: Reason = reason("C_Digest and C_Sign end the operation, unless they tell a length or that there is too little room", "§5.12.2, §5.13.2");
#[rustfmt::skip]
pub const PARTS_RUN: Reason = reason("parts were taken in: the operation cannot be done in one call any more", "§5.8.2, §5.10.2, §5.12.2, §5.13.2");
#[rustfmt::skip]
pub const MEANWHILE: Reason = reason("operations of different kinds do not hinder each other; the text lets a token refuse them", "§5.1.6");
#[rustfmt::skip]
pub const CANCEL: Reason = reason("a NULL mechanism ends the operation (since 3.0)", "§5.8.1, §5.13.1");
#[rustfmt::skip]
pub const KEY_TYPE: Reason = reason("the key is not of a type that the mechanism takes here, which comes before what its attributes allow", "§5.1.6");
#[rustfmt::skip]
pub const PARAMETER: Reason = reason("what is wrong is the mechanism's parameter", "§5.1.6");
#[rustfmt::skip]
pub const MGF: Reason = reason("the mask generation function may use another hash", "§6.1.9");
#[rustfmt::skip]
pub const RANGE: Reason = reason("what is wrong is the data's length or value, and no error of the library", "§5.1.6");
#[rustfmt::skip]
pub const MESSAGE: Reason = reason("the text has hashes of at most 1024 bits, and no bytes are no hash", "§6.3.12");
#[rustfmt::skip]
pub const EMPTY_MESSAGE: Reason = reason("a message may be of any length, an empty one too", "§6.1.14");
#[rustfmt::skip]
pub const KILLED: Reason = reason("SoftHSM2 ends the process here", "§5.1");
#[rustfmt::skip]
pub const RECOVERY: Reason = reason("SoftHSM2 has no recovery", "§5.13.5");
#[rustfmt::skip]
pub const EXACT: Reason = reason("the most that can come is told, without the tag or the padding; the text lets it be somewhat more", "§5.2");
#[rustfmt::skip]
pub const WIDER: Reason = reason("this module takes more of what the specification has: any hash, MGF and label; and, beyond it, no source, which libp11 sends", "§6.1.7");
#[rustfmt::skip]
pub const PARTS: Reason = reason("parts are collected, as pkcs11-tool signs long input in parts by every mechanism; by the text CKM_EDDSA takes parts, and the others one", "§6.1.6, §6.1.10, §6.1.12, §6.3.12, §6.3.14");
#[rustfmt::skip]
pub const PARTS_OF_ONE: Reason = reason("this operation has taken its data in, and is ended like all others", "§5.10.4");
#[rustfmt::skip]
pub const REJECTION: Reason = reason("a wrong padding is not told: implicit rejection gives a key or plaintext that nobody can guess; CKR_WRAPPED_KEY_LEN_RANGE, which the text has for a conflicting length, would tell it", "§6.1.6, §5.18.4");
#[rustfmt::skip]
pub const SHORT_KEY: Reason = reason("a key that is shorter than the hash is weak, but no least length is fixed; a token that complies with FIPS 198 may have one", "§6.21.3, §6.22.3, §6.23.3, §6.24.3");
#[rustfmt::skip]
pub const EDDSA_PUBLIC: Reason = reason("softhsm2-util imports Ed25519 points in a form that SoftHSM2 does not verify with", "§6.3.5");
#[rustfmt::skip]
pub const POINT_FORM: Reason = reason("an OCTET STRING as 3.0 has it, which programs know; 3.2 has raw bytes", "§6.3.5");
#[rustfmt::skip]
pub const NO_TAG: Reason = reason("a GCM IV has at least one byte; the text lets a tag have no bits, but that would authenticate nothing", "§6.13.7");
#[rustfmt::skip]
pub const SIZES: Reason = reason("key sizes that C_GetMechanismInfo tells, with an error that says what is wrong; the text has CKR_TEMPLATE_INCONSISTENT for an exponent that cannot be used", "§5.18.2, §6.1.4, §6.3");
#[rustfmt::skip]
pub const CLASS_OF_KEY: Reason = reason("a template that contradicts the mechanism is inconsistent", "§4.1.1, §5.18.1");
#[rustfmt::skip]
pub const HIDDEN: Reason = reason("private keys of a session are always sensitive; the default is the token's to choose", "§4.10");
#[rustfmt::skip]
pub const DEPRECATED: Reason = reason("CKM_AES_KEY_WRAP_PAD is deprecated; CKM_AES_KEY_WRAP_KWP has its place", "§6.16.3.2");
#[rustfmt::skip]
pub const NOT_IN_SOFTHSM: Reason = reason("SoftHSM2 2.6.1 does not wrap with it", "§6.10.6");
#[rustfmt::skip]
pub const NOT_WRAPPED: Reason = reason("only private and secret keys can be wrapped: the handle is of another object", "§5.18.3");
#[rustfmt::skip]
pub const NSS_LEN: Reason = reason("a template may name the length, as NSS does, and then it is compared", "§5.18.4");
#[rustfmt::skip]
pub const ONE_CLASS: Reason = reason("nothing but a secret key comes of it, so that the class may be missing: the mechanism contributes it", "§6.1.6, §6.1.8");
#[rustfmt::skip]
pub const NO_PRIVATE: Reason = reason("private keys are not unwrapped, though the text has them: a template that cannot be supported", "§5.18.4");
#[rustfmt::skip]
pub const WRAPPED_RANGE: Reason = reason("what is wrong is the wrapped key", "§5.1.6");
#[rustfmt::skip]
pub const KDF: Reason = reason("SoftHSM2 has CKD_NULL only", "§6.3.16");
#[rustfmt::skip]
pub const POINTS: Reason = reason("of points only uncompressed ones are taken: to convert others is the program's part", "§6.3.16");
#[rustfmt::skip]
pub const POINT_ERROR: Reason = reason("a point that is none is a wrong parameter; the text has CKR_PUBLIC_KEY_INVALID for it as well", "§5.1.6");
#[rustfmt::skip]
pub const TOKEN_OBJECT: Reason = reason("the object cannot be changed, copied or destroyed", "§4.4");
#[rustfmt::skip]
pub const HAS_UNIQUE_ID: Reason = reason("every object has a unique identifier since 3.0", "§4.4.1");
#[rustfmt::skip]
pub const TOLD: Reason = reason("the module knows it from the certificate or the key; SoftHSM2 stores what a program said", "§4.6.2, §4.9, §4.10");
#[rustfmt::skip]
pub const OWN_LIST: Reason = reason("a key that a file holds says what its token does with it; public keys are not limited", "§4.8");
#[rustfmt::skip]
pub const TEMPLATES: Reason = reason("templates inside of templates are not supported", "§4.9, §4.10");
#[rustfmt::skip]
pub const USE: Reason = reason("the key is for what keys of its kind can do, and for nothing else", "§4.9, §4.10");
#[rustfmt::skip]
pub const CATEGORY: Reason = reason("a certificate with a private key is the user's own", "§4.6.2");
#[rustfmt::skip]
pub const HASHES: Reason = reason("a certificate that is there by value needs no hashes", "§4.6.3");
