//! Handshakes: no bytes but a genuine answer finish one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sideband_core::handshake::{self, EphemeralKeyPair};
use sideband_core::identity::IdentityKeyPair;

fuzz_target!(|input: (&str, &[u8])| {
    let (daemon_id, data) = input;
    let pair = || EphemeralKeyPair::from_private_bytes(&[4; 32]);
    assert!(handshake::finish(data, daemon_id, None, pair()).is_err());
    assert!(handshake::verify(data, daemon_id, &pair().public_key()).is_err());

    let identity = IdentityKeyPair::from_private_bytes(&[3; 32]);
    let answered = handshake::accept(data, daemon_id, &identity, EphemeralKeyPair::from_private_bytes(&[5; 32]));
    assert!(answered.is_err() || data.len() == 32);
});
