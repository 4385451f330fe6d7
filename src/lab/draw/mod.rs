//! The notes' lost figures, drawn from real runs.
//!
//! [`run()`] serves a scripted client, or several, by a real server whose recorder keeps its events. From the events come
//! three pictures, each made in two steps, so that the same events give the same picture every time:
//!
//! | picture | what happened, in abstract units | for a terminal | SVG |
//! |---|---|---|---|
//! | one I/O, time downwards | `io.rs`, `draft.rs`, `figure.rs` | `text.rs` | `picture.rs` |
//! | lanes, time to the right | `lanes.rs`, `axis.rs` | `lanes/text.rs` | `lanes/picture.rs` |
//! | all models side by side | `all.rs` | `all/text.rs` | `all/picture.rs` |
//!
//! Copy is a thousand times shorter than wait: heights grow with the logarithm of the time and never fall below a
//! minimum, a block that is drawn too short for its neighbours bears a break, and every time is written out.

mod all;
mod axis;
mod canvas;
mod draft;
mod figure;
mod io;
mod kernel;
mod lanes;
mod picture;
mod run;
mod style;
mod text;

pub use all::All;
pub use canvas::{Canvas, Look};
pub use figure::{Block, Figure, Item, Phase, Side};
pub use io::Io;
pub use kernel::Kernel;
pub use lanes::{Lane, Lanes, MOST, Span, State};
pub use run::{Plan, Run, Visit, run, single};
