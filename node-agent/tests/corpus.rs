//! What the API might say of a peer and the kernel of a flow, and more: committed inputs, and changed ones. See
//! `fuzz/Cargo.toml`.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "corpus/conntrack.rs"]
mod conntrack;
#[path = "../../fuzz/mutate.rs"]
mod mutate;
#[path = "corpus/object.rs"]
mod object;

use std::path::{Path, PathBuf};

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target)
}

#[test]
fn no_object_panics_and_one_that_is_read_is_named_by_its_address() {
    mutate::run(&corpus("object"), object::read);
}

#[test]
fn no_flow_panics_and_one_that_is_deleted_is_named_as_it_was_shown() {
    mutate::run(&corpus("conntrack"), conntrack::read);
}
