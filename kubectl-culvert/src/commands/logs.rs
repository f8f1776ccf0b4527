//! `logs`: the effects of [`crate::logs`]. What is there is printed in the order in which it was written; what is yet to
//! come, as it comes.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use clap::value_parser;
use futures::stream::{BoxStream, SelectAll};
use futures::{AsyncBufRead, AsyncBufReadExt as _, Stream, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, LogParams};

use crate::Error;
use crate::clock;
use crate::cluster::Cluster;
use crate::commands::{Context, unread};
use crate::duration;
use crate::exit::{self, Exit};
use crate::logs::{self, Component, Line, LogsError, Silent, Source};
use crate::output;
use crate::request::{Ask, Failure, Why};

const EXAMPLES: &str = "\
Examples:
  # The last hour of the operator and of every agent, in the order in which it was written
  kubectl culvert logs --since 1h

  # One node's agent, and what it writes from now on
  kubectl culvert logs gateway-1 --follow --tail 20

  # What an agent wrote before it ended
  kubectl culvert logs gateway-1 --previous";

/// How often pods are looked for that are new, or have started again.
const LOOK: Duration = Duration::from_secs(2);

/// Flags of `logs`.
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
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
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

    /// The namespace that Culvert runs in.
    #[arg(long, default_value = "culvert-system", value_name = "NAME")]
    pub system_namespace: String,

    /// The namespace that agents run in [default: the same].
    #[arg(long, value_name = "NAME")]
    pub agent_namespace: Option<String>,
}

/// A log that is being read.
type Lines = BoxStream<'static, io::Result<Line>>;

/// Does what was asked.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Error> {
    let cluster = context.cluster().await?;
    let (sources, silent) = find(&cluster, &args).await?;
    for Silent { label, why } in silent {
        output::note(&format!("{label}: {why}"));
    }
    if args.follow {
        return follow(&cluster, &args, sources).await;
    }
    let mut failures = Vec::new();
    let mut open = Vec::new();
    for source in sources {
        match cluster
            .ask(about(&source), read(&cluster, &source, params(&args)))
            .await
        {
            Ok(lines) => open.push((source.label, lines)),
            Err(failure) => failures.push(failure),
        }
    }
    print_in_order(open, args.timestamps).await?;
    unread(&failures, context.screen);
    Ok(failures.first().map_or(Exit::Done, Failure::exit))
}

/// Whose logs were asked for, and who of them has none. Somebody has to be there.
async fn find(cluster: &Cluster, args: &Args) -> Result<(Vec<Source>, Vec<Silent>), Error> {
    let (mut found, mut silent) = (Vec::new(), Vec::new());
    for component in [Component::Operator, Component::Agent] {
        let is_wanted = match component {
            Component::Operator => args.nodes.is_empty(),
            Component::Agent => !args.operator,
        };
        if !is_wanted {
            continue;
        }
        let namespace = match component {
            Component::Operator => &args.system_namespace,
            Component::Agent => args.agent_namespace.as_ref().unwrap_or(&args.system_namespace),
        };
        let pods = pods(cluster, component, namespace).await?;
        let (sources, none) = logs::sources(component, &chosen(pods, &args.nodes)?, args.previous);
        found.extend(sources);
        silent.extend(none);
    }
    Ok((found, silent))
}

async fn pods(cluster: &Cluster, component: Component, namespace: &str) -> Result<Vec<Pod>, Error> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let params = ListParams::default().labels(&component.selector());
    let ask = Ask::within("list", "pods", namespace);
    let pods = cluster.ask(ask, api.list(&params)).await?.items;
    if pods.is_empty() {
        let namespace = namespace.to_owned();
        return Err(LogsError::Nobody { component, namespace }.into());
    }
    Ok(pods)
}

/// The pods on these nodes, or all where none is named; each name has to fit one.
fn chosen(mut pods: Vec<Pod>, nodes: &[String]) -> Result<Vec<Pod>, LogsError> {
    let is_on = |pod: &Pod, name: &String| logs::node(pod) == Some(name);
    for name in nodes {
        if !pods.iter().any(|pod| is_on(pod, name)) {
            return Err(LogsError::NoNode {
                name: name.clone(),
                known: pods.iter().filter_map(logs::node).map(str::to_owned).collect(),
            });
        }
    }
    pods.retain(|pod| nodes.is_empty() || nodes.iter().any(|name| is_on(pod, name)));
    Ok(pods)
}

fn about(source: &Source) -> Ask {
    Ask::within("get", "pods/log", &source.namespace).named(&source.pod)
}

fn params(args: &Args) -> LogParams {
    LogParams {
        follow: args.follow,
        previous: args.previous,
        since_seconds: args
            .since
            .map(|since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX)),
        tail_lines: args.tail,
        timestamps: true,
        ..LogParams::default()
    }
}

/// Begins to read a log.
async fn read(cluster: &Cluster, source: &Source, params: LogParams) -> kube::Result<Lines> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &source.namespace);
    let params = LogParams {
        container: Some(source.component.name().to_owned()),
        ..params
    };
    Ok(lines(api.log_stream(&source.pod, &params).await?).boxed())
}

/// The lines of a log. What a program wrote need not be UTF-8.
fn lines(log: impl AsyncBufRead + Send + 'static) -> impl Stream<Item = io::Result<Line>> + Send {
    futures::stream::try_unfold(Box::pin(log), |mut log| async {
        let mut bytes = Vec::new();
        let read = log.read_until(b'\n', &mut bytes).await?;
        Ok((read > 0).then(|| (logs::line(&bytes), log)))
    })
}

fn print(label: &str, line: &Line, is_timed: bool) -> Result<(), Error> {
    let time = line.time.filter(|_| is_timed);
    let time = time.map_or(String::new(), |time| format!("{time:.9} "));
    let mark = format!("[{label}] {time}");
    let bytes = [mark.as_bytes(), &line.text, b"\n"].concat();
    Ok(output::bytes(&bytes)?)
}

/// Prints what is there, the oldest first; no more than a line of each log is held.
async fn print_in_order(mut open: Vec<(String, Lines)>, is_timed: bool) -> Result<(), Error> {
    let mut heads = Vec::new();
    for (label, lines) in &mut open {
        heads.push(next(label, lines).await);
    }
    while let Some(number) = logs::oldest(heads.iter().map(Option::as_ref)) {
        let (label, lines) = &mut open[number];
        if let Some(line) = heads[number].take() {
            print(label, &line, is_timed)?;
        }
        heads[number] = next(label, lines).await;
    }
    Ok(())
}

/// The next line. That a log breaks off is said in its place.
async fn next(label: &str, lines: &mut Lines) -> Option<Line> {
    if let Ok(line) = lines.try_next().await {
        line
    } else {
        output::note(&format!("{label}: the log breaks off here"));
        None
    }
}

/// What is known of a container that is followed.
#[derive(Default)]
struct Followed {
    /// Its log is being read.
    is_open: bool,

    /// When the last line was written, to go on from there.
    last: Option<Timestamp>,

    /// It has been said that its log cannot be read.
    is_said: bool,
}

/// What happens to a log that is followed.
enum Event {
    Line(Line),
    Failed(Failure),
    End,
}

/// Prints lines as they come, for ever: a pod that starts again is gone on with, and one that is new joins.
async fn follow(cluster: &Cluster, args: &Args, mut sources: Vec<Source>) -> Result<Exit, Error> {
    let mut followed: BTreeMap<String, Followed> = BTreeMap::new();
    let mut events = SelectAll::new();
    let mut is_first = true;
    loop {
        for source in sources {
            let known = followed.entry(source.uid.clone()).or_default();
            if !known.is_open {
                known.is_open = true;
                let params = resumed(params(args), known.last, is_first);
                events.push(tail(cluster.clone(), source, params));
            }
        }
        is_first = false;
        let look = clock::now().boot + LOOK;
        loop {
            tokio::select! {
                Some((source, event)) = events.next() => {
                    let known = followed.entry(source.uid.clone()).or_default();
                    handle(&source, event, known, args.timestamps)?;
                }
                () = clock::until(look) => break,
            }
        }
        sources = match find(cluster, args).await {
            Ok((found, _)) => found,
            // Between two rollouts there may be none for a moment, and no apiserver either.
            Err(Error::Logs(_)) => Vec::new(),
            Err(error) if error.may_pass() => Vec::new(),
            Err(error) => return Err(error),
        };
    }
}

/// Where to go on: after the last line that was printed; of a pod that comes later, from its beginning.
fn resumed(params: LogParams, last: Option<Timestamp>, is_first: bool) -> LogParams {
    if is_first {
        return params;
    }
    LogParams {
        since_seconds: None,
        since_time: last,
        tail_lines: None,
        ..params
    }
}

/// Everything that happens to a log, its end last. A kubelet answers once there is something to say, so that opening is
/// waited for without a limit.
fn tail(cluster: Cluster, source: Source, params: LogParams) -> BoxStream<'static, (Source, Event)> {
    let opened = {
        let source = source.clone();
        async move {
            match read(&cluster, &source, params).await {
                Ok(lines) => lines
                    // One that breaks off is gone on with, as one that ends.
                    .filter_map(|line| async { line.ok().map(Event::Line) })
                    .boxed(),
                Err(error) => {
                    let failed = Event::Failed(Failure::of(about(&source), error));
                    futures::stream::iter([failed]).boxed()
                }
            }
        }
    };
    futures::stream::once(opened)
        .flatten()
        .chain(futures::stream::iter([Event::End]))
        .map(move |event| (source.clone(), event))
        .boxed()
}

fn handle(source: &Source, event: Event, known: &mut Followed, is_timed: bool) -> Result<(), Error> {
    match event {
        // A kubelet that is asked from a second on says that whole second again.
        Event::Line(line) if line.time.is_some() && line.time <= known.last => {}
        Event::Line(line) => {
            known.last = line.time.or(known.last);
            known.is_said = false;
            print(&source.label, &line, is_timed)?;
        }
        Event::Failed(failure) if matches!(failure.why, Why::Denied | Why::Unauthenticated) => {
            return Err(failure.into());
        }
        Event::Failed(failure) => {
            if !std::mem::replace(&mut known.is_said, true) {
                output::note(&format!("{}: {failure}; trying again", source.label));
            }
        }
        Event::End => known.is_open = false,
    }
    Ok(())
}
