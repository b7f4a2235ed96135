//! The WebSocket receiver: the same events however the bytes are cut, and memory in step with what came.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sideband_core::frame::{MAX_FRAME_SIZE, Sender};
use sideband_core::relay::{Allowance, Taken, take};
use sideband_core::ws::{Content, Event, Receiver, Role, Scan};

const ALLOWANCE: Allowance = Allowance { messages: 1, bytes: usize::MAX };

fn receive<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut receiver = Receiver::new(Role::Client, Content::Binary, MAX_FRAME_SIZE);
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

/// An endpoint's side: what a server sends, in memory that the caller keeps.
fn scan<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut receiver = Receiver::new(Role::Server, Content::Any, MAX_FRAME_SIZE);
    let (mut told, mut held) = (Vec::new(), Vec::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        let mut input = &held[..];
        while let Scan::Told(event) = receiver.scan(&mut input, &mut |event, _| (0, format!("{event:?}"))) {
            told.push(event);
        }
        assert!(receiver.held() <= 2 * (MAX_FRAME_SIZE + held.len()));
        held = input.to_vec();
    }
    told
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, data) = input;
    assert_eq!(scan(data.chunks(usize::from(size) + 1)), scan(std::iter::once(data)));
    let whole = receive(std::iter::once(data));
    assert_eq!(receive(data.chunks(usize::from(size) + 1)), whole);
});
