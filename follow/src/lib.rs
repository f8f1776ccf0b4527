//! Follows one kind of the API: listed whole, then watched, for ever.
//!
//! ```text
//!  list, page by page ──▶ watch ──▶ watch … (each but the first after a list of one: where does history stand?)
//!    ▲                      │
//!    └── 410, history back ─┘          every word of it ──▶ Listener
//! ```
//!
//! A watch that fails is resumed with backoff for as long as somebody listens; until a new list is whole nothing counts
//! as gone. A watch that has gone silent is given up; and whenever one ends, it goes on only where the API's history is
//! still the one that was seen: a watch from the future, as after a restore from a backup, is taken by the apiserver and
//! stays silent for ever. [`raw`] reads of an object as little as its reader needs; [`failure`] says what a failed
//! request means, without its text.

mod clock;
pub mod failure;
mod feed;
mod page;
mod patience;
pub mod raw;

pub use failure::Failure;
pub use feed::{Deaf, Listener, Next, Params, Told, follow};
pub use page::{ask, page};
pub use raw::{Page, Raw, Uid};
