//! Sub-protocols beside the messages: what one connection, or one link, remembers of each.

pub(crate) mod absence;
pub(crate) mod deferred_release;
pub(crate) mod drop_report;
pub(crate) mod frame_pace;
pub(crate) mod heartbeat;
pub(crate) mod pressure;
pub(crate) mod settlement;
pub(crate) mod shape_query;
pub(crate) mod watch;
