//! Templates of attributes, as C functions get and fill them: each structure is copied, and its value
//! becomes a checked [`Input`].

use std::{ffi::c_void, marker::PhantomData};

use cryptoki_sys::*;

use super::ptr::{Input, checked_len, input, ulong};
use crate::error::{Error, Result};

/// A template of attributes.
#[derive(Clone, Copy)]
pub(crate) struct Template<'a> {
    start: *mut CK_ATTRIBUTE,
    len: usize,
    memory: PhantomData<&'a mut [CK_ATTRIBUTE]>,
}

/// One attribute of a [`Template`].
pub(crate) struct Entry<'a> {
    pub(crate) kind: CK_ATTRIBUTE_TYPE,
    entry: *mut CK_ATTRIBUTE,
    value: *mut c_void,
    room: CK_ULONG,
    memory: PhantomData<&'a mut [u8]>,
}

/// # Safety
/// `start` is NULL or valid for `len` attributes, each of which has a pValue that is NULL or valid
/// for ulValueLen bytes, while the function runs.
pub(crate) unsafe fn template<'a>(start: *mut CK_ATTRIBUTE, len: CK_ULONG) -> Result<Template<'a>> {
    let len = checked_len::<CK_ATTRIBUTE>(len)?;
    if start.is_null() && len > 0 {
        return Err(Error::ArgumentsBad);
    }
    Ok(Template {
        start,
        len,
        memory: PhantomData,
    })
}

impl<'a> Template<'a> {
    pub(crate) fn entries(self) -> impl Iterator<Item = Entry<'a>> {
        (0..self.len).map(move |index| {
            // SAFETY: within the attributes that `template` was promised.
            let entry = unsafe { self.start.add(index) };
            // SAFETY: likewise; attributes may be unaligned.
            let attribute = unsafe { entry.read_unaligned() };
            Entry {
                kind: attribute.type_,
                entry,
                value: attribute.pValue,
                room: attribute.ulValueLen,
                memory: PhantomData,
            }
        })
    }
}

impl<'a> Entry<'a> {
    /// The value that the caller passes.
    pub(crate) fn value(&self) -> Result<Input<'a>> {
        // SAFETY: the promise of `template`.
        unsafe { input(self.value.cast::<u8>(), self.room) }
    }

    /// Answers with a value, by the rule of C_GetAttributeValue (PKCS#11 §5.7.5): NULL asks for the
    /// length, and too little room reads as "unavailable".
    pub(crate) fn answer(self, value: &[u8]) -> Result<()> {
        if self.value.is_null() {
            self.store_len(ulong(value.len()));
            return Ok(());
        }
        // The caller's length is compared before it is overwritten.
        if self.room < ulong(value.len()) {
            self.store_len(CK_UNAVAILABLE_INFORMATION);
            return Err(Error::BufferTooSmall);
        }
        // SAFETY: writable for `room` bytes by the promise of `template`, and not fewer are there.
        unsafe {
            std::ptr::copy_nonoverlapping(value.as_ptr(), self.value.cast::<u8>(), value.len());
        }
        self.store_len(ulong(value.len()));
        Ok(())
    }

    /// Answers that there is no value to be had.
    pub(crate) fn refuse(self) {
        self.store_len(CK_UNAVAILABLE_INFORMATION);
    }

    fn store_len(&self, len: CK_ULONG) {
        // SAFETY: `entry` is one of the attributes that `template` was promised, and this field is
        // inside it.
        unsafe { (&raw mut (*self.entry).ulValueLen).write_unaligned(len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::null_mut;

    #[test]
    fn a_template_that_cannot_be_is_refused() {
        // SAFETY: NULL, with a length that is refused.
        let refused = unsafe { template(null_mut(), CK_ULONG::MAX) };
        assert!(matches!(refused, Err(Error::ArgumentsBad)));
    }

    #[test]
    fn an_unaligned_template_is_read_and_answered() {
        let mut value = *b"old!";
        let attribute = CK_ATTRIBUTE {
            type_: CKA_LABEL,
            pValue: value.as_mut_ptr().cast(),
            ulValueLen: 4,
        };
        let mut memory = [0u8; size_of::<CK_ATTRIBUTE>() + 1];
        // SAFETY: the attribute lies within `memory`, one byte off alignment.
        unsafe {
            let start = memory.as_mut_ptr().add(1).cast::<CK_ATTRIBUTE>();
            start.write_unaligned(attribute);
            let entry = template(start, 1)
                .ok()
                .and_then(|t| t.entries().next())
                .unwrap();
            assert_eq!(entry.value().unwrap().bytes(), b"old!");
            assert_eq!(entry.answer(b"new"), Ok(()));
            assert_eq!(start.read_unaligned().ulValueLen, 3);
            let entry = template(start, 1)
                .ok()
                .and_then(|t| t.entries().next())
                .unwrap();
            assert_eq!(entry.answer(b"longer"), Err(Error::BufferTooSmall));
            assert_eq!(
                start.read_unaligned().ulValueLen,
                CK_UNAVAILABLE_INFORMATION
            );
        }
        assert_eq!(&value, b"new!");
    }
}
