//! Floor 1: wait and copy, measured.
//!
//! Each input has two phases: **wait**, until the kernel has the data, and **copy**, until it lies in the
//! process's buffer. Between them a ready connection may stand **queued** behind its neighbours. The models
//! say where a phase begins and ends by calling the [`Observer`] around each system call; what
//! is then done with that depends on the observer alone:
//!
//! - [`Counting`] counts connections, requests and bytes, and makes no call;
//! - [`Recorder`] reads the clocks, keeps a [`Histogram`] per [`Metric`], partitions the flow's time into
//!   [`Part`]s, and with lines tells each I/O as it happens.
//!
//! `docs/phases.md` says how each figure is measured.

mod calibration;
mod call;
mod event;
mod events;
mod histogram;
mod id;
mod lines;
mod metric;
mod observer;
mod recorder;
mod report;
mod stamp;
mod tally;
mod units;
mod waited;

pub use calibration::{Calibration, Over};
pub use call::Call;
pub use event::{Asked, Event, How, Phases, What};
pub use histogram::Histogram;
pub use id::Id;
use lines::Lines;
pub use metric::{Metric, Waits};
pub use observer::{Counting, End, Input, Observer};
pub use recorder::Recorder;
pub use report::{Report, Subject};
pub use stamp::Primed;
pub use tally::{Count, Part, Tally};
pub use units::{Nanos, Size, Utc};
