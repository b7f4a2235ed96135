//! RFC 6455, rule by rule, and that no split of the bytes changes what is told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use proptest::prelude::*;
use sideband_core::ws::{
    BINARY, Content, Event, MAX_HEADER_SIZE, Receiver, Role, Scan, apply, frame_size, write_header,
};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Message(bool, Vec<u8>),
    Ping(Vec<u8>),
    Close(Option<u16>),
    Violation(u16),
}

fn tell(event: Event<'_>, _behind: &[u8]) -> (usize, Told) {
    let told = match event {
        Event::Message(message) => Told::Message(message.is_text, message.to_vec()),
        Event::Ping(payload) => Told::Ping(payload),
        Event::Close(code, _) => Told::Close(code),
        Event::Violation(violation) => Told::Violation(violation.close_code),
    };
    (0, told)
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![first];
    match payload.len() {
        size @ 0..=125 => frame.push(0x80 | u8::try_from(size).unwrap()),
        size @ 126..=65_535 => {
            frame.push(0xfe);
            frame.extend(u16::try_from(size).unwrap().to_be_bytes());
        }
        size => {
            frame.push(0xff);
            frame.extend((size as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn receive(receiver: &mut Receiver, wire: &[u8]) -> Vec<Told> {
    let mut input = wire;
    let mut told = Vec::new();
    while let Some(event) = receiver.next(&mut input, &mut tell) {
        told.push(event);
    }
    assert!(input.is_empty());
    told
}

/// The same frames as a server sends them.
fn unmasked(wire: &[u8]) -> Vec<u8> {
    let (mut rest, mut out) = (wire, Vec::new());
    while let [first, second, behind @ ..] = rest {
        let (length, behind) = behind.split_at(match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        });
        let size = match length {
            [] => usize::from(second & 0x7f),
            _ => usize::try_from(length.iter().fold(0_u64, |size, byte| size << 8 | u64::from(*byte))).unwrap(),
        };
        let (mask, behind) = behind.split_at(4);
        let (payload, behind) = behind.split_at(size);
        out.extend([*first, second & 0x7f]);
        out.extend(length);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        rest = behind;
    }
    out
}

/// What is told when the caller keeps the starts of frames itself.
fn scanned<'a>(receiver: &mut Receiver, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Told> {
    let (mut told, mut held) = (Vec::new(), Vec::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        let mut input = &held[..];
        loop {
            match receiver.scan(&mut input, &mut tell) {
                Scan::Told(event) => told.push(event),
                Scan::Need(whole) => {
                    assert!(whole > input.len());
                    break;
                }
                Scan::Empty => break,
            }
        }
        held = input.to_vec();
    }
    told
}

fn told_of(wire: &[u8]) -> Vec<Told> {
    receive(&mut Receiver::new(Role::Client, Content::Any, 70_000), wire)
}

fn binary(payload: &[u8]) -> Told {
    Told::Message(false, payload.to_vec())
}

#[test]
fn every_form_of_the_length() {
    for size in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
        let payload = vec![7; size];
        assert_eq!(told_of(&frame(0x82, &payload)), [binary(&payload)], "{size}");
    }
}

#[test]
fn a_length_that_could_be_shorter_is_1002() {
    assert_eq!(told_of(&[0x82, 0xfe, 0, 125, 0, 0, 0, 0]), [Told::Violation(1002)]);
    assert_eq!(told_of(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]), [Told::Violation(1002)]);
    assert_eq!(told_of(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]), [Told::Violation(1002)]);
}

#[test]
fn unmasked_frames_are_1002() {
    assert_eq!(told_of(&[0x82, 0x01, 0x00]), [Told::Violation(1002)]);
    assert_eq!(told_of(&[0x88, 0x00]), [Told::Violation(1002)]);
}

#[test]
fn masked_frames_of_a_server_are_1002() {
    for wire in [frame(0x82, b"x"), frame(0x88, b"")] {
        assert_eq!(receive(&mut Receiver::new(Role::Server, Content::Any, 100), &wire), [Told::Violation(1002)]);
    }
}

#[test]
fn the_reason_of_a_close_is_told() {
    let mut receiver = Receiver::new(Role::Server, Content::Any, 100);
    let mut input = &b"\x88\x05\x0f\xa1abc"[..];
    let told = receiver.next(&mut input, &mut |event, _| (0, format!("{event:?}")));
    assert_eq!(told.unwrap(), "Close(Some(4001), \"abc\")");
}

#[test]
fn reserved_bits_and_unknown_opcodes_are_1002() {
    for bits in [0x40, 0x20, 0x10, 0x70] {
        assert_eq!(told_of(&frame(0x82 | bits, b"x")), [Told::Violation(1002)]);
        assert_eq!(told_of(&frame(0x89 | bits, b"x")), [Told::Violation(1002)]);
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(told_of(&frame(0x80 | opcode, b"x")), [Told::Violation(1002)]);
    }
}

#[test]
fn control_frames_are_whole_and_short() {
    assert_eq!(told_of(&frame(0x89, &[1; 125])), [Told::Ping(vec![1; 125])]);
    for opcode in [0x88, 0x89, 0x8a] {
        assert_eq!(told_of(&frame(opcode, &[1; 126])), [Told::Violation(1002)]);
        assert_eq!(told_of(&frame(opcode & 0x0f, b"")), [Told::Violation(1002)]);
    }
}

#[test]
fn fragments_with_control_frames_in_between() {
    let wire = [
        frame(0x02, b"one"),
        frame(0x89, b"ping"),
        frame(0x00, b""),
        frame(0x8a, b"pong"),
        frame(0x80, b"two"),
        frame(0x82, b"next"),
    ];
    assert_eq!(told_of(&wire.concat()), [Told::Ping(b"ping".to_vec()), binary(b"onetwo"), binary(b"next")]);
}

#[test]
fn fragments_out_of_place_are_1002() {
    for opcode in [0x00, 0x80] {
        assert_eq!(told_of(&frame(opcode, b"x")), [Told::Violation(1002)]);
    }
    for opcode in [0x81, 0x82, 0x01, 0x02] {
        let wire = [frame(0x02, b"one"), frame(opcode, b"x")];
        assert_eq!(told_of(&wire.concat()), [Told::Violation(1002)]);
    }
    let wire = [frame(0x02, b"one"), frame(0x80, b"two"), frame(0x80, b"three")];
    assert_eq!(told_of(&wire.concat()), [binary(b"onetwo"), Told::Violation(1002)]);
}

#[test]
fn text_is_utf8_also_over_fragments() {
    let word = "\u{3ba}\u{1f600}".as_bytes();
    assert_eq!(told_of(&frame(0x81, word)), [Told::Message(true, word.to_vec())]);
    for cut in 0..=word.len() {
        let wire = [frame(0x01, &word[..cut]), frame(0x80, &word[cut..])];
        assert_eq!(told_of(&wire.concat()), [Told::Message(true, word.to_vec())]);
    }
    for bad in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"abc\xce"] {
        assert_eq!(told_of(&frame(0x81, bad)), [Told::Violation(1007)], "{bad:?}");
    }
    assert_eq!(told_of(&frame(0x01, b"\xf4\x90")), [Told::Violation(1007)], "told before the last fragment");
    assert_eq!(told_of(&frame(0x82, b"\xff")), [binary(b"\xff")]);
}

#[test]
fn close_codes() {
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999_u16] {
        let payload = [&code.to_be_bytes()[..], "grüße".as_bytes()].concat();
        assert_eq!(told_of(&frame(0x88, &payload)), [Told::Close(Some(code))]);
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535_u16] {
        assert_eq!(told_of(&frame(0x88, &code.to_be_bytes())), [Told::Violation(1002)], "{code}");
    }
    assert_eq!(told_of(&frame(0x88, b"")), [Told::Close(None)]);
    assert_eq!(told_of(&frame(0x88, b"\x03")), [Told::Violation(1002)]);
    assert_eq!(told_of(&frame(0x88, b"\x03\xe8\xff")), [Told::Violation(1007)]);
}

#[test]
fn nothing_counts_after_a_close_or_a_broken_rule() {
    let after = frame(0x82, b"x");
    assert_eq!(told_of(&[frame(0x88, b""), after.clone()].concat()), [Told::Close(None)]);
    let mut receiver = Receiver::new(Role::Client, Content::Any, 100);
    assert_eq!(receive(&mut receiver, &frame(0x83, b"")), [Told::Violation(1002)]);
    assert_eq!(receive(&mut receiver, &after), []);
    assert_eq!(receive(&mut receiver, &frame(0x88, b"")), []);
    assert_eq!(receiver.held(), 0);
}

#[test]
fn a_message_too_long_is_1009_by_its_header_and_its_close_is_still_seen() {
    let mut receiver = Receiver::new(Role::Client, Content::Any, 100);
    assert_eq!(receive(&mut receiver, &frame(0x82, &[0; 100])), [binary(&[0; 100])]);
    let long = frame(0x82, &[0; 101]);
    assert_eq!(receive(&mut receiver, &long[..5]), []);
    assert_eq!(receive(&mut receiver, &long[5..50]), [Told::Violation(1009)]);
    assert_eq!(receive(&mut receiver, &long[50..]), []);
    assert_eq!(receive(&mut receiver, &frame(0x82, b"ignored")), []);
    assert_eq!(receive(&mut receiver, &frame(0x88, b"")), [Told::Close(None)]);
    let wire = [frame(0x02, &[0; 60]), frame(0x00, &[0; 40]), frame(0x80, &[0; 1])];
    assert_eq!(receive(&mut Receiver::new(Role::Client, Content::Any, 100), &wire.concat()), [Told::Violation(1009)]);
    let huge = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 0, 0];
    assert_eq!(receive(&mut Receiver::new(Role::Client, Content::Any, 100), &huge), [Told::Violation(1009)]);
}

#[test]
fn text_is_1003_where_only_binary_is_taken() {
    let mut receiver = Receiver::new(Role::Client, Content::Binary, 100);
    assert_eq!(receive(&mut receiver, &frame(0x81, b"x")), [Told::Violation(1003)]);
    assert_eq!(receive(&mut receiver, &frame(0x88, b"")), [Told::Close(None)]);
}

#[test]
fn after_our_own_close_only_theirs_counts() {
    let mut receiver = Receiver::new(Role::Client, Content::Any, 100);
    receiver.close();
    let wire = [frame(0x82, &[0; 5000]), frame(0x89, b"x"), frame(0x02, b"x"), frame(0x88, b"\x03\xe8")].concat();
    for byte in &wire[..wire.len() - 1] {
        let told = receive(&mut receiver, std::slice::from_ref(byte));
        assert!(told.is_empty() || told == [Told::Close(None)]);
        assert!(receiver.held() < 64, "{}", receiver.held());
    }
}

#[test]
fn what_is_kept_comes_first_and_is_let_go() {
    let wire = [frame(0x82, b"one"), frame(0x82, b"two"), frame(0x82, b"three")].concat();
    let mut receiver = Receiver::new(Role::Client, Content::Any, 100);
    let mut input = &wire[..];
    assert_eq!(receiver.next(&mut input, &mut tell), Some(binary(b"one")));
    receiver.keep(input);
    assert!(receiver.held() > 0);
    assert_eq!(receive(&mut receiver, &frame(0x82, b"four")), [binary(b"two"), binary(b"three"), binary(b"four")]);
    assert_eq!(receiver.held(), 0);
}

#[test]
fn a_frame_that_is_announced_costs_what_has_come_of_it() {
    let whole = frame(0x82, &vec![0; 60_000]);
    let mut receiver = Receiver::new(Role::Client, Content::Any, 65_549);
    assert_eq!(receive(&mut receiver, &whole[..100]), []);
    assert!(receiver.held() <= 256);
    assert_eq!(receive(&mut receiver, &whole[100..4200]), []);
    assert!(receiver.held() <= whole.len());
    assert_eq!(receive(&mut receiver, &whole[4200..]), [binary(&vec![0; 60_000])]);
    assert_eq!(receiver.held(), 0);
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![
        4 => Just(0x82_u8), 1 => Just(0x02), 2 => Just(0x00), 2 => Just(0x80), 1 => Just(0x89), 1 => Just(0x8a), 1 => Just(0x81)
    ];
    let payload = prop_oneof![prop::collection::vec(any::<u8>(), 0..200), prop::collection::vec(0x61..0x70_u8, 0..140)];
    prop::collection::vec((opcode, payload), 0..12)
        .prop_map(|frames| frames.iter().flat_map(|(opcode, payload)| frame(*opcode, payload)).collect())
}

proptest! {
    #[test]
    fn a_split_changes_nothing(wire in frames(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20), keep: bool) {
        let whole = told_of(&wire);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
        cuts.extend([0, wire.len()]);
        cuts.sort_unstable();
        let mut receiver = Receiver::new(Role::Client, Content::Any, 70_000);
        let mut told = Vec::new();
        for pair in cuts.windows(2) {
            let mut input = &wire[pair[0]..pair[1]];
            if keep && let Some(event) = receiver.next(&mut input, &mut tell) {
                told.push(event);
                receiver.keep(input);
                input = &[];
            }
            while let Some(event) = receiver.next(&mut input, &mut tell) {
                told.push(event);
            }
        }
        prop_assert_eq!(told, whole);
    }

    #[test]
    fn both_sides_and_both_ways_to_ask_tell_the_same(wire in frames(), size in 1_usize..300) {
        let whole = told_of(&wire);
        let mut client = Receiver::new(Role::Client, Content::Any, 70_000);
        prop_assert_eq!(&scanned(&mut client, wire.chunks(size)), &whole);
        let plain = unmasked(&wire);
        let mut server = Receiver::new(Role::Server, Content::Any, 70_000);
        prop_assert_eq!(&scanned(&mut server, plain.chunks(size)), &whole);
        prop_assert_eq!(receive(&mut Receiver::new(Role::Server, Content::Any, 70_000), &plain), whole);
    }

    #[test]
    fn what_is_framed_is_received(size in prop_oneof![0_usize..300, 65_500_usize..65_600], seed: u8, mask: Option<[u8; 4]>) {
        let mut payload: Vec<u8> = (seed..=u8::MAX).chain(0..seed).cycle().take(size).collect();
        let sender = if mask.is_some() { Role::Client } else { Role::Server };
        let expected = binary(&payload);
        let mut header = [0; MAX_HEADER_SIZE];
        let used = write_header(BINARY, payload.len(), mask, &mut header);
        prop_assert_eq!(used + payload.len(), frame_size(payload.len(), sender));
        apply(mask.unwrap_or_default(), &mut payload);
        let wire = [&header[..used], &payload].concat();
        prop_assert_eq!(receive(&mut Receiver::new(sender, Content::Any, 70_000), &wire), [expected]);
    }

    #[test]
    fn any_bytes_are_survived(wire in prop::collection::vec(any::<u8>(), 0..3000)) {
        told_of(&wire);
    }
}
