//! The loop: looks, plans, does, waits; from the first key to the last clean-up.

mod ending;
mod judge;
mod stop;
mod times;

use std::time::Duration;

use culvert_wireguard::{PublicKey, Refusal};

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
use super::world::{Wish, World};
use crate::chance;
use crate::clock::{now, pause};
use crate::cluster::Cluster;
use crate::output::{Progress, Screen, note};
use crate::rotate::Timetable;

use stop::Stop;
use times::Times;

/// The label of keys that `connect` has made, with the machine it runs on: no other machine takes one over, as each would
/// cut the other off.
pub const LABEL: &str = "culvert.dev/connect";

/// The slot that stands for resolvers of an earlier run's.
const EARLIER: u8 = u8::MAX;

/// Pauses between looks while a handshake is waited for, and while nothing is.
const QUICK: Duration = Duration::from_millis(4);
pub(super) const SLOW: Duration = Duration::from_millis(100);
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
        session.connected().await
    };
    notify::stopping();
    session.progress.end();
    if matches!(result, Err(ConnectError::Occupied(_))) {
        return result;
    }
    // Who is asked to end opens the kill switch. Who cannot go on does not: nobody is there to see what leaves then.
    let opens = result.is_ok();
    let cleaned = session.taken_back(opens).await;
    if !opens && session.options.closed {
        note("the kill switch stays; `kubectl culvert connect --down` with the same name takes it away");
    }
    result.and(cleaned)
}

impl Session {
    /// Until it is asked to end, or cannot go on.
    async fn connected(&mut self) -> Result<(), ConnectError> {
        loop {
            if self.stop.is_asked().await {
                return Ok(());
            }
            let world = match self.world().await {
                Err(error) if self.established && !matches!(error, ConnectError::Occupied(_)) => {
                    self.say(&format!("{error}; trying again"));
                    if self.wait(Wait::Nothing).await {
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
                if self.wait(plan.waits).await {
                    return Ok(());
                }
                continue;
            }
            self.quick = QUICK;
            for step in &plan.steps {
                if let Err(error) = self.step(step, &world).await {
                    self.failed(step, error)?;
                    pause(SLOW).await;
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

    /// The old key works on; the timetable says when to try again.
    fn rotation_failed(&mut self, why: &str) {
        let Some(rotation) = self.rotation.take() else {
            return;
        };
        let draw = chance::draw().unwrap_or_default();
        if let Some(timetable) = &mut self.timetable {
            timetable.failed(now().boot, draw);
        }
        for asked in rotation.asked {
            let _ = asked.send(Err(why.to_owned()));
        }
    }

    /// Puts the key before into the object again.
    async fn give_back(&mut self, before: &PublicKey, why: &str) {
        self.rotation_failed(why);
        self.say(&format!("the new key is refused: {why}; the old one goes on"));
        if self.put_through(before).await.is_err() {
            self.have_patience();
            pause(TICK).await;
        }
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
