//! `logs --follow`: every log that there is and those that come, for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll};
use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use kube::api::LogParams;

use super::{Lines, QUIET, Reader, about, next_line, read};
use crate::exit::Exit;
use crate::logs::{Followed, Line, Source};
use crate::output;
use crate::request::{Failure, Why};
use crate::{Error, clock, world};

/// How often pods are looked for that are new, or have started again.
const LOOK: Duration = Duration::from_secs(2);

impl Reader<'_> {
    /// Prints lines as they come, for ever: a pod that starts again is gone on with, and one that is new joins.
    pub(super) async fn follow(&self) -> Result<Exit, Error> {
        let mut tails: BTreeMap<String, Tail> = BTreeMap::new();
        let mut events = SelectAll::new();
        let began = self.began().await;
        let (sources, unknown) = self.find().await?.tell()?;
        if let Some(error) = unknown {
            output::note(&error.to_string());
        }
        for source in sources {
            let tail = tails.entry(source.uid.clone()).or_insert(Tail::from(began));
            tail.followed.open();
            events.push(self.tail(source, self.params()));
        }
        let mut look = Box::pin(self.look());
        loop {
            tokio::select! {
                Some((source, event)) = events.next() => {
                    if let Some(tail) = tails.get_mut(&source.uid) {
                        self.handle(&source, event, tail)?;
                    }
                }
                found = &mut look => {
                    for source in found? {
                        let tail = tails.entry(source.uid.clone()).or_insert(Tail::from(None));
                        if tail.followed.wants(&source) {
                            let params = self.resumed(tail);
                            events.push(self.tail(source, params));
                        }
                    }
                    look = Box::pin(self.look());
                }
            }
        }
    }

    /// How a log is asked for again: as at first until it could be read at all, and then from its last line on.
    fn resumed(&self, tail: &mut Tail) -> LogParams {
        let since_time = tail.followed.open();
        if tail.is_unread {
            return self.params();
        }
        LogParams {
            since_seconds: None,
            since_time,
            tail_lines: None,
            ..self.params()
        }
    }

    /// From when on lines are asked for at first, by the clock there; `None` for all that there are.
    async fn began(&self) -> Option<Timestamp> {
        let (since, tail) = (self.args.since, self.args.tail);
        if since.is_none() && tail.is_none() {
            return None;
        }
        let there = world::server(&self.cluster).await.map(|server| server.there);
        let now = there.unwrap_or_else(|_| clock::now().wall);
        match (since, tail) {
            (Some(since), None) => now.checked_sub(since).ok(),
            _ => Some(now),
        }
    }

    /// Waits a little, and looks for pods again: there may be none for a moment, and no apiserver either.
    async fn look(&self) -> Result<Vec<Source>, Failure> {
        clock::pause(LOOK).await;
        match self.find().await {
            Ok(found) => Ok(found.sources),
            Err(failure) if failure.may_pass() => Ok(Vec::new()),
            Err(failure) => Err(failure),
        }
    }

    /// Everything that happens to a log, its failure or its end last. A kubelet answers once there is something to say, so
    /// that opening may take as long as any silence.
    fn tail(&self, source: Source, params: LogParams) -> BoxStream<'static, (Source, Event)> {
        let ask = about(&source);
        let opened = read(self.cluster.clone(), source.clone(), params);
        let opened = async move {
            match tokio::time::timeout(QUIET, opened).await {
                Ok(Ok(lines)) => events(lines).boxed(),
                Ok(Err(error)) => {
                    let failed = Event::Failed(Failure::of(ask, error));
                    futures::stream::iter([failed]).boxed()
                }
                Err(_) => futures::stream::iter([Event::End { whole: false }]).boxed(),
            }
        };
        futures::stream::once(opened)
            .flatten()
            .map(move |event| (source.clone(), event))
            .boxed()
    }

    fn handle(&self, source: &Source, event: Event, tail: &mut Tail) -> Result<(), Error> {
        match event {
            Event::Line(line) => {
                tail.is_said = false;
                if tail.followed.takes(&line) {
                    self.print(source, &line)?;
                }
            }
            Event::Failed(failure) if matches!(failure.why, Why::Denied | Why::Unauthenticated) => {
                return Err(failure.into());
            }
            Event::Failed(failure) => {
                tail.followed.close(source, false);
                if !std::mem::replace(&mut tail.is_said, true) {
                    output::note(&format!("{}: {failure}; trying again", source.label));
                }
            }
            Event::End { whole } => {
                tail.is_unread = false;
                tail.followed.close(source, whole);
            }
        }
        Ok(())
    }
}

/// What is known of a container that is followed.
struct Tail {
    followed: Followed,

    /// It has been said that its log cannot be read.
    is_said: bool,

    /// Nothing of it could be read yet, of what was there when following began.
    is_unread: bool,
}

impl Tail {
    fn from(began: Option<Timestamp>) -> Self {
        Self {
            followed: Followed::from(began),
            is_said: false,
            is_unread: began.is_some(),
        }
    }
}

/// What happens to a log that is followed.
enum Event {
    Line(Line),
    Failed(Failure),
    /// It has come to its end, or has broken off.
    End {
        whole: bool,
    },
}

/// What happens to a log that is open, until it ends, breaks off or is quiet for too long.
fn events(lines: Lines) -> impl Stream<Item = Event> + Send {
    futures::stream::unfold(Some(lines), |lines| async {
        let mut lines = lines?;
        Some(match next_line(&mut lines).await {
            Ok(Some(line)) => (Event::Line(line), Some(lines)),
            Ok(None) => (Event::End { whole: true }, None),
            Err(_) => (Event::End { whole: false }, None),
        })
    })
}
