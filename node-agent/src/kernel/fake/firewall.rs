//! The packet filter of the namespace in memory: scripts stand as they were written.
//!
//! It knows no rules: what a script does to packets is seen on a real kernel only.

use std::collections::BTreeMap;
use std::future::{Future, pending, ready};
use std::io;

use culvert_crds::Reason;
use culvert_wireguard::Error;

use super::{Call, Fake};
use crate::firewall::rules::{deletion, name};
use crate::firewall::{Firewall, FirewallError};

/// Tables of gateways, by uid.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    scripts: BTreeMap<String, String>,
    generation: u32,
    is_overruled: bool,
    lacks: Option<Reason>,
    uplink_mtu: Option<u32>,
}

impl Tables {
    fn apply(&mut self, script: &str) {
        self.generation += 1;
        // A script begins with the deletion of the tables that it makes.
        let Some(first) = script.lines().next() else {
            return;
        };
        let Some(gateway) = first.strip_prefix("add table inet culvert-") else {
            return;
        };
        let gateway = gateway.to_owned();
        if script == deletion(&gateway) {
            self.scripts.remove(&gateway);
        } else {
            self.scripts.insert(gateway, script.to_owned());
        }
    }
}

/// What tests set and see, and an administrator's hands.
impl Fake {
    /// The script from which a gateway's tables were made, if they are there.
    pub fn table(&self, gateway: &str) -> Option<String> {
        self.lock().tables.scripts.get(gateway).cloned()
    }

    /// Flushes the whole ruleset.
    pub fn flush_ruleset(&self) {
        let mut world = self.lock();
        world.tables.scripts.clear();
        world.tables.generation += 1;
    }

    /// Changes some rule that is not ours.
    pub fn change_other_rules(&self) {
        self.lock().tables.generation += 1;
    }

    /// From now on another table drops what is forwarded, or does not.
    pub fn overrule(&self, is_overruled: bool) {
        let mut world = self.lock();
        world.tables.is_overruled = is_overruled;
        world.tables.generation += 1;
    }

    /// From now on the node lacks this.
    pub fn set_lacks(&self, lacks: Option<Reason>) {
        self.lock().tables.lacks = lacks;
    }

    /// From now on the node's way out takes packets of so many bytes.
    pub fn set_uplink_mtu(&self, mtu: u32) {
        self.lock().tables.uplink_mtu = Some(mtu);
    }
}

impl Firewall for Fake {
    fn apart(&self) -> Self {
        self.clone()
    }

    fn generation(&mut self) -> Result<u32, FirewallError> {
        let generation = self.call(Call::Generation, None, |world| Ok(world.tables.generation));
        generation.map_err(failed)
    }

    fn apply(&mut self, script: &str) -> impl Future<Output = Result<(), FirewallError>> {
        let applied = self.call(Call::Apply, None, |world| {
            world.tables.apply(script);
            Ok(())
        });
        ready(applied.map_err(failed))
    }

    fn read(&mut self, gateway: &str) -> impl Future<Output = Result<Option<String>, FirewallError>> {
        let read = self.call(Call::ReadTable, None, |world| {
            let script = world.tables.scripts.get(gateway);
            Ok(script.map(|script| format!("table {}: {script}", name(gateway))))
        });
        ready(read.map_err(failed))
    }

    fn stands(&mut self, gateway: &str) -> Result<bool, FirewallError> {
        let stands = self.call(Call::TableStands, None, |world| {
            Ok(world.tables.scripts.contains_key(gateway))
        });
        stands.map_err(failed)
    }

    fn gateways(&mut self) -> impl Future<Output = Result<Vec<String>, FirewallError>> {
        let tables = self.call(Call::Tables, None, |world| {
            Ok(world.tables.scripts.keys().cloned().collect())
        });
        ready(tables.map_err(failed))
    }

    fn is_overruled(&mut self) -> impl Future<Output = Result<bool, FirewallError>> {
        let chains = self.call(Call::Chains, None, |world| Ok(world.tables.is_overruled));
        ready(chains.map_err(failed))
    }

    fn lacks(&mut self, _has_ipv4: bool, _has_ipv6: bool) -> Option<Reason> {
        self.lock().tables.lacks
    }

    fn uplink_mtu(&mut self) -> Option<u32> {
        self.lock().tables.uplink_mtu
    }

    fn changed(&mut self) -> impl Future<Output = ()> {
        pending()
    }
}

fn failed(error: Error) -> FirewallError {
    FirewallError::Run(io::Error::other(error))
}
