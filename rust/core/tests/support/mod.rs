//! Reading the reference vectors.

#![allow(dead_code, reason = "each test file uses its own part")]

use serde_json::Value;
use std::path::Path;

/// One file of tests/vectors.
pub fn load(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// A string.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// A number, written as one or as a decimal string.
pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| text(value).parse().unwrap())
}

/// Bytes written in hex.
pub fn bytes(value: &Value) -> Vec<u8> {
    from_hex(text(value)).unwrap()
}

/// A fixed number of bytes written in hex.
pub fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

/// Every string of a file that is hex, as bytes.
pub fn hex_values(value: &Value) -> Vec<Vec<u8>> {
    match value {
        Value::Object(members) => members.values().flat_map(hex_values).collect(),
        Value::Array(items) => items.iter().flat_map(hex_values).collect(),
        Value::String(text) if text.len() >= 8 => from_hex(text).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
