//! Python bindings of `sideband-core`, imported as `sideband._native`. Types and docstrings are in `_native.pyi`.
//!
//! Mutable state outside objects is a setting or a pool, and each object has its own locks, so free-threaded Python is
//! safe.

#![allow(clippy::needless_pass_by_value, reason = "arguments that PyO3 converts are handed over by value")]
#![allow(clippy::unused_self, reason = "__reduce__ of the objects that refuse to be pickled is a method all the same")]

mod backend;
mod buffer;
mod byte_stream;
mod error;
mod frame;
mod handshake;
mod identity;
mod lock;
mod noise;
mod output;
mod replay;
mod sbp;
mod session;
mod stream;
mod threads;
mod ws;

/// The native core of sideband.
#[pyo3::pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    const MAX_FRAME_SIZE: usize = sideband_core::frame::MAX_FRAME_SIZE;
    #[pymodule_export]
    const MAX_PAYLOAD_SIZE: usize = sideband_core::frame::MAX_PAYLOAD_SIZE;
    #[pymodule_export]
    const MAX_PLAINTEXT_SIZE: usize = sideband_core::session::MAX_PLAINTEXT_SIZE;
    #[pymodule_export]
    const RELEASE_THRESHOLD: usize = crate::session::RELEASE_THRESHOLD;
    #[pymodule_export]
    const SBP_MAX_FRAME_SIZE: usize = sideband_core::sbp::DEFAULT_LIMITS.frame;
    #[pymodule_export]
    const SBP_MAX_HANDSHAKE_SIZE: usize = sideband_core::sbp::DEFAULT_LIMITS.handshake;
    #[pymodule_export]
    const SBP_MAX_SUBJECT_SIZE: usize = sideband_core::sbp::DEFAULT_LIMITS.subject;

    #[pymodule_export]
    const STREAM_DATA_PREFIX_SIZE: usize = sideband_core::byte_stream::DATA_PREFIX_SIZE;

    #[pymodule_export]
    use crate::backend::aead_backend;
    #[pymodule_export]
    use crate::byte_stream::{
        Blake3, StreamFramer, StreamWindow, stream_data_of, stream_decode, stream_encode_accept, stream_encode_done,
        stream_encode_end, stream_encode_open, stream_encode_reset, stream_encode_resume, stream_encode_window,
    };
    #[pymodule_export]
    use crate::frame::{
        decode_control, decode_data, decode_frame, decode_frame_header, decode_handshake_accept, decode_handshake_init,
        decode_signal, encode_control, encode_data, encode_frame, encode_handshake_accept, encode_handshake_init,
        encode_ping, encode_pong, encode_signal, inspect_frame,
    };
    #[pymodule_export]
    use crate::handshake::{
        EphemeralKeyPair, SessionKeys, process_handshake_accept, process_handshake_init, verify_handshake_accept,
    };
    #[pymodule_export]
    use crate::identity::{IdentityKeyPair, compute_fingerprint, sign, verify_signature};
    #[pymodule_export]
    const NOISE_MAX_PAYLOAD: usize = sideband_core::noise::MAX_PAYLOAD;
    #[pymodule_export]
    const NOISE_MAX_RECORD: usize = sideband_core::noise::MAX_RECORD;
    #[pymodule_export]
    use crate::noise::{NoiseHandshake, NoiseKeyPair, NoiseSession};
    #[pymodule_export]
    use crate::replay::ReplayWindow;
    #[pymodule_export]
    use crate::sbp::{
        SbpFrame, sbp_check_subject, sbp_decode, sbp_encode_ack, sbp_encode_control, sbp_encode_error,
        sbp_encode_message, sbp_frame_id_from_hex,
    };
    #[pymodule_export]
    use crate::session::{ClientSession, DaemonSession, Session};
    #[pymodule_export]
    use crate::stream::FrameDecoder;
    #[pymodule_export]
    const HELPER_FROM: usize = crate::threads::HELPER_FROM;
    #[pymodule_export]
    use crate::threads::{batch_threads, set_batch_threads};
    #[pymodule_export]
    const BLOCK_SIZE: usize = crate::ws::BLOCK_SIZE;
    #[pymodule_export]
    const POOL_BLOCKS: usize = crate::ws::POOL_BLOCKS;
    #[pymodule_export]
    use crate::ws::{
        MessageBatch, WebSocketInput, WebSocketReceiver, WireFrames, frame_messages, seal_websocket_frames,
    };

    #[pymodule_init]
    fn init(_module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        crate::threads::fix()?;
        crate::backend::fix()
    }
}
