//! A batch that two threads work on comes to the same as the messages one by one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use sideband_core::batch::{for_each, try_for_each};
use sideband_core::handshake::SessionKeys;
use sideband_core::replay::ReplayWindow;
use sideband_core::session::{Opener, Role, Sealed, Sealer, establish};

fn halves(role: Role) -> (Sealer, Opener) {
    establish(SessionKeys::from_bytes(&[7; 32], &[9; 32]), role, ReplayWindow::new(64).unwrap())
}

fn with_room(plaintext: &[u8]) -> Vec<u8> {
    [&[0; 12], plaintext, &[0; 16]].concat()
}

fn sealed_one_by_one(plaintexts: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (mut sealer, _) = halves(Role::Client);
    let seal = |plaintext: &Vec<u8>| {
        let mut message = with_room(plaintext);
        sealer.seal_in_place(&mut message).unwrap();
        message
    };
    plaintexts.iter().map(seal).collect()
}

/// What opening came to: the messages opened, why the next was not, and what then lies in the buffers.
type Outcome = (usize, Option<&'static str>, Vec<Vec<u8>>);

fn copying_to<'a>(buffer: &'a mut [u8]) -> impl FnOnce(&[u8]) -> &'a mut [u8] + Send {
    move |ciphertext| {
        buffer.copy_from_slice(ciphertext);
        buffer
    }
}

fn open_batch(opener: &mut Opener, messages: &[Vec<u8>], helper: bool) -> Outcome {
    let sealed: Vec<_> = messages.iter().map(|message| Sealed::split(message).unwrap()).collect();
    let mut buffers: Vec<_> = sealed.iter().map(|message| vec![0; message.ciphertext().len()]).collect();
    let items = sealed.iter().copied().zip(buffers.iter_mut().map(|buffer| copying_to(buffer))).collect();
    let (count, failure) = opener.open_batch(items, helper);
    (count, failure.map(|error| error.code.name()), buffers)
}

/// What the other side, or somebody between, does to a message of the batch.
#[derive(Clone, Debug)]
enum Deed {
    Change { at: prop::sample::Index, flip: u8 },
    Repeat { of: prop::sample::Index },
    Reflect,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        (any::<prop::sample::Index>(), 1..=255_u8).prop_map(|(at, flip)| Deed::Change { at, flip }),
        any::<prop::sample::Index>().prop_map(|of| Deed::Repeat { of }),
        Just(Deed::Reflect),
    ]
}

proptest! {
    #[test]
    fn tickets_give_the_bytes_of_sealing_in_order(
        plaintexts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
        helper: bool,
    ) {
        let (mut sealer, _) = halves(Role::Client);
        let mut messages: Vec<_> = plaintexts.iter().map(|plaintext| with_room(plaintext)).collect();
        let tickets = sealer.tickets(messages.len() as u64).unwrap();
        try_for_each(tickets.zip(&mut messages), helper, |(ticket, message)| ticket.seal_in_place(message)).unwrap();
        prop_assert_eq!(sealer.next_sequence(), plaintexts.len() as u64);
        prop_assert_eq!(messages, sealed_one_by_one(&plaintexts));
    }

    #[test]
    fn a_batch_is_accepted_and_refused_as_its_messages_are(
        plaintexts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..12),
        deeds in prop::collection::vec((any::<prop::sample::Index>(), deed()), 0..3),
    ) {
        let mut messages = sealed_one_by_one(&plaintexts);
        for (index, deed) in deeds {
            let index = index.index(messages.len());
            match deed {
                Deed::Change { at, flip } => {
                    let at = at.index(messages[index].len());
                    messages[index][at] ^= flip;
                }
                Deed::Repeat { of } => messages[index] = messages[of.index(messages.len())].clone(),
                Deed::Reflect => messages[index][3] ^= 3,
            }
        }
        let (mut alone, mut helped) = (halves(Role::Daemon).1, halves(Role::Daemon).1);
        let (opened, failure, buffers) = open_batch(&mut alone, &messages, false);
        let with_helper = open_batch(&mut helped, &messages, true);
        prop_assert_eq!((opened, failure), (with_helper.0, with_helper.1));
        prop_assert_eq!(&buffers[..opened], &with_helper.2[..opened]);
        prop_assert_eq!(alone.highest(), helped.highest());
        for (left, message) in with_helper.2.iter().zip(&messages).skip(opened) {
            let ciphertext = Sealed::split(message).unwrap().ciphertext();
            let nothing = left.iter().all(|&byte| byte == 0);
            prop_assert!(nothing || left == ciphertext, "no plaintext of what was not accepted is left");
        }
        // Neither has marked what comes after the failure: the same messages have the same fate once more.
        prop_assert_eq!(open_batch(&mut alone, &messages[opened..], false).1, open_batch(&mut helped, &messages[opened..], true).1);
    }
}

#[test]
fn tickets_past_the_last_number_end_the_session() {
    let (mut sealer, _) = halves(Role::Client);
    assert!(sealer.advance(u64::MAX - 2));
    assert_eq!(sealer.tickets(3).err().unwrap().code.name(), "sequence_error");
    assert!(sealer.is_cleared());
    assert_eq!(sealer.tickets(1).err().unwrap().code.name(), "session_cleared");
}

#[test]
fn an_unused_ticket_is_spent() {
    let (mut sealer, _) = halves(Role::Client);
    drop(sealer.tickets(5).unwrap());
    assert_eq!(sealer.next_sequence(), 5);
}

#[test]
fn a_cleared_session_opens_no_batch() {
    let (_, mut opener) = halves(Role::Daemon);
    let messages = sealed_one_by_one(&[vec![1], vec![2]]);
    opener.clear();
    assert_eq!(open_batch(&mut opener, &messages, true).1, Some("session_cleared"));
    assert_eq!(open_batch(&mut opener, &[], true).1, None);
}

#[test]
fn each_item_is_worked_on_once_and_a_failure_ends_the_rest() {
    for helper in [false, true] {
        let counts: Vec<_> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
        for_each(counts.iter(), helper, |count| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        let begun = AtomicUsize::new(0);
        let outcome = try_for_each(0..1000, helper, |item| {
            begun.fetch_add(1, Ordering::Relaxed);
            if item == 10 { Err("ten") } else { Ok(()) }
        });
        assert_eq!(outcome, Err("ten"));
        assert!(begun.load(Ordering::Relaxed) >= 11);
    }
}
