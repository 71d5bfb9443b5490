//! Sub-protocols beside the messages: the state of each, for one connection or one link.

pub(crate) mod absence;
pub(crate) mod deferred_release;
pub(crate) mod drop_report;
pub(crate) mod frame_pace;
pub(crate) mod heartbeat;
pub(crate) mod pressure;
pub(crate) mod settlement;
pub(crate) mod shape_query;
pub(crate) mod watch;
