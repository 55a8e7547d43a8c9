//! Arguments of C_ functions as data: memory with guards around it, mechanisms with their parameters, templates.

use std::mem::size_of;

use cryptoki_sys::*;

const GUARD: usize = 64;
const PATTERN: u8 = 0xA5;

/// Memory that is handed to a module. Each piece is aligned as malloc aligns, and has guards before and after it.
#[derive(Debug, Default)]
pub struct Memory(Vec<Piece>);

#[derive(Debug)]
struct Piece {
    /// In units that align it to 16 bytes.
    room: Box<[u128]>,
    len: usize,
}

impl Piece {
    fn all(&self) -> &[u8] {
        let len = self.room.len() * size_of::<u128>();
        // SAFETY: the room is that long, and a module that wrote into it is done.
        unsafe { std::slice::from_raw_parts(self.room.as_ptr().cast(), len) }
    }

    fn address(&self) -> usize {
        self.room.as_ptr() as usize + GUARD
    }

    fn content(&self) -> &[u8] {
        &self.all()[GUARD..GUARD + self.len]
    }

    fn is_whole(&self) -> bool {
        let (before, rest) = self.all().split_at(GUARD);
        let after = &rest[self.len..];
        before.iter().chain(after).all(|&byte| byte == PATTERN)
    }
}

impl Memory {
    /// A copy of these bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> usize {
        let units = (GUARD * 2 + bytes.len()).div_ceil(size_of::<u128>());
        let mut room = vec![u128::from_ne_bytes([PATTERN; 16]); units].into_boxed_slice();
        // SAFETY: the room holds the guard and these bytes.
        unsafe {
            let to = room.as_mut_ptr().cast::<u8>().add(GUARD);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
        let piece = Piece {
            room,
            len: bytes.len(),
        };
        let address = piece.address();
        self.0.push(piece);
        address
    }

    /// A copy of these bytes at an odd address.
    pub fn unaligned(&mut self, bytes: &[u8]) -> usize {
        let mut shifted = vec![PATTERN];
        shifted.extend(bytes);
        self.bytes(&shifted) + 1
    }

    /// Everything in all pieces, for looking for what must not be there.
    pub fn contents(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Piece::content)
    }

    /// Room for `len` bytes, filled with 0xCC.
    pub fn room(&mut self, len: usize) -> usize {
        self.bytes(&vec![0xCC; len])
    }

    /// One number.
    pub fn number(&mut self, number: CK_ULONG) -> usize {
        self.bytes(&number.to_ne_bytes())
    }

    /// Several numbers, one after the other, as in C's structures of CK_ULONG and pointers.
    pub fn words(&mut self, words: &[usize]) -> usize {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.bytes(&bytes)
    }

    /// What is at an address that this memory gave.
    pub fn read(&self, address: usize) -> &[u8] {
        let piece = self.0.iter().find(|piece| piece.address() == address);
        piece.expect("an address of this memory").content()
    }

    /// The number at an address that this memory gave.
    pub fn read_number(&self, address: usize) -> CK_ULONG {
        CK_ULONG::from_ne_bytes(self.read(address).try_into().expect("a number"))
    }

    /// Nothing was written around any piece.
    pub fn is_whole(&self) -> bool {
        self.0.iter().all(Piece::is_whole)
    }
}

/// The parameter of a mechanism.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// NULL.
    None,
    /// These bytes: an initialisation vector, or a structure of the wrong size.
    Raw(Vec<u8>),
    /// CK_RSA_PKCS_PSS_PARAMS: hash, mask generation function, salt length.
    Pss(u64, u64, u64),
    /// CK_RSA_PKCS_OAEP_PARAMS: hash, mask generation function, source, label.
    Oaep(u64, u64, u64, Vec<u8>),
    /// CK_ECDH1_DERIVE_PARAMS: derivation function, shared data, public key.
    Ecdh(u64, Vec<u8>, Vec<u8>),
    /// CK_AES_CTR_PARAMS: bits of the counter, first block.
    Ctr(u64, [u8; 16]),
    /// CK_GCM_PARAMS: initialisation vector, additional data, bits of the tag.
    Gcm(Vec<u8>, Vec<u8>, u64),
    /// CK_MAC_GENERAL_PARAMS: bytes of the code.
    MacLen(u64),
}

/// A CK_MECHANISM at an address.
pub fn mechanism(memory: &mut Memory, kind: u64, parameter: &Parameter) -> usize {
    let (at, len) = place_parameter(memory, parameter);
    memory.words(&[kind as usize, at, len])
}

/// A parameter at an address, with its length.
pub fn place_parameter(memory: &mut Memory, parameter: &Parameter) -> (usize, usize) {
    let words = match parameter {
        Parameter::None => return (0, 0),
        Parameter::Raw(bytes) => return (memory.bytes(bytes), bytes.len()),
        Parameter::Pss(hash, mgf, salt) => vec![*hash as usize, *mgf as usize, *salt as usize],
        Parameter::Oaep(hash, mgf, source, label) => {
            let (at, len) = optional(memory, label);
            vec![*hash as usize, *mgf as usize, *source as usize, at, len]
        }
        Parameter::Ecdh(kdf, shared, public) => {
            let (shared_at, shared_len) = optional(memory, shared);
            let at = memory.bytes(public);
            vec![*kdf as usize, shared_len, shared_at, public.len(), at]
        }
        Parameter::Ctr(bits, block) => {
            let mut bytes = bits.to_ne_bytes().to_vec();
            bytes.extend(block);
            return (memory.bytes(&bytes), bytes.len());
        }
        Parameter::Gcm(iv, aad, bits) => {
            let at = memory.bytes(iv);
            let (aad_at, aad_len) = optional(memory, aad);
            vec![at, iv.len(), iv.len() * 8, aad_at, aad_len, *bits as usize]
        }
        Parameter::MacLen(len) => vec![*len as usize],
    };
    (memory.words(&words), words.len() * size_of::<usize>())
}

fn optional(memory: &mut Memory, bytes: &[u8]) -> (usize, usize) {
    match bytes {
        [] => (0, 0),
        _ => (memory.bytes(bytes), bytes.len()),
    }
}

/// The value of an attribute in a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A CK_BBOOL.
    Bool(bool),
    /// A CK_ULONG.
    Number(u64),
    /// Anything else.
    Bytes(Vec<u8>),
    /// NULL with a length.
    Null(usize),
    /// Room to be filled, of that many bytes.
    Room(usize),
}

/// A template at an address, and its length in attributes. Also where the values are.
pub fn template(memory: &mut Memory, entries: &[(u64, Value)]) -> (usize, usize, Vec<usize>) {
    let mut words = Vec::new();
    let mut values = Vec::new();
    for (kind, value) in entries {
        let (at, len) = match value {
            Value::Bool(value) => (memory.bytes(&[u8::from(*value)]), 1),
            Value::Number(value) => (memory.number(*value), size_of::<CK_ULONG>()),
            Value::Bytes(bytes) => (memory.bytes(bytes), bytes.len()),
            Value::Null(len) => (0, *len),
            Value::Room(len) => (memory.room(*len), *len),
        };
        words.extend([*kind as usize, at, len]);
        values.push(at);
    }
    let at = memory.words(&words);
    (at, entries.len(), values)
}

macro_rules! names {
    ($($name:ident)*) => {
        const NAMES: &[(CK_RV, &str)] = &[$(($name, stringify!($name)),)*];
    };
}

names! {
    CKR_OK CKR_CANCEL CKR_HOST_MEMORY CKR_SLOT_ID_INVALID CKR_GENERAL_ERROR CKR_FUNCTION_FAILED CKR_ARGUMENTS_BAD
    CKR_NO_EVENT CKR_NEED_TO_CREATE_THREADS CKR_CANT_LOCK CKR_ACTION_PROHIBITED CKR_ATTRIBUTE_READ_ONLY
    CKR_ATTRIBUTE_SENSITIVE CKR_ATTRIBUTE_TYPE_INVALID CKR_ATTRIBUTE_VALUE_INVALID CKR_CURVE_NOT_SUPPORTED
    CKR_DATA_INVALID CKR_DATA_LEN_RANGE CKR_DEVICE_ERROR CKR_DEVICE_MEMORY CKR_DEVICE_REMOVED
    CKR_DOMAIN_PARAMS_INVALID CKR_ENCRYPTED_DATA_INVALID CKR_ENCRYPTED_DATA_LEN_RANGE CKR_FUNCTION_CANCELED
    CKR_FUNCTION_NOT_PARALLEL CKR_FUNCTION_NOT_SUPPORTED CKR_FUNCTION_REJECTED CKR_KEY_HANDLE_INVALID
    CKR_KEY_SIZE_RANGE CKR_KEY_TYPE_INCONSISTENT CKR_KEY_FUNCTION_NOT_PERMITTED CKR_KEY_INDIGESTIBLE
    CKR_KEY_NOT_WRAPPABLE CKR_KEY_UNEXTRACTABLE CKR_MECHANISM_INVALID CKR_MECHANISM_PARAM_INVALID
    CKR_OBJECT_HANDLE_INVALID CKR_OPERATION_ACTIVE CKR_OPERATION_CANCEL_FAILED CKR_OPERATION_NOT_INITIALIZED
    CKR_PARAMETER_SET_NOT_SUPPORTED CKR_PIN_INCORRECT CKR_PIN_INVALID CKR_PIN_LEN_RANGE CKR_PIN_EXPIRED
    CKR_PIN_LOCKED CKR_SESSION_CLOSED CKR_SESSION_COUNT CKR_SESSION_HANDLE_INVALID
    CKR_SESSION_PARALLEL_NOT_SUPPORTED CKR_SESSION_READ_ONLY CKR_SESSION_EXISTS CKR_SESSION_READ_ONLY_EXISTS
    CKR_SESSION_READ_WRITE_SO_EXISTS CKR_SESSION_ASYNC_NOT_SUPPORTED CKR_SIGNATURE_INVALID
    CKR_SIGNATURE_LEN_RANGE CKR_TEMPLATE_INCOMPLETE CKR_TEMPLATE_INCONSISTENT CKR_TOKEN_NOT_PRESENT
    CKR_TOKEN_WRITE_PROTECTED CKR_UNWRAPPING_KEY_HANDLE_INVALID CKR_UNWRAPPING_KEY_SIZE_RANGE
    CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT CKR_USER_ALREADY_LOGGED_IN CKR_USER_NOT_LOGGED_IN
    CKR_USER_PIN_NOT_INITIALIZED CKR_USER_TYPE_INVALID CKR_USER_ANOTHER_ALREADY_LOGGED_IN
    CKR_USER_TOO_MANY_TYPES CKR_WRAPPED_KEY_INVALID CKR_WRAPPED_KEY_LEN_RANGE CKR_WRAPPING_KEY_HANDLE_INVALID
    CKR_WRAPPING_KEY_SIZE_RANGE CKR_WRAPPING_KEY_TYPE_INCONSISTENT CKR_RANDOM_SEED_NOT_SUPPORTED
    CKR_RANDOM_NO_RNG CKR_BUFFER_TOO_SMALL CKR_SAVED_STATE_INVALID CKR_STATE_UNSAVEABLE
    CKR_CRYPTOKI_NOT_INITIALIZED CKR_CRYPTOKI_ALREADY_INITIALIZED CKR_KEY_NEEDED CKR_KEY_CHANGED
}

/// The name of a return value.
pub fn rv_name(rv: CK_RV) -> String {
    let known = NAMES.iter().find(|(value, _)| *value == rv);
    known.map_or_else(|| format!("{rv:#x}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_before_or_after_a_piece_is_noticed() {
        for offset in [-1isize, 8] {
            let mut memory = Memory::default();
            let at = memory.room(8);
            assert!(memory.is_whole());
            // SAFETY: guards are on both sides of it.
            unsafe { (at as *mut u8).offset(offset).write(0) };
            assert!(!memory.is_whole(), "{offset}");
        }
    }
}
