//! The real one: nftables' own program, a process a script.

use std::ffi::OsString;
use std::io;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use culvert_crds::Reason;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::events::Events;
use super::node::Node;
use super::rules::{PREFIX, is_nameable, name};
use super::{Firewall, FirewallError};

/// The program, as it is looked for in `PATH`.
pub const NFT: &str = "nft";

/// How long a script may take; the largest takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the program says where a table is not there.
const NOT_THERE: &str = "No such file or directory";

/// nftables, in the network namespace of this process.
pub struct Nft {
    program: OsString,
    /// Opened when it is first needed.
    events: Option<Events>,
    /// The ruleset's number after our own last change, whoever has made it; above all numbers, where there was none.
    own: Arc<AtomicU64>,
    node: Node,
}

impl Nft {
    /// `program` is nft; a bare name is looked for in `PATH`.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            events: None,
            own: Arc::new(AtomicU64::new(u64::MAX)),
            node: Node::default(),
        }
    }

    fn events(&mut self) -> Result<&mut Events, FirewallError> {
        let events = match self.events.take() {
            Some(events) => events,
            None => Events::open().map_err(FirewallError::Kernel)?,
        };
        Ok(self.events.insert(events))
    }

    async fn run(&self, arguments: &[&str], input: &str) -> Result<Output, FirewallError> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => FirewallError::Missing(self.program.to_string_lossy().into_owned()),
            _ => FirewallError::Run(error),
        })?;
        let mut stdin = child.stdin.take();
        let running = async {
            if let Some(stdin) = &mut stdin {
                // A program that ends before it has read everything says why.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            drop(stdin);
            child.wait_with_output().await
        };
        match tokio::time::timeout(PATIENCE, running).await {
            Ok(output) => output.map_err(FirewallError::Run),
            Err(_) => Err(FirewallError::Late),
        }
    }

    /// Runs it and gives what it prints; nothing where it says that what is asked for is not there.
    async fn ask(&self, arguments: &[&str], input: &str) -> Result<Option<String>, FirewallError> {
        let output = self.run(arguments, input).await?;
        let text = |bytes| String::from_utf8(bytes).map_err(|_| FirewallError::Malformed);
        if output.status.success() {
            return text(output.stdout).map(Some);
        }
        let said = text(output.stderr)?;
        if said.contains(NOT_THERE) {
            return Ok(None);
        }
        let first = said.lines().next().unwrap_or_default();
        Err(FirewallError::Refused(first.to_owned()))
    }
}

impl Firewall for Nft {
    fn apart(&self) -> Self {
        Self {
            own: Arc::clone(&self.own),
            node: self.node.clone(),
            ..Self::new(self.program.clone())
        }
    }

    fn generation(&mut self) -> Result<u32, FirewallError> {
        let generation = self.events()?.generation();
        generation.map_err(|error| {
            // The next one finds a socket that owes nobody an answer.
            self.events = None;
            FirewallError::Kernel(error)
        })
    }

    fn stands(&mut self, gateway: &str) -> Result<bool, FirewallError> {
        let stands = self.events()?.has_rules(&name(gateway));
        stands.map_err(|error| {
            self.events = None;
            FirewallError::Kernel(error)
        })
    }

    async fn apply(&mut self, script: &str) -> Result<(), FirewallError> {
        match self.ask(&["-f", "-"], script).await? {
            Some(_) => {}
            // Something that the script needs is not in the kernel.
            None => return Err(FirewallError::Refused(NOT_THERE.to_owned())),
        }
        let own = self.generation().map_or(u64::MAX, u64::from);
        self.own.store(own, Ordering::Relaxed);
        Ok(())
    }

    async fn read(&mut self, gateway: &str) -> Result<Option<String>, FirewallError> {
        let name = name(gateway);
        // Without the connections that are counted.
        let inet = self.ask(&["-t", "list", "table", "inet", &name], "").await?;
        let arp = self.ask(&["-t", "list", "table", "arp", &name], "").await?;
        Ok(inet.zip(arp).map(|(inet, arp)| inet + &arp))
    }

    async fn gateways(&mut self) -> Result<Vec<String>, FirewallError> {
        let listed = self.ask(&["-j", "list", "tables"], "").await?;
        let mut gateways = names(&listed.ok_or(FirewallError::Malformed)?)?;
        gateways.sort_unstable();
        gateways.dedup();
        Ok(gateways)
    }

    async fn is_overruled(&mut self) -> Result<bool, FirewallError> {
        let listed = self.ask(&["-j", "list", "chains"], "").await?;
        drops_forwarded(&listed.ok_or(FirewallError::Malformed)?)
    }

    fn lacks(&mut self, has_ipv4: bool, has_ipv6: bool) -> Option<Reason> {
        self.node.lacks(has_ipv4, has_ipv6)
    }

    fn uplink_mtu(&mut self) -> Option<u32> {
        self.node.uplink_mtu()
    }

    async fn changed(&mut self) {
        loop {
            let Ok(events) = self.events() else {
                return std::future::pending().await;
            };
            events.ours().await;
            // What the agent itself does is told to it as well.
            let own = self.own.load(Ordering::Relaxed);
            if self.generation().map(u64::from).ok() != Some(own) {
                return;
            }
        }
    }
}

/// The entries of a list that the program gives as JSON, each an object of one kind.
fn entries(json: &str) -> Result<Vec<Value>, FirewallError> {
    let all: Value = serde_json::from_str(json).map_err(|_| FirewallError::Malformed)?;
    let list = all.get("nftables").and_then(Value::as_array);
    list.cloned().ok_or(FirewallError::Malformed)
}

fn names(json: &str) -> Result<Vec<String>, FirewallError> {
    let entries = entries(json)?;
    let tables = entries
        .iter()
        .filter_map(|entry| entry.get("table")?.get("name")?.as_str());
    let gateways = tables.filter_map(|name| name.strip_prefix(PREFIX));
    Ok(gateways
        .filter(|gateway| is_nameable(gateway))
        .map(str::to_owned)
        .collect())
}

fn drops_forwarded(json: &str) -> Result<bool, FirewallError> {
    let is = |chain: &Value, key: &str, wanted: &str| chain.get(key).and_then(Value::as_str) == Some(wanted);
    let entries = entries(json)?;
    let mut chains = entries.iter().filter_map(|entry| entry.get("chain"));
    Ok(chains.any(|chain| is(chain, "hook", "forward") && is(chain, "policy", "drop")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_tables_are_known_by_name() {
        let json = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "inet", "name": "culvert-0a-1", "handle": 1}},
            {"table": {"family": "arp", "name": "culvert-0a-1", "handle": 2}},
            {"table": {"family": "ip", "name": "kube-proxy", "handle": 3}},
            {"table": {"family": "ip", "name": "culvert-", "handle": 4}}]}"#;
        assert_eq!(names(json).unwrap(), ["0a-1", "0a-1"]);
        assert!(matches!(names("{}"), Err(FirewallError::Malformed)));
    }

    #[test]
    fn a_policy_counts_at_the_forward_hook() {
        let chains = |hook: &str, policy: &str| {
            format!(
                r#"{{"nftables": [{{"chain": {{"family": "ip", "table": "filter", "name": "x", "hook": "{hook}", "policy": "{policy}"}}}}, {{"chain": {{"name": "regular"}}}}]}}"#
            )
        };
        assert!(drops_forwarded(&chains("forward", "drop")).unwrap());
        assert!(!drops_forwarded(&chains("forward", "accept")).unwrap());
        assert!(!drops_forwarded(&chains("input", "drop")).unwrap());
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_said_so() {
        let mut nft = Nft::new("/nowhere/nft");
        let error = nft.apply("").await.unwrap_err();
        assert!(error.to_string().contains("/nowhere/nft"), "{error}");
        assert!(matches!(error, FirewallError::Missing(_)));
    }
}
