//! Random histories.

use super::*;

/// Random histories end at rest, with every invariant intact.
#[test]
fn random_histories_keep_every_invariant() {
    use rand::RngExt;
    for seed in 0..200 {
        let mut dice = SmallRng::seed_from_u64(seed);
        let mut bed = Bed::new("10.64.0.0/28");
        bed.add_gateway();
        let mut names: HashMap<usize, u8> = HashMap::new();
        for _ in 0..60 {
            let which = dice.random_range(0..20_usize);
            let name = format!("key{which}");
            match dice.random_range(0..8) {
                0..=2 if !names.contains_key(&which) => {
                    let n = dice.random_range(0..12);
                    names.insert(which, n);
                    bed.put_key(Key {
                        created: u32::try_from(bed.now.wall.as_second()).unwrap(),
                        ..key(&name, n)
                    });
                }
                3 if names.remove(&which).is_some() => {
                    bed.world.apply(Change::Gone(Kind::Key, uid(&name)), bed.now.mono);
                }
                4 if names.contains_key(&which) => {
                    let n = dice.random_range(0..12);
                    bed.change_key(&name, |key| key.public_key = Some(public_key(n)));
                }
                5 if names.contains_key(&which) => bed.change_key(&name, |key| key.suspend = !key.suspend),
                6 => {
                    let version = bed.version;
                    bed.report("a", Some(version), &[]);
                }
                _ => bed.pass(dice.random_range(0..400)),
            }
            if dice.random_bool(0.5) {
                bed.settle();
            } else if let Some((_, step)) = bed.plan().steps.into_iter().next() {
                // A crash: what was planned beside the first step is lost and must be found again.
                bed.execute(step);
                let all: Vec<_> = bed.world.keys().map(|key| Target::Key(key.uid)).collect();
                let claims: Vec<_> = bed.world.claims().map(|claim| Target::Claim(claim.uid)).collect();
                all.into_iter()
                    .chain(claims)
                    .for_each(|target| bed.world.touch(target));
                bed.world.touch(Target::Pool("default".to_owned()));
                bed.world.touch(Target::Fleet);
            }
        }
        bed.settle();
    }
}
