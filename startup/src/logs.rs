//! Logs: what is written, how, and by whom never.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Libraries whose spans and messages carry whole objects, URLs or packets, and in them addresses and keys; and those
/// that only make noise. No flag switches them on.
const SILENCED: [&str; 9] = [
    "kube_client=off",
    "kube_runtime=off",
    "netlink_proto=off",
    "netlink_sys=off",
    "tower=warn",
    "hyper=warn",
    "hyper_util=warn",
    "h2=warn",
    "rustls=warn",
];

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

/// Begins to log to standard error, in colour on a terminal.
pub fn start(args: &LogArgs) -> Result<(), BadFilter> {
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter(&args.log)?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match args.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}

fn filter(asked: &str) -> Result<EnvFilter, BadFilter> {
    let filter = EnvFilter::try_new(asked).map_err(BadFilter)?;
    SILENCED.iter().try_fold(filter, |filter, directive| {
        Ok(filter.add_directive(directive.parse().map_err(BadFilter)?))
    })
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
    fn no_filter_makes_the_clients_speak() {
        for asked in ["trace", "kube_client=trace,info", "netlink_proto=debug"] {
            let sink = Sink::default();
            let writer = sink.clone();
            let logs = tracing_subscriber::fmt()
                .with_env_filter(filter(asked).unwrap())
                .with_writer(move || writer.clone())
                .finish();
            tracing::subscriber::with_default(logs, || {
                tracing::error!(target: "kube_client::client", "10.64.0.9");
                tracing::error!(target: "netlink_proto", "10.64.0.9");
                tracing::error!("ours");
            });
            let written = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
            assert!(!written.contains("10.64.0.9"), "{asked}: {written}");
            assert_eq!(
                written.contains("ours"),
                asked != "netlink_proto=debug",
                "{asked}: {written}"
            );
        }
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_an_error() {
        assert!(filter("info,culvert=loudly").is_err());
    }
}
