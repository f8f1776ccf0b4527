//! Inputs by the number: those that are committed, and what becomes of them by chance.
//!
//! For where libFuzzer is not: it follows no coverage, and finds what a few small changes to real bytes find.

use std::fs;
use std::path::Path;

/// Inputs that are made in the short mode, and with `CULVERT_SOAK=1`.
const MADE: [usize; 2] = [100_000, 5_000_000];
/// Changes to one input, at most.
const CHANGES: u64 = 4;
/// Numbers at which things change.
const NUMBERS: [u32; 10] = [0, 1, 3, 4, 15, 16, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff];

/// Hands every committed input of `folder` to `read`, and then as many changed ones as the mode asks for.
pub fn run(folder: &Path, read: impl Fn(&[u8])) {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort_unstable();
    let inputs: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(!inputs.is_empty(), "no corpus in {}", folder.display());
    inputs.iter().for_each(|input| read(input));
    let is_long = std::env::var_os("CULVERT_SOAK").is_some_and(|value| value == "1");
    let made = MADE[usize::from(is_long)];
    let seed = std::env::var("CULVERT_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(0x0c01_fe27);
    println!(
        "{} inputs, and {made} made of them with CULVERT_SEED={seed}",
        inputs.len()
    );
    let mut chance = Chance(seed);
    let longest = inputs.iter().map(Vec::len).max().unwrap_or_default();
    for _ in 0..made {
        let mut input = chance.pick(&inputs).clone();
        for _ in 0..=chance.below(CHANGES) {
            change(&mut input, &inputs, &mut chance);
        }
        input.truncate(2 * longest);
        read(&input);
    }
}

/// A sequence of numbers that a seed repeats (`xorshift64*`).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = if self.0 == 0 { 1 } else { self.0 };
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound.max(1)
    }

    /// A place in a text of this length, its end included.
    fn place(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64 + 1)).unwrap()
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.place(all.len() - 1)]
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let (one, other) = (self.place(length), self.place(length));
        one.min(other)..one.max(other)
    }
}

fn change(input: &mut Vec<u8>, inputs: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.place(input.len());
    match chance.below(8) {
        0 if at < input.len() => input[at] ^= 1 << chance.below(8),
        1 if at < input.len() => input[at] = chance.next().to_be_bytes()[0],
        // A number, most often a length, in the order of the machine.
        2 | 3 => {
            let number = chance.pick(&NUMBERS).to_ne_bytes();
            let width = *chance.pick(&[2, 4]);
            let at = at & !1;
            if let Some(place) = input.get_mut(at..at + width) {
                place.copy_from_slice(&number[..width]);
            }
        }
        // A digit.
        4 => {
            let digits = input.iter_mut().filter(|byte| byte.is_ascii_digit());
            let mut digits: Vec<_> = digits.collect();
            if !digits.is_empty() {
                let which = chance.place(digits.len() - 1);
                *digits[which] = b'0' + u8::try_from(chance.below(10)).unwrap();
            }
        }
        5 => drop(input.drain(chance.range(input.len()))),
        6 => {
            let again = input[chance.range(input.len())].to_vec();
            drop(input.splice(at..at, again));
        }
        // A piece of another one.
        _ => {
            let other = chance.pick(inputs);
            let piece = other[chance.range(other.len())].to_vec();
            drop(input.splice(at..at, piece));
        }
    }
}
