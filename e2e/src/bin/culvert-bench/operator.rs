//! The operator as a program: its start, its figures, its memory.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Program, process,
    wait::{self, Stopwatch},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::stage::Stage;

/// How many writes it has under way at the same time: its default, said aloud because the bare client has as many.
pub const CONCURRENCY: usize = 32;

/// Longer than a start takes.
const READY_WITHIN: Duration = Duration::from_mins(5);

/// The time between two looks at `/readyz`: small beside what is measured, and no load.
const LOOK: Duration = Duration::from_millis(5);

/// A running operator.
pub struct Operator {
    program: Program,
    address: SocketAddr,
    /// From the start of the process until it said that it is ready.
    pub start: Duration,
}

impl Operator {
    /// Starts one and waits until it is ready.
    pub async fn start(stage: &Stage, flags: &[&str]) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        drop(listener);
        let mut command = process::built("CULVERT_OPERATOR")?;
        command
            .args([
                &format!("--listen={address}"),
                "--metrics-plain",
                &format!("--concurrency={CONCURRENCY}"),
            ])
            .args(flags)
            .env("KUBECONFIG", stage.operator_kubeconfig());
        let watch = Stopwatch::start();
        let mut program = Program::start("operator", &command, stage.folder())?;
        loop {
            // Nobody listens yet, at first.
            if get(address, "/readyz")
                .await
                .is_ok_and(|reply| reply.starts_with("HTTP/1.1 200"))
            {
                break;
            }
            program.ensure_running()?;
            ensure!(
                watch.elapsed() < READY_WITHIN,
                "the operator is not ready:\n{}",
                program.tail(10)
            );
            wait::pass(LOOK).await;
        }
        let start = watch.elapsed();
        Ok(Self {
            program,
            address,
            start,
        })
    }

    /// One number of its metrics.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let text = get(self.address, "/metrics").await?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .and_then(|value| value.parse().ok())
            .with_context(|| format!("the operator has no metric {name}"))
    }

    /// Waits until nothing waits to be planned and nothing is being written.
    pub async fn idle(&self) -> Result<()> {
        wait::until("the operator to have nothing to do", READY_WITHIN, || async {
            let waiting = self.metric("culvert_operator_queue_depth").await?;
            let writing = self.metric("culvert_operator_steps_under_way").await?;
            Ok((waiting + writing < 1.0).then_some(()))
        })
        .await
    }

    /// Bytes of memory that it holds.
    pub fn resident(&self) -> Result<f64> {
        let path = format!("/proc/{}/status", self.program.pid());
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
        let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = kilobytes.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        Ok(kilobytes.context("the kernel does not say how much memory the operator holds")? * 1024.0)
    }

    /// Ends it.
    pub async fn stop(self) -> Result<()> {
        let status = self.program.terminate(Duration::from_secs(30)).await?;
        ensure!(status == 0, "the operator ended with status {status}");
        Ok(())
    }
}

async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: culvert\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    Ok(reply)
}
