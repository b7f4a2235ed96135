//! SBP frames: what decodes encodes to a frame that decodes to the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sideband_core::sbp::{self, Body, DEFAULT_LIMITS};

fuzz_target!(|data: &[u8]| {
    let Ok(frame) = sbp::decode(data, &DEFAULT_LIMITS) else { return };
    let encoded = match &frame.body {
        Body::Control { op, data } => sbp::encode_control(frame.id, *op, *data, frame.timestamp),
        Body::Message { subject, data } => {
            sbp::message_prefix(frame.id, subject, frame.timestamp).map(|mut encoded| {
                encoded.extend_from_slice(data);
                encoded
            })
        }
        Body::Ack { frame_id } => Ok(sbp::encode_ack(frame.id, frame_id, frame.timestamp)),
        // Text for people may have been repaired, so its bytes are compared no further than that it encodes.
        Body::Error { code, message, details } => {
            sbp::encode_error(frame.id, *code, message, details.unwrap_or_default(), frame.timestamp)
                .expect("an error frame encodes");
            return;
        }
    };
    assert_eq!(encoded.as_deref(), Ok(data));
});
