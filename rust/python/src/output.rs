//! `bytes` objects that are filled in place, so that encryption needs no second copy and can run with the interpreter
//! released.

use std::mem::MaybeUninit;

use pyo3::exceptions::{PyOverflowError, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sideband_core::ws::Writer;

/// A new `bytes` object that nobody else has seen yet, and whose contents may therefore still be written.
pub struct Output<'py>(Bound<'py, PyBytes>);

impl<'py> Output<'py> {
    /// The concatenation of `parts`, copied once and not zeroed before.
    #[allow(unsafe_code, reason = "PyO3 has no safe way to fill a bytes object under the limited API without zeroing")]
    pub fn concat(py: Python<'py>, parts: &[&[u8]]) -> PyResult<Self> {
        let size: usize = parts.iter().map(|part| part.len()).sum();
        let signed = isize::try_from(size).map_err(|_| PyOverflowError::new_err("the result is too long"))?;
        // SAFETY: a null pointer asks for an object of this size with uninitialised contents, which is documented as the
        // way to make `bytes` to be filled; an error is turned into an exception. All of it is initialised below, as the
        // parts' sizes add up to `size`, before any reference to the contents exists.
        unsafe {
            let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), signed);
            let bytes = Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked::<PyBytes>();
            let mut target = ffi::PyBytes_AsString(bytes.as_ptr()).cast::<u8>();
            for part in parts {
                std::ptr::copy_nonoverlapping(part.as_ptr(), target, part.len());
                target = target.add(part.len());
            }
            Ok(Self(bytes))
        }
    }

    /// `size` bytes that `write` writes, all of them, not zeroed before.
    #[allow(unsafe_code, reason = "PyO3 has no safe way to fill a bytes object under the limited API without zeroing")]
    pub fn fill(py: Python<'py>, size: usize, write: impl FnOnce(&mut Writer<'_>)) -> PyResult<Self> {
        let signed = isize::try_from(size).map_err(|_| PyOverflowError::new_err("the result is too long"))?;
        // SAFETY: as in `concat`; the memory is only known as perhaps not initialised until the writer says that each
        // byte is.
        unsafe {
            let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), signed);
            let bytes = Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked::<PyBytes>();
            let target = ffi::PyBytes_AsString(bytes.as_ptr()).cast::<MaybeUninit<u8>>();
            let mut writer = Writer::new(std::slice::from_raw_parts_mut(target, size));
            write(&mut writer);
            if writer.is_full() { Ok(Self(bytes)) } else { Err(PyRuntimeError::new_err("not all bytes were written")) }
        }
    }

    /// The contents, to be changed in place.
    #[allow(unsafe_code, reason = "bytes objects have no safe way to be written")]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let size = self.0.as_bytes().len();
        if size == 0 {
            // The one empty object is shared by the whole interpreter.
            return &mut [];
        }
        // SAFETY: `concat` made and initialised the object and nobody else has a reference to it, so this is the only
        // way to its memory. Objects made from a null pointer are never the interpreter's shared ones, but the empty one.
        unsafe {
            let start = ffi::PyBytes_AsString(self.0.as_ptr()).cast::<u8>();
            std::slice::from_raw_parts_mut(start, size)
        }
    }

    /// The finished object.
    pub fn into_bytes(self) -> Bound<'py, PyBytes> {
        self.0
    }
}

/// A new `bytes` object whose contents are still to be written, wherever there is time for it.
pub struct Blank<'py>(Bound<'py, PyBytes>);

impl<'py> Blank<'py> {
    /// An object of this size.
    #[allow(unsafe_code, reason = "as above")]
    pub fn new(py: Python<'py>, size: usize) -> PyResult<Self> {
        let signed = isize::try_from(size).map_err(|_| PyOverflowError::new_err("the result is too long"))?;
        // SAFETY: as in `concat`; the contents are only known as not initialised until `into_bytes`.
        unsafe {
            let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), signed);
            Ok(Self(Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked::<PyBytes>()))
        }
    }

    /// Its contents, which need no interpreter.
    #[allow(unsafe_code, reason = "as above")]
    pub fn room(&mut self) -> Room<'_> {
        let size = self.0.len().unwrap_or(0);
        if size == 0 {
            return Room(&mut []);
        }
        // SAFETY: as in `as_mut_slice`, and the object is borrowed as long as the room is there.
        Room(unsafe { std::slice::from_raw_parts_mut(ffi::PyBytes_AsString(self.0.as_ptr()).cast(), size) })
    }

    /// The finished object.
    ///
    /// # Safety
    /// Its room was written.
    #[allow(unsafe_code, reason = "as above")]
    pub unsafe fn into_bytes(self) -> Bound<'py, PyBytes> {
        self.0
    }
}

/// Memory that is not initialised yet.
pub struct Room<'a>(&'a mut [MaybeUninit<u8>]);

impl<'a> Room<'a> {
    /// Fill it with the concatenation of `parts`, which has its size.
    #[allow(unsafe_code, reason = "as above")]
    pub fn write<'p>(self, parts: impl IntoIterator<Item = &'p [u8]>) -> &'a mut [u8] {
        let mut rest = &mut *self.0;
        for part in parts {
            let (target, behind) = rest.split_at_mut(part.len());
            // SAFETY: what is initialised is also well-formed as what may not be, and the target is no part of `part`.
            target.copy_from_slice(unsafe { std::slice::from_raw_parts(part.as_ptr().cast(), part.len()) });
            rest = behind;
        }
        assert!(rest.is_empty(), "the parts fill the room");
        // SAFETY: all of it was written above.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len()) }
    }
}
