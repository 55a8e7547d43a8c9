//! What comes over the C ABI, checked once: every pointer and length that a function body sees went
//! through here.
//!
//! Callers' memory may be unaligned (Java and ctypes build templates so) and may overlap (a
//! signature written over its data, a length kept in the buffer that it is for), so no reference to
//! it is alive while it is written to. A function that gets both an [`Input`] and somewhere to write
//! passes the `Input` on as it is: a reference among a function's parameters is alive until that
//! function returns, used or not.

use std::{ffi::c_void, marker::PhantomData};

use cryptoki_sys::*;

use super::parameter::{Parameter, parameter};
pub(crate) use super::template::{Template, template};
use crate::error::{Error, Result};

/// A length on the C side. None of ours comes near to the limit; one that did would read as
/// "unavailable".
pub(crate) fn ulong(len: usize) -> CK_ULONG {
    CK_ULONG::try_from(len).unwrap_or(CK_UNAVAILABLE_INFORMATION)
}

/// The byte length of `count` elements, if a slice of them can exist.
pub(super) fn checked_len<T>(count: CK_ULONG) -> Result<usize> {
    let count = usize::try_from(count).map_err(|_| Error::ArgumentsBad)?;
    let bytes = count
        .checked_mul(size_of::<T>())
        .ok_or(Error::ArgumentsBad)?;
    if isize::try_from(bytes).is_err() {
        return Err(Error::ArgumentsBad);
    }
    Ok(count)
}

/// Bytes that the caller passed.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    start: *const u8,
    len: usize,
    memory: PhantomData<&'a [u8]>,
}

/// # Safety
/// `start` is NULL or readable for `len` bytes while the function runs.
pub(crate) unsafe fn input<'a>(start: *const u8, len: CK_ULONG) -> Result<Input<'a>> {
    let len = checked_len::<u8>(len)?;
    if start.is_null() && len > 0 {
        return Err(Error::ArgumentsBad);
    }
    Ok(Input {
        start,
        len,
        memory: PhantomData,
    })
}

impl<'a> Input<'a> {
    /// Bytes of our own.
    pub(crate) fn own(bytes: &'a [u8]) -> Self {
        Self {
            start: bytes.as_ptr(),
            len: bytes.len(),
            memory: PhantomData,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The bytes. They are to be let go of before anything is written to the caller's memory, and
    /// not to be passed to a function that writes there.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: not NULL and short enough, as checked in `input`; readable by its promise, and not
        // written to meanwhile by the rule at the head of this file.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

/// Bytes that need not be there: `None` is NULL without a length.
///
/// # Safety
/// As [`input`].
pub(crate) unsafe fn optional_input<'a>(
    start: *const u8,
    len: CK_ULONG,
) -> Result<Option<Input<'a>>> {
    if start.is_null() && len == 0 {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    unsafe { input(start, len) }.map(Some)
}

/// A PIN. `None` is NULL, whatever the length: the token shall get it by itself. An empty one is an
/// empty PIN.
///
/// # Safety
/// As [`input`].
pub(crate) unsafe fn pin<'a>(start: *const u8, len: CK_ULONG) -> Result<Option<Input<'a>>> {
    if start.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    unsafe { input(start, len) }.map(Some)
}

/// Where one value goes.
pub(crate) struct Place<'a, T> {
    target: *mut T,
    memory: PhantomData<&'a mut T>,
}

/// # Safety
/// `target` is NULL or writable while the function runs.
pub(crate) unsafe fn place<'a, T: Copy>(target: *mut T) -> Result<Place<'a, T>> {
    if target.is_null() {
        return Err(Error::ArgumentsBad);
    }
    Ok(Place {
        target,
        memory: PhantomData,
    })
}

impl<T: Copy> Place<'_, T> {
    pub(crate) fn set(self, value: T) {
        // SAFETY: not NULL, writable by the promise of `place`.
        unsafe { self.target.write_unaligned(value) }
    }
}

/// Where values of a number that we decide go, by the rule of PKCS#11 §5.2: NULL asks for the
/// number, too little room is told the number.
pub(crate) struct List<'a, T> {
    target: *mut T,
    room: usize,
    count: *mut CK_ULONG,
    memory: PhantomData<&'a mut [T]>,
}

/// What a [`List`] is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Room {
    /// The caller asked for the number only, and has been told.
    Query,
    /// There is room.
    Enough,
}

/// # Safety
/// `count` is NULL or valid, and `target` is NULL or writable for `*count` elements, while the
/// function runs.
pub(crate) unsafe fn list<'a, T: Copy>(
    target: *mut T,
    count: *mut CK_ULONG,
) -> Result<List<'a, T>> {
    if count.is_null() {
        return Err(Error::ArgumentsBad);
    }
    let room = if target.is_null() {
        0
    } else {
        // SAFETY: not NULL, readable by the caller's promise.
        let room = unsafe { count.read_unaligned() };
        // A room that cannot exist is as good as the largest one that can.
        checked_len::<T>(room).unwrap_or(isize::MAX as usize / size_of::<T>().max(1))
    };
    Ok(List {
        target,
        room,
        count,
        memory: PhantomData,
    })
}

/// A [`list`] that need not be there: `None` if `count` is NULL.
///
/// # Safety
/// As [`list`].
pub(crate) unsafe fn optional_list<'a, T: Copy>(
    target: *mut T,
    count: *mut CK_ULONG,
) -> Option<List<'a, T>> {
    // SAFETY: the caller's promise.
    unsafe { list(target, count) }.ok()
}

impl<'a, T: Copy> List<'a, T> {
    /// Room of our own, whose length `count` becomes that of the values; without room, a query.
    pub(crate) fn own(target: Option<&'a mut [T]>, count: &'a mut CK_ULONG) -> Self {
        let room = target.as_ref().map_or(0, |target| target.len());
        Self {
            target: target.map_or(std::ptr::null_mut(), <[T]>::as_mut_ptr),
            room,
            count,
            memory: PhantomData,
        }
    }
}

impl<T: Copy> List<'_, T> {
    /// Whether the caller asks for the number only.
    pub(crate) fn is_query(&self) -> bool {
        self.target.is_null()
    }

    /// Whether `needed` elements fit. Nothing is stored.
    pub(crate) fn fits(&self, needed: usize) -> bool {
        !self.is_query() && self.room >= needed
    }

    /// Whether `needed` elements fit. The number is stored unless they do.
    pub(crate) fn room(&self, needed: usize) -> Result<Room> {
        if self.fits(needed) {
            return Ok(Room::Enough);
        }
        self.store_count(needed);
        if self.is_query() {
            Ok(Room::Query)
        } else {
            Err(Error::BufferTooSmall)
        }
    }

    /// Answers with `values`.
    pub(crate) fn fill(self, values: &[T]) -> Result<()> {
        if self.room(values.len())? == Room::Enough {
            // SAFETY: there is room for as many elements by the promise of `list`; bytes need no
            // alignment.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    values.as_ptr().cast::<u8>(),
                    self.target.cast::<u8>(),
                    size_of_val(values),
                );
            }
            self.store_count(values.len());
        }
        Ok(())
    }

    fn store_count(&self, count: usize) {
        // SAFETY: not NULL, writable by the promise of `list`.
        unsafe { self.count.write_unaligned(ulong(count)) }
    }
}

/// Where at most as many values go as the caller says.
pub(crate) struct Array<'a, T> {
    target: *mut T,
    room: usize,
    memory: PhantomData<&'a mut [T]>,
}

/// # Safety
/// `target` is NULL or writable for `room` elements while the function runs.
pub(crate) unsafe fn array<'a, T: Copy>(target: *mut T, room: CK_ULONG) -> Result<Array<'a, T>> {
    let room = checked_len::<T>(room)?;
    if target.is_null() && room > 0 {
        return Err(Error::ArgumentsBad);
    }
    Ok(Array {
        target,
        room,
        memory: PhantomData,
    })
}

impl<T: Copy> Array<'_, T> {
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// Writes as many of `values` as there is room for, from element `offset` on.
    pub(crate) fn write(&self, offset: usize, values: &[T]) {
        let count = values.len().min(self.room.saturating_sub(offset));
        if count == 0 {
            return;
        }
        // SAFETY: `offset + count` elements lie within the room that `array` was promised; bytes
        // need no alignment.
        unsafe {
            std::ptr::copy_nonoverlapping(
                values.as_ptr().cast::<u8>(),
                self.target.add(offset).cast::<u8>(),
                count.saturating_mul(size_of::<T>()),
            );
        }
    }
}

/// A mechanism and its parameter.
pub(crate) struct Mechanism<'a> {
    pub(crate) kind: CK_MECHANISM_TYPE,
    /// What the caller passes; an error if that is NULL with a length.
    pub(crate) parameter: Result<Parameter<'a>>,
}

/// The mechanism, or `None` for NULL.
///
/// # Safety
/// `mechanism` is NULL or valid, and its pParameter is NULL or what PKCS#11 makes of it, as
/// [`parameter`] says, while the function runs.
pub(crate) unsafe fn mechanism<'a>(mechanism: *const CK_MECHANISM) -> Option<Mechanism<'a>> {
    // SAFETY: the caller's promise.
    let mechanism = unsafe { optional(mechanism) }?;
    // SAFETY: the caller's promise.
    let parameter = unsafe { parameter(mechanism.pParameter, mechanism.ulParameterLen) };
    Some(Mechanism {
        kind: mechanism.mechanism,
        parameter: parameter.map_err(|_| Error::MechanismParamInvalid),
    })
}

/// A value, or `None` for NULL.
///
/// # Safety
/// `pointer` is NULL or readable.
pub(crate) unsafe fn optional<T: Copy>(pointer: *const T) -> Option<T> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: not NULL, readable by the caller's promise.
    Some(unsafe { pointer.read_unaligned() })
}

/// C_Initialize's argument, or `None` for NULL. Its pReserved is not followed.
///
/// # Safety
/// `arguments` is NULL or points to CK_C_INITIALIZE_ARGS.
pub(crate) unsafe fn initialize_args(arguments: *const c_void) -> Option<CK_C_INITIALIZE_ARGS> {
    // SAFETY: the caller's promise.
    unsafe { optional(arguments.cast::<CK_C_INITIALIZE_ARGS>()) }
}

/// A NUL-terminated name of at most 31 bytes, or `None` for NULL. A longer one is cut, which no
/// name of ours survives.
///
/// # Safety
/// `start` is NULL or NUL-terminated.
pub(crate) unsafe fn name(start: *const CK_UTF8CHAR) -> Option<Vec<u8>> {
    if start.is_null() {
        return None;
    }
    // SAFETY: read up to the NUL and not beyond.
    let byte = |index: usize| unsafe { start.add(index).read() };
    Some((0..31).map(byte).take_while(|byte| *byte != 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::{null, null_mut};

    #[test]
    fn null_is_an_empty_input_but_not_a_long_one() {
        // SAFETY: NULL, or lengths that are refused.
        unsafe {
            assert!(input(null(), 0).is_ok_and(|input| input.bytes().is_empty()));
            assert!(matches!(input(null(), 1), Err(Error::ArgumentsBad)));
            let byte = 1u8;
            assert!(matches!(
                input(&raw const byte, CK_ULONG::MAX),
                Err(Error::ArgumentsBad)
            ));
        }
    }

    #[test]
    fn a_list_tells_its_length_and_writes_only_what_fits() {
        let mut bytes = [0u8; 4];
        let mut count: CK_ULONG = 2;
        // SAFETY: `count` is never more than the array's length.
        unsafe {
            let short = list(bytes.as_mut_ptr(), &raw mut count);
            assert_eq!(
                short.and_then(|list| list.fill(b"abc")),
                Err(Error::BufferTooSmall)
            );
            assert_eq!((count, bytes), (3, [0; 4]));
            let query = list(null_mut::<u8>(), &raw mut count);
            assert_eq!(query.and_then(|list| list.fill(b"abcd")), Ok(()));
            assert_eq!((count, bytes), (4, [0; 4]));
            let enough = list(bytes.as_mut_ptr(), &raw mut count);
            assert_eq!(enough.and_then(|list| list.fill(b"abc")), Ok(()));
            assert_eq!((count, &bytes), (3, b"abc\0"));
        }
    }
}
