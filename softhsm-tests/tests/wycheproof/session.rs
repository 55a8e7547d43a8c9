//! The C functions as a program calls them, with lengths and places made from slices.

use std::{collections::HashMap, ffi::c_void, ptr};

use cryptoki_sys::*;
use softhsm_tests::module::Module;

use crate::tokens::COMPANION;

/// What a function gave, or its CK_RV.
pub(crate) type Answer<T> = Result<T, CK_RV>;

/// A template.
pub(crate) type Template<'a> = &'a [(CK_ATTRIBUTE_TYPE, &'a [u8])];

/// CK_TRUE as an attribute's value.
pub(crate) const TRUE: &[u8] = &[CK_TRUE];

/// More than any signature, wrapped key or padding has, in bytes.
const MORE: usize = 8192;

/// What the functions below answer when the whole at once and the parts one after another give
/// different things: no module says this.
const DIFFERENT: CK_RV = CKR_VENDOR_DEFINED | 0x0D1F_F000;

/// The length of a part, in bytes: no divisor of any block's length.
const PART: usize = 7;

/// A mechanism without parameter.
pub(crate) fn bare(kind: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism: kind,
        pParameter: ptr::null_mut(),
        ulParameterLen: 0,
    }
}

/// A mechanism with this structure as its parameter, which has to live as long.
pub(crate) fn with<T>(kind: CK_MECHANISM_TYPE, parameter: &T) -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism: kind,
        pParameter: ptr::from_ref(parameter).cast_mut().cast::<c_void>(),
        ulParameterLen: size_of::<T>() as CK_ULONG,
    }
}

/// A mechanism with these bytes as its parameter.
pub(crate) fn with_bytes(kind: CK_MECHANISM_TYPE, parameter: &[u8]) -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism: kind,
        pParameter: parameter.as_ptr().cast_mut().cast::<c_void>(),
        ulParameterLen: parameter.len() as CK_ULONG,
    }
}

fn answer(rv: CK_RV) -> Answer<()> {
    if rv == CKR_OK { Ok(()) } else { Err(rv) }
}

/// Bytes as C passes them: none is NULL, as programs do it.
fn start(bytes: &[u8]) -> usize {
    if bytes.is_empty() {
        0
    } else {
        bytes.as_ptr() as usize
    }
}

/// An open session.
#[derive(Clone, Copy)]
pub(crate) struct Session<'m> {
    module: &'m Module,
    handle: usize,
}

impl<'m> Session<'m> {
    /// Opens a session with the token of each slot that has one, logged in if there is a PIN.
    pub(crate) fn open_all(module: &'m Module, pin: Option<&str>) -> Vec<Self> {
        let mut slots = [0usize; 64];
        let mut count = slots.len();
        let places = [1, slots.as_mut_ptr() as usize, &raw mut count as usize];
        assert_eq!(module.call("C_GetSlotList", &places), CKR_OK);
        let open = |slot: &usize| {
            let mut handle = 0usize;
            let flags = (CKF_SERIAL_SESSION | CKF_RW_SESSION) as usize;
            let arguments = [*slot, flags, 0, 0, &raw mut handle as usize];
            assert_eq!(module.call("C_OpenSession", &arguments), CKR_OK);
            if let Some(pin) = pin {
                let arguments = [handle, CKU_USER as usize, pin.as_ptr() as usize, pin.len()];
                assert_eq!(module.call("C_Login", &arguments), CKR_OK);
            }
            Self { module, handle }
        };
        slots[..count].iter().map(open).collect()
    }

    fn call(&self, name: &str, arguments: &[usize]) -> Answer<()> {
        answer(
            self.module
                .call(name, &[&[self.handle], arguments].concat()),
        )
    }

    /// C_CreateObject.
    pub(crate) fn create(&self, template: Template<'_>) -> Answer<usize> {
        let template = attributes(template);
        let mut object = 0usize;
        let place = &raw mut object as usize;
        let arguments = [template.as_ptr() as usize, template.len(), place];
        self.call("C_CreateObject", &arguments).map(|()| object)
    }

    /// C_DestroyObject.
    pub(crate) fn destroy(&self, object: usize) {
        assert_eq!(self.call("C_DestroyObject", &[object]), Ok(()));
    }

    /// C_VerifyInit and C_Verify.
    pub(crate) fn verify(
        &self,
        mechanism: &CK_MECHANISM,
        key: usize,
        data: &[u8],
        signature: &[u8],
    ) -> Answer<()> {
        self.call("C_VerifyInit", &[ptr::from_ref(mechanism) as usize, key])?;
        let signature = [start(signature), signature.len()];
        self.call(
            "C_Verify",
            &[&[start(data), data.len()], &signature[..]].concat(),
        )
    }

    /// C_Verify, and C_VerifyUpdate with C_VerifyFinal, which have to agree.
    pub(crate) fn verify_both_ways(
        &self,
        mechanism: &CK_MECHANISM,
        key: usize,
        data: &[u8],
        signature: &[u8],
    ) -> Answer<()> {
        let whole = self.verify(mechanism, key, data, signature);
        let init = [ptr::from_ref(mechanism) as usize, key];
        let parts = self.call("C_VerifyInit", &init).and_then(|()| {
            for part in parts_of(data) {
                self.call("C_VerifyUpdate", &[start(part), part.len()])?;
            }
            self.call("C_VerifyFinal", &[start(signature), signature.len()])
        });
        if whole == parts {
            whole
        } else {
            Err(DIFFERENT)
        }
    }

    /// C_Sign, C_Encrypt or C_Decrypt, as `name` says, and the same in parts.
    pub(crate) fn both_ways(
        &self,
        name: &str,
        mechanism: &CK_MECHANISM,
        key: usize,
        data: &[u8],
    ) -> Answer<Vec<u8>> {
        let init = [ptr::from_ref(mechanism) as usize, key];
        let begin = || self.call(&format!("{name}Init"), &init);
        let whole = begin().and_then(|()| self.transform(name, data));
        let parts = begin().and_then(|()| {
            let mut out = Vec::new();
            for part in parts_of(data) {
                if name == "C_Sign" {
                    self.call("C_SignUpdate", &[start(part), part.len()])?;
                } else {
                    out.extend(self.transform(&format!("{name}Update"), part)?);
                }
            }
            let mut last = vec![0; MORE];
            let mut len = last.len();
            let places = [last.as_mut_ptr() as usize, &raw mut len as usize];
            self.call(&format!("{name}Final"), &places)?;
            out.extend(&last[..len]);
            Ok(out)
        });
        if whole == parts {
            whole
        } else {
            Err(DIFFERENT)
        }
    }

    /// C_SignInit and C_Sign.
    pub(crate) fn sign(
        &self,
        mechanism: &CK_MECHANISM,
        key: usize,
        data: &[u8],
    ) -> Answer<Vec<u8>> {
        self.call("C_SignInit", &[ptr::from_ref(mechanism) as usize, key])?;
        self.transform("C_Sign", data)
    }

    /// C_DecryptInit and C_Decrypt.
    pub(crate) fn decrypt(
        &self,
        mechanism: &CK_MECHANISM,
        key: usize,
        data: &[u8],
    ) -> Answer<Vec<u8>> {
        self.call("C_DecryptInit", &[ptr::from_ref(mechanism) as usize, key])?;
        self.transform("C_Decrypt", data)
    }

    fn transform(&self, name: &str, data: &[u8]) -> Answer<Vec<u8>> {
        let mut out = vec![0; data.len() + MORE];
        let mut len = out.len();
        let places = [out.as_mut_ptr() as usize, &raw mut len as usize];
        self.call(name, &[&[start(data), data.len()], &places[..]].concat())?;
        out.truncate(len);
        Ok(out)
    }

    /// C_DeriveKey.
    pub(crate) fn derive(
        &self,
        mechanism: &CK_MECHANISM,
        key: usize,
        template: Template<'_>,
    ) -> Answer<usize> {
        let template = attributes(template);
        let mut object = 0usize;
        let arguments = [
            ptr::from_ref(mechanism) as usize,
            key,
            template.as_ptr() as usize,
            template.len(),
            &raw mut object as usize,
        ];
        self.call("C_DeriveKey", &arguments).map(|()| object)
    }

    /// C_WrapKey.
    pub(crate) fn wrap(
        &self,
        mechanism: &CK_MECHANISM,
        wrapping: usize,
        key: usize,
    ) -> Answer<Vec<u8>> {
        let mut out = vec![0; MORE];
        let mut len = out.len();
        let places = [out.as_mut_ptr() as usize, &raw mut len as usize];
        let arguments = [ptr::from_ref(mechanism) as usize, wrapping, key];
        self.call("C_WrapKey", &[&arguments, &places[..]].concat())?;
        out.truncate(len);
        Ok(out)
    }

    /// C_UnwrapKey.
    pub(crate) fn unwrap(
        &self,
        mechanism: &CK_MECHANISM,
        unwrapping: usize,
        wrapped: &[u8],
        template: Template<'_>,
    ) -> Answer<usize> {
        self.make_key("C_UnwrapKey", mechanism, unwrapping, template, wrapped)
    }

    /// C_DecapsulateKey.
    pub(crate) fn decapsulate(
        &self,
        mechanism: &CK_MECHANISM,
        key: usize,
        ciphertext: &[u8],
        template: Template<'_>,
    ) -> Answer<usize> {
        let template = attributes(template);
        let mut object = 0usize;
        let arguments = [
            ptr::from_ref(mechanism) as usize,
            key,
            template.as_ptr() as usize,
            template.len(),
            start(ciphertext),
            ciphertext.len(),
            &raw mut object as usize,
        ];
        self.call("C_DecapsulateKey", &arguments).map(|()| object)
    }

    /// C_EncapsulateKey: the ciphertext and the new key.
    pub(crate) fn encapsulate(
        &self,
        mechanism: &CK_MECHANISM,
        key: usize,
        template: Template<'_>,
    ) -> Answer<(Vec<u8>, usize)> {
        let template = attributes(template);
        let mut out = vec![0; MORE];
        let (mut len, mut object) = (out.len(), 0usize);
        let arguments = [
            ptr::from_ref(mechanism) as usize,
            key,
            template.as_ptr() as usize,
            template.len(),
            out.as_mut_ptr() as usize,
            &raw mut len as usize,
            &raw mut object as usize,
        ];
        self.call("C_EncapsulateKey", &arguments)?;
        out.truncate(len);
        Ok((out, object))
    }

    fn make_key(
        &self,
        name: &str,
        mechanism: &CK_MECHANISM,
        key: usize,
        template: Template<'_>,
        data: &[u8],
    ) -> Answer<usize> {
        let template = attributes(template);
        let mut object = 0usize;
        let arguments = [
            ptr::from_ref(mechanism) as usize,
            key,
            start(data),
            data.len(),
            template.as_ptr() as usize,
            template.len(),
            &raw mut object as usize,
        ];
        self.call(name, &arguments).map(|()| object)
    }

    /// One attribute, by C_GetAttributeValue.
    pub(crate) fn value(&self, object: usize, kind: CK_ATTRIBUTE_TYPE) -> Answer<Vec<u8>> {
        let mut value = vec![0; MORE];
        let mut wanted = attributes(&[(kind, &value)]);
        wanted[0].pValue = value.as_mut_ptr().cast();
        let arguments = [object, wanted.as_mut_ptr() as usize, 1];
        self.call("C_GetAttributeValue", &arguments)?;
        value.truncate(usize::try_from(wanted[0].ulValueLen).expect("a length"));
        Ok(value)
    }

    /// The value of a key that was made for this only, which is destroyed.
    pub(crate) fn take_value(&self, key: usize) -> Answer<Vec<u8>> {
        let value = self.value(key, CKA_VALUE);
        self.destroy(key);
        value
    }

    /// The token's objects of a class.
    fn objects(&self, class: CK_OBJECT_CLASS) -> Vec<usize> {
        let class = class.to_ne_bytes();
        let template = attributes(&[(CKA_CLASS, &class), (CKA_TOKEN, TRUE)]);
        let arguments = [template.as_ptr() as usize, template.len()];
        assert_eq!(self.call("C_FindObjectsInit", &arguments), Ok(()));
        let mut objects = vec![0usize; 1024];
        let mut count = 0usize;
        let places = [objects.as_mut_ptr() as usize, objects.len()];
        let places = [&places[..], &[&raw mut count as usize]].concat();
        assert_eq!(self.call("C_FindObjects", &places), Ok(()));
        assert_eq!(self.call("C_FindObjectsFinal", &[]), Ok(()));
        objects.truncate(count);
        objects
    }
}

/// What is given to the functions that take parts: at least one, if only an empty one.
fn parts_of(data: &[u8]) -> Vec<&[u8]> {
    if data.is_empty() {
        vec![data]
    } else {
        data.chunks(PART).collect()
    }
}

/// Attributes as C passes them. They point into the template.
fn attributes(template: Template<'_>) -> Vec<CK_ATTRIBUTE> {
    let attribute = |(kind, value): &(CK_ATTRIBUTE_TYPE, &[u8])| CK_ATTRIBUTE {
        type_: *kind,
        pValue: value.as_ptr().cast_mut().cast::<c_void>(),
        ulValueLen: value.len() as CK_ULONG,
    };
    template.iter().map(attribute).collect()
}

/// The keys of all tokens, by their labels.
pub(crate) struct Keys<'m> {
    private: HashMap<Vec<u8>, (Session<'m>, usize)>,
    public: HashMap<Vec<u8>, (Session<'m>, usize)>,
}

impl<'m> Keys<'m> {
    /// Those that these sessions see.
    pub(crate) fn of(sessions: &[Session<'m>]) -> Self {
        let named = |class: CK_OBJECT_CLASS| {
            let mut named = HashMap::new();
            for session in sessions {
                for object in session.objects(class) {
                    let label = session.value(object, CKA_LABEL).expect("a label");
                    let companion = label == COMPANION.as_bytes();
                    let before = named.insert(label, (*session, object));
                    assert!(before.is_none() || companion, "two keys of one name");
                }
            }
            named
        };
        Self {
            private: named(CKO_PRIVATE_KEY),
            public: named(CKO_PUBLIC_KEY),
        }
    }

    /// Any session, for keys that are made in it.
    pub(crate) fn session(&self) -> Session<'m> {
        self.private.values().next().expect("a key").0
    }

    /// The labels of the private keys of this type.
    pub(crate) fn of_type(&self, kind: CK_KEY_TYPE) -> Vec<String> {
        let is_of_type = |(session, object): &(Session<'_>, usize)| {
            session.value(*object, CKA_KEY_TYPE).as_deref() == Ok(&kind.to_ne_bytes())
        };
        let labels = self.private.iter().filter(|(_, key)| is_of_type(key));
        let mut labels: Vec<_> = labels
            .map(|(label, _)| String::from_utf8(label.clone()).expect("UTF-8"))
            .collect();
        labels.sort();
        labels
    }

    /// The private key of this label.
    pub(crate) fn private(&self, label: &str) -> Option<(Session<'m>, usize)> {
        self.private.get(label.as_bytes()).copied()
    }

    /// The public key of this label.
    pub(crate) fn public(&self, label: &str) -> Option<(Session<'m>, usize)> {
        self.public.get(label.as_bytes()).copied()
    }
}
