//! A word to systemd, where it has started us (`Type=notify`): a datagram to the socket it names.

use std::env;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Says that the tunnel is up. That nobody hears it is no failure.
pub fn ready() {
    say("READY=1");
}

/// Says that the tunnel is being taken down.
pub fn stopping() {
    say("STOPPING=1");
}

fn say(word: &str) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&path),
    };
    if let (Ok(address), Ok(socket)) = (address, UnixDatagram::unbound()) {
        let _ = socket.send_to_addr(word.as_bytes(), &address);
    }
}
