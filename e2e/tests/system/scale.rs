//! How much of each thing a test makes: the short mode is for every change, the long one (`cargo xtask soak`) for the
//! claim in the documentation. The only place that asks which of them it is.

use std::{env, sync::LazyLock, time::Duration};

/// The numbers of one mode.
#[derive(Debug, PartialEq, Eq)]
pub struct Scale {
    /// The mode's name, for what tests print.
    pub mode: &'static str,

    /// How often an agent is killed.
    pub kills: u32,

    /// How many clients roam.
    pub crowd: u16,

    /// For how long.
    pub crowd_time: Duration,

    /// How many peers a gateway has when it is drained.
    pub many: u32,
}

static SHORT: Scale = Scale {
    mode: "short",
    kills: 6,
    crowd: 20,
    crowd_time: Duration::from_mins(10),
    many: 500,
};

static LONG: Scale = Scale {
    mode: "long",
    kills: 100,
    crowd: 200,
    crowd_time: Duration::from_hours(1),
    many: 2_000,
};

/// The numbers of this run.
pub fn scale() -> &'static Scale {
    static SCALE: LazyLock<&'static Scale> = LazyLock::new(|| match env::var("CULVERT_SOAK") {
        Ok(text) if text == "1" => &LONG,
        _ => &SHORT,
    });
    &SCALE
}
