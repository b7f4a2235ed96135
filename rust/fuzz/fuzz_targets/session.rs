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
    // As a batch that two threads open, in pieces of any size: none of them opens either.
    let pieces = data.chunks(data.first().map_or(1, |&size| usize::from(size).max(28)));
    let sealed: Vec<_> = pieces.filter_map(|piece| Sealed::split(piece).ok()).collect();
    let mut buffers: Vec<_> = sealed.iter().map(|piece| vec![0; piece.ciphertext().len()]).collect();
    let items = sealed.iter().copied().zip(buffers.iter_mut().map(|buffer| copying_to(buffer))).collect();
    let (opened, failure) = opener.open_batch(items, true);
    assert_eq!((opened, failure.is_some()), (0, !sealed.is_empty()));

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

fn copying_to<'a>(buffer: &'a mut [u8]) -> impl FnOnce(&[u8]) -> &'a mut [u8] + Send {
    move |ciphertext| {
        buffer.copy_from_slice(ciphertext);
        buffer
    }
}
