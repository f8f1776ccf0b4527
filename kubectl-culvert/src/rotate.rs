//! Rotation: another key pair, and with it other addresses, while the old ones still work.
//!
//! ```text
//!  schedule: when ──▶ plan: the next step, from what is here and what the cluster says ──▶ execute: does it, looks again
//!
//!  draw ──▶ keep as next ──▶ tell the cluster ──▶ every gateway has it ──▶ switch        the old peer: pool's overlap,
//!            (a file)        (same object)         (watch)                (a rename)     counted by the operator
//! ```
//!
//! The API rotates in place: another `spec.publicKey` in the same `WireGuardKey` gets other addresses, and the operator
//! keeps the old peer until the overlap is over that begins when every gateway has the new one. So there is one object at
//! every moment: whoever is killed, at whichever step, leaves no key behind, and the next run goes on from what it finds.
//! What fails leaves the old key as it is, working, and is tried again later. Where the cluster was told and gateways take
//! longer than was waited, the object is given the old key again, or whoever goes on keeps watching: the overlap begins when
//! they have it, and not when somebody looks.
//!
//! Who holds the pair is a [`Holder`]: files, or a tunnel that is up.

pub mod execute;
pub mod plan;
pub mod schedule;

pub use execute::{Holder, RotateError, rotate};
pub use plan::{Lost, Next, Object, View, next};
pub use schedule::{Every, Timetable};
