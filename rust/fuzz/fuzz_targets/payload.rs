//! Typed payloads.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sideband_core::payload;

fuzz_target!(|data: &[u8]| {
    assert_eq!(payload::decode_init(data).is_ok(), data.len() == 32);
    assert_eq!(payload::decode_accept(data).is_ok(), data.len() == 128);
    assert_eq!(payload::decode_data(data).is_ok(), data.len() >= 28);
    let _ = payload::decode_signal(data);
    if let Ok((number, text)) = payload::decode_control(data) {
        // What was repaired once stays as it is, but for one more byte-order mark that may be dropped.
        let again = payload::control(number, &text);
        let (same, repaired) = payload::decode_control(&again).expect("a code that is known stays known");
        assert_eq!((same, repaired.as_ref()), (number, text.strip_prefix('\u{feff}').unwrap_or(&text)));
    }
});
