//! All peers of a node: the table of connected ones, the admission of new ones, and the search for paths to others.

pub(crate) mod address_quotas;
pub(crate) mod admission;
pub(crate) mod budgets;
pub(crate) mod greetings;
pub(crate) mod hints;
pub(crate) mod news;
pub(crate) mod path_search;
pub(crate) mod policy;
pub(crate) mod proven;
pub(crate) mod read_scheduler;
pub(crate) mod table;
pub(crate) mod unfinished;
