//! What a close frame says (RFC 6455, 5.5.1 and 7.4).

use super::{NOT_UTF8, Violation, protocol_error};

/// The code and the reason in the payload of a close frame; no code where it has none.
pub fn read(payload: &[u8]) -> Result<(Option<u16>, String), Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok((None, String::new())) } else { Err(protocol_error("half a close code")) };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(protocol_error("no such close code"));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| NOT_UTF8)?;
    Ok((Some(code), reason.to_owned()))
}
