//! SBDP: handshakes and records of two sides that differ in one thing, and properties of sealing and reading.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

use proptest::prelude::*;
use sideband_core::noise::{
    Handshake, KeyPair, MAX_HANDSHAKE_MESSAGE, MAX_PAYLOAD, MAX_RECORD, NoiseCode, Opener, RECORD_OVERHEAD, RawKeys,
    RecordReader, RecordType, RekeyAfter, Role, SEALED, Sealer, establish,
};

fn keys() -> RawKeys {
    RawKeys::from_bytes(&[7; 32], &[9; 32])
}

fn halves(role: Role, rekey: RekeyAfter) -> (Sealer, Opener) {
    establish(keys(), role, MAX_RECORD, rekey)
}

fn handshake(role: Role, prologue: &[u8]) -> Handshake {
    let seed = if role == Role::Initiator { 1 } else { 2 };
    Handshake::new(role, &KeyPair::from_private_bytes(&[seed; 32]), prologue, &[seed + 10; 32]).unwrap()
}

fn seal(sealer: &mut Sealer, kind: RecordType, content: &[u8]) -> Vec<u8> {
    let mut record = [&[0], content, &[0; 16]].concat();
    sealer.seal_in_place(kind, &mut record).unwrap();
    record
}

/// As the bindings do it: next-key records where the plan wants them, each with its length.
fn seal_stream(sealer: &mut Sealer, contents: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |record: &[u8]| {
        out.extend(u32::try_from(record.len() + 1).unwrap().to_be_bytes());
        out.push(SEALED);
        out.extend(record);
    };
    for (content, rekey) in contents.iter().zip(sealer.plan(contents.iter().map(Vec::len)).unwrap()) {
        if rekey {
            let mut record = [0; RECORD_OVERHEAD];
            sealer.seal_next_key(&mut record).unwrap();
            put(&record);
        }
        put(&seal(sealer, RecordType::Data, content));
    }
    out
}

fn read(pieces: &[&[u8]], opener: &mut Opener) -> (Vec<Vec<u8>>, Option<NoiseCode>) {
    let mut reader = RecordReader::new();
    let mut contents = Vec::new();
    for piece in pieces {
        let (records, failure) = reader.push(piece, opener);
        contents.extend(records.iter().map(|(_, range)| reader.content(range).to_vec()));
        if let Some(failure) = failure {
            let (again, same) = reader.push(b"more", opener);
            assert!(again.is_empty());
            assert_eq!(same.as_ref(), Some(&failure));
            return (contents, Some(failure.code));
        }
    }
    (contents, None)
}

#[test]
fn a_handshake_carries_payloads_and_proves_keys() {
    let (mut one, mut two) = (handshake(Role::Initiator, b"p"), handshake(Role::Responder, b"p"));
    let first = one.write(b"").unwrap();
    assert_eq!(first.len(), 32);
    assert_eq!(two.read(&first).unwrap(), b"");
    assert_eq!(one.hash(), two.hash());
    let most = vec![5; MAX_PAYLOAD];
    let second = two.write(&most).unwrap();
    assert_eq!(second.len(), MAX_HANDSHAKE_MESSAGE);
    assert_eq!(one.read(&second).unwrap(), most);
    assert_eq!(one.remote_key().unwrap(), KeyPair::from_private_bytes(&[2; 32]).public_key());
    assert!(two.remote_key().is_none() && !one.is_finished());
    assert_eq!(two.read(&one.write(b"hello").unwrap()).unwrap(), b"hello");
    assert_eq!(two.remote_key().unwrap(), KeyPair::from_private_bytes(&[1; 32]).public_key());
    assert_eq!(one.hash(), two.hash());
    let (mut sealer, _) = establish(one.take_keys().unwrap(), Role::Initiator, MAX_RECORD, RekeyAfter::default());
    let (_, mut opener) = establish(two.take_keys().unwrap(), Role::Responder, MAX_RECORD, RekeyAfter::default());
    let mut record = seal(&mut sealer, RecordType::Data, b"frame");
    opener.open_in_place(&mut record).unwrap();
    assert_eq!(&record[1..6], b"frame");
    assert_eq!(one.take_keys().unwrap_err().code, NoiseCode::HandshakeFailed);
}

#[test]
fn records_are_those_of_the_vectors() {
    let hex = |value: &serde_json::Value| -> Vec<u8> {
        let text = value.as_str().unwrap();
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let text = include_str!("../../../tests/vectors/sbdp.json");
    let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
    for case in vectors["sessions"].as_array().unwrap() {
        let [up, down] = [0, 1].map(|at| <[u8; 32]>::try_from(hex(&case["keys"][at])).unwrap());
        let side = |role| establish(RawKeys::from_bytes(&up, &down), role, MAX_RECORD, RekeyAfter::default());
        let (mut one, mut from_two) = side(Role::Initiator);
        let (mut two, mut from_one) = side(Role::Responder);
        for (sealer, opener, name) in
            [(&mut one, &mut from_one, "from_initiator"), (&mut two, &mut from_two, "from_responder")]
        {
            for record in case["records"][name].as_array().unwrap() {
                let (kind, content) = (record["type"].as_u64().unwrap(), hex(&record["content"]));
                let sealed = if kind == 4 {
                    let mut next_key = [0; RECORD_OVERHEAD];
                    sealer.seal_next_key(&mut next_key).unwrap();
                    next_key.to_vec()
                } else {
                    let kinds = [RecordType::Data, RecordType::Ping, RecordType::Pong, RecordType::Close];
                    seal(sealer, kinds[usize::try_from(kind).unwrap()], &content)
                };
                assert_eq!([&[SEALED], &sealed[..]].concat(), hex(&record["message"]));
                let mut opened = sealed;
                assert_eq!(opener.open_in_place(&mut opened).unwrap().kind as u64, kind);
                assert_eq!(opened[1..=content.len()], content);
            }
        }
    }
}

#[test]
fn a_payload_that_is_too_large_changes_nothing() {
    let (mut one, mut two) = (handshake(Role::Initiator, b""), handshake(Role::Responder, b""));
    assert_eq!(one.write(b"x").unwrap_err().code, NoiseCode::MessageTooLarge);
    two.read(&one.write(b"").unwrap()).unwrap();
    assert_eq!(two.write(&[0; MAX_PAYLOAD + 1]).unwrap_err().code, NoiseCode::MessageTooLarge);
    one.read(&two.write(b"").unwrap()).unwrap();
}

#[test]
fn another_prologue_fails_on_both_sides() {
    let (mut one, mut two) = (handshake(Role::Initiator, b"cert a"), handshake(Role::Responder, b"cert b"));
    two.read(&one.write(b"").unwrap()).unwrap();
    let answer = two.write(b"").unwrap();
    assert_eq!(one.read(&answer).unwrap_err().code, NoiseCode::HandshakeFailed);
    assert_eq!(one.write(b"").unwrap_err().code, NoiseCode::HandshakeFailed);
    assert_eq!(one.read(&answer).unwrap_err().code, NoiseCode::HandshakeFailed);
}

#[test]
fn messages_out_of_turn_repeated_or_changed_fail() {
    let start = || {
        let (mut one, mut two) = (handshake(Role::Initiator, b""), handshake(Role::Responder, b""));
        two.read(&one.write(b"").unwrap()).unwrap();
        let second = two.write(b"payload").unwrap();
        (one, two, second)
    };
    let (mut one, mut two, second) = start();
    assert!(two.read(&second).is_err());
    one.read(&second).unwrap();
    assert!(one.read(&second).is_err());

    for at in 0..start().2.len() {
        let (mut one, _, mut second) = start();
        second[at] ^= 1;
        assert_eq!(one.read(&second).unwrap_err().code, NoiseCode::HandshakeFailed, "byte {at}");
        assert!(!one.is_finished());
    }
    let (mut one, _, second) = start();
    assert!(one.read(&second[..second.len() - 1]).is_err());
    let (mut one, _, second) = start();
    assert!(one.read(&[second.as_slice(), &[0; MAX_HANDSHAKE_MESSAGE]].concat()).is_err());
    for size in [0, 31, 33, MAX_HANDSHAKE_MESSAGE] {
        assert!(handshake(Role::Responder, b"").read(&vec![9; size]).is_err(), "{size}");
    }
    // All zeros is a low-order point: the secret would be known to everyone.
    let mut two = handshake(Role::Responder, b"");
    two.read(&[0; 32]).unwrap();
    assert_eq!(two.write(b"").unwrap_err().code, NoiseCode::HandshakeFailed);
}

#[test]
fn a_record_opens_once_in_order_and_for_its_own_direction() {
    let (mut sealer, _) = halves(Role::Initiator, RekeyAfter::default());
    let [first, second] = [b"a", b"b"].map(|content| seal(&mut sealer, RecordType::Data, content));
    for bad in [
        vec![second.clone()],
        vec![first.clone(), first.clone()],
        vec![first[..16].to_vec()],
        vec![Vec::new()],
        vec![vec![0; MAX_RECORD + 1]],
    ] {
        let (_, mut opener) = halves(Role::Responder, RekeyAfter::default());
        let (last, before) = bad.split_last().unwrap();
        for record in before {
            opener.open_in_place(&mut record.clone()).unwrap();
        }
        assert!(opener.open_in_place(&mut last.clone()).is_err());
        assert!(opener.is_cleared());
        assert_eq!(opener.open_in_place(&mut second.clone()).unwrap_err().code, NoiseCode::SessionCleared);
    }
    let (_, mut own) = halves(Role::Initiator, RekeyAfter::default());
    assert_eq!(own.open_in_place(&mut first.clone()).unwrap_err().code, NoiseCode::DecryptFailed);
}

#[test]
fn contents_of_control_records_are_bounded() {
    let cases = [
        (RecordType::Ping, 32, true),
        (RecordType::Ping, 33, false),
        (RecordType::Pong, 0, true),
        (RecordType::Close, 1, false),
        (RecordType::Close, 2, true),
        (RecordType::Close, 125, true),
        (RecordType::Close, 126, false),
        (RecordType::NextKey, 1, false),
    ];
    for (kind, size, fits) in cases {
        let (mut sealer, _) = halves(Role::Initiator, RekeyAfter::default());
        let (_, mut opener) = halves(Role::Responder, RekeyAfter::default());
        let outcome = opener.open_in_place(&mut seal(&mut sealer, kind, &vec![1; size]));
        assert_eq!(outcome.is_ok(), fits, "{kind:?} {size}");
    }
}

#[test]
fn a_largest_record_fits_and_one_byte_more_does_not() {
    let (mut sealer, _) = halves(Role::Initiator, RekeyAfter::default());
    let (_, mut opener) = halves(Role::Responder, RekeyAfter::default());
    let mut largest = seal(&mut sealer, RecordType::Data, &vec![1; MAX_RECORD - RECORD_OVERHEAD]);
    assert_eq!(opener.open_in_place(&mut largest).unwrap().size, 1024 * 1024);
    let before = sealer.position();
    let error = sealer.seal_in_place(RecordType::Data, &mut vec![0; MAX_RECORD + 1]).unwrap_err();
    assert_eq!(error.code, NoiseCode::MessageTooLarge);
    assert_eq!(sealer.plan([1024 * 1024 + 1].into_iter()).unwrap_err().code, NoiseCode::MessageTooLarge);
    assert_eq!(sealer.position(), before);
}

#[test]
fn a_wrong_length_or_type_costs_no_memory() {
    for length in [0, 1, 16, 17, u32::try_from(MAX_RECORD).unwrap() + 2, u32::MAX] {
        let (_, mut opener) = halves(Role::Responder, RekeyAfter::default());
        assert_eq!(read(&[&length.to_be_bytes()], &mut opener).1, Some(NoiseCode::ProtocolViolation), "{length}");
    }
    for kind in [0, 1, 2, 3, 0x11, 0xff] {
        let (_, mut opener) = halves(Role::Responder, RekeyAfter::default());
        let bytes = [&18u32.to_be_bytes()[..], &[kind]].concat();
        assert_eq!(read(&[&bytes], &mut opener).1, Some(NoiseCode::ProtocolViolation), "{kind}");
    }
}

#[test]
fn the_next_key_comes_at_its_limits_and_the_old_one_is_gone() {
    let (mut sealer, _) = halves(Role::Initiator, RekeyAfter::new(3, 1 << 30));
    let (_, mut opener) = halves(Role::Responder, RekeyAfter::default());
    let contents: Vec<Vec<u8>> = (0..7u8).map(|content| vec![content]).collect();
    let stream = seal_stream(&mut sealer, &contents);
    assert_eq!(sealer.position(), (3, 1));
    assert_eq!(read(&[&stream], &mut opener), (contents, None));
    assert_eq!(opener.position(), (3, 1));

    let (mut sealer, _) = halves(Role::Initiator, RekeyAfter::new(u64::MAX, 10));
    assert_eq!(sealer.plan([20, 4, 5, 4].into_iter()).unwrap(), [false, true, true, true]);
    assert_eq!(sealer.plan([4, 4, 4].into_iter()).unwrap(), [false, false, true]);
    let old = seal(&mut sealer, RecordType::Data, b"old");
    let mut next_key = [0; RECORD_OVERHEAD];
    sealer.seal_next_key(&mut next_key).unwrap();
    let (_, mut opener) = halves(Role::Responder, RekeyAfter::default());
    opener.open_in_place(&mut old.clone()).unwrap();
    opener.open_in_place(&mut next_key.clone()).unwrap();
    assert_eq!(opener.open_in_place(&mut old.clone()).unwrap_err().code, NoiseCode::DecryptFailed);
}

proptest! {
    #[test]
    fn a_stream_gives_what_was_sealed_however_it_is_cut(
        contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
        records in 2u64..9,
        bytes in 1u64..2000,
    ) {
        let (mut sealer, _) = halves(Role::Responder, RekeyAfter::new(records, bytes));
        let (_, mut opener) = halves(Role::Initiator, RekeyAfter::default());
        let stream = seal_stream(&mut sealer, &contents);
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).chain([0, stream.len()]).collect();
        at.sort_unstable();
        let pieces: Vec<_> = at.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        prop_assert_eq!(read(&pieces, &mut opener), (contents, None));
        prop_assert_eq!(opener.position(), sealer.position());
    }

    #[test]
    fn a_changed_stream_gives_a_prefix_and_a_failure(
        contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..10),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let (mut sealer, _) = halves(Role::Initiator, RekeyAfter::default());
        let (_, mut opener) = halves(Role::Responder, RekeyAfter::default());
        let mut stream = seal_stream(&mut sealer, &contents);
        let at = at.index(stream.len());
        stream[at] ^= 1 << bit;
        let (opened, _) = read(&[&stream], &mut opener);
        prop_assert!(opened.len() < contents.len());
        prop_assert_eq!(&opened[..], &contents[..opened.len()]);
    }
}
