//! The WebSocket receiver: the same events however the bytes are cut, and memory in step with what came.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sideband_core::frame::{MAX_FRAME_SIZE, Sender};
use sideband_core::relay::{Allowance, Taken, take};
use sideband_core::ws::{Content, Event, Receiver};

const ALLOWANCE: Allowance = Allowance { messages: 1, bytes: usize::MAX };

fn receive<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut receiver = Receiver::new(Content::Binary, MAX_FRAME_SIZE);
    let mut told = Vec::new();
    let mut came = 0;
    for mut piece in pieces {
        came += piece.len();
        while let Some(event) = receiver.next(&mut piece, &mut |event, behind| match event {
            Event::Message(message) => match take(message, behind, Sender::Daemon, ALLOWANCE) {
                (Taken::Run(run), taken) => (taken, format!("{} {} {}", run.session_id, run.bytes, run.wire_size)),
                (other, taken) => (taken, format!("{other:?}")),
            },
            other => (0, format!("{other:?}")),
        }) {
            told.push(event);
        }
        assert!(receiver.held() <= 4 * came + MAX_FRAME_SIZE + 64);
    }
    told
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, data) = input;
    let whole = receive(std::iter::once(data));
    assert_eq!(receive(data.chunks(usize::from(size) + 1)), whole);
});
