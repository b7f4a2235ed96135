//! A sender and a receiver of records, with records changed, repeated, left out or made by hand in between: what opens
//! is what was sealed, in order, up to the first of these.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sideband_core::noise::{MAX_RECORD, RECORD_OVERHEAD, RawKeys, RecordType, RekeyAfter, Role, establish};

const KINDS: [RecordType; 4] = [RecordType::Data, RecordType::Ping, RecordType::Pong, RecordType::Close];

fuzz_target!(|input: Vec<(u8, u8, Vec<u8>)>| {
    let keys = || RawKeys::from_bytes(&[7; 32], &[9; 32]);
    let (mut sealer, _) = establish(keys(), Role::Initiator, MAX_RECORD, RekeyAfter::new(4, 64));
    let (_, mut opener) = establish(keys(), Role::Responder, MAX_RECORD, RekeyAfter::default());
    let mut last = Vec::new();
    for (what, how, content) in input {
        let kind = KINDS[usize::from(what & 3)];
        if sealer.plan(std::iter::once(content.len())).expect("below the limit") == [true] {
            let mut next_key = [0; RECORD_OVERHEAD];
            sealer.seal_next_key(&mut next_key).expect("it was due");
            assert_eq!(opener.open_in_place(&mut next_key).expect("as sealed").kind, RecordType::NextKey);
            assert_eq!(opener.position(), sealer.position());
        }
        let mut sealed = [&[0][..], &content, &[0; 16]].concat();
        sealer.seal_in_place(kind, &mut sealed).expect("below every limit");
        let mut came = match what >> 2 {
            1 => {
                let mut changed = sealed.clone();
                let at = usize::from(how) % changed.len();
                changed[at] ^= 1 << (how & 7);
                changed
            }
            2 => last.clone(),
            3 => content.clone(),
            4 => sealed[..sealed.len() - 1].to_vec(),
            _ => sealed.clone(),
        };
        let whole = came == sealed;
        let fits = match kind {
            RecordType::Ping | RecordType::Pong => content.len() <= 32,
            RecordType::Close => (2..=125).contains(&content.len()),
            _ => true,
        };
        match opener.open_in_place(&mut came) {
            Ok(opened) => {
                assert!(whole && fits);
                assert_eq!((opened.kind, &came[1..=opened.size]), (kind, &content[..]));
            }
            Err(_) => {
                assert!(!(whole && fits) && opener.is_cleared());
                assert!(opener.open_in_place(&mut sealed).is_err());
                return;
            }
        }
        last = sealed;
    }
});
