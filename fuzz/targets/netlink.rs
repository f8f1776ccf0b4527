#![no_main]

#[path = "../../wireguard/tests/corpus/netlink.rs"]
mod netlink;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netlink::read(bytes));
