//! Properties, and bad input: a thousand mutations of every vector end in a value or an error, never in a panic.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sideband_core::frame::{self, MAX_FRAME_SIZE, Sender};
use sideband_core::handshake::{self, EphemeralKeyPair, SessionKeys};
use sideband_core::identity::IdentityKeyPair;
use sideband_core::payload;
use sideband_core::replay::ReplayWindow;
use sideband_core::sbp::{self, DEFAULT_LIMITS};
use sideband_core::session::{Opener, Role, Sealed, Sealer, establish};
use sideband_core::stream::FrameDecoder;
use support::{hex_values, load};

const MUTATIONS: u32 = 1000;

fn halves(role: Role, window: usize) -> (Sealer, Opener) {
    let keys = SessionKeys::from_bytes(&[7; 32], &[9; 32]);
    establish(keys, role, ReplayWindow::new(window).unwrap())
}

fn decode_all(data: &[u8]) {
    let _ = frame::decode(data);
    let _ = frame::inspect(data, Sender::Client);
    let _ = frame::inspect(data, Sender::Daemon);
    let _ = payload::decode_init(data);
    let _ = payload::decode_accept(data);
    let _ = payload::decode_data(data);
    let _ = payload::decode_signal(data);
    if let Ok((_, text)) = payload::decode_control(data) {
        assert!(text.len() <= 3 * data.len());
    }
    let mut decoder = FrameDecoder::new();
    let _ = decoder.push(data, |frame| assert!(frame.payload.len() < MAX_FRAME_SIZE));
    assert!(decoder.buffered() <= data.len().min(MAX_FRAME_SIZE));
    let _ = sbp::decode(data, &DEFAULT_LIMITS);
    if let Ok(sealed) = Sealed::split(data) {
        let (_, mut opener) = halves(Role::Daemon, 64);
        let mut buffer = sealed.ciphertext().to_vec();
        assert!(opener.open_in_place(&sealed, &mut buffer).is_err());
        assert_eq!(opener.highest(), None);
        assert!(opener.is_intact());
    }
}

fn shake_hands(data: &[u8]) {
    assert!(handshake::verify(data, "d", &[1; 32]).is_err());
    let identity = IdentityKeyPair::from_private_bytes(&[3; 32]);
    let answered = handshake::accept(data, "d", &identity, EphemeralKeyPair::from_private_bytes(&[4; 32]));
    assert!(answered.is_err() || data.len() == 32);
}

/// One of a few ways to spoil some bytes.
fn mutation() -> impl Strategy<Value = (u8, prop::sample::Index, u8, Vec<u8>)> {
    (0..6_u8, any::<prop::sample::Index>(), any::<u8>(), prop::collection::vec(any::<u8>(), 1..16))
}

fn mutate(data: &[u8], steps: &[(u8, prop::sample::Index, u8, Vec<u8>)]) -> Vec<u8> {
    let mut data = data.to_vec();
    for (kind, at, value, insertion) in steps {
        let at = at.index(data.len() + 1);
        match kind {
            0 | 1 if at < data.len() => data[at] ^= if *kind == 0 { 1 << (value % 8) } else { *value },
            2 => data.truncate(at),
            3 => drop(data.splice(at..at, insertion.iter().copied())),
            4 => drop(data.drain(at..(at + insertion.len()).min(data.len()))),
            _ => {
                let end = (at + 4).min(data.len());
                data[at..end].fill(if value % 2 == 0 { 0xff } else { 0 });
            }
        }
    }
    data
}

fn mutate_every_vector(name: &str, check: fn(&[u8])) {
    let vectors: BTreeSet<_> = hex_values(&load(name)).into_iter().filter(|data| data.len() <= 4096).collect();
    assert!(vectors.len() > 50, "{name}");
    let mut runner = TestRunner::new_with_rng(
        Config { cases: MUTATIONS, failure_persistence: None, ..Config::default() },
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    for vector in vectors {
        check(&vector);
        runner
            .run(&prop::collection::vec(mutation(), 1..4), |steps| {
                check(&mutate(&vector, &steps));
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn mutated_frames() {
    mutate_every_vector("sbrp-frames.json", decode_all);
}

#[test]
fn mutated_messages() {
    mutate_every_vector("sbrp-data.json", decode_all);
}

#[test]
fn mutated_sbp_frames() {
    mutate_every_vector("sbp-frames.json", decode_all);
}

#[test]
fn mutated_handshakes() {
    mutate_every_vector("sbrp-handshake.json", decode_all);
}

#[test]
fn handshakes_with_mutated_messages() {
    mutate_every_vector("sbrp-handshake.json", shake_hands);
}

fn seal(sealer: &mut Sealer, plaintext: &[u8]) -> Vec<u8> {
    let mut message = [&[0; 12], plaintext, &[0; 16]].concat();
    sealer.seal_in_place(&mut message).unwrap();
    message
}

fn open(opener: &mut Opener, message: &[u8]) -> Result<Vec<u8>, &'static str> {
    let sealed = Sealed::split(message).map_err(|error| error.code.name())?;
    let mut buffer = sealed.ciphertext().to_vec();
    opener.open_in_place(&sealed, &mut buffer).map_err(|error| error.code.name())?;
    Ok(buffer)
}

proptest! {
    #[test]
    fn a_window_behaves_like_a_set(
        words in prop::sample::select(vec![1_usize, 2, 3, 16, 1024]),
        start in prop_oneof![Just(0_u64), any::<u64>(), (u64::MAX - 5000)..],
        jumps in prop::collection::vec(prop_oneof![-200_i64..400, -70_000_i64..140_000, any::<i64>()], 0..150),
    ) {
        let size = words as u64 * 64;
        let mut window = ReplayWindow::new(words * 64).unwrap();
        let mut seen = BTreeSet::new();
        let mut at = start;
        for jump in jumps {
            at = at.saturating_add_signed(jump);
            let fresh = !seen.contains(&at) && seen.last().is_none_or(|&highest| at > highest || highest - at < size);
            prop_assert_eq!(window.check(at), fresh);
            prop_assert_eq!(window.mark(at), fresh);
            if fresh {
                seen.insert(at);
            }
            prop_assert_eq!(window.highest(), seen.last().copied());
            prop_assert!(window.is_consistent());
        }
    }

    #[test]
    fn a_changed_message_never_opens(
        plaintext in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let (mut sealer, _) = halves(Role::Client, 64);
        let (_, mut opener) = halves(Role::Daemon, 64);
        let message = seal(&mut sealer, &plaintext);
        let mut changed = message.clone();
        changed[at.index(message.len())] ^= flip;
        prop_assert_eq!(open(&mut opener, &changed), Err("decrypt_failed"));
        prop_assert_eq!(open(&mut opener, &message), Ok(plaintext));
        prop_assert_eq!(open(&mut opener, &message), Err("sequence_error"));
    }

    #[test]
    fn messages_arrive_in_any_order_inside_the_window(order in Just((0..64_usize).collect::<Vec<_>>()).prop_shuffle()) {
        let (mut sealer, _) = halves(Role::Daemon, 64);
        let (_, mut opener) = halves(Role::Client, 64);
        let messages: Vec<_> = (0..64_u8).map(|number| seal(&mut sealer, &[number])).collect();
        for index in order {
            prop_assert_eq!(open(&mut opener, &messages[index]), Ok(vec![u8::try_from(index).unwrap()]));
        }
    }

    #[test]
    fn a_stream_decodes_the_same_however_it_is_cut(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
        pieces in prop::collection::vec(1..400_usize, 1..20),
    ) {
        let stream: Vec<u8> = payloads.iter().flat_map(|payload| frame::encode(0x20, 5, payload).unwrap()).collect();
        let mut decoder = FrameDecoder::new();
        let mut decoded = Vec::new();
        let mut rest = stream.as_slice();
        for size in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            decoder.push(piece, |frame| decoded.push(frame.payload.to_vec())).unwrap();
            rest = after;
        }
        prop_assert_eq!(decoded, payloads);
        prop_assert_eq!(decoder.buffered(), 0);
    }
}

#[test]
fn a_stream_decoder_stays_failed_and_holds_nothing() {
    let mut decoder = FrameDecoder::new();
    let bad = [&frame::encode(0x10, 0, b"1").unwrap()[..], &[0x99; 13]].concat();
    let mut frames = 0;
    let failure = decoder.push(&bad, |_| frames += 1).unwrap_err();
    assert_eq!((failure.code.name(), frames, decoder.buffered()), ("invalid_frame_type", 1, 0));
    assert_eq!(decoder.push(&[], |_| frames += 1).unwrap_err(), failure);
    decoder.reset();
    decoder.push(&frame::encode(0x11, 0, b"").unwrap(), |_| frames += 1).unwrap();
    assert_eq!(frames, 2);
}

#[test]
fn an_exhausted_sender_stops_and_wipes_its_key() {
    let (mut sealer, _) = halves(Role::Client, 64);
    assert!(sealer.advance(u64::MAX - 1));
    assert!(!sealer.advance(0));
    seal(&mut sealer, b"last");
    let mut message = [0; 28];
    assert_eq!(sealer.seal_in_place(&mut message).unwrap_err().code.name(), "sequence_error");
    assert!(sealer.is_cleared());
    assert_eq!(sealer.seal_in_place(&mut message).unwrap_err().code.name(), "session_cleared");
    assert_eq!(message, [0; 28]);
}

#[test]
fn a_message_too_large_spends_no_sequence_number() {
    let (mut sealer, _) = halves(Role::Client, 64);
    for size in [0, 27, 65_537, 100_000] {
        assert!(sealer.seal_in_place(&mut vec![0; size]).is_err());
    }
    assert_eq!(sealer.next_sequence(), 0);
    sealer.seal_in_place(&mut vec![0; 65_536]).unwrap();
    assert_eq!(sealer.next_sequence(), 1);
}
