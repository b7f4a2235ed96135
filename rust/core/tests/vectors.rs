//! The reference vectors that bear on bytes and keys; Python's tests run all of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod support;

use sideband_core::frame;
use sideband_core::handshake::{self, EphemeralKeyPair, SessionKeys};
use sideband_core::identity::{self, IdentityKeyPair};
use sideband_core::kdf;
use sideband_core::replay::ReplayWindow;
use sideband_core::sbp::{self, DEFAULT_LIMITS};
use sideband_core::session::{Role, Sealed, establish};
use support::{array, bytes, load, number, text};

#[test]
fn frames_decode_to_their_parts_and_codes() {
    let vectors = load("sbrp-frames.json");
    for case in vectors["decode"].as_array().unwrap() {
        let name = text(&case["name"]);
        if name.contains("payload-9") || name.contains("payload-1000") {
            continue; // Long pings, which the reference takes and we refuse.
        }
        let data = bytes(&case["bytes"]);
        let expected = &case["decodeFrame"];
        match frame::decode(&data) {
            Ok(frame) => {
                assert_eq!(number(&expected["type"]), u64::from(frame.frame_type as u8), "{name}");
                assert_eq!(number(&expected["sessionId"]), frame.session_id, "{name}");
                assert_eq!(frame::encode(frame.frame_type as u8, frame.session_id, frame.payload).unwrap(), data);
            }
            Err(error) => assert_eq!(text(&expected["code"]), error.code.name(), "{name}"),
        }
    }
}

#[test]
fn handshakes_give_the_same_hashes_messages_and_keys() {
    let vectors = load("sbrp-handshake.json");
    for case in vectors["cases"].as_array().unwrap() {
        let daemon_id = text(&case["daemonId"]);
        let identity = IdentityKeyPair::from_private_bytes(&array(&case["identityPrivateKey"]));
        let pair = |name: &str| EphemeralKeyPair::from_private_bytes(&array(&case[name]));
        let (client, daemon) = (pair("clientEphemeralPrivateKey"), pair("daemonEphemeralPrivateKey"));
        let (client_key, daemon_key) = (client.public_key(), daemon.public_key());
        let signature = array::<64>(&case["signature"]);

        let hash = kdf::signature_hash(daemon_id, &client_key, &daemon_key);
        assert_eq!(hash, array(&case["signaturePayloadHash"]));
        let transcript = kdf::transcript_hash(daemon_id, &client_key, &daemon_key, &signature);
        assert_eq!(transcript, array(&case["transcriptHash"]));
        let shared = pair("clientEphemeralPrivateKey").shared_secret(&daemon_key).unwrap();
        assert_eq!(*shared, array(&case["sharedSecret"]));
        assert_eq!(*kdf::session_keys(&shared, &transcript).unwrap(), array(&case["derivedKeys"]));
        assert_eq!(kdf::fingerprint(&identity.public_key()), text(&case["fingerprint"]));

        let expected = SessionKeys::from_bytes(&array(&case["clientToDaemon"]), &array(&case["daemonToClient"]));
        let (message, keys) = handshake::accept(&client_key, daemon_id, &identity, daemon).unwrap();
        assert_eq!(message.as_slice(), bytes(&case["handshakeAcceptPayload"]));
        assert_eq!(keys, expected);
        let pinned = identity.public_key();
        assert_eq!(handshake::finish(&message, daemon_id, Some(&pinned), client).unwrap(), expected);
    }
}

#[test]
fn non_canonical_x25519_keys_are_taken_as_the_rfc_says() {
    let vectors = load("sbrp-handshake.json");
    for case in vectors["nonCanonicalX25519"].as_array().unwrap() {
        let pair = EphemeralKeyPair::from_private_bytes(&array(&case["privateKey"]));
        let shared = pair.shared_secret(&array(&case["publicKey"])).unwrap();
        assert_eq!(*shared, array(&case["expect"]["sharedSecret"]));
    }
}

#[test]
fn degenerate_keys_are_refused() {
    let vectors = load("sbrp-handshake.json");
    for case in vectors["lowOrderX25519"].as_array().unwrap() {
        let pair = EphemeralKeyPair::from_private_bytes(&array(&case["clientEphemeralPrivateKey"]));
        let error = pair.shared_secret(&array(&case["publicKey"])).unwrap_err();
        assert_eq!(error.code.name(), "handshake_failed");
    }
    for case in vectors["ed25519Edge"]["cases"].as_array().unwrap() {
        let (key, signature) = (array(&case["identityPublicKey"]), array(&case["signature"]));
        assert!(!identity::verify(&key, &bytes(&case["payload"]), &signature));
    }
}

#[test]
fn messages_seal_and_open_to_the_same_bytes() {
    let vectors = load("sbrp-data.json");
    for case in vectors["cases"].as_array().unwrap().iter().filter(|case| case["payload"].is_string()) {
        let key = array(&case["key"]);
        let keys = || SessionKeys::from_bytes(&key, &key);
        let window = || ReplayWindow::new(64).unwrap();
        let upward = text(&case["direction"]) == "clientToDaemon";
        let (from, to) = if upward { (Role::Client, Role::Daemon) } else { (Role::Daemon, Role::Client) };
        let (mut sealer, _) = establish(keys(), from, window());
        let (_, mut opener) = establish(keys(), to, window());
        assert!(sealer.advance(number(&case["seq"])));

        let plaintext = bytes(&case["plaintext"]);
        let mut message = vec![0; 12];
        message.extend_from_slice(&plaintext);
        message.extend_from_slice(&[0; 16]);
        sealer.seal_in_place(&mut message).unwrap();
        assert_eq!(message, bytes(&case["payload"]));

        let received = Sealed::split(&message).unwrap();
        let mut buffer = received.ciphertext().to_vec();
        opener.open_in_place(&received, &mut buffer).unwrap();
        assert_eq!(buffer, plaintext);
        assert!(opener.is_intact());
    }
}

#[test]
fn windows_accept_what_the_reference_accepts() {
    let vectors = load("sbrp-replay.json");
    for scenario in vectors["scenarios"].as_array().unwrap() {
        let size = usize::try_from(number(&scenario["windowSize"])).unwrap();
        let Ok(mut window) = ReplayWindow::new(size) else {
            assert!(size < 64 || !size.is_multiple_of(64));
            continue;
        };
        for step in scenario["steps"].as_array().unwrap() {
            assert_eq!(window.mark(number(&step["seq"])), step["accept"].as_bool().unwrap());
            assert_eq!(window.highest(), Some(number(&step["maxSeen"])));
            assert!(window.is_consistent());
        }
    }
}

#[test]
fn sbp_frames_encode_to_the_same_bytes() {
    let vectors = load("sbp-frames.json");
    for case in vectors["encode"].as_array().unwrap() {
        let expected = bytes(&case["frame"]);
        let frame = sbp::decode(&expected, &DEFAULT_LIMITS).unwrap();
        let encoded = match &frame.body {
            sbp::Body::Control { op, data } => sbp::encode_control(frame.id, *op, *data, frame.timestamp).unwrap(),
            sbp::Body::Message { subject, data } => {
                let mut encoded = sbp::message_prefix(frame.id, subject, frame.timestamp).unwrap();
                encoded.extend_from_slice(data);
                encoded
            }
            sbp::Body::Ack { frame_id } => sbp::encode_ack(frame.id, frame_id, frame.timestamp),
            sbp::Body::Error { code, message, details } => {
                sbp::encode_error(frame.id, *code, message, details.unwrap_or_default(), frame.timestamp).unwrap()
            }
        };
        assert_eq!(encoded, expected, "{}", text(&case["name"]));
    }
}
