//! A client's gateways, over the kernel's socket.

use super::encode;
use super::socket::Socket;
use crate::{Error, GatewayPeer, PublicKey};

impl Socket {
    /// Sets gateways and removes others, in one message. A prefix that another one holds moves.
    pub fn set_gateways(
        &mut self,
        ifindex: u32,
        set: &[GatewayPeer],
        remove: &[PublicKey],
    ) -> Result<(), Error> {
        let message = encode::set_gateways(self.family(), ifindex, set, remove);
        self.send_change(ifindex, message)
    }
}
