//! `logs`: the effects of [`crate::logs`]. What is there is printed in the order in which it was written; with `--follow`
//! ([`follow`]), lines are printed as they come.

mod follow;

use std::io;
use std::time::Duration;

use clap::value_parser;
use futures::stream::BoxStream;
use futures::{AsyncBufRead, AsyncBufReadExt as _, Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, LogParams};

use crate::Error;
use crate::cluster::Cluster;
use crate::commands::{Context, unread};
use crate::duration;
use crate::exit::{self, Exit};
use crate::logs::{self, Component, Line, LogsError, Silent, Source};
use crate::output::{self, OutputError};
use crate::request::{Ask, Failure};

const EXAMPLES: &str = "\
Examples:
  # The last hour of the operator and of every agent, in the order in which it was written
  kubectl culvert logs --since 1h

  # One node's agent, and what it writes from now on
  kubectl culvert logs gateway-1 --follow --tail 20

  # What an agent wrote before it ended
  kubectl culvert logs gateway-1 --previous";

/// How many logs are opened side by side: a node that does not answer takes its time.
const AT_ONCE: usize = 16;

/// How long a log may say nothing: the connection may be dead.
const QUIET: Duration = Duration::from_mins(5);

/// Flags of `logs`.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::after(EXAMPLES, exit::Does::Reads))]
pub struct Args {
    /// The agents of these nodes alone [default: the operator and every agent].
    pub nodes: Vec<String>,

    /// The operator alone.
    #[arg(long, conflicts_with = "nodes")]
    pub operator: bool,

    /// Go on with what is written from now on.
    #[arg(long, short, conflicts_with = "previous")]
    pub follow: bool,

    /// Only what is not older than this, as in 10m.
    #[arg(long, value_name = "DURATION", value_parser = since)]
    pub since: Option<Duration>,

    /// Only so many lines of each log, the last ones [default: all].
    #[arg(long, value_name = "LINES", value_parser = value_parser!(i64).range(0..))]
    pub tail: Option<i64>,

    /// Put before each line when it was written, as its node has noted it.
    #[arg(long)]
    pub timestamps: bool,

    /// What was written before the last restart.
    #[arg(long, short)]
    pub previous: bool,

    /// The namespace that Culvert runs in [default: that of -n, else culvert-system].
    #[arg(long, value_name = "NAME")]
    pub system_namespace: Option<String>,

    /// The namespace that agents run in [default: the same].
    #[arg(long, value_name = "NAME")]
    pub agent_namespace: Option<String>,
}

/// A time that something may be younger than.
fn since(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text).map_err(|error| error.to_string())?;
    if time.is_zero() {
        return Err("nothing is younger than that; write 1s or more".to_owned());
    }
    Ok(time)
}

/// A log that is being read.
type Lines = BoxStream<'static, io::Result<Line>>;

/// Where the programs are, and what is asked of their logs.
struct Reader<'a> {
    cluster: Cluster,
    args: &'a Args,
    /// Of the operator, and of the agents.
    namespaces: [String; 2],
}

/// Does what was asked.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Error> {
    let own = args.system_namespace.clone().or(context.args.namespace.clone());
    let own = own.unwrap_or_else(|| "culvert-system".to_owned());
    let of_agents = args.agent_namespace.clone().unwrap_or_else(|| own.clone());
    let reader = Reader {
        cluster: context.cluster().await?,
        args: &args,
        namespaces: [own, of_agents],
    };
    let done = if args.follow {
        reader.follow().await
    } else {
        reader.all(context).await
    };
    match done {
        // Whoever reads them has read enough.
        Err(Error::Output(OutputError::Write(error))) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(Exit::Done)
        }
        done => done,
    }
}

/// Whose logs there are.
#[derive(Default)]
struct Found {
    sources: Vec<Source>,
    silent: Vec<Silent>,
    missing: Vec<LogsError>,
}

impl Found {
    /// Says who has none. Somebody has to be there. A node that was named and has no agent is given back: the others' logs
    /// are no less wanted.
    fn tell(self) -> Result<(Vec<Source>, Option<LogsError>), Error> {
        let is_nobody = self.sources.is_empty() && self.silent.is_empty();
        for Silent { label, why } in self.silent {
            output::note(&format!("{label}: {why}"));
        }
        let mut unknown = None;
        for error in self.missing {
            let is_unknown = matches!(error, LogsError::NoNode { .. });
            if unknown.is_none() && (is_nobody || is_unknown) {
                unknown = Some(error);
            } else {
                output::note(&error.to_string());
            }
        }
        match unknown {
            Some(error) if is_nobody => Err(error.into()),
            unknown => Ok((self.sources, unknown)),
        }
    }
}

impl Reader<'_> {
    /// Looks for those whose logs were asked for.
    async fn find(&self) -> Result<Found, Failure> {
        let mut found = Found::default();
        for (component, namespace) in [Component::Operator, Component::Agent]
            .into_iter()
            .zip(&self.namespaces)
        {
            let is_wanted = match component {
                Component::Operator => self.args.nodes.is_empty(),
                Component::Agent => !self.args.operator,
            };
            if !is_wanted {
                continue;
            }
            let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), namespace);
            let params = ListParams::default().labels(&component.selector());
            let ask = Ask::within("list", "pods", namespace);
            let mut pods = self.cluster.ask(ask, api.list(&params)).await?.items;
            if pods.is_empty() {
                let namespace = namespace.clone();
                found.missing.push(LogsError::Nobody { component, namespace });
                continue;
            }
            let nodes = &self.args.nodes;
            found.missing.extend(logs::without_agent(&pods, nodes));
            pods.retain(|pod| nodes.is_empty() || nodes.iter().any(|name| logs::node(pod) == Some(name)));
            let (sources, silent) = logs::sources(component, &pods, self.args.previous);
            found.sources.extend(sources);
            found.silent.extend(silent);
        }
        Ok(found)
    }

    /// How logs are asked for, from the beginning of what is wanted on.
    fn params(&self) -> LogParams {
        let since = self.args.since.map(|since| since.as_secs());
        LogParams {
            follow: self.args.follow,
            previous: self.args.previous,
            since_seconds: since.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX)),
            tail_lines: self.args.tail,
            timestamps: true,
            ..LogParams::default()
        }
    }

    /// Prints what is there, the oldest first; no more than a line of each log is held.
    async fn all(&self, context: &Context) -> Result<Exit, Error> {
        let (sources, unknown) = self.find().await?.tell()?;
        let opened = futures::stream::iter(sources)
            .map(|source| async move {
                let ask = about(&source);
                let read = read(self.cluster.clone(), source.clone(), self.params());
                (source, self.cluster.ask(ask, read).await)
            })
            .buffered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        let (mut open, mut failures) = (Vec::new(), Vec::new());
        for (source, lines) in opened {
            match lines {
                Ok(lines) => open.push((source, lines)),
                Err(failure) => failures.push(failure),
            }
        }
        let mut heads = Vec::new();
        for (source, lines) in &mut open {
            heads.push(next(source, lines, &mut failures).await);
        }
        while let Some(number) = logs::oldest(heads.iter().map(Option::as_ref)) {
            let (source, lines) = &mut open[number];
            if let Some(line) = heads[number].take() {
                self.print(source, &line)?;
            }
            heads[number] = next(source, lines, &mut failures).await;
        }
        unread(&failures, context.screen);
        if let Some(error) = unknown {
            return Err(error.into());
        }
        Ok(failures.first().map_or(Exit::Done, Failure::exit))
    }

    fn print(&self, source: &Source, line: &Line) -> Result<(), Error> {
        let time = line.time.filter(|_| self.args.timestamps);
        let time = time.map_or(String::new(), |time| format!("{time:.9} "));
        let mark = format!("[{}] {time}", source.label);
        let bytes = [mark.as_bytes(), &line.text, b"\n"].concat();
        Ok(output::bytes(&bytes)?)
    }
}

fn about(source: &Source) -> Ask {
    Ask::within("get", "pods/log", &source.namespace).named(&source.pod)
}

/// Begins to read a log.
async fn read(cluster: Cluster, source: Source, params: LogParams) -> kube::Result<Lines> {
    let api: Api<Pod> = Api::namespaced(cluster.client, &source.namespace);
    let params = LogParams {
        container: Some(source.component.name().to_owned()),
        ..params
    };
    Ok(lines(api.log_stream(&source.pod, &params).await?).boxed())
}

/// The lines of a log. What a program wrote need not be UTF-8. A log that breaks off behind the apiserver, at the node, looks
/// as one that ends, but for a last line that is torn.
fn lines(log: impl AsyncBufRead + Send + 'static) -> impl Stream<Item = io::Result<Line>> + Send {
    futures::stream::try_unfold((Box::pin(log), false), |(mut log, is_torn)| async move {
        if is_torn {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = Vec::new();
        log.read_until(b'\n', &mut bytes).await?;
        let is_torn = !bytes.ends_with(b"\n");
        Ok((!bytes.is_empty()).then(|| (logs::line(&bytes), (log, is_torn))))
    })
}

/// The next line, unless it breaks off or is quiet for too long.
async fn next_line(lines: &mut Lines) -> io::Result<Option<Line>> {
    match tokio::time::timeout(QUIET, lines.try_next()).await {
        Ok(line) => line,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// The next line. That a log breaks off is said in its place, and is a failure of its request.
async fn next(source: &Source, lines: &mut Lines, failures: &mut Vec<Failure>) -> Option<Line> {
    match next_line(lines).await {
        Ok(line) => line,
        Err(error) => {
            output::note(&format!("{}: the log breaks off here", source.label));
            failures.push(Failure::of(about(source), kube::Error::ReadEvents(error)));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;

    #[tokio::test]
    async fn a_log_that_ends_within_a_line_has_broken_off() {
        let mut whole = lines(Cursor::new(b"2026-01-02T03:04:05Z one\n\xff two\n".to_vec())).boxed();
        assert_eq!(next_line(&mut whole).await.unwrap().unwrap().text, b"one");
        assert!(next_line(&mut whole).await.unwrap().is_some());
        assert!(next_line(&mut whole).await.unwrap().is_none());
        let mut torn = lines(Cursor::new("2026-01-02T03:04:05Z one\n2026-01-02T03:04:06Z tw")).boxed();
        assert!(next_line(&mut torn).await.unwrap().is_some());
        assert_eq!(next_line(&mut torn).await.unwrap().unwrap().text, b"tw");
        let error = next_line(&mut torn).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
