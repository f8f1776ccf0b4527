//! `kubectl culvert`: a user's keys and an administrator's questions.
//!
//! ```text
//!  args ──▶ commands/<verb> ──▶ keys, gateways ──▶ apiserver         what was asked, one file a command
//!               │                  │
//!               │                  └── the public key alone; private keys stay in `keys::store`
//!               ├── conf (pure): configuration of a client           ├── rotate::plan (pure): what to do next
//!               └── output: tables, objects, colour                  └── error: what failed, what to do, exit code
//! ```
//!
//! A private key is made in this process and goes to a file of the user's own, to a terminal or to where the user points;
//! never into an argument list, an environment, a log, an error or a request. There is no log: what is to be said is said
//! on standard error, and standard output carries results alone.

pub mod args;
pub mod chance;
pub mod clock;
pub mod cluster;
pub mod commands;
pub mod completion;
pub mod conf;
pub mod connect;
pub mod duration;
pub mod error;
pub mod exit;
pub mod gateways;
pub mod judge;
pub mod keys;
pub mod logs;
pub mod migrate;
pub mod output;
pub mod private;
pub mod qr;
pub mod report;
pub mod request;
pub mod retire;
pub mod rotate;
pub mod world;

pub use error::Error;
