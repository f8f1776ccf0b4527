#![no_main]

#[path = "../../node-agent/tests/corpus/object.rs"]
mod object;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| object::read(bytes));
