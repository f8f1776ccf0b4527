//! How long nobody else can change a link while peers are purged.
//!
//! A second process adds an address to a link of its own, and takes it away again, every millisecond, and says how long
//! that took. What counts are the times that lie within the purge.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    figure::{Figures, milliseconds, quantile},
    netns,
    wait::{self, Stopwatch},
};
use culvert_wireguard::{
    PeerChange,
    netlink::{Limits, Rtnl},
};

use crate::{
    LOCK,
    forget::{forgotten, made, plant, reinstated},
    objects::desired,
    probe::Probe,
    stage::Stage,
};

/// How many are purged.
const PURGED: u32 = 10_000;

/// The second process's link and address.
const LINK: &str = "lock0";
const ADDRESS: &str = "192.0.2.99/32";

/// When the window is nearly over: from here on it is measured.
const NEARLY: Duration = Duration::from_secs(170);

/// The window, and more than the rest takes.
const ALL_OVER: Duration = Duration::from_mins(8);

/// What the second process does until its input ends: prints when it began each change, and how long that took, in
/// microseconds.
pub async fn second_process() -> Result<()> {
    let rtnl = Rtnl::open().context("failed to open a socket")?;
    let link = rtnl.link(LINK).await.context("failed to look for a link")?;
    let ifindex = link.with_context(|| format!("there is no {LINK}"))?.ifindex;
    let address = ADDRESS.parse()?;
    let (asked, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = asked.send(());
    });
    let mut out = std::io::stdout().lock();
    let clock = Stopwatch::start();
    writeln!(out, "begun")?;
    out.flush()?;
    let mut lines = Vec::new();
    while ended.try_recv().is_err() {
        for add in [true, false] {
            let begun = clock.elapsed();
            if add {
                rtnl.add_address(ifindex, address).await
            } else {
                rtnl.remove_address(ifindex, address).await
            }
            .context("failed to change an address")?;
            let took = clock.elapsed().saturating_sub(begun);
            writeln!(lines, "{} {}", begun.as_micros(), took.as_micros())?;
        }
        wait::pass(Duration::from_millis(1)).await;
    }
    out.write_all(&lines)?;
    Ok(())
}

/// The second process, as the first sees it.
struct Other {
    child: std::process::Child,
    output: BufReader<std::process::ChildStdout>,
    /// When it began, by the probe's clock.
    begun: Duration,
}

impl Other {
    fn start(probe: &Probe) -> Result<Self> {
        // Whoever waits for the processor says nothing of the lock, and the machine has one that others want as well.
        let mut child = Command::new("chrt")
            .args(["--fifo", "1"])
            .arg(std::env::current_exe()?)
            .arg(LOCK)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start the second process")?;
        let output = child.stdout.take().context("the second process has no output")?;
        let mut output = BufReader::new(output);
        output.read_line(&mut String::new())?;
        Ok(Self {
            child,
            output,
            begun: probe.now(),
        })
    }

    /// Ends it, and gives the times of changes that overlap one of these intervals, in milliseconds.
    fn end(mut self, within: &[(Duration, Duration)]) -> Result<Vec<f64>> {
        drop(self.child.stdin.take());
        let mut times = Vec::new();
        for line in self.output.lines() {
            let line = line?;
            let (begun, took) = line
                .split_once(' ')
                .context("the second process prints nonsense")?;
            let begun = self.begun + Duration::from_micros(begun.parse()?);
            let took = Duration::from_micros(took.parse()?);
            if within
                .iter()
                .any(|(from, to)| begun + took >= *from && begun <= *to)
            {
                times.push(milliseconds(took));
            }
        }
        ensure!(self.child.wait()?.success(), "the second process failed");
        ensure!(!times.is_empty(), "the second process saw nothing of the purge");
        Ok(times)
    }
}

/// Measures it during a purge of the agent's, and during one that sends as much at a time as the kernel takes.
pub async fn measure(stage: &mut Stage, peers: u32, figures: &mut Figures) -> Result<()> {
    let purged = PURGED.min(peers);
    let probe = stage.have(peers).await?;
    netns::run(Command::new("ip").args(["link", "add", LINK, "type", "dummy"]))?;
    netns::run(Command::new("ip").args(["link", "set", LINK, "up"]))?;
    probe.reset();
    plant(stage, 0..purged)?;
    eprintln!("{purged} peers go stale; this takes four minutes …");
    wait::pass(NEARLY).await;
    let other = Other::start(&probe)?;
    let forgets = made(&probe, "all to be forgotten", purged, ALL_OVER, forgotten).await?;
    let reinstates = made(&probe, "all to be made anew", purged, ALL_OVER, reinstated).await?;
    let spans = [forgets, reinstates].map(|sum| (sum.first.unwrap_or_default(), sum.last));
    let paced = other.end(&spans)?;

    probe.close(true);
    let changes: Vec<PeerChange> = (0..purged)
        .map(|number| PeerChange::Reinstate(desired(number)))
        .collect();
    let other = Other::start(&probe)?;
    wait::pass(Duration::from_millis(100)).await;
    let from = probe.now();
    let (socket, ifindex) = stage.socket().await?;
    socket
        .set_peers(ifindex, &changes, Limits::default())
        .context("failed to make peers anew")?;
    let unbatched = other.end(&[(from, probe.now())])?;
    probe.open();

    let longest = quantile(paced.clone(), 1.0);
    // Few changes meet a message as large as can be: of those the longest is what it costs.
    let longest_unbatched = quantile(unbatched, 1.0);
    figures.add(
        &format!("another's change of a link during a purge of {purged}, p99"),
        quantile(paced, 0.99),
        "ms",
        "<= 5",
    );
    figures.add(
        &format!("another's change of a link during a purge of {purged}, longest"),
        longest,
        "ms",
        "",
    );
    figures.add(
        &format!("the same, {purged} peers made anew in messages as large as can be, longest"),
        longest_unbatched,
        "ms",
        "",
    );
    figures.add(
        "longest of the purge / of those large messages",
        longest / longest_unbatched,
        "ratio",
        "",
    );
    netns::run(Command::new("ip").args(["link", "del", LINK]))?;
    Ok(())
}
