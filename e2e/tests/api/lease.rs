//! Of several operators one allocates, and another goes on when it cannot.

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    FaultProxy, Program,
    process::Signal,
    wait::{self, Stopwatch},
};
use serde_json::{Value, json};
use std::time::Duration;

use crate::{
    fixture::{Api, SOON, key, public_key, quick_pool},
    probe,
};

/// What an operator logs of each write, at debug.
const WRITES: &str = "writing";

fn start(api: &Api, name: &str) -> Result<Program> {
    api.operator_with(name, &api.plane.kubeconfig(), &["--leader-elect"])
}

async fn field(api: &Api, field: &str) -> Result<String> {
    let path = format!("-o=jsonpath={{.spec.{field}}}");
    api.kubectl(&["get", "lease/culvert-operator", "-n=default", &path], None)
        .await
}

/// Waits until the lease has a holder other than `not`, and gives the holder's name without what is random in it.
async fn holder(api: &Api, not: &str) -> Result<String> {
    wait::until(&format!("a holder other than {not:?}"), SOON, || async {
        let holder = field(api, "holderIdentity").await?;
        let name = holder.split('_').next().unwrap_or_default().to_owned();
        Ok((!name.is_empty() && name != not).then_some(name))
    })
    .await
}

/// A new key gets its addresses.
async fn serves(api: &Api, name: &str, n: u8) -> Result<()> {
    api.apply(&key(name, &public_key(n))).await?;
    api.addressed(name).await.map(drop)
}

#[tokio::test]
async fn lease_moves_when_its_holder_stops_or_dies() -> Result<()> {
    let api = Api::start().await?;
    api.apply(&quick_pool()).await?;
    // Both at once, so that both want to create it.
    let (one, two) = (start(&api, "one")?, start(&api, "two")?);
    let first = holder(&api, "").await?;
    serves(&api, "before", 1).await?;
    let (leader, standby) = if first == "one" { (one, two) } else { (two, one) };
    ensure!(holder(&api, "").await? == first);
    ensure!(field(&api, "leaseTransitions").await? == "0");
    ensure!(field(&api, "leaseDurationSeconds").await? == "10");
    ensure!(leader.output()?.contains(WRITES), "{}", leader.tail(20));
    ensure!(!standby.output()?.contains(WRITES), "{}", standby.tail(20));

    let watch = Stopwatch::start();
    leader.signal(Signal::TERM)?;
    let second = holder(&api, &first).await?;
    println!("takeover after SIGTERM: {:?}", watch.elapsed());
    serves(&api, "after-stop", 2).await?;
    println!("new key served after SIGTERM: {:?}", watch.elapsed());
    let mut leader = leader;
    ensure!(leader.wait(SOON).await? == 0, "{}", leader.tail(20));
    ensure!(standby.output()?.contains(WRITES), "{}", standby.tail(20));

    let third = start(&api, "three")?;
    wait::until("the newcomer to be ready", SOON, || {
        let ready = third
            .output()
            .map(|output| output.contains("every kind").then_some(()));
        async move { ready }
    })
    .await?;
    let watch = Stopwatch::start();
    standby.kill()?;
    ensure!(holder(&api, &second).await? == "three");
    println!("takeover after SIGKILL: {:?}", watch.elapsed());
    serves(&api, "after-kill", 3).await?;
    println!("new key served after SIGKILL: {:?}", watch.elapsed());
    ensure!(field(&api, "leaseTransitions").await? == "2");
    third.terminate(SOON).await?;
    ensure!(
        field(&api, "holderIdentity").await?.is_empty(),
        "it was not released"
    );
    Ok(())
}

#[tokio::test]
async fn lease_is_lost_by_a_holder_that_was_frozen() -> Result<()> {
    let api = Api::start().await?;
    api.apply(&quick_pool()).await?;
    let frozen = start(&api, "frozen")?;
    ensure!(holder(&api, "").await? == "frozen");
    serves(&api, "before", 1).await?;
    let _other = start(&api, "other")?;
    let watch = Stopwatch::start();
    frozen.signal(Signal::STOP)?;
    ensure!(holder(&api, "frozen").await? == "other");
    println!("takeover after SIGSTOP: {:?}", watch.elapsed());
    let writes = frozen.output()?.matches(WRITES).count();
    // There is work when it wakes.
    api.apply(&key("meanwhile", &public_key(2))).await?;
    frozen.signal(Signal::CONT)?;
    wait::until("it to notice", SOON, || {
        let noticed = frozen
            .output()
            .map(|output| output.contains("it has lost the lease").then_some(()));
        async move { noticed }
    })
    .await?;
    api.addressed("meanwhile").await?;
    serves(&api, "after", 3).await?;
    ensure!(holder(&api, "").await? == "other");
    ensure!(
        frozen.output()?.matches(WRITES).count() == writes,
        "{}",
        frozen.tail(20)
    );
    Ok(())
}

#[tokio::test]
async fn lease_is_given_up_by_a_holder_that_is_cut_off_before_another_has_it() -> Result<()> {
    let api = Api::start().await?;
    let proxy = FaultProxy::start(api.plane.client().await?, &[]).await?;
    let cut = api.operator_with("cut", &proxy.kubeconfig(), &["--leader-elect"])?;
    ensure!(holder(&api, "").await? == "cut");
    let _other = start(&api, "other")?;
    let watch = Stopwatch::start();
    drop(proxy);
    ensure!(holder(&api, "cut").await? == "other");
    println!("takeover after the holder was cut off: {:?}", watch.elapsed());
    ensure!(
        cut.output()?.contains("it has lost the lease"),
        "two lead: {}",
        cut.tail(20)
    );
    Ok(())
}

#[tokio::test]
async fn lease_that_is_deleted_is_made_again() -> Result<()> {
    let api = Api::start().await?;
    api.apply(&quick_pool()).await?;
    let _operator = start(&api, "only")?;
    ensure!(holder(&api, "").await? == "only");
    api.kubectl(&["delete", "lease/culvert-operator", "-n=default"], None)
        .await?;
    ensure!(holder(&api, "").await? == "only");
    serves(&api, "laptop", 1).await
}

#[tokio::test]
async fn lease_in_a_namespace_that_does_not_exist_is_said_once_and_waited_for() -> Result<()> {
    let api = Api::start().await?;
    api.apply(&quick_pool()).await?;
    let arguments = ["--leader-elect", "--lease-namespace=vpn"];
    let operator = api.operator_with("operator", &api.plane.kubeconfig(), &arguments)?;
    let said = || Ok::<_, anyhow::Error>(operator.output()?.matches("create the namespace").count());
    wait::until("the advice", SOON, || {
        let said = said().map(|times| (times > 0).then_some(()));
        async move { said }
    })
    .await?;
    // Several tries.
    wait::pass(Duration::from_secs(4)).await;
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "vpn" } });
    api.apply(&namespace).await?;
    serves(&api, "laptop", 1)
        .await
        .with_context(|| operator.tail(20))?;
    ensure!(said()? == 1, "{}", operator.tail(20));
    Ok(())
}

/// Gives the user `elected` rights in the whole cluster, instead of those that it had by the same name.
async fn grant(api: &Api, name: &str, rules: &[Value]) -> Result<()> {
    let group = "rbac.authorization.k8s.io";
    let api_version = format!("{group}/v1");
    for object in [
        json!({
            "apiVersion": api_version,
            "kind": "ClusterRole",
            "metadata": { "name": name },
            "rules": rules,
        }),
        json!({
            "apiVersion": api_version,
            "kind": "ClusterRoleBinding",
            "metadata": { "name": name },
            "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": name },
            "subjects": [{ "kind": "User", "name": "elected" }],
        }),
    ] {
        api.apply(&object).await?;
    }
    Ok(())
}

/// These verbs on leases, if any.
fn leases(verbs: &[&str]) -> Vec<Value> {
    let rule = json!({ "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs });
    if verbs.is_empty() { Vec::new() } else { vec![rule] }
}

/// What an operator logs when it may not take part, its error included.
const DENIED: &str = "unable to take part in the election of a leader";

#[tokio::test]
async fn lease_that_may_not_be_touched_is_said_and_taken_once_it_may() -> Result<()> {
    let api = Api::start().await?;
    api.apply(&quick_pool()).await?;
    let rest = [
        json!({ "apiGroups": ["culvert.dev"], "resources": ["*"], "verbs": ["*"] }),
        json!({ "apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"] }),
        json!({ "apiGroups": ["networking.k8s.io"], "resources": ["servicecidrs"], "verbs": ["get", "list", "watch"] }),
        json!({ "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"] }),
        json!({ "apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] }),
    ];
    grant(&api, "all-but-leases", &rest).await?;
    let address = probe::free_address().await?;
    let arguments = [
        "--leader-elect",
        &format!("--listen={address}"),
        "--metrics-plain",
    ];
    let mut operator =
        api.operator_with("elected", &api.plane.kubeconfig_for("elected", None)?, &arguments)?;
    let said = |what: &str| Ok::<_, anyhow::Error>(operator.output()?.matches(what).count());
    let told = |what: &'static str, times: usize| {
        let said = &said;
        wait::until(what, SOON, move || async move {
            Ok((said(what)? >= times).then_some(()))
        })
    };
    api.apply(&key("laptop", &public_key(1))).await?;
    // Whatever it lacks, it is up, watches along, and says what to grant; to read alone is no help.
    for verbs in [&[][..], &["get"]] {
        grant(&api, "leases", &leases(verbs)).await?;
        told(DENIED, 1).await?;
        probe::says(address, "/readyz", "200 OK").await?;
        probe::says(address, "/metrics", "\nculvert_operator_leading 0\n").await?;
        // Several tries.
        wait::pass(Duration::from_secs(5)).await;
    }
    let line = operator.output()?;
    let line = line
        .lines()
        .find(|line| line.contains(DENIED))
        .context("no line")?;
    println!("{line}");
    for text in ["403", "get, create and update on leases.coordination.k8s.io"] {
        ensure!(line.contains(text), "{text:?} is not in {line}");
    }
    ensure!(said(DENIED)? == 1, "{}", operator.tail(20));
    ensure!(
        said(WRITES)? == 0,
        "it wrote without leading: {}",
        operator.tail(20)
    );

    grant(&api, "leases", &leases(&["get", "create", "update"])).await?;
    api.addressed("laptop").await.with_context(|| operator.tail(20))?;
    told("taking part in the election of a leader again", 1).await?;
    probe::says(address, "/metrics", "\nculvert_operator_leading 1\n").await?;

    // Taken away from a leader: it stops before another could lead.
    grant(&api, "leases", &leases(&["get"])).await?;
    told("it has lost the lease", 1).await?;
    probe::says(address, "/metrics", "\nculvert_operator_leading 0\n").await?;
    ensure!(said(DENIED)? == 2, "{}", operator.tail(20));
    grant(&api, "leases", &leases(&["get", "create", "update"])).await?;
    serves(&api, "phone", 2).await?;
    operator.ensure_running()
}
