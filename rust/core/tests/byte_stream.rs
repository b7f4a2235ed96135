//! Stream messages and windows: what is encoded decodes, what is spoiled is refused, and credit follows its rules.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use proptest::prelude::*;
use sideband_core::byte_stream::{
    Arrival, Body, DATA_PREFIX_SIZE, Framer, HEADER_SIZE, MAX_METADATA_SIZE, MAX_NAME_SIZE, MAX_REASON_SIZE, Message,
    ReceiveWindow, SUBJECT, data_of_frame,
};
use sideband_core::sbp::{self, DEFAULT_LIMITS};

const TOKEN: [u8; 16] = *b"0123456789abcdef";
const DIGEST: [u8; 32] = [0xd1; 32];

fn message(stream_id: u32, body: Body<'_>) -> Message<'_> {
    Message { stream_id, offset: 0x0102_0304_0506_0708, body }
}

fn every_body() -> Vec<Body<'static>> {
    vec![
        Body::Open { token: &TOKEN, window: 262_144, name: "files/ü", metadata: b"\x80" },
        Body::Open { token: &TOKEN, window: 0, name: "n", metadata: b"" },
        Body::Accept { window: u32::MAX },
        Body::Data(b"\0"),
        Body::Window { limit: u64::MAX },
        Body::End { digest: None },
        Body::End { digest: Some(&DIGEST) },
        Body::Reset { code: 1000, reason: "zu spät".as_bytes() },
        Body::Reset { code: 1, reason: b"" },
        Body::Resume { token: &TOKEN, limit: 7 },
        Body::Done,
    ]
}

#[test]
fn every_message_has_its_documented_bytes() {
    let open = message(3, Body::Open { token: &TOKEN, window: 0x40000, name: "ab", metadata: b"\x80" });
    let expected = [&[0, 3, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1][..], &TOKEN, &[0, 0, 4, 0, 2, 0], b"ab\x80"].concat();
    assert_eq!(open.encode().unwrap(), expected);
    let window = message(0, Body::Window { limit: 5 });
    assert_eq!(window.encode().unwrap()[HEADER_SIZE..], [5, 0, 0, 0, 0, 0, 0, 0]);
    let end = message(1, Body::End { digest: Some(&DIGEST) });
    assert_eq!(end.encode().unwrap()[HEADER_SIZE..], [&[1][..], &DIGEST].concat());
    let reset = message(1, Body::Reset { code: 0x0102, reason: b"x" });
    assert_eq!(reset.encode().unwrap()[HEADER_SIZE..], [2, 1, b'x']);
}

#[test]
fn every_message_survives_the_round_trip_and_no_cut_does() {
    for body in every_body() {
        let open_ended = matches!(body, Body::Open { .. } | Body::Data(_) | Body::Reset { .. });
        let message = message(9, body);
        let bytes = message.encode().unwrap();
        assert_eq!(Message::decode(&bytes).unwrap(), message);
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Message::decode(&longer).is_ok(), open_ended, "{message:?}");
        for end in 0..bytes.len() {
            match Message::decode(&bytes[..end]) {
                Ok(shorter) => assert!(open_ended && shorter.encode().unwrap() == bytes[..end]),
                Err(error) => assert_eq!(error.code, 1002),
            }
        }
    }
}

#[test]
fn limits_hold_on_both_sides() {
    let (name, metadata) = ("n".repeat(MAX_NAME_SIZE + 1), vec![0; MAX_METADATA_SIZE + 1]);
    let open = |name, metadata| message(1, Body::Open { token: &TOKEN, window: 1, name, metadata });
    assert!(open(&name[1..], &metadata[1..]).encode().is_ok());
    assert!(open(&name, b"").encode().is_err());
    assert!(open("", b"").encode().is_err());
    assert!(open("n", &metadata).encode().is_err());
    assert!(message(1, Body::Data(b"")).encode().is_err());

    let mut bytes = open("n", &metadata[1..]).encode().unwrap();
    bytes.push(0);
    assert!(Message::decode(&bytes).unwrap_err().message.contains("8192"));
    let mut bytes = open("n", b"").encode().unwrap();
    *bytes.last_mut().unwrap() = 0xff;
    assert!(Message::decode(&bytes).unwrap_err().message.contains("UTF-8"));

    let reason = vec![b'r'; MAX_REASON_SIZE + 5];
    let cut = message(1, Body::Reset { code: 1, reason: &reason }).encode().unwrap();
    assert_eq!(cut.len(), HEADER_SIZE + 2 + MAX_REASON_SIZE);
    let long = [&cut[..], b"rrrrr"].concat();
    let Body::Reset { reason, .. } = Message::decode(&long).unwrap().body else { unreachable!() };
    assert_eq!(reason.len(), MAX_REASON_SIZE);
}

#[test]
fn unknown_ops_kinds_and_uses_of_the_session_are_refused() {
    assert!(Message::decode(&[8; 13]).unwrap_err().message.contains("op 8"));
    let mut end = message(1, Body::End { digest: None }).encode().unwrap();
    end[HEADER_SIZE] = 2;
    assert!(Message::decode(&end).unwrap_err().message.contains("kind 2"));
    for body in every_body() {
        let window = matches!(body, Body::Window { .. });
        assert_eq!(Message::decode(&message(0, body).encode().unwrap()).is_ok(), window);
    }
}

#[test]
fn frames_are_sbp_messages_with_ids_used_once() {
    let mut framer = Framer::new(*b"randomly");
    let prefix = framer.data_prefix(5, 77);
    let frame = [&prefix[..], b"bytes"].concat();
    let decoded = sbp::decode(&frame, &DEFAULT_LIMITS).unwrap();
    assert_eq!(*decoded.id, *b"randomly\0\0\0\0\0\0\0\0");
    let sbp::Body::Message { subject, data } = decoded.body else { unreachable!() };
    assert_eq!(subject, SUBJECT);
    assert_eq!(Message::decode(data).unwrap(), Message { stream_id: 5, offset: 77, body: Body::Data(b"bytes") });
    assert_eq!(data_of_frame(&frame), Some((5, 77)));

    let next = framer.frame(&message(5, Body::Done).encode().unwrap());
    let decoded = sbp::decode(&next, &DEFAULT_LIMITS).unwrap();
    assert_eq!(decoded.id[8..], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(data_of_frame(&next), None);
}

#[test]
fn only_plain_data_frames_take_the_short_way() {
    let frame = [&Framer::new([0; 8]).data_prefix(5, 77)[..], b"b"].concat();
    for at in [0, 1, 18, 22, 37, 38] {
        let mut other = frame.clone();
        other[at] ^= 1;
        assert_eq!(data_of_frame(&other), None, "byte {at}");
    }
    for end in 0..=DATA_PREFIX_SIZE {
        assert_eq!(data_of_frame(&frame[..end]), None);
    }
    let session = [&Framer::new([0; 8]).data_prefix(0, 77)[..], b"b"].concat();
    assert_eq!(data_of_frame(&session), None);
}

#[test]
fn a_window_tells_the_next_the_other_and_the_past() {
    let mut window = ReceiveWindow::new(1000, 4000, 0.0);
    assert_eq!(window.arrive(0, 600, 0.0).0, Arrival::Next);
    assert_eq!(window.arrive(0, 600, 0.0).0, Arrival::Elsewhere);
    assert_eq!(window.arrive(700, 300, 0.0).0, Arrival::Elsewhere);
    assert_eq!(window.arrive(600, 401, 0.0).0, Arrival::Past);
    assert_eq!(window.arrive(u64::MAX, 1, 0.0).0, Arrival::Past);
    assert_eq!(window.arrive(600, 400, 0.0).0, Arrival::Next);
    assert_eq!((window.received(), window.consumed(), window.limit()), (1000, 0, 1000));
}

#[test]
fn credit_is_told_a_quarter_at_a_time() {
    let mut window = ReceiveWindow::new(1000, 1000, 0.0);
    window.arrive(0, 1000, 0.0);
    assert_eq!(window.consume(249, 1.0, None, true), None);
    assert_eq!(window.consume(1, 1.0, None, true), Some(1250));
    assert_eq!(window.consume(249, 1.0, None, true), None);
    assert_eq!(window.consume(1, 1.0, None, true), Some(1500));
    assert_eq!(window.renew(1.0), 1500);
}

#[test]
fn a_window_grows_only_while_a_full_one_goes_within_two_round_trips() {
    let after = |seconds: f64, round_trip, may_grow| {
        let mut window = ReceiveWindow::new(1000, 3000, 10.0);
        window.arrive(0, 1000, 10.0);
        window.consume(1000, 10.0 + seconds, round_trip, may_grow);
        window.size()
    };
    assert_eq!(after(0.5, Some(0.25), true), 2000);
    assert_eq!(after(0.6, Some(0.25), true), 1000);
    assert_eq!(after(0.1, None, true), 1000);
    assert_eq!(after(0.1, Some(0.25), false), 1000);

    let mut window = ReceiveWindow::new(1000, 3000, 0.0);
    for (received, size) in [(1000, 2000), (2000, 3000), (3000, 3000)] {
        let start = window.received();
        window.arrive(start, received, 0.0);
        window.consume(received, 0.0, Some(1.0), true);
        assert_eq!(window.size(), size);
        assert_eq!(window.limit(), window.consumed() + size);
    }
    window.restart(1.0);
    assert_eq!((window.size(), window.limit(), window.received()), (1000, 1000, 0));
}

#[test]
fn the_first_bytes_that_needed_a_credit_tell_the_round_trip() {
    let mut window = ReceiveWindow::new(1000, 1000, 5.0);
    assert_eq!(window.arrive(0, 1000, 5.5).1, Some(0.5));
    assert_eq!(window.consume(500, 6.0, None, true), Some(1500));
    assert_eq!(window.consume(250, 6.5, None, true), Some(1750));
    assert_eq!(window.arrive(1000, 100, 7.0).1, Some(1.0));
    assert_eq!(window.arrive(1100, 100, 8.0).1, None);
    assert_eq!(window.consume(450, 9.0, None, true), Some(2200));
    window.renew(20.0);
    assert_eq!(window.arrive(1200, 1000, 30.0).1, None);
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(data in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = Message::decode(&data) {
            let encoded = message.encode().unwrap();
            prop_assert_eq!(&encoded[..], &data[..encoded.len()]);
        }
        let _ = data_of_frame(&data);
    }

    #[test]
    fn a_sender_that_keeps_to_the_limit_is_never_refused_and_never_starved(
        initial in 1_u64..5000, largest in 1_u64..50_000,
        steps in prop::collection::vec((1_u64..4000, 1_u64..4000, 0.0_f64..2.0), 1..200),
    ) {
        let mut window = ReceiveWindow::new(initial, largest, 0.0);
        let (mut sent, mut limit, mut now) = (0, initial, 0.0);
        for (send, take, pass) in steps {
            now += pass;
            let size = send.min(limit - sent);
            if size > 0 {
                prop_assert_eq!(window.arrive(sent, size, now).0, Arrival::Next);
                sent += size;
            }
            prop_assert_eq!(window.arrive(sent, limit - sent + 1, now).0, Arrival::Past);
            if let Some(told) = window.consume(take.min(sent - window.consumed()), now, Some(1.0), true) {
                prop_assert!(told > limit);
                limit = told;
            }
            prop_assert_eq!(window.limit(), limit);
            prop_assert!(limit - window.consumed() <= initial.max(largest));
            if window.consumed() == sent {
                prop_assert!(limit > sent || window.size() < 4 && limit + window.size() > sent);
            }
        }
    }
}
