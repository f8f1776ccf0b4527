//! What the API might say of a peer, and more: committed inputs, and changed ones. See `fuzz/Cargo.toml`.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../../fuzz/mutate.rs"]
mod mutate;
#[path = "corpus/object.rs"]
mod object;

use std::path::Path;

#[test]
fn no_object_panics_and_one_that_is_read_is_named_by_its_address() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/object");
    mutate::run(&folder, object::read);
}
