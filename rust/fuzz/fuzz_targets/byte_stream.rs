//! Stream messages, and windows under any sequence of arrivals and reads.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sideband_core::byte_stream::{Arrival, Body, Message, ReceiveWindow, data_of_frame};

fuzz_target!(|data: &[u8]| {
    if let Ok(message) = Message::decode(data) {
        let encoded = message.encode().expect("what was decoded can be encoded");
        // Only a reason over the limit is cut.
        let whole = matches!(message.body, Body::Reset { .. }) || encoded.len() == data.len();
        assert!(whole && data.starts_with(&encoded));
    }
    let _ = data_of_frame(data);

    let mut window = ReceiveWindow::new(4096, 65_536, 0.0);
    for (step, chunk) in (0_u32..).zip(data.chunks_exact(5)) {
        let now = f64::from(step);
        let [kind, a, b, c, d] = *chunk else { unreachable!("chunks have five bytes") };
        let number = u64::from(u32::from_le_bytes([a, b, c, d]));
        let (received, limit) = (window.received(), window.limit());
        match kind % 4 {
            0 => {
                let (arrival, _) = window.arrive(number, u64::from(kind), now);
                assert_eq!(arrival == Arrival::Past, number + u64::from(kind) > limit);
            }
            1 => {
                let (arrival, _) = window.arrive(received, number % 8192, now);
                assert_eq!(arrival == Arrival::Next, received + number % 8192 <= limit);
            }
            2 => {
                let told = window.consume(number % 8192, now, Some(1.0), number % 2 == 0);
                assert_eq!(told.unwrap_or(limit), window.limit());
            }
            _ => assert_eq!(window.renew(now), window.limit()),
        }
        assert!(window.consumed() <= window.received() && window.received() <= window.limit());
        assert!(window.limit() >= limit && window.limit() - window.consumed() <= 65_536);
    }
});
