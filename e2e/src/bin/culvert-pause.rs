//! Waits for ever: what keeps a pod's namespaces open in the tests' cluster.

use std::thread;

fn main() {
    loop {
        thread::park();
    }
}
