#![no_main]

#[path = "../../node-agent/tests/corpus/conntrack.rs"]
mod conntrack;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| conntrack::read(bytes));
