//! Sessions: nothing that was not sealed opens, and refusing it changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sideband_core::handshake::SessionKeys;
use sideband_core::replay::ReplayWindow;
use sideband_core::session::{Role, Sealed, establish};

fuzz_target!(|data: &[u8]| {
    let keys = || SessionKeys::from_bytes(&[7; 32], &[9; 32]);
    let window = || ReplayWindow::new(64).expect("64 is a size");
    let (mut sealer, _) = establish(keys(), Role::Client, window());
    let (_, mut opener) = establish(keys(), Role::Daemon, window());

    if let Ok(sealed) = Sealed::split(data) {
        let mut buffer = sealed.ciphertext().to_vec();
        assert!(opener.open_in_place(&sealed, &mut buffer).is_err());
        assert_eq!(buffer, sealed.ciphertext());
    }
    assert_eq!(opener.highest(), None);
    assert!(opener.is_intact());

    let mut message = [&[0; 12], data, &[0; 16]].concat();
    if sealer.seal_in_place(&mut message).is_ok() {
        let sealed = Sealed::split(&message).expect("sealed just now");
        let mut buffer = sealed.ciphertext().to_vec();
        opener.open_in_place(&sealed, &mut buffer).expect("sealed just now");
        assert_eq!(buffer, data);
    }
});
