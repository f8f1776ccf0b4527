//! Logs: what is written, how, and by whom never.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// Whose messages and spans are written: our crates'. Libraries' carry whole objects, URLs or packets, and in them addresses
/// and keys; so of them, those of today and those to come, none is. No flag changes that.
const OURS: &str = "culvert_";

/// Flags of every program.
#[derive(Clone, Debug, Args)]
pub struct LogArgs {
    /// How logs are written.
    #[arg(long, env = "CULVERT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What is logged, as in `info` or `debug`. Keys, addresses and endpoints appear at no level.
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    pub log: String,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One readable line an event.
    Text,
    /// One JSON object an event.
    Json,
}

/// The filter in `--log` or `RUST_LOG` cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to read --log (RUST_LOG); try `info` or `debug`")]
pub struct BadFilter(#[source] ParseError);

/// Begins to log to standard error, in colour on a terminal. A panic tells its thread and its place there and nothing else:
/// what it says may name an address.
pub fn start(args: &LogArgs) -> Result<(), BadFilter> {
    let asked = asked(&args.log)?;
    let ansi = std::io::stderr().is_terminal();
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(ansi);
    let logs = tracing_subscriber::registry().with(ours());
    match args.log_format {
        LogFormat::Text => logs.with(lines.with_filter(asked)).init(),
        LogFormat::Json => logs.with(lines.json().with_filter(asked)).init(),
    }
    std::panic::set_hook(Box::new(tell_place));
    Ok(())
}

fn tell_place(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(thread = thread.name(), place, "panicked");
}

fn asked(filter: &str) -> Result<EnvFilter, BadFilter> {
    EnvFilter::try_new(filter).map_err(BadFilter)
}

/// Stands before what was asked for, and knows targets by how they begin: no directive for a part of a library, or for
/// one of its spans, gets past it.
fn ours() -> Targets {
    Targets::new().with_target(OURS, LevelFilter::TRACE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_filter_makes_a_library_speak() {
        for filter in [
            "trace",
            "kube_client=trace,info",
            "kube_client::client=trace,info",
            "[HTTP]=trace,info",
            "netlink_proto=debug",
            "unheard_of=trace,info",
        ] {
            let sink = Sink::default();
            let writer = sink.clone();
            let lines = fmt::layer().with_writer(move || writer.clone());
            let logs = tracing_subscriber::registry()
                .with(ours())
                .with(lines.with_filter(asked(filter).unwrap()));
            tracing::subscriber::with_default(logs, || {
                let span = tracing::info_span!(target: "kube_client::client", "HTTP", url = "10.64.0.9");
                let _entered = span.enter();
                tracing::error!(target: "kube_client::client", "10.64.0.9");
                tracing::error!(target: "netlink_proto", "10.64.0.9");
                tracing::error!(target: "unheard_of", "10.64.0.9");
                tracing::error!("ours");
            });
            let written = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
            assert!(!written.contains("10.64.0.9"), "{filter}: {written}");
            assert_eq!(
                written.contains("ours"),
                filter != "netlink_proto=debug",
                "{filter}: {written}"
            );
        }
    }

    #[test]
    fn a_panic_tells_its_place_and_nothing_else() {
        let sink = Sink::default();
        let writer = sink.clone();
        let logs = tracing_subscriber::registry().with(fmt::layer().with_writer(move || writer.clone()));
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(tell_place));
        let client = "192.0.2.77:4500";
        let task = move || tracing::subscriber::with_default(logs, || panic!("the client is at {client}"));
        let ended = std::thread::spawn(task).join();
        std::panic::set_hook(before);
        assert!(ended.is_err());
        let written = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert!(
            written.contains("panicked") && written.contains("logs.rs:"),
            "{written}"
        );
        assert!(
            !written.contains("192.0.2.77") && !written.contains("client"),
            "{written}"
        );
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_an_error() {
        assert!(asked("info,culvert=loudly").is_err());
    }
}
