//! Every backend that runs here gives the bytes of every other, at every size, and refuses what every other refuses.
#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic, and its patterns may wrap"
)]

use proptest::prelude::*;
use sideband_backend::{Backend, Choice, Cipher, choose};
use sideband_core::aead::Aead;

fn choices() -> Vec<Choice> {
    let forced = Backend::ALL.into_iter().filter(|backend| backend.is_available());
    forced.map(|backend| choose(Some(backend.name())).unwrap()).chain([choose(None).unwrap()]).collect()
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|index| (index * 31 % 251) as u8).collect()
}

/// Sizes on either side of every block, piece and limit.
fn edges() -> Vec<usize> {
    let around = [64, 128, 256, 512, 896, 1024, 2048, 4096, 8192, 16384, 65508];
    let around = around.iter().flat_map(|&edge| edge - 17..=(edge + 17).min(65508));
    (0..=300).chain(around).collect()
}

#[test]
fn gives_the_bytes_of_rfc_8439() {
    // Appendix A.5 has associated data, which a session never has; this is section 2.8.2 without it, from the reference.
    let key: [u8; 32] = std::array::from_fn(|index| 0x80 + index as u8);
    let nonce = [7, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47];
    let text: &[u8] = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                        sunscreen would be it.";
    let start = [0xd3, 0x1a, 0x8d, 0x34, 0x64, 0x8e, 0x60, 0xdb, 0x7b, 0x86, 0xaf, 0xbc, 0x53, 0xef, 0x7e, 0xc2];
    for choice in choices() {
        let mut buffer = text.to_vec();
        Cipher::with_choice(&key, choice).seal_in_place(&nonce, &mut buffer).unwrap();
        assert_eq!(buffer[..16], start, "{choice:?}");
    }
}

#[test]
fn agrees_at_every_edge() {
    let reference = Cipher::with_choice(&[9; 32], choose(Some("rustcrypto")).unwrap());
    for choice in choices() {
        let cipher = Cipher::with_choice(&[9; 32], choice);
        for size in edges() {
            let plaintext = pattern(size);
            let (mut ours, mut theirs) = (plaintext.clone(), plaintext.clone());
            let nonce = [size as u8; 12];
            let tag = cipher.seal_in_place(&nonce, &mut ours).unwrap();
            assert_eq!(tag, reference.seal_in_place(&nonce, &mut theirs).unwrap(), "{choice:?} {size}");
            assert_eq!(ours, theirs, "{choice:?} {size}");
            cipher.open_in_place(&nonce, &mut theirs, &tag).unwrap();
            assert_eq!(theirs, plaintext, "{choice:?} {size}");
        }
    }
}

#[test]
fn leaves_no_plaintext_of_a_forged_message() {
    for choice in choices() {
        let cipher = Cipher::with_choice(&[1; 32], choice);
        for size in [1, 15, 16, 100, 895, 896, 8191, 8192, 8193, 65508] {
            let plaintext = pattern(size);
            let mut sealed = plaintext.clone();
            let mut tag = cipher.seal_in_place(&[2; 12], &mut sealed).unwrap();
            let before = sealed.clone();
            tag[15] ^= 0x80;
            cipher.open_in_place(&[2; 12], &mut sealed, &tag).unwrap_err();
            assert!(sealed == before || sealed.iter().all(|&byte| byte == 0), "{choice:?} {size}");
        }
    }
}

#[test]
fn refuses_what_cannot_be_had_and_tells_what_can() {
    let message = choose(Some("aes")).unwrap_err().to_string();
    assert!(message.contains("\"aes\" is not the name of a backend"), "{message}");
    assert!(message.contains("auto, rustcrypto"), "{message}");
    for backend in Backend::ALL.into_iter().filter(|backend| !backend.is_available()) {
        assert!(choose(Some(backend.name())).unwrap_err().to_string().contains("was not built in"));
    }
}

#[test]
fn takes_auto_for_no_wish() {
    assert_eq!(choose(Some("auto")), choose(None));
    assert!(!choose(None).unwrap().forced);
    assert!(choose(Some("rustcrypto")).unwrap().forced);
}

proptest! {
    #[test]
    fn each_opens_what_another_sealed(
        key: [u8; 32], nonce: [u8; 12], size in 0usize..=65508, sealer: prop::sample::Index,
        opener: prop::sample::Index, flip in prop::option::of((any::<prop::sample::Index>(), 0u8..8)),
    ) {
        let choices = choices();
        let plaintext = pattern(size);
        let mut message = plaintext.clone();
        let tag = Cipher::with_choice(&key, *sealer.get(&choices)).seal_in_place(&nonce, &mut message).unwrap();
        message.extend_from_slice(&tag);
        if let Some((at, bit)) = flip {
            let at = at.index(message.len());
            message[at] ^= 1 << bit;
        }
        let (buffer, tag) = message.split_last_chunk_mut().unwrap();
        let opened = Cipher::with_choice(&key, *opener.get(&choices)).open_in_place(&nonce, buffer, tag);
        prop_assert_eq!(opened.is_ok(), flip.is_none());
        prop_assert!(flip.is_some() || buffer == plaintext.as_slice());
    }
}
