//! The tables that keep the gateway's clients where they belong: there before the link is up, and as they were made.
//!
//! An [`Order`] sees to them, one at a time. While it is under way what was is taken to be: a link that is up stays so, and
//! one that is down waits for its tables.

use std::net::IpAddr;

use culvert_crds::Reason;
use ipnet::IpNet;

use super::{Gateway, Ground, PassError};
use crate::assignment::Assignment;
use crate::firewall::{Done, Firewall as _, FirewallError, Order, Source, Table, Tables, rules};
use crate::interface::Managed;
use crate::kernel::{self, Kernel};
use crate::plan::drift::Drift;
use crate::plan::link::Shape;

/// What is known of the tables.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// Themselves; whoever sees to them knows it meanwhile.
    tables: Tables,
    /// Whether somebody sees to them.
    is_ordered: bool,
    /// What they were last asked to be made from.
    asked: String,
    /// What came of the last order, until it has been taken notice of.
    came: Option<Result<(), FirewallError>>,
    /// The ruleset's number when there last were tables of the gateway, whatever was in them.
    seen: Option<u32>,
    /// What traffic was last to leave under.
    sources: Option<[Source; 2]>,
    /// The last failure that was logged.
    failure: Option<String>,
    is_overruled: bool,
}

impl Guard {
    /// The same of another interface: nothing is known of it, and whoever is under way is waited for.
    pub fn anew(self) -> Self {
        Self {
            is_ordered: self.is_ordered,
            ..Self::default()
        }
    }
}

impl Gateway {
    /// What is to be done for the tables to be what they are to be; nothing where they are, and while somebody does it.
    pub(super) async fn order<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
    ) -> Result<Option<Order<K::Firewall>>, PassError> {
        let (Some(interface), Some(assignment)) = (&self.interface, self.assignment.clone()) else {
            return Ok(None);
        };
        let ifindex = interface.link.ifindex;
        // What the node's addresses were is good enough to keep a table.
        let sources = sources(on, &assignment)
            .await
            .or_else(|error| self.guard.sources.ok_or(error))?;
        self.guard.sources = Some(sources);
        if self.guard.is_ordered {
            return Ok(None);
        }
        let table = Table {
            assignment: &assignment,
            ifindex,
            port: self.port,
            sources,
        };
        let script = table.script();
        // Of what came of this very one notice is taken before it is given again.
        if self.guard.came.is_some() && self.guard.asked == script {
            return Ok(None);
        }
        let firewall = on.kernel.firewall();
        match firewall.generation() {
            Ok(generation) if self.guard.tables.are(&script, generation) => return Ok(None),
            Ok(_) => {}
            Err(error) => {
                self.guard.came = Some(Err(error));
                return Ok(None);
            }
        }
        self.guard.is_ordered = true;
        self.guard.asked.clone_from(&script);
        Ok(Some(Order {
            firewall: firewall.apart(),
            gateway: self.mark.gateway.clone(),
            script,
            tables: std::mem::take(&mut self.guard.tables),
        }))
    }

    /// Takes in what came of an order. A tick is to follow.
    pub fn take_tables<K: Kernel>(&mut self, on: &Ground<'_, K>, done: Done) {
        let guard = &mut self.guard;
        guard.is_ordered = false;
        guard.tables = done.tables;
        guard.is_overruled = done.is_overruled.unwrap_or(guard.is_overruled);
        guard.came = Some(done.result);
        if done.is_repaired {
            on.metrics.repaired(Drift::Table);
        }
    }

    /// Whether somebody sees to the tables, so that nobody else may.
    pub(super) fn is_guarded_by_another(&self) -> bool {
        self.guard.is_ordered
    }

    /// Whether an interface has its tables, as far as is known. One that is down stays so without them; one that is up has
    /// those that it had, and clients who would lose their sessions with it. Where they are gone and cannot be made, they do.
    pub(super) async fn guard<K: Kernel>(&mut self, on: &mut Ground<'_, K>) -> Result<bool, PassError> {
        let (Some(interface), Some(assignment)) = (self.interface.clone(), self.assignment.clone()) else {
            return Ok(true);
        };
        self.state.uplink_mtu = on.kernel.firewall().uplink_mtu();
        if self.guard.is_ordered {
            return Ok(interface.link.up);
        }
        let protected = self.guard.came.take().unwrap_or(Ok(()));
        let finding = match &protected {
            Ok(()) => {
                self.guard.failure = None;
                self.lacks(on, &assignment).unwrap_or(Reason::Ready)
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
                Ok(true)
            }
            Err(error) => {
                if interface.link.up {
                    self.set_down(on, &interface).await?;
                }
                Err(PassError::Firewall(error))
            }
            Ok(()) => Ok(true),
        }
    }

    /// While it is not known what is asked: an interface whose tables are gone gets such as let nothing pass, as what an
    /// administrator forbids is not known either. Tables that are there stay.
    pub async fn close<K: Kernel>(&mut self, on: &mut Ground<'_, K>) -> Result<(), PassError> {
        let Some(interface) = self.interface.clone().filter(|found| found.link.up) else {
            return Ok(());
        };
        if self.guard.is_ordered {
            return Ok(());
        }
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
        self.guard.tables = Tables::default();
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

    /// What else keeps clients' packets from getting out.
    fn lacks<K: Kernel>(&self, on: &mut Ground<'_, K>, assignment: &Assignment) -> Option<Reason> {
        let mut ranges = assignment.ranges.values().flatten();
        let has_ipv4 = ranges.clone().any(|range| range.addr().is_ipv4());
        let has_ipv6 = ranges.any(|range| range.addr().is_ipv6());
        let serves = [has_ipv4, has_ipv6];
        let is_closed = |(source, serves): (&Source, bool)| serves && *source == Source::Nothing;
        let firewall = on.kernel.firewall();
        firewall
            .lacks(has_ipv4, has_ipv6)
            .or_else(|| {
                let sources = self.guard.sources.iter().flatten();
                let is_missing = sources.zip(serves).any(is_closed);
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
