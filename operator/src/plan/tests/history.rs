//! Random histories.

use super::*;
use rand::RngExt;

/// What a history may change of its pool, and how it began.
fn narrowed(dice: &mut SmallRng, generation: i64) -> Pool {
    let exclude = ["10.64.0.4/30", "10.64.0.8/31", "10.64.0.14/32"];
    let ranges = pool("10.64.0.0/28").ranges.map(|ranges| Ranges {
        exclude: exclude
            .iter()
            .filter(|_| dice.random_bool(0.3))
            .map(|range| range.parse().unwrap())
            .collect(),
        ..ranges
    });
    Pool {
        generation,
        ranges,
        allowed_namespaces: if dice.random_bool(0.2) {
            vec!["others".to_owned()]
        } else {
            Vec::new()
        },
        max_keys_per_namespace: dice.random_bool(0.3).then(|| dice.random_range(1..8)),
        max_age: dice
            .random_bool(0.3)
            .then(|| Duration::from_secs(dice.random_range(600..6000))),
        ..pool("10.64.0.0/28")
    }
}

/// What was planned beside the first step is lost, and must be found again.
fn crash(bed: &mut Bed) {
    if let Some((_, step)) = bed.plan().steps.into_iter().next() {
        bed.execute(step);
    }
    let keys: Vec<_> = bed.world.keys().map(|key| Target::Key(key.uid)).collect();
    let claims: Vec<_> = bed.world.claims().map(|claim| Target::Claim(claim.uid)).collect();
    keys.into_iter()
        .chain(claims)
        .chain([Target::Pool("default".to_owned()), Target::Fleet])
        .for_each(|target| bed.world.touch(target));
}

/// One of the things that people and time do.
fn happen(bed: &mut Bed, dice: &mut SmallRng, names: &mut HashMap<usize, u8>) {
    let which = dice.random_range(0..20_usize);
    let name = format!("key{which}");
    match dice.random_range(0..12) {
        0..=2 if !names.contains_key(&which) => {
            let n = dice.random_range(0..12);
            names.insert(which, n);
            bed.put_key(Key {
                created: u32::try_from(bed.now.wall.as_second()).unwrap(),
                ..key(&name, n)
            });
        }
        3 if names.remove(&which).is_some() => bed.delete_key(&name),
        4 if names.contains_key(&which) => {
            let n = dice.random_range(0..12);
            bed.change_key(&name, |key| key.public_key = Some(public_key(n)));
        }
        5 if names.contains_key(&which) => bed.change_key(&name, |key| key.suspend = !key.suspend),
        6 => {
            let version = bed.version;
            bed.report("a", Some(version), &[]);
        }
        7 if names.contains_key(&which) => bed.change_key(&name, |key| key.address_generation += 1),
        8 => {
            let generation = bed.world.pool("default").map_or(0, |pool| pool.generation) + 1;
            let status = bed.world.pool("default").unwrap().status.clone();
            bed.put_pool(Pool {
                status,
                ..narrowed(dice, generation)
            });
        }
        9 => {
            // A list proves nothing of what is seen in the same moment.
            bed.pass(1);
            let mut names: Vec<_> = names.drain().collect();
            names.sort_unstable();
            for (which, _) in names {
                bed.delete_key(&format!("key{which}"));
            }
        }
        _ => bed.pass(dice.random_range(0..400)),
    }
}

/// Random histories of pools and keys end at rest, with every invariant intact.
#[test]
fn random_histories_keep_every_invariant() {
    for seed in 0..400 {
        let mut dice = SmallRng::seed_from_u64(seed);
        let mut bed = Bed::new("10.64.0.0/28");
        bed.add_gateway();
        let mut names = HashMap::new();
        for _ in 0..60 {
            happen(&mut bed, &mut dice, &mut names);
            if dice.random_bool(0.5) {
                bed.settle();
            } else {
                crash(&mut bed);
            }
        }
        bed.settle();
    }
}

/// A node that joins or leaves changes nothing of keys that work.
#[test]
fn a_node_that_joins_or_leaves_rewrites_no_key() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    for n in 0..20 {
        bed.put_key(key(&format!("key{n}"), n));
    }
    bed.settle();
    bed.catch_up("a");
    let keys_written = |bed: &mut Bed| {
        let mut written = 0;
        loop {
            let steps = bed.plan().steps;
            if steps.is_empty() {
                return written;
            }
            written += steps
                .iter()
                .filter(|(_, step)| matches!(step, Step::PublishKey(_)))
                .count();
            steps.into_iter().for_each(|(_, step)| bed.execute(step));
        }
    };
    bed.world.apply(Change::Node(Box::new(node("b"))), bed.now.mono);
    bed.report("b", None, &[]);
    assert_eq!(keys_written(&mut bed), 0);
    bed.report("b", Some(3), &[]);
    assert_eq!(keys_written(&mut bed), 0);
    bed.world
        .apply(Change::Gone(Kind::GatewayNode, uid("gw.b")), bed.now.mono);
    bed.world.apply(Change::Gone(Kind::Node, uid("b")), bed.now.mono);
    assert_eq!(keys_written(&mut bed), 0);
    bed.world
        .apply(Change::Gone(Kind::GatewayNode, uid("gw.a")), bed.now.mono);
    bed.world.apply(Change::Gone(Kind::Node, uid("a")), bed.now.mono);
    assert_eq!(keys_written(&mut bed), 0);
}
