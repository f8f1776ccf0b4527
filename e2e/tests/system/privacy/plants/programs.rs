//! Plants in the programs themselves: in what they are started with, in what a crash leaves, in what they answer.

use std::{
    ffi::OsString,
    io::{Read, Write},
    net::{IpAddr, TcpListener},
    os::unix::{ffi::OsStringExt, process::ExitStatusExt},
    process::Command,
    thread,
};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{Sink, client::PORT, process::Signal, sinks};

use super::{Story, decoy, hexadecimal, octets};

/// What a program answers, and somebody else in its place once it has gone.
pub const ANSWERS: [Sink; 3] = [Sink::AgentMetrics, Sink::AgentProbes, Sink::OperatorMetrics];

/// Starts both programs anew, with a client in their environment: that is a part of their memory.
pub async fn restart_with_plants(story: &mut Story) -> Result<()> {
    let bed = &mut story.bed;
    let [(_, agent), _] = sinks::PROBES;
    let elsewhere = format!("--wireguard-go=/{}/wireguard-go", decoy(Sink::AgentCommandLine));
    bed.agent_flags(&[&format!("--listen={agent}"), "--metrics-plain", &elsewhere]);
    let place = decoy(Sink::AgentEnvironment).to_string();
    bed.agent_variable("PLANTED_TEXT", place);
    bed.agent_variable("PLANTED_BYTES", raw(decoy(Sink::AgentMemory)));
    let (session, _) = bed.session().await?;
    bed.terminate_agent().await?;
    bed.start_agent()?;
    bed.caught_up_after(&session).await?;

    bed.operator_variable("PLANTED_BYTES", raw(decoy(Sink::OperatorMemory)));
    bed.terminate_operator().await?;
    bed.start_operator()
}

/// As memory holds it.
fn raw(address: IpAddr) -> OsString {
    let port = PORT.to_be_bytes();
    match address {
        IpAddr::V4(_) => OsString::from_vec([&port[..], &octets(address)].concat()),
        // A variable can hold no zero.
        IpAddr::V6(_) => hexadecimal(address, "").into(),
    }
}

/// A program that knows a client crashes where the agent would, and may leave a core.
pub fn leave_a_core(story: &Story, place: &str) -> Result<()> {
    let status = Command::new("sh")
        .args(["-c", "kill -ABRT $$"])
        .current_dir(story.bed.agent_home())
        .env("PLANTED", place)
        .status()?;
    ensure!(
        status.signal() == Some(Signal::ABORT.as_raw()) && status.core_dumped(),
        "no program leaves a core here: nothing is proved"
    );
    Ok(())
}

/// Ends both programs and answers in their place.
pub async fn stand_in(story: &mut Story) -> Result<()> {
    story.bed.terminate_agent().await?;
    story.bed.terminate_operator().await?;
    let [(_, agent), (_, operator)] = sinks::PROBES;
    let listener = story.bed.gateway.within(|| Ok(TcpListener::bind(agent)?));
    answer(
        listener.context("failed to answer in the agent's place")?,
        decoy(Sink::AgentMetrics),
        decoy(Sink::AgentProbes),
    );
    let listener = TcpListener::bind(operator).context("failed to answer in the operator's place")?;
    let both = decoy(Sink::OperatorMetrics);
    answer(listener, both, both);
    Ok(())
}

/// Answers for as long as the test runs.
fn answer(listener: TcpListener, metrics: IpAddr, others: IpAddr) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 512];
            let read = stream.read(&mut request).unwrap_or(0);
            let body = if request[..read].starts_with(b"GET /metrics ") {
                format!("culvert_agent_peers{{endpoint=\"{metrics}\"}} 1\n")
            } else {
                format!("not ready: waiting for {others}\n")
            };
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}");
        }
    });
}
