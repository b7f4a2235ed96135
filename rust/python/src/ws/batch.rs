//! Messages that came in, in the memory that they were read into.

use std::sync::Arc;

use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList, PySlice};
use sideband_core::frame::{FrameType, HEADER_SIZE};

use super::block::Block;
use crate::frame::SessionId;

/// Where a message lies.
#[derive(Clone, Copy)]
struct Span {
    /// Which block; `LOOSE` for the bytes that lie in none.
    block: u32,
    from: u32,
    size: u32,
    is_text: bool,
}

const LOOSE: u32 = u32::MAX;

/// Messages in order, as they are gathered.
#[derive(Default)]
pub struct Messages {
    spans: Vec<Span>,
    blocks: Vec<Arc<Block>>,
    /// Those that were put together from fragments.
    pub loose: Vec<u8>,
    bytes: usize,
}

impl Messages {
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Bytes of the blocks that they keep, `block` not counted among them.
    pub fn held_besides(&self, block: Option<&Arc<Block>>) -> usize {
        let others = self.blocks.iter().filter(|other| block.is_none_or(|block| !Arc::ptr_eq(block, other)));
        others.map(|block| block.size()).sum::<usize>() + self.loose.capacity()
    }

    /// Add the message at this place of a block, which is the one of the last message or a new one.
    pub fn put(&mut self, block: &Arc<Block>, from: usize, size: usize, is_text: bool) {
        if self.blocks.last().is_none_or(|last| !Arc::ptr_eq(last, block)) {
            self.blocks.push(block.clone());
        }
        self.put_span(self.blocks.len() - 1, from, size, is_text);
    }

    /// Add the message at this place of the loose bytes.
    pub fn put_loose(&mut self, from: usize, size: usize, is_text: bool) {
        self.put_span(LOOSE as usize, from, size, is_text);
    }

    fn put_span(&mut self, block: usize, from: usize, size: usize, is_text: bool) {
        // Whoever fills this bounds it far below 4 GiB.
        let narrow = |number: usize| u32::try_from(number).unwrap_or(LOOSE);
        self.spans.push(Span { block: narrow(block), from: narrow(from), size: narrow(size), is_text });
        self.bytes += size;
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, sequence, module = "sideband._native")]
pub struct MessageBatch(pub(super) Messages);

impl MessageBatch {
    /// How many messages it has.
    pub fn len(&self) -> usize {
        self.0.spans.len()
    }

    /// The message at `index`; empty where there is none.
    #[allow(unsafe_code, reason = "blocks are only reachable so")]
    pub fn message(&self, index: usize) -> &[u8] {
        let Some(Span { block, from, size, .. }) = self.0.spans.get(index) else { return &[] };
        let (from, size) = (*from as usize, *size as usize);
        match self.0.blocks.get(*block as usize) {
            // SAFETY: the input that made the span never writes to this part again, nor does the kernel, whom it only
            // gives what lies behind; it had unmasked the message before.
            Some(block) => unsafe { block.part(from, size) },
            None => self.0.loose.get(from..from + size).unwrap_or_default(),
        }
    }

    fn data_session(&self, index: usize) -> Option<u64> {
        let (header, payload) = self.message(index).split_first_chunk::<HEADER_SIZE>()?;
        let [kind, _, _, _, _, session_id @ ..] = *header;
        let is_data = kind == FrameType::Data as u8 && !payload.is_empty();
        is_data.then(|| u64::from_be_bytes(session_id))
    }
}

#[pymethods]
impl MessageBatch {
    fn __len__(&self) -> usize {
        self.len()
    }

    fn __getitem__<'py>(&self, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = index.py();
        if let Ok(slice) = index.cast::<PySlice>() {
            let range = slice.indices(isize::try_from(self.len()).unwrap_or(isize::MAX))?;
            let places = (0..range.slicelength).map(|n| range.start + range.step * isize::try_from(n).unwrap_or(0));
            let places = places.map(|place| usize::try_from(place).unwrap_or(usize::MAX));
            return Ok(PyList::new(py, places.map(|place| self.bytes(py, place)).collect::<Vec<_>>())?.into_any());
        }
        let index: isize = index.extract().map_err(|_| PyTypeError::new_err("an index is a number or a slice"))?;
        let size = isize::try_from(self.len()).unwrap_or(isize::MAX);
        let place = usize::try_from(if index < 0 { index + size } else { index }).unwrap_or(usize::MAX);
        if place >= self.len() {
            return Err(PyIndexError::new_err(format!("there are {} messages, none at {index}", self.len())));
        }
        Ok(self.bytes(py, place).into_any())
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let all: Vec<_> = (0..self.len()).map(|index| self.bytes(py, index)).collect();
        PyList::new(py, all)?.try_iter()
    }

    #[getter]
    fn nbytes(&self) -> usize {
        self.0.bytes
    }

    fn is_text(&self, index: usize) -> bool {
        self.0.spans.get(index).is_some_and(|span| span.is_text)
    }

    fn session_of(&self, index: usize) -> Option<u64> {
        self.data_session(index)
    }

    fn data_run(&self, start: usize, session_id: SessionId) -> usize {
        (start..self.len()).take_while(|index| self.data_session(*index) == Some(session_id.0)).count()
    }
}

impl MessageBatch {
    fn bytes<'py>(&self, py: Python<'py>, index: usize) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.message(index))
    }
}
