//! Shows what runs: on a terminal one line that is rewritten each second, elsewhere a line every half minute, so that
//! a log shows life and stays short.

use std::{
    fs::File,
    io::{IsTerminal, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};
use culvert_e2e::wait::Stopwatch;

/// The display; dropping it ends it.
pub struct Progress {
    screen: Arc<Screen>,
    stop: Option<Sender<()>>,
    ticker: Option<JoinHandle<()>>,
}

struct Screen {
    terminal: bool,
    running: Mutex<Vec<Running>>,
}

struct Running {
    name: &'static str,
    since: Stopwatch,
    log: PathBuf,
}

/// One step under way.
pub struct Step<'a> {
    progress: &'a Progress,
    name: &'static str,
}

impl Progress {
    pub fn start() -> Result<Self> {
        let terminal = std::io::stdout().is_terminal();
        let screen = Arc::new(Screen {
            terminal,
            running: Mutex::default(),
        });
        let (stop, stopped) = mpsc::channel();
        let ticker = thread::Builder::new()
            .name("progress".to_owned())
            .spawn({
                let screen = Arc::clone(&screen);
                let pause = Duration::from_secs(if terminal { 1 } else { 30 });
                move || {
                    while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                        screen.tick();
                    }
                }
            })
            .context("failed to start a thread")?;
        Ok(Self {
            screen,
            stop: Some(stop),
            ticker: Some(ticker),
        })
    }

    /// Announces a step and shows it until its end.
    pub fn begin(&self, name: &'static str, usual: &str, log: &Path) -> Step<'_> {
        self.screen.say(&format!(
            "building {name}, which usually takes {usual}; log: {}",
            log.display()
        ));
        self.screen.running().push(Running {
            name,
            since: Stopwatch::start(),
            log: log.to_owned(),
        });
        Step { progress: self, name }
    }
}

impl Step<'_> {
    pub fn end(self, well: bool) {
        let screen = &self.progress.screen;
        let mut running = screen.running();
        let Some(place) = running.iter().position(|step| step.name == self.name) else {
            return;
        };
        let step = running.remove(place);
        drop(running);
        let how = if well { "built" } else { "failed to build" };
        screen.say(&format!("{how} {} in {}", step.name, clock(step.since.elapsed())));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(ticker) = self.ticker.take() {
            let _ = ticker.join();
        }
        self.screen.clear();
    }
}

impl Screen {
    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, line: &str) {
        self.clear();
        println!("{line}");
    }

    fn clear(&self) {
        if self.terminal {
            print!("\r\x1b[2K");
            let _ = std::io::stdout().flush();
        }
    }

    fn tick(&self) {
        let steps: Vec<String> = self
            .running()
            .iter()
            .map(|step| {
                format!(
                    "{} {} {}",
                    step.name,
                    clock(step.since.elapsed()),
                    last_line(&step.log)
                )
            })
            .collect();
        if steps.is_empty() {
            return;
        }
        if self.terminal {
            let width = std::env::var("COLUMNS")
                .ok()
                .and_then(|width| width.parse().ok())
                .unwrap_or(80_usize);
            // An equal part of the line for each, or a long path would hide the others.
            let part = (width / steps.len()).saturating_sub(4);
            let shown: Vec<String> = steps
                .iter()
                .map(|step| step.chars().take(part).collect())
                .collect();
            self.clear();
            print!("{}", shown.join(" │ "));
            let _ = std::io::stdout().flush();
        } else {
            println!("still building: {}", steps.join(", "));
        }
    }
}

fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

/// The last whole line of a growing file, without reading all of it.
fn last_line(log: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        Ok(end)
    };
    let end = read().unwrap_or_default();
    String::from_utf8_lossy(&end)
        .lines()
        .last()
        .unwrap_or_default()
        .trim()
        .to_owned()
}
