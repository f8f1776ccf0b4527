//! What `key config`, `key qr` and `key rotate` share: the configurations of a client.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::Error;
use crate::cluster::Cluster;
use crate::commands::Context;
use crate::conf::{self, ClientConf, ConfError, Routes};
use crate::duration;
use crate::gateways::{self, Serving};
use crate::keys::{self, KeyFailure, Pair, Served, Store};
use crate::output::Progress;

/// What a client is to be.
#[derive(Clone, Debug, clap::Args)]
pub struct ClientArgs {
    /// The gateway to connect to, by the name of its node or its own [default: all of them].
    #[arg(long, value_name = "NAME")]
    pub gateway: Option<String>,

    /// Resolvers, or `none` [default: the gateway's].
    #[arg(long, value_name = "IP[,IP]")]
    pub dns: Option<Dns>,

    /// Send everything through the gateway; what has no address in the tunnel goes nowhere. This is the default.
    #[arg(long, conflicts_with_all = ["split", "route"])]
    pub full: bool,

    /// Send only what the gateway opens through it: its private ranges (`spec.egress.allow`) and itself.
    #[arg(long)]
    pub split: bool,

    /// Send this range through the gateway, and not everything; may be repeated.
    #[arg(long, value_name = "CIDR")]
    pub route: Vec<IpNet>,

    /// Seconds between packets that keep the way open. The gateway then never forgets where the client is.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..))]
    pub keepalive: Option<u16>,
}

/// Resolvers that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns(Vec<IpAddr>);

impl FromStr for Dns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(Vec::new()));
        }
        let addresses = text.split(',').map(|address| address.trim().parse());
        let addresses: Result<Vec<IpAddr>, _> = addresses.collect();
        addresses
            .map(Self)
            .map_err(|_| "write addresses as in 9.9.9.9,2620:fe::fe, or none".to_owned())
    }
}

/// Where the private key is, and how long the key may take.
#[derive(Clone, Debug, clap::Args)]
pub struct KeyArgs {
    /// The name of the key.
    pub name: String,

    /// The file of the private key [default: where `key new` has put it].
    #[arg(long, value_name = "FILE")]
    pub private_key: Option<PathBuf>,

    /// How long to wait for every gateway to have the key.
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration::parse_timeout)]
    pub wait: Duration,
}

impl KeyArgs {
    /// The pair, and what the cluster has given it.
    pub async fn find(&self, cluster: &Cluster, context: &Context) -> Result<(Pair, Served, String), Error> {
        let pair = match &self.private_key {
            Some(path) => keys::read_private(path)?,
            None => Store::default_for(cluster)?.read(&self.name)?,
        };
        let key = keys::get(cluster, &self.name).await?;
        if key.spec.public_key != pair.public.to_base64() {
            return Err(KeyFailure::Foreign(self.name.clone()).into());
        }
        let mut progress = Progress::new(context.screen);
        let say = |text: &str| progress.show(text);
        let served = keys::wait_served(cluster, &self.name, &pair.public, self.wait, say).await?;
        Ok((pair, served, key.spec.pool_ref.name))
    }
}

/// A configuration, and the gateway that it is for.
pub struct Written {
    /// The gateway.
    pub gateway: Serving,

    /// The text, with the private key in it.
    pub text: Zeroizing<String>,
}

impl ClientArgs {
    /// The configurations of a client, one for each gateway that serves; those that do not at present come last.
    pub async fn write(
        &self,
        cluster: &Cluster,
        pool: &str,
        pair: &Pair,
        served: &Served,
    ) -> Result<Vec<Written>, Error> {
        let mut found = gateways::of_pool(cluster, pool).await?;
        if let Some(name) = &self.gateway {
            found = gateways::choose(found, pool, name)?;
        }
        found.sort_by_key(|gateway| !gateway.ready);
        let write = |gateway: Serving| {
            let text = self.one(pair, served, &gateway)?;
            Ok(Written { gateway, text })
        };
        found.into_iter().map(write).collect()
    }

    fn one(&self, pair: &Pair, served: &Served, gateway: &Serving) -> Result<Zeroizing<String>, ConfError> {
        let dns = match &self.dns {
            Some(Dns(asked)) => asked.clone(),
            None => reachable(&gateway.dns, &served.addresses),
        };
        let routes = self.routes(served, gateway, &dns)?;
        conf::text(&ClientConf {
            private: Some(&pair.private),
            addresses: &served.addresses,
            dns: &dns,
            mtu: gateway.mtu,
            gateway: gateway.public_key,
            endpoint: &gateway.endpoint,
            routes: &routes,
            keepalive: self.keepalive,
        })
    }

    fn routes(&self, served: &Served, gateway: &Serving, dns: &[IpAddr]) -> Result<Routes, ConfError> {
        if !self.split && self.route.is_empty() {
            return Ok(Routes::Full);
        }
        let opened = if self.split { gateway.opens.as_slice() } else { &[] };
        let asked: Vec<IpNet> = self.route.iter().chain(opened).copied().collect();
        if asked.is_empty() {
            return Err(ConfError::NothingToRoute);
        }
        // Questions for names go through the tunnel, too, or others see them.
        let hosts = reachable(&gateway.own, &served.addresses);
        let hosts = hosts.iter().chain(dns).copied().map(IpNet::from);
        let is_ours = |range: &IpNet| {
            served
                .addresses
                .iter()
                .any(|own| own.is_ipv4() == range.addr().is_ipv4())
        };
        let all = asked
            .into_iter()
            .chain(hosts)
            .filter(is_ours)
            .map(|range| range.trunc());
        Ok(Routes::Split(IpNet::aggregate(&all.collect())))
    }
}

/// The addresses of a family that the client has, too.
fn reachable(addresses: &[IpAddr], own: &[IpAddr]) -> Vec<IpAddr> {
    let has = |address: &&IpAddr| own.iter().any(|own| own.is_ipv4() == address.is_ipv4());
    addresses.iter().filter(has).copied().collect()
}

/// The file of a gateway's configuration in a folder. wg-quick names the interface after it, so it has at most 15 letters.
pub fn file_in(folder: &Path, gateway: &Serving) -> PathBuf {
    folder.join(format!("{}.conf", interface_name(&gateway.node, &gateway.name)))
}

/// A name for an interface: the node's where that will do, else its beginning and a digest of the whole.
fn interface_name(node: &str, whole: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_=+.-".contains(c);
    if node.len() <= 15 && node.chars().all(fits) {
        return node.to_owned();
    }
    let digest = Sha256::digest(whole.as_bytes());
    let head: String = node.chars().filter(|c| fits(*c)).take(10).collect();
    format!("{head}-{:02x}{:02x}", digest[0], digest[1])
}

#[cfg(test)]
mod tests;
