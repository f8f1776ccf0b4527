//! The control plane is away for an hour, and comes back.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Bed,
    bed::{AGENT_USER, SOON},
    wait,
};
use serde_json::Value;

use crate::fixture::{connected, forgotten_in_time};

/// Who reads what.
const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: Metadata
  users: [culvert-agent]
  verbs: [list]
- level: None
";

/// The kinds that an agent follows.
const KINDS: [&str; 4] = ["wireguardpeers", "gatewaynodes", "wireguardgateways", "ippools"];

/// How often the agent has listed each kind whole, from this byte of the audit log on. A list of one is no list but a
/// question for the version, and the second page of a list is no other list.
fn lists(bed: &Bed, from: usize) -> Result<BTreeMap<String, usize>> {
    let log = fs::read_to_string(bed.plane.audit_log()).context("failed to read the audit log")?;
    let mut lists = BTreeMap::new();
    for line in log[from..].lines() {
        let event: Value = serde_json::from_str(line).context("the audit log holds no JSON")?;
        let uri = event["requestURI"].as_str().context("a request without URI")?;
        ensure!(event["user"]["username"] == AGENT_USER, "somebody else is logged");
        let code = event["responseStatus"]["code"].as_u64();
        let parameters = uri.split_once('?').map_or("", |(_, query)| query);
        let is_part = parameters
            .split('&')
            .any(|parameter| parameter == "limit=1" || parameter.starts_with("continue="));
        if is_part || code != Some(200) {
            continue;
        }
        let kind = event["objectRef"]["resource"]
            .as_str()
            .context("a list of what?")?;
        *lists.entry(kind.to_owned()).or_default() += 1;
    }
    Ok(lists)
}

#[tokio::test]
async fn control_plane_away_for_an_hour_costs_nothing_and_one_list_each() -> Result<()> {
    let mut bed = Bed::audited(Some(POLICY)).await?;
    bed.serve_examples().await?;
    let busy = connected(&bed, "busy", 77).await?;
    let idle = connected(&bed, "idle", 78).await?;
    let begun = lists(&bed, 0)?;
    for kind in KINDS {
        ensure!(begun.contains_key(kind), "the log knows of no list of {kind}");
    }
    let (session, _) = bed.session().await?;
    let pinging = busy.start_pinging("1", 3_600 + 300)?;
    bed.plane.kill_apiserver()?;
    forgotten_in_time(&bed, &idle, Duration::ZERO).await?;
    wait::pass(Duration::from_hours(1)).await;
    ensure!(bed.peers()?.len() == 2, "a peer is gone");
    let from = fs::metadata(bed.plane.audit_log())?.len();
    bed.plane.start_apiserver().await?;

    // News arrives again, and is reported.
    let late = connected(&bed, "late", 79).await?;
    late.ping(5)?;
    wait::pass(Duration::from_mins(3)).await;
    let lists = lists(&bed, usize::try_from(from)?)?;
    println!("lists on return: {lists:?}");
    for kind in KINDS {
        let count = lists.get(kind).copied().unwrap_or(0);
        ensure!(count <= 1, "{kind} were listed {count} times");
    }
    // Nothing was made anew, and nobody has noticed.
    ensure!(bed.session().await?.0 == session, "the agent began a new session");
    pinging.lost_none().await?;
    ensure!(
        bed.peer(&busy.public_key)?.context("the peer")?.received > 3_900 * 100,
        "the peer was made anew"
    );
    idle.ping(1).context("a forgotten client could not come back")?;
    bed.kubectl(&["delete", "wireguardkey/idle"]).await?;
    wait::until("a deleted key's peer to go", SOON, || async {
        Ok(bed.peer(&idle.public_key)?.is_none().then_some(()))
    })
    .await?;
    bed.finish().await
}
