//! What the kernel and programs might say, and more: committed inputs, and changed ones. See `fuzz/Cargo.toml`.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../../fuzz/mutate.rs"]
mod mutate;
#[path = "corpus/netlink.rs"]
mod netlink;
#[path = "corpus/uapi.rs"]
mod uapi;

use std::path::Path;

fn corpus(target: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target)
}

#[test]
fn no_datagram_panics_and_what_it_says_can_be_written_and_read_again() {
    mutate::run(&corpus("netlink"), netlink::read);
}

#[test]
fn no_answer_of_a_program_panics_and_what_it_says_can_be_written_and_read_again() {
    mutate::run(&corpus("uapi"), uapi::read);
}
