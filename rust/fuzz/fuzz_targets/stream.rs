//! The stream decoder: the same frames and the same error however the bytes are cut, and bounded memory.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sideband_core::Error;
use sideband_core::frame::MAX_FRAME_SIZE;
use sideband_core::stream::FrameDecoder;

type Seen = Vec<(u8, u64, Vec<u8>)>;

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Seen, Result<(), Error>) {
    let mut decoder = FrameDecoder::new();
    let mut seen = Seen::new();
    for piece in pieces {
        let outcome = decoder.push(piece, |frame| {
            seen.push((frame.frame_type as u8, frame.session_id, frame.payload.to_vec()));
        });
        assert!(decoder.buffered() < MAX_FRAME_SIZE);
        if outcome.is_err() {
            assert_eq!(decoder.buffered(), 0);
            assert_eq!(decoder.push(b"", |_| unreachable!()), outcome);
            return (seen, outcome);
        }
    }
    (seen, Ok(()))
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, data) = input;
    let whole = decode(std::iter::once(data));
    assert_eq!(decode(data.chunks(usize::from(size) + 1)), whole);
});
