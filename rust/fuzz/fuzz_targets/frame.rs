//! Frames: what decodes encodes to the same bytes, and what a relay passes an endpoint decodes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sideband_core::frame::{self, Sender};

fuzz_target!(|data: &[u8]| {
    let decoded = frame::decode(data);
    if let Ok(frame) = &decoded {
        let encoded = frame::encode(frame.frame_type as u8, frame.session_id, frame.payload);
        assert_eq!(encoded.as_deref(), Ok(data));
    }
    for sender in [Sender::Client, Sender::Daemon] {
        if let Ok(inspected) = frame::inspect(data, sender) {
            assert_eq!(decoded.as_ref(), Ok(&inspected));
        }
    }
});
