//! WebSocket frames that are ready to be sent.

use std::convert::Infallible;
use std::ffi::c_int;

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;
use sideband_core::ws::{BINARY, MASK_SIZE, MAX_HEADER_SIZE, Role, TEXT, apply, frame_size, write_header};

use super::block::Block;
use super::mask_keys::mask_keys;
use crate::buffer::{Gathered, gathered};
use crate::session::RELEASE_THRESHOLD;

/// See `_native.pyi`.
#[pyclass(frozen, module = "sideband._native")]
pub struct WireFrames {
    block: Block,
    size: usize,
    #[pyo3(get)]
    messages: usize,
    #[pyo3(get)]
    payload_bytes: usize,
}

#[pymethods]
impl WireFrames {
    fn __len__(&self) -> usize {
        self.size
    }

    fn view<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyMemoryView>> {
        PyMemoryView::from(slf.as_any())
    }

    #[allow(unsafe_code, reason = "the buffer protocol is a C interface")]
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        let size = isize::try_from(this.size).map_err(|_| PyOverflowError::new_err("too many bytes"))?;
        // SAFETY: the interpreter calls this with a view to be filled. The memory lives as long as the object, which the
        // view keeps alive, and nobody writes to it any more.
        let status = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), this.block.start().cast(), size, 1, flags) };
        if status == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}

/// Frames while they are being made.
pub struct Making {
    block: Block,
    size: usize,
    messages: usize,
    payload_bytes: usize,
    sender: Role,
    keys: Vec<[u8; MASK_SIZE]>,
}

impl Making {
    /// Room for messages of these sizes, to be sent by `sender`.
    pub fn new(payload_sizes: impl Iterator<Item = usize> + Clone, sender: Role) -> PyResult<Self> {
        let size = payload_sizes.clone().map(|size| frame_size(size, sender)).sum();
        let messages = payload_sizes.clone().count();
        let keys = if sender == Role::Client { mask_keys(messages)? } else { Vec::new() };
        Ok(Self { block: Block::new(size), size, messages, payload_bytes: payload_sizes.sum(), sender, keys })
    }

    /// Write the header of each message; return the rooms of the payloads, to be filled in any order.
    pub fn rooms(&mut self, opcode: u8, payload_sizes: impl Iterator<Item = usize>) -> Vec<Room<'_>> {
        let Self { block, size, keys, sender, .. } = self;
        #[allow(unsafe_code, reason = "blocks are only reachable so")]
        // SAFETY: the block is this object's alone, and borrowed by the rooms.
        let mut rest = unsafe { block.part_mut(0, *size) };
        let mut keys = keys.iter();
        let mut rooms = Vec::with_capacity(self.messages);
        for size in payload_sizes {
            let mask = if *sender == Role::Client { keys.next().copied() } else { None };
            let mut header = [0; MAX_HEADER_SIZE];
            let header_size = write_header(opcode, size, mask, &mut header);
            let (frame, behind) = rest.split_at_mut(header_size + size);
            rest = behind;
            let (head, payload) = frame.split_at_mut(header_size);
            head.copy_from_slice(header.get(..header_size).unwrap_or_default());
            rooms.push(Room { payload, mask });
        }
        debug_assert!(rest.is_empty(), "the sizes are those that the room was made for");
        rooms
    }

    /// The finished frames.
    pub fn finish(self) -> WireFrames {
        let Self { block, size, messages, payload_bytes, .. } = self;
        WireFrames { block, size, messages, payload_bytes }
    }
}

/// Where the payload of a message goes.
pub struct Room<'a> {
    payload: &'a mut [u8],
    mask: Option<[u8; MASK_SIZE]>,
}

impl Room<'_> {
    /// Let `write` fill the payload, all of it, and mask it.
    pub fn fill<E>(self, write: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<(), E> {
        write(self.payload)?;
        if let Some(mask) = self.mask {
            apply(mask, self.payload);
        }
        Ok(())
    }
}

/// Messages in parts, apart from the interpreter's objects, so that they can be read while it is released.
pub struct Payloads<'a> {
    parts: Vec<&'a [u8]>,
    /// Of each message its size, and where its parts end.
    messages: Vec<(usize, usize)>,
}

impl<'a> Payloads<'a> {
    /// Those of a batch.
    pub fn of(messages: &'a [Gathered<'_>]) -> Self {
        let mut payloads = Self { parts: Vec::with_capacity(messages.len()), messages: Vec::new() };
        payloads.messages.reserve_exact(messages.len());
        for message in messages {
            payloads.parts.extend(message.parts());
            payloads.messages.push((message.size(), payloads.parts.len()));
        }
        payloads
    }

    /// The sizes of the messages.
    pub fn sizes(&self) -> impl Iterator<Item = usize> + Clone {
        self.messages.iter().map(|(size, _)| *size)
    }

    /// Each message's size and parts.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[&'a [u8]])> {
        let starts = std::iter::once(0).chain(self.messages.iter().map(|(_, end)| *end));
        let parts = |from, end| self.parts.get(from..end).unwrap_or_default();
        starts.zip(&self.messages).map(move |(from, (size, end))| (*size, parts(from, *end)))
    }
}

/// Copy parts one behind the other to the front of `target`.
pub fn write_parts(mut target: &mut [u8], parts: &[&[u8]]) {
    for part in parts {
        let Some((room, rest)) = target.split_at_mut_checked(part.len()) else { return };
        room.copy_from_slice(part);
        target = rest;
    }
}

/// See `_native.pyi`.
#[pyfunction]
#[pyo3(signature = (messages, masked, opcode = BINARY), text_signature = "(messages, masked, opcode=2)")]
pub fn frame_messages(messages: &Bound<'_, PyAny>, masked: bool, opcode: u8) -> PyResult<WireFrames> {
    if !matches!(opcode, TEXT | BINARY) {
        return Err(PyValueError::new_err(format!("a message is text (1) or binary (2), not {opcode}")));
    }
    let py = messages.py();
    let messages = gathered(messages)?;
    let payloads = Payloads::of(&messages);
    let mut making = Making::new(payloads.sizes(), role(masked))?;
    let frame = || {
        for ((_, parts), room) in payloads.iter().zip(making.rooms(opcode, payloads.sizes())) {
            let Ok(()) = room.fill(|payload| {
                write_parts(payload, parts);
                Ok::<_, Infallible>(())
            });
        }
        making.finish()
    };
    Ok(if payloads.sizes().sum::<usize>() < RELEASE_THRESHOLD { frame() } else { py.detach(frame) })
}

/// Who masks.
pub const fn role(masked: bool) -> Role {
    if masked { Role::Client } else { Role::Server }
}
