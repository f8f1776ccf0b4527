//! Rotation: another key pair, and with it other addresses, while the old ones still work.
//!
//! To come with the next commits: `schedule` (when), `plan` (what next), both pure, and `execute`.
