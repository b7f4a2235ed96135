//! Sealed records, alone and from a byte stream: nothing that was not sealed opens, however the bytes are cut, and the
//! memory held stays in step with what came.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sideband_core::noise::{
    LENGTH_SIZE, MAX_RECORD, Opener, RawKeys, RecordReader, RecordType, RekeyAfter, Role, SEALED, Sealer, establish,
};

fn halves(role: Role) -> (Sealer, Opener) {
    establish(RawKeys::from_bytes(&[7; 32], &[9; 32]), role, MAX_RECORD, RekeyAfter::new(3, 1000))
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, data) = input;
    let (mut sealer, _) = halves(Role::Initiator);
    let (_, mut opener) = halves(Role::Responder);
    assert!(opener.open_in_place(&mut data.to_vec()).is_err());
    assert!(opener.is_cleared());

    // What is good comes out whole, and then the first thing that is not ends the session.
    let mut record = [&[0], data, &[0; 16]].concat();
    sealer.seal_in_place(RecordType::Data, &mut record).expect("below the limit");
    let length = u32::try_from(record.len() + 1).expect("small").to_be_bytes();
    let stream = [&length[..], &[SEALED], &record, data].concat();
    let (_, mut opener) = halves(Role::Responder);
    let mut reader = RecordReader::new();
    let mut contents = Vec::new();
    for piece in stream.chunks(usize::from(size) + 1) {
        let (records, failure) = reader.push(piece, &mut opener);
        contents.extend(records.iter().map(|(_, range)| reader.content(range).to_vec()));
        assert!(reader.buffered() <= LENGTH_SIZE + 1 + MAX_RECORD);
        if failure.is_some() {
            assert!(opener.is_cleared());
            break;
        }
    }
    assert_eq!(contents, [data]);
});
