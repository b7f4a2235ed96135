//! Sealing straight into the memory that goes to the socket.

use pyo3::prelude::*;
use sideband_core::Error;
use sideband_core::aead::NONCE_SIZE;
use sideband_core::batch::try_for_each;
use sideband_core::frame::HEADER_SIZE;
use sideband_core::session::OVERHEAD;
use sideband_core::ws::BINARY;

use super::wire::{Making, Payloads, WireFrames, role, write_parts};
use crate::buffer::gathered;
use crate::error::Failure;
use crate::frame::SessionId;
use crate::lock::with_lock_released;
use crate::session::{Session, data_header};
use crate::threads::wants_helper;

const ADDED: usize = HEADER_SIZE + OVERHEAD;

/// See `_native.pyi`.
#[pyfunction]
pub fn seal_websocket_frames(
    session: &Bound<'_, Session>,
    session_id: SessionId,
    buffers: &Bound<'_, PyAny>,
    masked: bool,
) -> PyResult<WireFrames> {
    let py = session.py();
    let messages = gathered(buffers)?;
    let payloads = Payloads::of(&messages);
    let headers: Result<Vec<_>, _> = payloads.sizes().map(|size| data_header(session_id, size)).collect();
    let headers = headers.map_err(Failure::from)?;
    let mut making = Making::new(payloads.sizes().map(|size| ADDED + size), role(masked))?;
    let session = session.get();
    let helper = wants_helper(headers.len(), payloads.sizes().sum());
    let sealed = with_lock_released(py, &session.sealer, |sealer| {
        let tickets = sealer.tickets(headers.len() as u64)?;
        let rooms = making.rooms(BINARY, payloads.sizes().map(|size| ADDED + size));
        let items = tickets.zip(&headers).zip(payloads.iter()).zip(rooms);
        try_for_each(items, helper, |(((ticket, header), (_, parts)), room)| {
            room.fill(|frame| {
                let (head, message) = frame.split_at_mut(HEADER_SIZE);
                head.copy_from_slice(header);
                write_parts(message.get_mut(NONCE_SIZE..).unwrap_or_default(), parts);
                ticket.seal_in_place(message).inspect_err(|_| message.fill(0))
            })
        })?;
        Ok::<_, Error>(making.finish())
    });
    let (wire, sealed) = match sealed {
        Ok(wire) => (Some(wire), Ok(())),
        Err(error) => (None, Err(error)),
    };
    session.checked(py, sealed)?;
    wire.ok_or_else(|| pyo3::exceptions::PyRuntimeError::new_err("nothing was sealed"))
}
