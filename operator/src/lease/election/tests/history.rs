//! Whole histories: an apiserver, and three replicas whose clocks differ in reading and rate, which freeze, die and
//! leave, and whose requests are lost on either way or come late. At no moment do two of them lead.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use proptest::prelude::*;

use super::super::*;

/// A tick of the history, in milliseconds.
const TICK: u64 = 100;

const REPLICAS: usize = 3;

/// What happens to a replica, for so many ticks.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// Nothing of it runs.
    Freeze(u64),
    /// Its requests never arrive.
    Lose(u64),
    /// Its requests take effect and are not answered.
    LoseReplies(u64),
    /// From now on its requests take effect so much later, also when it has given them up meanwhile.
    Delay(u64),
    /// It dies; a new one comes.
    Restart,
    /// It leaves; a new one comes.
    Leave,
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        (1_u64..200).prop_map(Trouble::Freeze),
        (1_u64..150).prop_map(Trouble::Lose),
        (1_u64..150).prop_map(Trouble::LoseReplies),
        (0_u64..80).prop_map(Trouble::Delay),
        Just(Trouble::Restart),
        Just(Trouble::Leave),
    ]
}

/// Offset of the clocks, percent of true time, skew of the wall clock: drift up to a tenth is within what a lease
/// of 10 s with a deadline of 7 s bears.
fn clocks() -> impl Strategy<Value = Vec<(u64, u32, i64)>> {
    prop::collection::vec((0_u64..100_000, 90_u32..=110, -100_000_i64..100_000), REPLICAS)
}

#[derive(Default)]
struct Server {
    lease: Option<Lease>,
    version: u64,
}

impl Server {
    fn carry_out(&mut self, act: &Act) -> Reply {
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        let stored = self.lease.as_ref().and_then(version);
        let new = match act {
            Act::Look => return self.lease.clone().map_or(Reply::Absent, Reply::Found),
            Act::Create(lease) if stored.is_none() => lease,
            Act::Replace(lease) if stored.is_some() && version(lease) == stored => lease,
            _ => return Reply::Outdated,
        };
        self.version += 1;
        let mut new = (**new).clone();
        new.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(new.clone());
        Reply::Written(new)
    }
}

struct Request {
    act: Act,
    sent: Duration,
    /// When the replica gives it up, on its own clock.
    over: Duration,
    /// The tick at which it takes effect.
    arrives: u64,
    answered: bool,
    reply: Option<Reply>,
}

struct Replica {
    candidate: Candidate,
    clocks: (u64, u32, i64),
    frozen: u64,
    lost: u64,
    unanswered: u64,
    delay: u64,
    request: Option<Request>,
}

impl Replica {
    fn now(&self, tick: u64) -> Now {
        let (offset, rate, skew) = self.clocks;
        let passed = Duration::from_millis(tick * TICK);
        Now {
            mono: Duration::from_secs(offset) + passed * rate / 100,
            wall: Timestamp::from_second(1_000_000 + skew).unwrap() + passed,
        }
    }

    fn leads(&self, tick: u64) -> bool {
        self.candidate.leads(self.now(tick).mono)
    }

    fn send(&mut self, tick: u64, act: Act) {
        let sent = self.now(tick).mono;
        let lost = tick < self.lost;
        self.request = Some(Request {
            act,
            sent,
            over: sent + self.candidate.patience(sent),
            arrives: if lost { u64::MAX } else { tick + 1 + self.delay },
            answered: tick >= self.unanswered,
            reply: None,
        });
    }

    /// Takes in what has come of the request; whether it is still under way.
    fn receive(&mut self, tick: u64, pace: f64, strays: &mut Vec<(u64, Act)>) -> bool {
        let received = self.now(tick).mono;
        let Some(request) = self.request.take() else {
            return false;
        };
        let exchange = Exchange {
            sent: request.sent,
            received,
            pace,
        };
        match request.reply {
            Some(reply) if request.answered => self.candidate.learn(reply, exchange),
            reply if received >= request.over => {
                self.candidate.learn(Reply::Unclear, exchange);
                if reply.is_none() {
                    strays.push((request.arrives, request.act));
                }
            }
            reply => {
                self.request = Some(Request { reply, ..request });
                return true;
            }
        }
        false
    }
}

struct History {
    server: Server,
    replicas: Vec<Replica>,
    /// Given up by who sent them, and not yet arrived.
    strays: Vec<(u64, Act)>,
    names: u32,
    ticks_led: u64,
}

impl History {
    fn new(clocks: Vec<(u64, u32, i64)>) -> Self {
        let mut history = Self {
            server: Server::default(),
            replicas: Vec::new(),
            strays: Vec::new(),
            names: 0,
            ticks_led: 0,
        };
        for clocks in clocks {
            let candidate = history.newcomer();
            history.replicas.push(Replica {
                candidate,
                clocks,
                frozen: 0,
                lost: 0,
                unanswered: 0,
                delay: 0,
                request: None,
            });
        }
        history
    }

    fn newcomer(&mut self) -> Candidate {
        self.names += 1;
        Candidate::new("lease".to_owned(), format!("replica-{}", self.names))
    }

    fn strike(&mut self, tick: u64, at: usize, trouble: Trouble) {
        let newcomer = self.newcomer();
        let replica = &mut self.replicas[at];
        match trouble {
            Trouble::Freeze(ticks) => replica.frozen = tick + ticks,
            Trouble::Lose(ticks) => replica.lost = tick + ticks,
            Trouble::LoseReplies(ticks) => replica.unanswered = tick + ticks,
            Trouble::Delay(ticks) => replica.delay = ticks,
            Trouble::Restart => {
                replica.candidate = newcomer;
                let request = replica.request.take();
                let stray = request.filter(|request| request.reply.is_none());
                self.strays
                    .extend(stray.map(|request| (request.arrives, request.act)));
            }
            Trouble::Leave => {
                let now = replica.now(tick).mono;
                replica.candidate.leave(now);
            }
        }
    }

    fn tick(&mut self, tick: u64, pace: f64) {
        let server = &mut self.server;
        self.strays.retain(|(arrives, act)| {
            let arrived = *arrives <= tick;
            if arrived {
                server.carry_out(act);
            }
            !arrived
        });
        for at in 0..self.replicas.len() {
            let newcomer = self.newcomer();
            let replica = &mut self.replicas[at];
            // It arrives whether or not its sender is frozen.
            if let Some(request) = &mut replica.request
                && request.reply.is_none()
                && request.arrives <= tick
            {
                request.reply = Some(self.server.carry_out(&request.act));
            }
            if tick < replica.frozen || replica.receive(tick, pace, &mut self.strays) {
                continue;
            }
            let now = replica.now(tick);
            match replica.candidate.act(now) {
                Act::Wait(until) => assert!(until > now.mono, "waits for what is past"),
                Act::Leave => replica.candidate = newcomer,
                act => replica.send(tick, act),
            }
        }
        let leading = self.replicas.iter().filter(|replica| replica.leads(tick)).count();
        assert!(leading <= 1, "{leading} lead at tick {tick}");
        self.ticks_led += u64::from(leading == 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn two_replicas_never_lead_at_once(
        clocks in clocks(),
        troubles in prop::collection::vec((0_u64..3_000, 0..REPLICAS, trouble()), 0..60),
        paces in prop::collection::vec(0.8..=1.0_f64, 17),
    ) {
        let mut history = History::new(clocks);
        for (tick, pace) in (0..3_000).zip(paces.iter().cycle()) {
            for (_, at, trouble) in troubles.iter().filter(|(when, ..)| *when == tick) {
                history.strike(tick, *at, *trouble);
            }
            history.tick(tick, *pace);
        }
        // The troubles that began last are over after 20 s, a lease that nobody renews after another 12.
        history.replicas.iter_mut().for_each(|replica| replica.delay = 0);
        for tick in 3_000..3_340 {
            history.tick(tick, 1.0);
        }
        history.ticks_led = 0;
        for tick in 3_340..3_600 {
            history.tick(tick, 1.0);
        }
        prop_assert_eq!(history.ticks_led, 260);
    }

    #[test]
    fn quiet_cluster_has_one_leader_for_ever(clocks in clocks()) {
        let mut history = History::new(clocks);
        for tick in 0..20 {
            history.tick(tick, 0.9);
        }
        history.ticks_led = 0;
        for tick in 20..1_000 {
            history.tick(tick, 0.9);
        }
        prop_assert_eq!(history.ticks_led, 980);
        let spec = history.server.lease.and_then(|lease| lease.spec);
        prop_assert_eq!(spec.and_then(|spec| spec.lease_transitions), Some(0));
    }
}
