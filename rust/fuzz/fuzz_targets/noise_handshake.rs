//! Handshake messages: neither side finishes with bytes that the other did not make, and nothing panics.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sideband_core::noise::{Handshake, KeyPair, Role};

fn side(role: Role, seed: u8) -> Handshake {
    let pair = KeyPair::from_private_bytes(&[seed; 32]);
    Handshake::new(role, &pair, b"prologue", &[seed + 1; 32]).expect("the keys are good")
}

fuzz_target!(|data: &[u8]| {
    let (mut initiator, mut responder) = (side(Role::Initiator, 1), side(Role::Responder, 3));
    let mut fresh = side(Role::Responder, 3);
    if fresh.read(data).is_ok() {
        assert_eq!(data.len(), 32);
        let _ = fresh.write(b"");
    }
    responder.read(&initiator.write(b"").expect("its turn")).expect("made just now");
    let second = responder.write(b"two").expect("its turn");
    assert!(initiator.read(data).is_err() || data == second);
    assert!(responder.read(data).is_err());
    assert!(!responder.is_finished() && responder.take_keys().is_err());
});
