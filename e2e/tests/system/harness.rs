//! The harness itself: the machine that it runs in.

use std::{env, fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    ControlPlane, Namespace,
    control_plane::Options,
    netns,
    programs::Tool,
    wait::{self, Stopwatch},
};

#[tokio::test]
async fn harness_machine_has_kernel_wireguard() -> Result<()> {
    let node = Namespace::new("harness")?;
    node.ip(&["link", "add", "wg0", "type", "wireguard"])?;
    ensure!(
        node.ip(&["-details", "link", "show", "wg0"])?
            .contains("wireguard")
    );
    ensure!(node.run(&["wg", "show", "wg0", "listen-port"])?.trim() == "0");
    if env::var("CULVERT_TIME_TRAVEL").as_deref() == Ok("1") {
        // The machine's clocks travel, so the host's is read off a file that the host writes.
        let out = PathBuf::from(env::var_os("CULVERT_OUT").context("no shared folder")?);
        let before = stamp(&out.join("before"))?;
        let watch = Stopwatch::start();
        wait::pass(Duration::from_hours(1)).await;
        node.run(&["sleep", "3600"])?;
        ensure!(
            watch.elapsed() >= Duration::from_hours(2),
            "only {:?} went by in the machine",
            watch.elapsed()
        );
        let real = stamp(&out.join("after"))?
            .duration_since(before)
            .unwrap_or_default();
        ensure!(
            real < Duration::from_mins(2),
            "two hours took {real:?} of real time"
        );
    }
    Ok(())
}

fn stamp(file: &std::path::Path) -> Result<std::time::SystemTime> {
    fs::write(file, "")?;
    Ok(fs::metadata(file)?.modified()?)
}

#[test]
fn harness_namespaces_reach_each_other() -> Result<()> {
    let (left, right) = (Namespace::new("left")?, Namespace::new("right")?);
    netns::wire((&left, "eth0"), (&right, "eth0"))?;
    left.address("eth0", "192.0.2.1/24")?;
    left.address("eth0", "2001:db8::1/64")?;
    right.address("eth0", "192.0.2.2/24")?;
    right.address("eth0", "2001:db8::2/64")?;
    left.run(&["ping", "-c1", "-W5", "192.0.2.2"])?;
    left.run(&["ping", "-c1", "-W5", "2001:db8::2"])?;
    Ok(())
}

#[tokio::test]
async fn harness_machine_serves_an_apiserver() -> Result<()> {
    let node = Namespace::new("node")?;
    let here = "192.0.2.1".parse()?;
    node.ip(&[
        "link", "add", "eth0", "type", "veth", "peer", "name", "wire0", "netns", "1",
    ])?;
    netns::run(Command::new("ip").args(["addr", "add", "192.0.2.1/24", "dev", "wire0"]))?;
    netns::run(Command::new("ip").args(["link", "set", "wire0", "up"]))?;
    node.address("eth0", "192.0.2.2/24")?;
    let plane = ControlPlane::start_with(Options::in_machine(&[here])).await?;
    // The apiserver makes it a moment after it says that it is ready.
    wait::until("the API's own service", Duration::from_secs(30), || async {
        let arguments = ["get", "service", "kubernetes", "-o", "name"];
        plane.kubectl_text(&arguments, None).await.map(Some)
    })
    .await?;
    // A program on another node reaches it as well.
    let kubeconfig = plane.kubeconfig_via(&plane.kubeconfig(), here)?;
    let mut kubectl = Command::new(Tool::Kubectl.find()?);
    kubectl
        .args(["get", "--raw", "/readyz"])
        .env("KUBECONFIG", kubeconfig);
    ensure!(netns::run(&mut node.wrap(&kubectl))?.trim() == "ok");
    Ok(())
}
