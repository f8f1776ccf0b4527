//! The loop: looks, plans, does, waits; from the first key to the last clean-up.

mod ending;
mod judge;
mod rotation;
mod stop;
mod times;

use std::net::IpAddr;
use std::time::Duration;

use culvert_wireguard::{PublicKey, Refusal};

use super::addresses::Addresses;
use super::control::{self, Control};
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
use super::world::{Wish, World};
use crate::clock::{now, pause};
use crate::cluster::Cluster;
use crate::output::{Progress, Screen, note};
use crate::rotate::Timetable;

use rotation::Rotation;
use stop::Stop;
use times::Times;

/// The label of keys that `connect` has made, with the machine it runs on: no other machine takes one over, as each would
/// cut the other off.
pub const LABEL: &str = "culvert.dev/connect";

/// The slot that stands for other resolvers than those that are wanted: of an earlier run's, or before a change.
pub(super) const OTHERS: u8 = u8::MAX;

/// Pauses between looks while a handshake is waited for, and while nothing is.
const QUICK: Duration = Duration::from_millis(4);
pub(super) const SLOW: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_secs(1);

/// The longest pause after a failure that may pass.
const LONGEST: Duration = Duration::from_secs(30);

/// How long a request to the apiserver may still take when it is to end.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// How long the clean-up tries.
const ROUNDS: u32 = 4;

/// How long the apiserver may take to say what there is before `--down` goes on without it.
const DOWN: Duration = Duration::from_secs(15);

/// A connection, while it lives.
pub(super) struct Session {
    pub(super) cluster: Cluster,
    pub(super) options: Options,
    pub(super) place: Place,
    pub(super) dns: Way,
    pub(super) resolves: Option<u8>,
    pub(super) resolvers: Vec<IpAddr>,
    pub(super) followed: Followed,
    pub(super) key: KeySeen,
    /// The watch has told something that was not taken in yet.
    is_told: bool,
    /// The apiserver was told a public key, and nobody has said what became of it.
    pub(super) is_unclear: bool,
    memory: Memory,
    control: Control,
    timetable: Option<Timetable>,
    /// The key that the timetable is about.
    led: Option<PublicKey>,
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

/// Connects, and stays until it is asked to end; then takes everything back.
pub async fn run(
    cluster: Cluster,
    apiserver: Addresses,
    options: Options,
    screen: Screen,
) -> Result<(), ConnectError> {
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
    let mut stop = Stop::listen().map_err(ConnectError::Signals)?;
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
    apiserver.keep_in(control::file(&cluster.namespace, &options.name, "apiserver"));
    let mut session = Session {
        resolves: dns.is_left().then_some(OTHERS),
        cluster,
        options,
        place,
        dns,
        resolvers: Vec::new(),
        followed,
        key: KeySeen::Unknown,
        is_told: false,
        is_unclear: false,
        memory: Memory::default(),
        control,
        timetable: None,
        led: None,
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
        session.connected(&mut stop).await
    };
    notify::stopping();
    session.progress.end();
    // While there is somebody to say it.
    session.rotation_failed("it is ending");
    if matches!(result, Err(ConnectError::Occupied(_))) {
        apiserver.forget();
        return result;
    }
    // Who is asked to end opens the kill switch. Who cannot go on does not: nobody is there to see what leaves then.
    let opens = result.is_ok();
    let cleaned = session.taken_back(opens).await;
    if opens || !session.options.closed {
        apiserver.forget();
    } else {
        note("the kill switch stays; `kubectl culvert connect --down` with the same name takes it away");
    }
    result.and(cleaned)
}

impl Session {
    /// Until it is asked to end, or cannot go on.
    async fn connected(&mut self, stop: &mut Stop) -> Result<(), ConnectError> {
        loop {
            if stop.is_asked().await {
                return Ok(());
            }
            let world = match self.world().await {
                Err(error) if self.established && !matches!(error, ConnectError::Occupied(_)) => {
                    self.say(&format!("{error}; trying again"));
                    if self.wait(stop, Wait::Nothing).await {
                        return Ok(());
                    }
                    continue;
                }
                world => world?,
            };
            self.judge(&world)?;
            if let Some((before, why)) = self.is_refused(&world) {
                self.give_back(&before, &why).await;
                continue;
            }
            let wish = Wish::Connected {
                rotate: self.rotation.is_some(),
                closed: self.options.closed,
            };
            let plan = self.patiently(plan(&world, wish));
            if plan.steps.is_empty() {
                if self.wait(stop, plan.waits).await {
                    return Ok(());
                }
                continue;
            }
            self.quick = QUICK;
            for step in &plan.steps {
                let Some(done) = self.step_unless(stop, step, &world).await else {
                    return Ok(());
                };
                if let Err(error) = done {
                    self.failed(step, error)?;
                    pause(SLOW).await;
                    break;
                }
                self.done(step);
            }
        }
    }

    /// Does a step; none where it is asked to end while it waits for the apiserver, which may be long.
    async fn step_unless(
        &mut self,
        stop: &mut Stop,
        step: &Step,
        world: &World,
    ) -> Option<Result<(), ConnectError>> {
        if !matches!(step, Step::Publish { .. }) {
            return Some(self.step(step, world).await);
        }
        let mut publishing = std::pin::pin!(self.step(step, world));
        tokio::select! {
            biased;
            done = &mut publishing => Some(done),
            () = stop.asked() => {
                // What is under way comes to its end, so that what it makes is seen and taken back.
                drop(tokio::time::timeout(UNDER_WAY, publishing).await);
                None
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
        let choice = &self.options.gateway;
        let mut world = self
            .memory
            .world(now().boot, seen, &self.key, &gateways, choice, self.resolves);
        if let Some(slot) = self.resolves_for(&world) {
            world.resolves = Some(slot);
        }
        Ok(world)
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
            (KeySeen::Absent, KeySeen::Present(_)) => drop(self.look_again().await),
            (KeySeen::Unknown, _) => {}
            _ => self.key = told,
        }
    }

    /// Waits for something to happen; true when it is to end.
    async fn wait(&mut self, stop: &mut Stop, waits: Wait) -> bool {
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
            () = stop.asked() => return true,
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
        self.have_patience();
        if is_api {
            self.rotation_failed(&error.to_string());
        }
        self.say(&format!("{error}; trying again"));
        Ok(())
    }

    fn have_patience(&mut self) {
        self.failures = self.failures.saturating_add(1);
        let seconds = 1_u64 << self.failures.min(5);
        self.patient_until = now().boot + Duration::from_secs(seconds).min(LONGEST);
    }

    fn say(&mut self, text: &str) {
        if self.said != text {
            self.progress.end();
            note(text);
            text.clone_into(&mut self.said);
        }
    }
}

fn version(object: &culvert_crds::WireGuardKey) -> u64 {
    let version = object.metadata.resource_version.as_deref();
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}
