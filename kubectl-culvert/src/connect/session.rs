//! The loop: looks, plans, does, waits; from the first key to the last clean-up.

use std::sync::Arc;
use std::time::Duration;

use culvert_wireguard::{PublicKey, Refusal};
use jiff::Timestamp;

use super::control::{Asked, Control};
use super::dns::Way;
use super::error::ConnectError;
use super::follow::{Followed, KeySeen};
use super::machine::{MachineError, Setting};
use super::notify;
use super::options::Options;
use super::place::Place;
use super::plan::{Plan, Step, Wait, plan};
use super::strict;
use super::view::Memory;
use super::world::{Key, Wish, World};
use crate::chance;
use crate::clock::{now, pause};
use crate::cluster::Cluster;
use crate::keys::{KeyState, state};
use crate::output::{Progress, Screen, note};
use crate::rotate::Timetable;

/// The label of keys that `connect` has made, with the machine it runs on: no other machine takes one over, as each would
/// cut the other off.
pub const LABEL: &str = "culvert.dev/connect";

/// The slot that stands for resolvers of an earlier run's.
const EARLIER: u8 = u8::MAX;

/// Pauses between looks while a handshake is waited for, and while nothing is.
const QUICK: Duration = Duration::from_millis(4);
const SLOW: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_secs(1);

/// The longest pause after a failure that may pass.
const LONGEST: Duration = Duration::from_secs(30);

/// How long the clean-up tries.
const ROUNDS: u32 = 4;

/// How long the apiserver may take to say what there is before `--down` goes on without it.
const DOWN: Duration = Duration::from_secs(15);

/// A rotation under way.
struct Rotation {
    from: PublicKey,
    asked: Vec<Asked>,
}

/// When what was first so, since the start.
#[derive(Debug, Default)]
struct Times(Vec<(&'static str, Duration)>);

impl Times {
    fn mark(&mut self, start: Duration, name: &'static str) {
        if self.0.iter().all(|(known, _)| *known != name) {
            self.0.push((name, now().boot.saturating_sub(start)));
        }
    }

    fn text(&self) -> String {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(name, time)| format!("\"{name}\":{:.3}", time.as_secs_f64() * 1e3))
            .collect();
        format!("{{{}}}", parts.join(","))
    }
}

/// A connection, while it lives.
pub(super) struct Session {
    pub(super) cluster: Cluster,
    pub(super) options: Options,
    pub(super) place: Place,
    pub(super) dns: Way,
    pub(super) resolves: Option<u8>,
    pub(super) followed: Followed,
    pub(super) key: KeySeen,
    /// The watch has told something that was not taken in yet.
    is_told: bool,
    memory: Memory,
    control: Control,
    stop: Stop,
    timetable: Option<Timetable>,
    rotation: Option<Rotation>,
    /// What was said last, so that it is said once.
    said: String,
    progress: Progress,
    screen: Screen,
    established: bool,
    started: Duration,
    times: Times,
    failures: u32,
    /// Not before then is the apiserver asked again for what failed.
    patient_until: Duration,
    quick: Duration,
}

/// Being asked to end.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}

/// Connects, and stays until it is asked to end; then takes everything back.
pub async fn run(cluster: Cluster, options: Options, screen: Screen) -> Result<(), ConnectError> {
    if options.closed && options.netns.is_some() {
        return Err(ConnectError::NothingToClose);
    }
    let started = now().boot;
    if options.netns.is_none() && !options.down {
        let strict = strict::interfaces();
        if !strict.is_empty() {
            note(&format!(
                "net.ipv4.conf.*.rp_filter is 1 on {}: no gateway can answer there; set it to 2",
                strict.join(", ")
            ));
        }
    }
    let stop = Stop::listen().map_err(ConnectError::Signals)?;
    let control = Control::listen(&cluster.namespace, &options.name)?;
    let followed = Followed::begin(&cluster, &options.name, &options.pool);
    let setting = Setting {
        owner: format!("{}/{}", cluster.namespace, options.name),
        backend: options.backend,
        program: options.program.clone(),
        netns: options.netns.clone(),
    };
    let (place, dns) = tokio::join!(Place::open(setting), Way::find(options.netns.as_deref()));
    let place = place?;
    let mut session = Session {
        resolves: dns.is_left().then_some(EARLIER),
        cluster,
        options,
        place,
        dns,
        followed,
        key: KeySeen::Unknown,
        is_told: false,
        memory: Memory::default(),
        control,
        stop,
        timetable: None,
        rotation: None,
        said: String::new(),
        progress: Progress::new(screen),
        screen,
        established: false,
        started,
        times: Times::default(),
        failures: 0,
        patient_until: Duration::ZERO,
        quick: QUICK,
    };
    let result = if session.options.down {
        session.know_the_key().await;
        Ok(())
    } else {
        session.connected().await
    };
    notify::stopping();
    session.progress.end();
    if matches!(result, Err(ConnectError::Occupied(_))) {
        return result;
    }
    let cleaned = session.taken_back().await;
    result.and(cleaned)
}

impl Session {
    /// Until it is asked to end, or cannot go on.
    async fn connected(&mut self) -> Result<(), ConnectError> {
        loop {
            let world = self.world().await?;
            self.judge(&world)?;
            let wish = Wish::Connected {
                rotate: self.rotation.is_some(),
                closed: self.options.closed,
            };
            let plan = self.patiently(plan(&world, wish));
            if plan.steps.is_empty() {
                if self.wait(plan.waits).await {
                    return Ok(());
                }
                continue;
            }
            self.quick = QUICK;
            for step in &plan.steps {
                if let Err(error) = self.step(step, &world).await {
                    self.failed(step, error)?;
                    break;
                }
                self.done(step);
            }
        }
    }

    /// Leaves out what has failed just now.
    fn patiently(&self, mut plan: Plan) -> Plan {
        if now().boot < self.patient_until
            && plan
                .steps
                .iter()
                .any(|step| !matches!(step, Step::Settle { .. } | Step::Meet { .. } | Step::Close))
        {
            plan.steps
                .retain(|step| matches!(step, Step::Settle { .. } | Step::Meet { .. } | Step::Close));
            plan.waits = Wait::Api;
        }
        plan
    }

    async fn world(&mut self) -> Result<World, ConnectError> {
        self.take_in().await;
        let seen = match self.place.look().await {
            Ok(seen) => seen,
            // A tunnel that goes while it is looked at.
            Err(MachineError::Kernel(error)) if error.refusal() == Some(Refusal::NotFound) => {
                pause(SLOW).await;
                self.place.look().await?
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(other) = seen.other {
            return Err(ConnectError::Occupied(other));
        }
        let gateways = self.followed.gateways.borrow().clone();
        Ok(self.memory.world(
            now().boot,
            seen,
            &self.key,
            &gateways,
            &self.options.gateway,
            self.resolves,
        ))
    }

    /// Takes in what the watch has told, unless more is known already.
    async fn take_in(&mut self) {
        let is_told = std::mem::take(&mut self.is_told) || self.followed.key.has_changed().unwrap_or(false);
        if !is_told && !matches!(self.key, KeySeen::Unknown) {
            return;
        }
        let told = self.followed.key.borrow_and_update().clone();
        match (&told, &self.key) {
            (KeySeen::Present(told_now), KeySeen::Present(known)) if version(told_now) < version(known) => {}
            // A list that began before the key was made.
            (KeySeen::Absent, KeySeen::Present(_)) => self.look_again().await,
            (KeySeen::Unknown, _) => {}
            _ => self.key = told,
        }
    }

    /// What follows from what there is, besides a plan.
    fn judge(&mut self, world: &World) -> Result<(), ConnectError> {
        let name = || self.options.name.clone();
        if self.established && world.key == Key::Absent {
            return Err(ConnectError::Revoked(name()));
        }
        if let KeySeen::Present(object) = &self.key
            && !self.established
            && let Ok(public) = PublicKey::from_base64(&object.spec.public_key)
            && world.tunnel_of(&public).is_some()
            && let KeyState::Refused { reason, message } = state(object, &public)
        {
            return Err(ConnectError::Refused {
                name: name(),
                reason,
                message,
            });
        }
        if let Some(failure) = self.followed.failure.borrow().as_ref()
            && !self.established
            && !failure.may_pass()
        {
            return Err(ConnectError::Unwatched(Arc::clone(failure)));
        }
        if let Key::Present { addresses, .. } = &world.key
            && !addresses.is_empty()
        {
            self.times.mark(self.started, "programmed");
        }
        let leader = world.leader.and_then(|slot| world.tunnel(slot));
        let Some(public_key) = leader.and_then(|tunnel| tunnel.public_key) else {
            return Ok(());
        };
        let is_current =
            matches!(&world.key, Key::Present { public_key: of_api, .. } if *of_api == public_key);
        if !is_current {
            return Ok(());
        }
        if !self.established {
            self.established = true;
            self.times.mark(self.started, "up");
            if self.options.times {
                drop(crate::output::line(&self.times.text()));
            }
            self.tell_connected(world);
            notify::ready();
            self.set_timetable();
        }
        if let Some(rotation) = self.rotation.take_if(|rotation| rotation.from != public_key) {
            self.set_timetable();
            for asked in rotation.asked {
                let _ = asked.send(Ok(()));
            }
            self.say("key and addresses are new");
        }
        Ok(())
    }

    fn tell_connected(&mut self, world: &World) {
        let leader = world.leader.and_then(|slot| world.tunnel(slot));
        let carrier = leader.and_then(|tunnel| tunnel.peers.iter().find(|peer| peer.carries));
        let gateways = self.followed.gateways.borrow().clone();
        let name = gateways
            .known
            .iter()
            .find(|known| Some(known.serving.public_key) == carrier.map(|peer| peer.key))
            .map_or_else(|| "a gateway".to_owned(), |known| known.serving.name.clone());
        let mut text = format!("connected as `{}` through {name}", self.options.name);
        // A terminal keeps nothing; a service's journal does.
        if self.screen.terminal.err
            && let Some(tunnel) = leader
        {
            let addresses: Vec<String> = tunnel.addresses.iter().map(ToString::to_string).collect();
            text = text + ", with " + &addresses.join(" and ");
        }
        self.say(&text);
    }

    fn set_timetable(&mut self) {
        let left = match &self.key {
            KeySeen::Present(object) => object.status.as_ref().and_then(|s| s.expires_at.as_ref()),
            _ => None,
        };
        let left = left.map(|time| until(now().wall, time.0));
        let draw = chance::draw().unwrap_or_default();
        self.timetable = Some(Timetable::start(
            self.options.every,
            Duration::ZERO,
            left,
            now().boot,
            draw,
        ));
    }

    /// Waits for something to happen; true when it is to end.
    async fn wait(&mut self, waits: Wait) -> bool {
        let what = match waits {
            Wait::Nothing => None,
            Wait::Api => Some("waiting for the apiserver"),
            Wait::Addresses => Some("waiting for addresses"),
            Wait::Gateway => Some("waiting for a gateway"),
            Wait::Handshake => Some("waiting for a gateway's answer"),
        };
        match what {
            Some(what) => self.progress.show(what),
            None => self.progress.end(),
        }
        let tick = if waits == Wait::Handshake {
            let tick = self.quick;
            self.quick = (tick * 3 / 2).min(SLOW);
            tick
        } else {
            TICK
        };
        tokio::select! {
            () = self.stop.asked() => return true,
            asked = self.control.next() => self.begin_rotation(Some(asked)),
            _ = self.followed.key.changed() => self.is_told = true,
            _ = self.followed.gateways.changed() => {}
            () = pause(tick) => {}
        }
        if self.rotation.is_none()
            && self
                .timetable
                .is_some_and(|timetable| now().boot >= timetable.due())
        {
            self.begin_rotation(None);
        }
        false
    }

    fn begin_rotation(&mut self, asked: Option<Asked>) {
        let from = match &self.key {
            KeySeen::Present(object) if self.established => {
                PublicKey::from_base64(&object.spec.public_key).ok()
            }
            _ => None,
        };
        let Some(from) = from else {
            if let Some(asked) = asked {
                let _ = asked.send(Err("it is not connected yet".to_owned()));
            }
            return;
        };
        self.patient_until = Duration::ZERO;
        let rotation = self.rotation.get_or_insert(Rotation {
            from,
            asked: Vec::new(),
        });
        rotation.asked.extend(asked);
    }

    fn done(&mut self, step: &Step) {
        let name = match step {
            Step::Make { .. } => "key",
            Step::Publish { .. } => "applied",
            Step::Furnish { .. } => "address",
            Step::Settle { .. } => "handshake",
            Step::Lead { .. } => "routes",
            _ => return,
        };
        self.failures = 0;
        self.times.mark(self.started, name);
    }

    /// What a failure means: the end before anything works, patience after.
    fn failed(&mut self, step: &Step, error: ConnectError) -> Result<(), ConnectError> {
        let is_api = matches!(step, Step::Publish { .. });
        let goes_on = self.established || (is_api && error.may_pass());
        if !goes_on {
            return Err(error);
        }
        self.failures = self.failures.saturating_add(1);
        let seconds = 1_u64 << self.failures.min(5);
        self.patient_until = now().boot + Duration::from_secs(seconds).min(LONGEST);
        if let (true, Some(rotation)) = (is_api, self.rotation.take()) {
            // The old key works on; the timetable says when to try again.
            let draw = chance::draw().unwrap_or_default();
            if let Some(timetable) = &mut self.timetable {
                timetable.failed(now().boot, draw);
            }
            for asked in rotation.asked {
                let _ = asked.send(Err(error.to_string()));
            }
        }
        self.say(&format!("{error}; trying again"));
        Ok(())
    }

    fn say(&mut self, text: &str) {
        if self.said != text {
            self.progress.end();
            note(text);
            text.clone_into(&mut self.said);
        }
    }

    /// Waits for the apiserver's word on the key, for a while.
    async fn know_the_key(&mut self) {
        let known = self.followed.key.wait_for(|key| !matches!(key, KeySeen::Unknown));
        let known = tokio::time::timeout(DOWN, known).await;
        drop(known);
        self.take_in().await;
    }

    /// Takes everything back, and goes on where something fails.
    async fn taken_back(&mut self) -> Result<(), ConnectError> {
        let mut left = Vec::new();
        for _ in 0..ROUNDS {
            let world = match self.world().await {
                Ok(world) => world,
                Err(error) => {
                    left = vec![error];
                    continue;
                }
            };
            let steps = plan(&world, Wish::Gone).steps;
            left = Vec::new();
            if steps.is_empty() {
                break;
            }
            for step in &steps {
                if let Err(error) = self.step(step, &world).await {
                    left.push(error);
                }
            }
        }
        let Some(first) = left.into_iter().next() else {
            return Ok(());
        };
        match first {
            ConnectError::Request(_) | ConnectError::NotRevoked(_) => {
                Err(ConnectError::NotRevoked(self.options.name.clone()))
            }
            other => Err(ConnectError::Left(other.to_string())),
        }
    }
}

fn version(object: &culvert_crds::WireGuardKey) -> u64 {
    let version = object.metadata.resource_version.as_deref();
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    let seconds = then.as_second().saturating_sub(now.as_second());
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
