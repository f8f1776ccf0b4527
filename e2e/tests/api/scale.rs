//! How much of each fault a test makes: the short mode is for every change, the long one (`cargo xtask soak`) for the
//! claim in the documentation. The only place that asks which of them it is.

use std::{env, sync::LazyLock, time::Duration};

/// The numbers of one mode.
#[derive(Debug, PartialEq, Eq)]
pub struct Scale {
    /// The mode's name, for what tests print.
    pub mode: &'static str,

    /// How often an operator is killed while keys come, rotate and go.
    pub kills: usize,

    /// How many creations and rotations there are meanwhile.
    pub changes: usize,

    /// The IPv4 range that they all want a part of.
    pub crowded: &'static str,

    /// How often the apiserver is killed under load.
    pub outages: usize,

    /// How many keys share one public key.
    pub alike: usize,

    /// How many keys come, rotate or go between a snapshot and its restore.
    pub forgotten: usize,

    /// How many keys a namespace holds when all of them are deleted.
    pub crowd: usize,

    /// How many keys are written while every third write fails.
    pub refused: usize,

    /// How long nobody may write once all is done.
    pub quiet: Duration,

    /// How long it may take until all is done.
    pub settle: Duration,
}

static SHORT: Scale = Scale {
    mode: "short",
    kills: 12,
    changes: 400,
    crowded: "10.64.0.0/23",
    outages: 3,
    alike: 30,
    forgotten: 60,
    crowd: 300,
    refused: 60,
    quiet: Duration::from_secs(10),
    settle: Duration::from_mins(1),
};

static LONG: Scale = Scale {
    mode: "long",
    kills: 200,
    changes: 10_000,
    crowded: "10.64.0.0/22",
    outages: 20,
    alike: 300,
    forgotten: 1_000,
    crowd: 10_000,
    refused: 1_000,
    quiet: Duration::from_mins(1),
    settle: Duration::from_mins(10),
};

/// The numbers of this run.
pub fn scale() -> &'static Scale {
    static SCALE: LazyLock<&'static Scale> = LazyLock::new(|| match env::var("CULVERT_SOAK") {
        Ok(text) if text == "1" => &LONG,
        _ => &SHORT,
    });
    &SCALE
}

/// The seed of everything random in this run; `CULVERT_SEED` repeats another run's choices.
pub fn seed() -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| {
        env::var("CULVERT_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(20_260_401)
    });
    *SEED
}
