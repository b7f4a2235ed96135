//! The receiving half of an endpoint's WebSocket. Sockets are read into blocks, and whole messages stay where they are.

use std::ffi::c_int;
use std::mem::take;
use std::sync::Arc;

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyMemoryView, PyString, PyTuple};
use sideband_core::ws::{Content, Event, MASK_SIZE, Message, Receiver, Role, Scan, TRUSTED_START, Violation, apply};

use super::batch::{MessageBatch, Messages};
use super::block::{BLOCK_SIZE, Block};

/// With less room than this left in a block, the next one is begun.
const LEAST_READ: usize = 16 * 1024;
/// Frames of this size and more count as bulk: reads then end where frames do, as far as can be told.
const BULK_FRAME: usize = 16 * 1024;
/// A read of so many bytes or fewer is copied, so that its block can be used for the next one.
const SHORT_READ: usize = 8 * 1024;
/// What a message counts besides its bytes, so that many empty ones are bounded too.
const MESSAGE_COST: usize = 64;

/// What an event tuple is about: its first member.
#[derive(Clone, Copy)]
enum Kind {
    Ping = 0,
    Close = 1,
    Violation = 2,
}

/// See `_native.pyi`.
#[pyclass(module = "sideband._native")]
pub struct WebSocketInput {
    receiver: Receiver,
    sender: Role,
    /// What is read into; its first `used` bytes came, of which `parsed` were taken apart.
    block: Option<Arc<Block>>,
    used: usize,
    parsed: usize,
    /// Bytes that the frame which begins at `parsed` has at least; 0 when none does.
    needed: usize,
    /// The start of a frame, as long as it is short and there is no block.
    start: Vec<u8>,
    last_frame: usize,
    ready: Messages,
    cost: usize,
}

#[pymethods]
impl WebSocketInput {
    #[new]
    #[pyo3(signature = (max_message, *, masked, text = false))]
    fn new(max_message: usize, masked: bool, text: bool) -> PyResult<Self> {
        if u32::try_from(max_message).is_err() {
            return Err(PyValueError::new_err("messages have less than 4 GiB"));
        }
        let sender = if masked { Role::Client } else { Role::Server };
        let content = if text { Content::Any } else { Content::Binary };
        Ok(Self {
            receiver: Receiver::new(sender, content, max_message),
            sender,
            block: None,
            used: 0,
            parsed: 0,
            needed: 0,
            start: Vec::new(),
            last_frame: 0,
            ready: Messages::default(),
            cost: 0,
        })
    }

    /// See `_native.pyi`.
    fn room<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        let block = self.block_with_room();
        let size = self.read_size(block.size() - self.used);
        PyMemoryView::from(Bound::new(py, Room { block, from: self.used, size })?.as_any())
    }

    /// See `_native.pyi`.
    fn received<'py>(&mut self, py: Python<'py>, size: usize) -> PyResult<Option<Bound<'py, PyList>>> {
        let room = self.block.as_ref().map_or(0, |block| block.size() - self.used);
        if size > room {
            return Err(PyValueError::new_err(format!("there was room for {room} bytes, not {size}")));
        }
        if self.used == 0 && self.ready.is_empty() && size <= SHORT_READ {
            self.read_short(size);
        }
        self.used += size;
        let events = self.take_apart(py)?;
        self.let_go();
        Ok(events)
    }

    /// See `_native.pyi`.
    fn feed<'py>(&mut self, py: Python<'py>, data: &[u8]) -> PyResult<Option<Bound<'py, PyList>>> {
        let all = PyList::empty(py);
        let mut rest = data;
        while !rest.is_empty() {
            let block = self.block_with_room();
            let (now, later) = rest.split_at(rest.len().min(block.size() - self.used));
            write(&block, self.used, now);
            for event in self.received(py, now.len())?.iter().flatten() {
                all.append(event)?;
            }
            rest = later;
        }
        Ok(if all.is_empty() { None } else { Some(all) })
    }

    /// See `_native.pyi`.
    fn take(&mut self) -> Option<MessageBatch> {
        if self.ready.is_empty() {
            return None;
        }
        self.cost = 0;
        let messages = take(&mut self.ready);
        self.let_go();
        Some(MessageBatch(messages))
    }

    fn close(&mut self) {
        self.receiver.close();
        self.ready = Messages::default();
        self.cost = 0;
    }

    #[getter]
    fn ready_cost(&self) -> usize {
        self.cost
    }

    #[getter]
    fn held_bytes(&self) -> usize {
        let block = self.block.as_ref();
        let read = block.map_or(0, |block| block.size()) + self.ready.held_besides(block);
        read + self.start.capacity() + self.receiver.held()
    }
}

impl WebSocketInput {
    fn block_with_room(&mut self) -> Arc<Block> {
        if let Some(block) = &self.block {
            let begun = self.used - self.parsed;
            let room = block.size() - self.used;
            let fits = block.size() - self.parsed >= self.needed;
            if room > 0 && (if begun > 0 { fits } else { room >= LEAST_READ }) {
                return block.clone();
            }
        }
        let begun = match &self.block {
            Some(block) => self.came(block).to_vec(),
            None => take(&mut self.start),
        };
        // Room for all of a frame is only made once some of it is there.
        let wanted = if begun.len() >= TRUSTED_START { self.needed } else { 0 };
        let block = Arc::new(Block::new(wanted.max(BLOCK_SIZE)));
        write(&block, 0, &begun);
        (self.parsed, self.used) = (0, begun.len());
        self.block.insert(block).clone()
    }

    /// How much to read, so that the read ends where a frame does: what has not come of a frame may have to be moved.
    fn read_size(&self, room: usize) -> usize {
        let missing = self.needed.saturating_sub(self.used - self.parsed);
        if self.last_frame < BULK_FRAME || room < missing + self.last_frame {
            return room;
        }
        missing + (room - missing) / self.last_frame * self.last_frame
    }

    /// Give a block in which nothing but a short read lies back at once: what waits in it may be one message of many
    /// connections, and a whole block for each of them would be much memory.
    #[allow(unsafe_code, reason = "blocks are only reachable so")]
    fn read_short(&mut self, size: usize) {
        let Some(block) = self.block.take() else { return };
        let short = Arc::new(Block::new(size));
        // SAFETY: the read is over, and nothing of the block was given to anybody.
        write(&short, 0, unsafe { block.part(0, size) });
        self.block = Some(short);
    }

    fn take_apart<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        let Some(block) = self.block.clone() else { return Ok(None) };
        let mut events: Option<Bound<'py, PyList>> = None;
        loop {
            let data = self.came(&block);
            let mut input = data;
            let loose = &mut self.ready.loose;
            let found = self.receiver.scan(&mut input, &mut |event, _| (0, Told::of(event, data, loose)));
            let taken = data.len() - input.len();
            self.needed = 0;
            match found {
                Scan::Told(Told::Message { place, size, is_text }) => {
                    self.last_frame = taken;
                    self.cost += size + MESSAGE_COST;
                    match place {
                        Place::Read { at, mask } => {
                            if self.sender == Role::Client {
                                unmask(&block, self.parsed + at, size, mask);
                            }
                            self.ready.put(&block, self.parsed + at, size, is_text);
                        }
                        Place::Loose { from } => self.ready.put_loose(from, size, is_text),
                    }
                }
                Scan::Told(Told::Other(kind, code, reason)) => {
                    let kind = (kind as u8).into_pyobject(py)?.into_any();
                    let code = code.into_pyobject(py)?.into_any();
                    let event = PyTuple::new(py, [kind, code, reason.into_object(py)])?;
                    events.get_or_insert_with(|| PyList::empty(py)).append(event)?;
                }
                Scan::Need(whole) => self.needed = whole,
                Scan::Empty => {}
            }
            self.parsed += taken;
            if self.needed > 0 || self.parsed == self.used {
                return Ok(events);
            }
        }
    }

    /// What was read and not taken apart.
    #[allow(unsafe_code, reason = "blocks are only reachable so")]
    fn came<'a>(&self, block: &'a Block) -> &'a [u8] {
        // SAFETY: the kernel was only given what lies behind `used`, and messages are only changed by `unmask`, which is
        // not called while the result lives.
        unsafe { block.part(self.parsed, self.used - self.parsed) }
    }

    /// Give the block up where nothing of it is waiting, but perhaps a short start of a frame.
    fn let_go(&mut self) {
        let begun = self.used - self.parsed;
        if !self.ready.is_empty() || begun >= TRUSTED_START {
            return;
        }
        if let Some(block) = self.block.take() {
            self.start = self.came(&block).to_vec();
        }
        (self.used, self.parsed) = (0, 0);
    }
}

/// What the receiver found, without what it borrowed.
enum Told {
    Message { place: Place, size: usize, is_text: bool },
    Other(Kind, u16, Reason),
}

/// Where a message is.
enum Place {
    /// In what was read, so many bytes behind its begin.
    Read { at: usize, mask: [u8; MASK_SIZE] },
    /// Put together from fragments, and copied.
    Loose { from: usize },
}

enum Reason {
    Bytes(Vec<u8>),
    Text(String),
}

impl Told {
    fn of(event: Event<'_>, data: &[u8], loose: &mut Vec<u8>) -> Self {
        match event {
            Event::Message(Message { is_text, mask, masked }) => {
                let at = (masked.as_ptr() as usize).wrapping_sub(data.as_ptr() as usize);
                let size = masked.len();
                let place = if at < data.len() && size <= data.len() - at {
                    Place::Read { at, mask }
                } else {
                    loose.extend_from_slice(masked);
                    Place::Loose { from: loose.len() - size }
                };
                Self::Message { place, size, is_text }
            }
            Event::Ping(payload) => Self::Other(Kind::Ping, 0, Reason::Bytes(payload)),
            Event::Close(code, reason) => Self::Other(Kind::Close, code.unwrap_or_default(), Reason::Text(reason)),
            Event::Violation(Violation { close_code, reason }) => {
                Self::Other(Kind::Violation, close_code, Reason::Text(reason.to_owned()))
            }
        }
    }
}

impl Reason {
    fn into_object(self, py: Python<'_>) -> Bound<'_, PyAny> {
        match self {
            Self::Bytes(bytes) => PyBytes::new(py, &bytes).into_any(),
            Self::Text(text) => PyString::new(py, &text).into_any(),
        }
    }
}

#[allow(unsafe_code, reason = "blocks are only reachable so")]
fn unmask(block: &Block, from: usize, size: usize, mask: [u8; MASK_SIZE]) {
    // SAFETY: the message was read and is nobody's yet: it becomes part of a batch after this, and the kernel was only
    // given what lies behind it.
    apply(mask, unsafe { block.part_mut(from, size) });
}

#[allow(unsafe_code, reason = "blocks are only reachable so")]
fn write(block: &Block, from: usize, bytes: &[u8]) {
    // SAFETY: this part is given to nobody else: it lies behind what was read, and no read is under way.
    unsafe { block.part_mut(from, bytes.len()) }.copy_from_slice(bytes);
}

/// The part of a block that is read into next, for Python. It keeps the block alive.
#[pyclass(frozen)]
struct Room {
    block: Arc<Block>,
    from: usize,
    size: usize,
}

#[pymethods]
impl Room {
    #[allow(unsafe_code, reason = "the buffer protocol is a C interface")]
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        let size = isize::try_from(this.size).map_err(|_| PyOverflowError::new_err("too many bytes"))?;
        let room = this.block.start().wrapping_add(this.from).cast();
        // SAFETY: the interpreter calls this with a view to be filled. The memory lives as long as this object, which the
        // view keeps alive. Nothing of it is looked at before `received` says that it was read into.
        let status = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), room, size, 0, flags) };
        if status == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}
