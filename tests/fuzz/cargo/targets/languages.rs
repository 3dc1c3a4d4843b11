//! See `tests/fuzz/bodies.rs`.
#![no_main]

#[path = "../../bodies.rs"]
#[expect(dead_code, reason = "a binary is one target")]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::languages(data));
