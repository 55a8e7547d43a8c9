//! What C_GetMechanismList and C_GetMechanismInfo say, tried out: each mechanism in each of its
//! functions, and none in any other.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod operations;
mod support;

use std::ptr::null_mut;

use cryptoki_sys::*;
use ctk_token::Digest;
use operations::{self as op, Answer, Mechanism, Object, Session};
use support::{Module, Settings, TestToken, value};

const YES: &[u8] = &[CK_TRUE];
const NO: &[u8] = &[CK_FALSE];
const DATA: &[u8] = b"sixteen letters.";

/// Session keys of all kinds.
struct Keys {
    session: Session,
    rsa: (Object, Object),
    ec: (Object, Object),
    edwards: (Object, Object),
    montgomery: (Object, Object),
    ml_dsa: (Object, Object),
    ml_kem: (Object, Object),
    aes: Object,
    generic: Object,
}

fn pair_parameter(mechanism: CK_MECHANISM_TYPE) -> (CK_ATTRIBUTE_TYPE, Vec<u8>) {
    let set = |number: CK_ULONG| number.to_ne_bytes().to_vec();
    match mechanism {
        CKM_RSA_PKCS_KEY_PAIR_GEN => (CKA_MODULUS_BITS, set(1024)),
        CKM_EC_KEY_PAIR_GEN => {
            let p256 = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
            (CKA_EC_PARAMS, p256.to_vec())
        }
        CKM_EC_EDWARDS_KEY_PAIR_GEN => (CKA_EC_PARAMS, b"\x06\x03\x2b\x65\x70".to_vec()),
        CKM_EC_MONTGOMERY_KEY_PAIR_GEN => (CKA_EC_PARAMS, b"\x06\x03\x2b\x65\x6e".to_vec()),
        CKM_ML_DSA_KEY_PAIR_GEN => (CKA_PARAMETER_SET, set(CKP_ML_DSA_44)),
        CKM_ML_KEM_KEY_PAIR_GEN => (CKA_PARAMETER_SET, set(CKP_ML_KEM_512)),
        other => panic!("{other:#x} makes no key pair that is known here"),
    }
}

fn key_pair(session: Session, mechanism: CK_MECHANISM_TYPE) -> Answer<(Object, Object)> {
    let (kind, parameter) = pair_parameter(mechanism);
    let (public, private): (&[_], &[_]) = match mechanism {
        CKM_RSA_PKCS_KEY_PAIR_GEN => (
            &[CKA_VERIFY, CKA_VERIFY_RECOVER, CKA_ENCRYPT, CKA_WRAP],
            &[CKA_SIGN, CKA_SIGN_RECOVER, CKA_DECRYPT, CKA_UNWRAP],
        ),
        CKM_EC_KEY_PAIR_GEN => (&[CKA_VERIFY, CKA_DERIVE], &[CKA_SIGN, CKA_DERIVE]),
        CKM_EC_MONTGOMERY_KEY_PAIR_GEN => (&[CKA_DERIVE], &[CKA_DERIVE]),
        CKM_ML_KEM_KEY_PAIR_GEN => (&[CKA_ENCAPSULATE], &[CKA_DECAPSULATE]),
        _ => (&[CKA_VERIFY], &[CKA_SIGN]),
    };
    let mut public: Vec<_> = public.iter().map(|usage| (*usage, YES)).collect();
    public.push((kind, &parameter));
    let private: Vec<_> = private.iter().map(|usage| (*usage, YES)).collect();
    op::generate_key_pair(session, &Mechanism::new(mechanism), &public, &private)
}

fn secret_key(session: Session, mechanism: CK_MECHANISM_TYPE) -> Answer<Object> {
    let len = (16 as CK_ULONG).to_ne_bytes();
    let mut template = vec![
        (CKA_VALUE_LEN, &len[..]),
        (CKA_EXTRACTABLE, YES),
        (CKA_SENSITIVE, NO),
    ];
    let uses = [
        CKA_SIGN,
        CKA_VERIFY,
        CKA_ENCRYPT,
        CKA_DECRYPT,
        CKA_WRAP,
        CKA_UNWRAP,
    ];
    template.extend(uses.map(|usage| (usage, YES)));
    op::generate_key(session, &Mechanism::new(mechanism), &template)
}

impl Keys {
    fn new(session: Session) -> Self {
        let pair = |mechanism| key_pair(session, mechanism).unwrap();
        Self {
            session,
            rsa: pair(CKM_RSA_PKCS_KEY_PAIR_GEN),
            ec: pair(CKM_EC_KEY_PAIR_GEN),
            edwards: pair(CKM_EC_EDWARDS_KEY_PAIR_GEN),
            montgomery: pair(CKM_EC_MONTGOMERY_KEY_PAIR_GEN),
            ml_dsa: pair(CKM_ML_DSA_KEY_PAIR_GEN),
            ml_kem: pair(CKM_ML_KEM_KEY_PAIR_GEN),
            aes: secret_key(session, CKM_AES_KEY_GEN).unwrap(),
            generic: secret_key(session, CKM_GENERIC_SECRET_KEY_GEN).unwrap(),
        }
    }

    /// The public and the private key for a mechanism; a secret key is both.
    fn of(&self, mechanism: CK_MECHANISM_TYPE) -> (Object, Object) {
        match mechanism {
            CKM_EDDSA => self.edwards,
            CKM_ML_DSA => self.ml_dsa,
            CKM_ML_KEM => self.ml_kem,
            CKM_ECDH1_DERIVE | CKM_ECDH1_COFACTOR_DERIVE => self.ec,
            CKM_ECDSA..=CKM_ECDSA_SHA512 | CKM_ECDSA_SHA3_224..=CKM_ECDSA_SHA3_512 => self.ec,
            CKM_AES_ECB..=CKM_AES_CMAC_GENERAL | CKM_AES_KEY_WRAP..=CKM_AES_KEY_WRAP_KWP => {
                (self.aes, self.aes)
            }
            CKM_SHA_1..=CKM_SHA512_HMAC_GENERAL | CKM_SHA3_256..=CKM_SHA3_512_HMAC_GENERAL => {
                (self.generic, self.generic)
            }
            _ => self.rsa,
        }
    }
}

/// A mechanism with the parameter that it needs.
fn with_parameter(kind: CK_MECHANISM_TYPE, peer: &'static [u8]) -> Mechanism {
    let pss = |digest| Mechanism::pss(kind, digest, 20);
    match kind {
        CKM_SHA1_RSA_PKCS_PSS => pss(Digest::Sha1),
        CKM_SHA224_RSA_PKCS_PSS => pss(Digest::Sha224),
        CKM_RSA_PKCS_PSS | CKM_SHA256_RSA_PKCS_PSS => pss(Digest::Sha256),
        CKM_SHA384_RSA_PKCS_PSS => pss(Digest::Sha384),
        CKM_SHA512_RSA_PKCS_PSS => pss(Digest::Sha512),
        CKM_SHA3_224_RSA_PKCS_PSS => pss(Digest::Sha3_224),
        CKM_SHA3_256_RSA_PKCS_PSS => pss(Digest::Sha3_256),
        CKM_SHA3_384_RSA_PKCS_PSS => pss(Digest::Sha3_384),
        CKM_SHA3_512_RSA_PKCS_PSS => pss(Digest::Sha3_512),
        CKM_RSA_PKCS_OAEP => Mechanism::with(
            kind,
            &CK_RSA_PKCS_OAEP_PARAMS {
                hashAlg: CKM_SHA256,
                mgf: CKG_MGF1_SHA256,
                source: CKZ_DATA_SPECIFIED,
                pSourceData: null_mut(),
                ulSourceDataLen: 0,
            },
        ),
        CKM_ECDH1_DERIVE | CKM_ECDH1_COFACTOR_DERIVE => Mechanism::with(
            kind,
            &CK_ECDH1_DERIVE_PARAMS {
                kdf: CKD_NULL,
                ulSharedDataLen: 0,
                pSharedData: null_mut(),
                ulPublicDataLen: peer.len() as CK_ULONG,
                pPublicData: peer.as_ptr().cast_mut(),
            },
        ),
        CKM_AES_CBC | CKM_AES_CBC_PAD => Mechanism::with(kind, &[7u8; 16]),
        CKM_AES_CTR => Mechanism::with(
            kind,
            &CK_AES_CTR_PARAMS {
                ulCounterBits: 32,
                cb: [7; 16],
            },
        ),
        CKM_AES_GCM => Mechanism::with(
            kind,
            &CK_GCM_PARAMS {
                pIv: [9u8; 12].as_slice().to_vec().leak().as_mut_ptr(),
                ulIvLen: 12,
                ulIvBits: 96,
                pAAD: null_mut(),
                ulAADLen: 0,
                ulTagBits: 128,
            },
        ),
        _ if is_of_general_length(kind) => Mechanism::with(kind, &(10 as CK_ULONG)),
        _ => Mechanism::new(kind),
    }
}

fn is_of_general_length(kind: CK_MECHANISM_TYPE) -> bool {
    [
        CKM_AES_CMAC_GENERAL,
        CKM_SHA_1_HMAC_GENERAL,
        CKM_SHA224_HMAC_GENERAL,
        CKM_SHA256_HMAC_GENERAL,
        CKM_SHA384_HMAC_GENERAL,
        CKM_SHA512_HMAC_GENERAL,
        CKM_SHA3_224_HMAC_GENERAL,
        CKM_SHA3_256_HMAC_GENERAL,
        CKM_SHA3_384_HMAC_GENERAL,
        CKM_SHA3_512_HMAC_GENERAL,
    ]
    .contains(&kind)
}

/// Uses a mechanism in one of its functions.
fn try_out(keys: &Keys, mechanism: CK_MECHANISM_TYPE, function: CK_FLAGS) -> Answer<()> {
    let session = keys.session;
    let (public, private) = keys.of(mechanism);
    let plain = with_parameter(mechanism, &[]);
    // The hash that this one takes.
    let hash = [5; 32];
    let data = if mechanism == CKM_RSA_PKCS_PSS {
        &hash
    } else {
        DATA
    };
    let sign = || {
        op::sign_init(session, &plain, private)?;
        op::sign(session, data)
    };
    let secret = [
        (CKA_CLASS, &CKO_SECRET_KEY.to_ne_bytes()[..]),
        (CKA_KEY_TYPE, &CKK_GENERIC_SECRET.to_ne_bytes()),
        (CKA_EXTRACTABLE, YES),
        (CKA_SENSITIVE, NO),
    ];
    match function {
        CKF_SIGN => sign().map(drop),
        CKF_VERIFY => {
            let signature = sign()?;
            op::verify_init(session, &plain, public)?;
            op::verify(session, data, &signature)?;
            op::verify_signature_init(session, &plain, public, &signature)?;
            op::verify_signature(session, data)
        }
        CKF_MESSAGE_SIGN => {
            op::message_sign_init(session, &plain, private)?;
            op::sign_message(session, data)?;
            op::message_sign_final(session)
        }
        CKF_MESSAGE_VERIFY => {
            let signature = sign()?;
            op::message_verify_init(session, &plain, public)?;
            op::verify_message(session, data, &signature)?;
            op::message_verify_final(session)
        }
        CKF_MULTI_MESSAGE => {
            op::message_sign_init(session, &plain, private)?;
            op::sign_message_begin(session)?;
            op::sign_message_next(session, &data[..5])?;
            let signature = op::sign_message_last(session, &data[5..])?;
            op::message_sign_final(session)?;
            op::message_verify_init(session, &plain, public)?;
            op::verify_message_begin(session)?;
            op::verify_message_next(session, &data[..9], None)?;
            op::verify_message_next(session, &data[9..], Some(&signature))?;
            op::message_verify_final(session)
        }
        CKF_SIGN_RECOVER | CKF_VERIFY_RECOVER => {
            op::sign_recover_init(session, &plain, private)?;
            let signature = op::sign_recover(session, data)?;
            op::verify_recover_init(session, &plain, public)?;
            assert!(op::verify_recover(session, &signature)?.ends_with(data));
            Ok(())
        }
        CKF_ENCRYPT | CKF_DECRYPT => {
            op::encrypt_init(session, &plain, public)?;
            let ciphertext = op::encrypt(session, data)?;
            op::decrypt_init(session, &plain, private)?;
            assert!(op::decrypt(session, &ciphertext)?.ends_with(data));
            Ok(())
        }
        CKF_WRAP | CKF_UNWRAP => {
            let wrapped = op::wrap_key(session, &plain, public, keys.generic)?;
            let mut template = secret.to_vec();
            let len = (16 as CK_ULONG).to_ne_bytes();
            if [CKM_AES_CBC, CKM_AES_KEY_WRAP].contains(&mechanism) {
                // Nothing else tells the key from the zeros after it (PKCS#11 §6.10.4, §6.16.3.1).
                template.push((CKA_VALUE_LEN, &len));
            }
            let unwrapped = op::unwrap_key(session, &plain, private, &wrapped, &template)?;
            let key = |key| value(session, key, CKA_VALUE).unwrap();
            assert_eq!(key(unwrapped), key(keys.generic));
            Ok(())
        }
        CKF_DERIVE => {
            for (ours, theirs) in [
                (keys.ec, key_pair(session, CKM_EC_KEY_PAIR_GEN)?),
                (
                    keys.montgomery,
                    key_pair(session, CKM_EC_MONTGOMERY_KEY_PAIR_GEN)?,
                ),
            ] {
                if mechanism == CKM_ECDH1_COFACTOR_DERIVE && ours == keys.montgomery {
                    continue;
                }
                let agree = |private, public| {
                    let peer = value(session, public, CKA_EC_POINT).unwrap().leak();
                    let derivation = with_parameter(mechanism, peer);
                    let key = op::derive_key(session, &derivation, private, &secret)?;
                    value(session, key, CKA_VALUE)
                };
                assert_eq!(agree(ours.1, theirs.0)?, agree(theirs.1, ours.0)?);
            }
            Ok(())
        }
        CKF_ENCAPSULATE | CKF_DECAPSULATE => {
            let (ciphertext, sent) = op::encapsulate_key(session, &plain, public, &secret)?;
            let got = op::decapsulate_key(session, &plain, private, &secret, &ciphertext)?;
            assert_eq!(
                value(session, got, CKA_VALUE),
                value(session, sent, CKA_VALUE)
            );
            Ok(())
        }
        CKF_DIGEST => {
            op::digest_init(session, &plain)?;
            op::digest(session, data).map(drop)
        }
        CKF_GENERATE => secret_key(session, mechanism).map(drop),
        CKF_GENERATE_KEY_PAIR => key_pair(session, mechanism).map(drop),
        other => panic!("{other:#x} is no function"),
    }
}

/// The flags of C_GetMechanismInfo that stand for functions.
const FUNCTIONS: [CK_FLAGS; 18] = [
    CKF_ENCRYPT,
    CKF_DECRYPT,
    CKF_DIGEST,
    CKF_SIGN,
    CKF_SIGN_RECOVER,
    CKF_VERIFY,
    CKF_VERIFY_RECOVER,
    CKF_GENERATE,
    CKF_GENERATE_KEY_PAIR,
    CKF_WRAP,
    CKF_UNWRAP,
    CKF_DERIVE,
    CKF_ENCAPSULATE,
    CKF_DECAPSULATE,
    CKF_MESSAGE_SIGN,
    CKF_MESSAGE_VERIFY,
    CKF_MULTI_MESSAGE,
    CKF_FIND_OBJECTS,
];

/// The flags that say something of curves.
const CURVES: CK_FLAGS = CKF_EC_F_P | CKF_EC_OID | CKF_EC_UNCOMPRESS;

#[test]
fn every_mechanism_works_in_each_of_its_functions() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let keys = Keys::new(module.open_and_login());
    let listed = op::mechanisms();
    assert_eq!(listed.len(), 81);
    for mechanism in listed {
        let info = op::mechanism_info(mechanism).unwrap();
        assert!(info.ulMinKeySize <= info.ulMaxKeySize);
        let functions = FUNCTIONS
            .into_iter()
            .filter(|function| info.flags & function != 0);
        let mut told = info.flags & CURVES;
        for function in functions {
            assert_eq!(
                try_out(&keys, mechanism, function),
                Ok(()),
                "mechanism {mechanism:#x}, function {function:#x}"
            );
            told |= function;
        }
        assert_eq!(told, info.flags, "{mechanism:#x}");
        assert_ne!(told & !CURVES, 0, "{mechanism:#x}");
    }
}

#[test]
fn no_mechanism_works_in_another_function() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open_and_login();
    let keys = Keys::new(session);
    let listed = op::mechanisms();
    let vendor = CKM_VENDOR_DEFINED;
    for mechanism in (0..0x5000).chain([vendor, vendor + 1, CK_ULONG::MAX]) {
        let flags = match op::mechanism_info(mechanism) {
            Ok(info) if listed.contains(&mechanism) => info.flags,
            Err(CKR_MECHANISM_INVALID) if !listed.contains(&mechanism) => 0,
            _ => panic!("{mechanism:#x}: list and information differ"),
        };
        let plain = Mechanism::new(mechanism);
        let (public, private) = keys.of(mechanism);
        let answers = [
            (CKF_SIGN, op::sign_init(session, &plain, private)),
            (
                CKF_SIGN_RECOVER,
                op::sign_recover_init(session, &plain, private),
            ),
            (CKF_VERIFY, op::verify_init(session, &plain, public)),
            (
                CKF_VERIFY,
                op::verify_signature_init(session, &plain, public, &[]),
            ),
            (
                CKF_VERIFY_RECOVER,
                op::verify_recover_init(session, &plain, public),
            ),
            (
                CKF_MESSAGE_SIGN,
                op::message_sign_init(session, &plain, private),
            ),
            (
                CKF_MESSAGE_VERIFY,
                op::message_verify_init(session, &plain, public),
            ),
            (CKF_ENCRYPT, op::encrypt_init(session, &plain, public)),
            (CKF_DECRYPT, op::decrypt_init(session, &plain, private)),
            (CKF_DIGEST, op::digest_init(session, &plain)),
            (
                CKF_GENERATE,
                op::generate_key(session, &plain, &[]).map(drop),
            ),
            (
                CKF_GENERATE_KEY_PAIR,
                op::generate_key_pair(session, &plain, &[], &[]).map(drop),
            ),
            (
                CKF_WRAP,
                op::wrap_key(session, &plain, public, keys.aes).map(drop),
            ),
            (
                CKF_UNWRAP,
                op::unwrap_key(session, &plain, private, &[], &[]).map(drop),
            ),
            (
                CKF_DERIVE,
                op::derive_key(session, &plain, private, &[]).map(drop),
            ),
            (
                CKF_ENCAPSULATE,
                op::encapsulate_key(session, &plain, public, &[]).map(drop),
            ),
            (
                CKF_DECAPSULATE,
                op::decapsulate_key(session, &plain, private, &[], &[]).map(drop),
            ),
        ];
        for (function, answer) in answers {
            let is_invalid = answer == Err(CKR_MECHANISM_INVALID);
            assert_eq!(
                is_invalid,
                flags & function == 0,
                "mechanism {mechanism:#x}, function {function:#x}: {answer:x?}"
            );
        }
        let all = CKF_SIGN
            | CKF_SIGN_RECOVER
            | CKF_VERIFY
            | CKF_VERIFY_RECOVER
            | CKF_MESSAGE_SIGN
            | CKF_MESSAGE_VERIFY
            | CKF_ENCRYPT
            | CKF_DECRYPT
            | CKF_DIGEST;
        op::done(unsafe { ctk_pkcs11::abi::C_SessionCancel(session, all) }).unwrap();
    }
}

/// The functions that begin an operation, with a mechanism and a key for it.
fn begin(keys: &Keys, function: CK_FLAGS) -> Answer<()> {
    let session = keys.session;
    let rsa = Mechanism::new(CKM_RSA_PKCS);
    let (public, private) = keys.rsa;
    match function {
        CKF_SIGN => op::sign_init(session, &rsa, private),
        CKF_SIGN_RECOVER => op::sign_recover_init(session, &rsa, private),
        CKF_VERIFY => op::verify_init(session, &rsa, public),
        CKF_VERIFY_RECOVER => op::verify_recover_init(session, &rsa, public),
        CKF_MESSAGE_SIGN => op::message_sign_init(session, &rsa, private),
        CKF_MESSAGE_VERIFY => op::message_verify_init(session, &rsa, public),
        CKF_ENCRYPT => op::encrypt_init(session, &rsa, public),
        CKF_DECRYPT => op::decrypt_init(session, &rsa, private),
        CKF_DIGEST => op::digest_init(session, &Mechanism::new(CKM_SHA256)),
        other => panic!("{other:#x} begins no operation"),
    }
}

#[test]
fn every_operation_is_cancelled_in_both_ways() {
    use ctk_pkcs11::abi::*;
    type Init = unsafe extern "C" fn(Session, *mut CK_MECHANISM, Object) -> CK_RV;
    unsafe extern "C" fn digest_init(
        session: Session,
        mechanism: *mut CK_MECHANISM,
        _: Object,
    ) -> CK_RV {
        unsafe { C_DigestInit(session, mechanism) }
    }
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let keys = Keys::new(module.open_and_login());
    let session = keys.session;
    for (function, init) in [
        (CKF_SIGN, C_SignInit as Init),
        (CKF_SIGN_RECOVER, C_SignRecoverInit),
        (CKF_VERIFY, C_VerifyInit),
        (CKF_VERIFY_RECOVER, C_VerifyRecoverInit),
        (CKF_MESSAGE_SIGN, C_MessageSignInit),
        (CKF_MESSAGE_VERIFY, C_MessageVerifyInit),
        (CKF_ENCRYPT, C_EncryptInit),
        (CKF_DECRYPT, C_DecryptInit),
        (CKF_DIGEST, digest_init),
    ] {
        let null = || unsafe { init(session, null_mut(), 0) };
        assert_eq!(null(), CKR_ARGUMENTS_BAD, "{function:#x}");
        begin(&keys, function).unwrap();
        assert_eq!(
            begin(&keys, function),
            Err(CKR_OPERATION_ACTIVE),
            "{function:#x}"
        );
        assert_eq!(null(), CKR_OK, "{function:#x}");
        assert_eq!(null(), CKR_ARGUMENTS_BAD, "{function:#x}");
        begin(&keys, function).unwrap();
        let cancel = |flags| op::done(unsafe { C_SessionCancel(session, flags) });
        // Others are left alone, and what is not active counts as cancelled.
        cancel(!function & 0x7f_ffff).unwrap();
        assert_eq!(
            begin(&keys, function),
            Err(CKR_OPERATION_ACTIVE),
            "{function:#x}"
        );
        cancel(function).unwrap();
        cancel(function).unwrap();
        begin(&keys, function).unwrap();
        cancel(function).unwrap();
    }
}

#[test]
fn a_device_does_in_hardware_what_its_own_keys_do() {
    let identities = [support::Identity::rsa(1024, 1)];
    let device = Settings {
        hardware: true,
        ..Settings::default()
    };
    let _module = Module::start(&[TestToken::new(&identities, device)]);
    let mut in_hardware = 0;
    for mechanism in op::mechanisms() {
        let info = op::mechanism_info(mechanism).unwrap();
        let is_rsa = info.ulMaxKeySize == 8192 && info.flags & CKF_SIGN != 0;
        assert_eq!(info.flags & CKF_HW != 0, is_rsa, "{mechanism:#x}");
        in_hardware += usize::from(is_rsa);
    }
    assert_eq!(in_hardware, 21);
}
