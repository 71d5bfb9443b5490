//! Sub-protocols beside the messages: the state of each, for one connection or one link, as a plain object.
//!
//! An object takes decoded frames (`on_…`), writes the frames that are due (`poll_frames`), and takes the time as an
//! argument. It has no lock, no channel and no waker, and never calls the application: it returns whatever it holds for
//! a caller as [`Effects`](effects::Effects).

pub(crate) mod absence;
pub(crate) mod acknowledgement;
pub(crate) mod allowance;
pub(crate) mod deferred_release;
pub(crate) mod drop_report;
pub(crate) mod effects;
pub(crate) mod flow;
pub(crate) mod frame_pace;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod heartbeat;
pub(crate) mod lease;
pub(crate) mod peer_watch;
pub(crate) mod pressure;
pub(crate) mod release;
pub(crate) mod requests;
pub(crate) mod settlement;
pub(crate) mod shape_query;
pub(crate) mod watch;
