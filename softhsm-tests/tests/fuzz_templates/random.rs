//! Numbers, parameters and templates by chance, most of them nearly right.

use cryptoki_sys::*;
use softhsm_tests::{
    calls::{Parameter, Value},
    random::Random,
};

/// Arguments by chance.
pub trait Arguments {
    fn bytes(&mut self, len: usize) -> Vec<u8>;

    /// A number that is often at some limit.
    fn number(&mut self) -> u64;

    /// A parameter that this mechanism may take.
    fn fitting(&mut self, mechanism: u64) -> Parameter;

    /// Any parameter that this mechanism can be given: what it points to is as long as it says. A
    /// structure of another mechanism that has the size of one of this is none: no module can tell
    /// that what stands where a pointer should be is a number.
    fn parameter(&mut self, mechanism: u64) -> Parameter;

    fn attribute(&mut self) -> u64;

    fn value(&mut self) -> Value;

    /// A template for this function, with up to three changes.
    fn template(&mut self, function: &str) -> Vec<(u64, Value)>;
}

impl Arguments for Random {
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }

    fn number(&mut self) -> u64 {
        let some = [
            0, 1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 64, 128, 255, 256, 257, 4096,
        ];
        let odd = [
            u64::MAX,
            u64::MAX - 7,
            1 << 31,
            1 << 32,
            1 << 63,
            (1 << 63) - 1,
        ];
        match self.below(6) {
            0 => self.one_of(&odd),
            1 => self.any(),
            _ => self.one_of(&some),
        }
    }

    fn fitting(&mut self, mechanism: u64) -> Parameter {
        match mechanism {
            CKM_AES_CBC | CKM_AES_CBC_PAD => Parameter::Raw(vec![1; 16]),
            CKM_AES_CTR => Parameter::Ctr(self.one_of(&[1, 8, 32, 128]), [0xff; 16]),
            CKM_AES_GCM => Parameter::Gcm(vec![1; 12], self.bytes(5), 128),
            CKM_RSA_PKCS_OAEP => Parameter::Oaep(
                CKM_SHA256,
                CKG_MGF1_SHA256,
                CKZ_DATA_SPECIFIED,
                self.bytes(3),
            ),
            CKM_ECDH1_DERIVE | CKM_ECDH1_COFACTOR_DERIVE => {
                let mut point = self.bytes(65);
                point[0] = 4;
                Parameter::Ecdh(self.one_of(&[CKD_NULL, CKD_SHA256_KDF]), vec![], point)
            }
            CKM_RSA_PKCS_PSS | CKM_SHA256_RSA_PKCS_PSS => {
                Parameter::Pss(CKM_SHA256, CKG_MGF1_SHA256, 32)
            }
            CKM_SHA384_RSA_PKCS_PSS => Parameter::Pss(CKM_SHA384, CKG_MGF1_SHA384, 48),
            CKM_SHA256_HMAC_GENERAL | CKM_AES_CMAC_GENERAL => {
                Parameter::MacLen(self.below(20) as u64)
            }
            _ => Parameter::None,
        }
    }

    fn parameter(&mut self, mechanism: u64) -> Parameter {
        // CK_RSA_PKCS_OAEP_PARAMS, CK_ECDH1_DERIVE_PARAMS and the CK_GCM_PARAMS of 2.40 have 40 bytes.
        let takes_oaep = mechanism == CKM_RSA_PKCS_OAEP;
        let takes_ecdh = [CKM_ECDH1_DERIVE, CKM_ECDH1_COFACTOR_DERIVE].contains(&mechanism);
        let takes_gcm = mechanism == CKM_AES_GCM;
        let number = |random: &mut Random| match random.below(3) {
            0 => random.number(),
            1 => random.one_of(&[CKM_SHA_1, CKM_SHA256, CKM_SHA512, CKM_SHA3_256]),
            _ => random.below(10) as u64,
        };
        let len = self.one_of(&[0usize, 1, 12, 16, 33, 65, 97, 133, 300]);
        let bytes = self.bytes(len);
        let random = self;
        match random.below(8) {
            0 => Parameter::None,
            // Short of what would hold a pointer in any structure.
            1 => Parameter::Raw(random.bytes(7)),
            2 => Parameter::Raw(vec![0; random.one_of(&[8, 16, 24, 32, 40, 48, 56])]),
            3 => Parameter::Pss(number(random), number(random), number(random)),
            4 if takes_ecdh || takes_gcm => Parameter::Raw(vec![0; 40]),
            5 if takes_oaep || takes_gcm => Parameter::Raw(vec![0; 40]),
            4 => Parameter::Oaep(number(random), number(random), number(random), bytes),
            5 => Parameter::Ecdh(number(random), random.bytes(4), bytes),
            6 => Parameter::Gcm(bytes, random.bytes(20), number(random)),
            _ => Parameter::Ctr(number(random), [0xff; 16]),
        }
    }

    fn attribute(&mut self) -> u64 {
        let known = [
            CKA_CLASS,
            CKA_TOKEN,
            CKA_PRIVATE,
            CKA_LABEL,
            CKA_UNIQUE_ID,
            CKA_APPLICATION,
            CKA_VALUE,
            CKA_OBJECT_ID,
            CKA_CERTIFICATE_TYPE,
            CKA_ISSUER,
            CKA_SERIAL_NUMBER,
            CKA_TRUSTED,
            CKA_KEY_TYPE,
            CKA_SUBJECT,
            CKA_ID,
            CKA_SENSITIVE,
            CKA_ENCRYPT,
            CKA_WRAP,
            CKA_SIGN,
            CKA_DERIVE,
            CKA_START_DATE,
            CKA_MODULUS,
            CKA_MODULUS_BITS,
            CKA_PUBLIC_EXPONENT,
            CKA_PRIVATE_EXPONENT,
            CKA_PRIME_1,
            CKA_COEFFICIENT,
            CKA_PUBLIC_KEY_INFO,
            CKA_VALUE_LEN,
            CKA_EXTRACTABLE,
            CKA_LOCAL,
            CKA_MODIFIABLE,
            CKA_COPYABLE,
            CKA_EC_PARAMS,
            CKA_EC_POINT,
            CKA_CHECK_VALUE,
            CKA_ALLOWED_MECHANISMS,
            CKA_WRAP_TEMPLATE,
            CKA_UNWRAP_TEMPLATE,
            CKA_PARAMETER_SET,
            CKA_SEED,
        ];
        if self.one_in(20) {
            self.number()
        } else {
            self.one_of(&known)
        }
    }

    fn value(&mut self) -> Value {
        match self.below(6) {
            0 => Value::Bool(self.one_in(2)),
            1 => Value::Number(self.number()),
            2 => Value::Null(self.number() as usize),
            3 => Value::Bytes(vec![]),
            _ => {
                let len = self.below(300);
                Value::Bytes(self.bytes(len))
            }
        }
    }

    fn template(&mut self, function: &str) -> Vec<(u64, Value)> {
        let number = Value::Number;
        let bytes = |len: usize| Value::Bytes((0..len).map(|at| at as u8 | 1).collect());
        let p256 = Value::Bytes(vec![6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]);
        let mut entries = match (function, self.below(6)) {
            ("C_FindObjectsInit" | "C_SetAttributeValue" | "C_CopyObject", _) => vec![],
            ("C_GenerateKey", _) => {
                vec![(CKA_VALUE_LEN, number(self.one_of(&[16, 24, 32, 20])))]
            }
            ("C_GenerateKeyPair", 0) => {
                vec![(CKA_MODULUS_BITS, number(self.one_of(&[512, 1024, 2048])))]
            }
            ("C_GenerateKeyPair", 1) => {
                vec![(CKA_PARAMETER_SET, number(self.below(5) as u64))]
            }
            ("C_GenerateKeyPair", _) => vec![(CKA_EC_PARAMS, p256)],
            ("C_CreateObject", 0) => vec![
                (CKA_CLASS, number(CKO_PUBLIC_KEY)),
                (CKA_KEY_TYPE, number(CKK_RSA)),
                (CKA_MODULUS, bytes(256)),
                (CKA_PUBLIC_EXPONENT, Value::Bytes(vec![1, 0, 1])),
            ],
            ("C_CreateObject", 1) => vec![(CKA_CLASS, number(CKO_DATA)), (CKA_VALUE, bytes(20))],
            ("C_CreateObject", 2) => vec![
                (CKA_CLASS, number(CKO_PUBLIC_KEY)),
                (CKA_KEY_TYPE, number(CKK_EC)),
                (CKA_EC_PARAMS, p256),
                (CKA_EC_POINT, bytes(65)),
            ],
            (_, chosen) => {
                let key_type = if chosen == 3 {
                    CKK_AES
                } else {
                    CKK_GENERIC_SECRET
                };
                let mut key = vec![
                    (CKA_CLASS, number(CKO_SECRET_KEY)),
                    (CKA_KEY_TYPE, number(key_type)),
                ];
                if function == "C_CreateObject" {
                    key.push((CKA_VALUE, bytes(32)));
                }
                key
            }
        };
        for _ in 0..self.below(4) {
            let at = self.below(entries.len());
            match self.below(5) {
                0 if !entries.is_empty() => drop(entries.remove(at)),
                1 if !entries.is_empty() => entries[at].0 = self.attribute(),
                2 if !entries.is_empty() => entries[at].1 = self.value(),
                3 if !entries.is_empty() => entries.push(entries[at].clone()),
                _ => entries.push((self.attribute(), self.value())),
            }
        }
        entries
    }
}
