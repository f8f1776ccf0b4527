#![no_main]

#[path = "../../wireguard/tests/corpus/uapi.rs"]
mod uapi;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| uapi::read(bytes));
