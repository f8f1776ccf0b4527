//! The tables that keep the gateway's clients where they belong: there before the link is up, and as they were made.
//!
//! A change of the ruleset's number says that somebody has changed something, anywhere; only then are our tables read
//! and compared with what they were right after they were made. Where somebody else changed something in between, what
//! was read may not be what was made: they are made again at the next tick.

use std::net::IpAddr;

use culvert_crds::Reason;
use ipnet::IpNet;

use super::{Gateway, Ground, PassError};
use crate::assignment::Assignment;
use crate::firewall::{Firewall, FirewallError, Source, Table, rules};
use crate::interface::Managed;
use crate::kernel::{self, Kernel};
use crate::plan::drift::Drift;
use crate::plan::link::Shape;

/// What is known of the tables.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// What they were made from.
    script: String,
    /// How they looked right afterwards.
    listing: Option<String>,
    /// The ruleset's number when they were last known to look like that.
    generation: Option<u32>,
    /// The ruleset's number when there last were tables of the gateway, whatever was in them.
    seen: Option<u32>,
    /// What traffic was last to leave under.
    sources: Option<[Source; 2]>,
    /// The last failure that was logged.
    failure: Option<String>,
    is_overruled: bool,
}

impl Gateway {
    /// Makes the tables what they are to be. An interface that is down stays so without them; one that is up has those
    /// that it had, and clients who would lose their sessions with it. Where they are gone and cannot be made, they do.
    pub(super) async fn guard<K: Kernel>(&mut self, on: &mut Ground<'_, K>) -> Result<(), PassError> {
        let (Some(interface), Some(assignment)) = (self.interface.clone(), self.assignment.clone()) else {
            return Ok(());
        };
        let sources = match (sources(on, &assignment).await, self.guard.sources) {
            // What the node's addresses were is good enough to keep a table.
            (Ok(sources), _) | (Err(_), Some(sources)) => sources,
            (Err(error), None) => return Err(error),
        };
        self.guard.sources = Some(sources);
        let table = Table {
            assignment: &assignment,
            ifindex: interface.link.ifindex,
            port: self.port,
            sources,
        };
        let protected = self.protect(on, &table).await;
        let finding = match &protected {
            Ok(()) => {
                self.guard.failure = None;
                self.lacks(on, &table).unwrap_or(Reason::Ready)
            }
            Err(_) => Reason::FirewallError,
        };
        self.state.egress = Some(finding);
        match protected {
            Err(error) if interface.link.up && !self.is_open(on) => {
                let text = error.to_string();
                if self.guard.failure.as_ref() != Some(&text) {
                    tracing::warn!(error = text, "unable to make the gateway's table, trying again");
                    self.guard.failure = Some(text);
                }
                Ok(())
            }
            Err(error) => {
                if interface.link.up {
                    self.set_down(on, &interface).await?;
                }
                Err(PassError::Firewall(error))
            }
            Ok(()) => Ok(()),
        }
    }

    /// While it is not known what is asked: an interface whose tables are gone gets such as let nothing pass, as what an
    /// administrator forbids is not known either. Tables that are there stay.
    pub async fn close<K: Kernel>(&mut self, on: &mut Ground<'_, K>) -> Result<(), PassError> {
        let Some(interface) = self.interface.clone().filter(|found| found.link.up) else {
            return Ok(());
        };
        let generation = on.kernel.firewall().generation().map_err(PassError::Firewall)?;
        if self.guard.seen == Some(generation) {
            return Ok(());
        }
        if !self.is_open(on) {
            self.guard.seen = Some(generation);
            return Ok(());
        }
        let port = kernel::whole(on.kernel, &interface)?.settings.listen_port;
        let own = on.kernel.addresses(&interface).await?;
        let own: Vec<IpAddr> = own.iter().map(IpNet::addr).collect();
        let script = rules::closed(&self.mark.gateway, interface.link.ifindex, port, &own);
        self.guard.script.clear();
        match on.kernel.firewall().apply(&script).await {
            Ok(()) => {
                tracing::warn!(
                    "the gateway's table is gone: nothing passes until it is known what is asked of the gateway"
                );
                on.metrics.repaired(Drift::Table);
                Ok(())
            }
            Err(error) => {
                self.set_down(on, &interface).await?;
                Err(PassError::Firewall(error))
            }
        }
    }

    async fn set_down<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        interface: &Managed,
    ) -> Result<(), PassError> {
        tracing::warn!("the gateway's table is gone and cannot be made: the interface is set down");
        on.kernel.shape(interface, &Shape::Down).await?;
        if let Some(known) = &mut self.interface {
            known.link.up = false;
        }
        Ok(())
    }

    /// Whether there certainly is no table that says something, also where nothing can be run to read it.
    pub(super) fn is_open<K: Kernel>(&self, on: &mut Ground<'_, K>) -> bool {
        matches!(on.kernel.firewall().stands(&self.mark.gateway), Ok(false))
    }

    async fn protect<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        table: &Table<'_>,
    ) -> Result<(), FirewallError> {
        let firewall = on.kernel.firewall();
        let script = table.script();
        let generation = firewall.generation()?;
        let is_same = self.guard.script == script;
        if is_same && self.guard.generation == Some(generation) {
            return Ok(());
        }
        let gateway = &self.mark.gateway;
        let is_known = is_same && self.guard.listing.is_some();
        if is_known && firewall.read(gateway).await? == self.guard.listing {
            self.guard.generation = Some(generation);
        } else {
            if is_known {
                on.metrics.repaired(Drift::Table);
            }
            self.make_tables(on, script).await?;
        }
        // Whatever it says, it says of others, and those of the gateway stand.
        let firewall = on.kernel.firewall();
        self.guard.is_overruled = firewall.is_overruled().await.unwrap_or(self.guard.is_overruled);
        Ok(())
    }

    /// Makes the tables.
    async fn make_tables<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        script: String,
    ) -> Result<(), FirewallError> {
        self.guard.generation = None;
        let gateway = &self.mark.gateway;
        let firewall = on.kernel.firewall();
        let before = firewall.generation()?;
        firewall.apply(&script).await?;
        let listing = firewall.read(gateway).await?;
        let after = firewall.generation()?;
        // One change, which is this one.
        let is_alone = after == before.wrapping_add(1);
        self.guard.script = script;
        self.guard.listing = listing.filter(|_| is_alone);
        self.guard.generation = self.guard.listing.as_ref().map(|_| after);
        Ok(())
    }

    /// What else keeps clients' packets from getting out.
    fn lacks<K: Kernel>(&self, on: &mut Ground<'_, K>, table: &Table<'_>) -> Option<Reason> {
        let mut ranges = table.assignment.ranges.values().flatten();
        let has_ipv4 = ranges.clone().any(|range| range.addr().is_ipv4());
        let has_ipv6 = ranges.any(|range| range.addr().is_ipv6());
        let serves = [has_ipv4, has_ipv6];
        let is_closed = |(source, serves): (&Source, bool)| serves && *source == Source::Nothing;
        let firewall = on.kernel.firewall();
        firewall
            .lacks(has_ipv4, has_ipv6)
            .or_else(|| {
                let is_missing = table.sources.iter().zip(serves).any(is_closed);
                is_missing.then_some(Reason::SourceAddressMissing)
            })
            .or_else(|| self.guard.is_overruled.then_some(Reason::OtherFirewall))
    }
}

/// What IPv4 leaves under, and IPv6.
async fn sources<K: Kernel>(
    on: &mut Ground<'_, K>,
    assignment: &Assignment,
) -> Result<[Source; 2], PassError> {
    let egress = &assignment.egress;
    let own = if egress.source_addresses.is_empty() {
        Vec::new()
    } else {
        on.kernel.own_addresses().await?
    };
    let source = |is_v4: bool| {
        let mut asked = egress
            .source_addresses
            .iter()
            .filter(|address| address.is_ipv4() == is_v4);
        let is_open = asked.clone().next().is_none();
        let found: Option<&IpAddr> = asked.find(|address| own.contains(*address));
        match found {
            _ if !is_v4 && egress.keeps_ipv6 => Source::Own,
            Some(address) => Source::Of(*address),
            None if is_open => Source::Any,
            None => Source::Nothing,
        }
    };
    Ok([source(true), source(false)])
}
