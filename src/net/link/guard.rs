//! The protection of a link's connections: a path of a pointer never falls below the protection under which the pointer
//! came.
//!
//! Links for pointers that came over a protected channel are links of their own, since others may lead to the same
//! endpoint by a plain stream. A link that was protected once stays so: pointers have come over it.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;

use super::Link;
use crate::net::transport::Protection;
use crate::net::transport::Stream;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Guard {
    /// Whether the link was made for pointers that came over a protected channel.
    is_for_protected: bool,
    /// Whether a plain stream is refused.
    demands: AtomicBool,
    /// The protection of the present connection, or of the last one.
    protection: AtomicU8,
}

impl Guard {
    pub(super) fn new(is_for_protected: bool) -> Guard {
        let (demands, protection) = (AtomicBool::new(is_for_protected), AtomicU8::new(Protection::Nothing as u8));
        Guard { is_for_protected, demands, protection }
    }

    /// Notes the protection of the connection that is about to come up.
    pub(super) fn note(&self, protection: Protection) {
        self.protection.store(protection as u8, Ordering::Release);
        if protection.is_demanded() {
            self.demands.store(true, Ordering::Release);
        }
    }
}

impl Link {
    /// Whether the link was made for pointers that came over a protected channel.
    pub(crate) fn is_for_protected(&self) -> bool {
        self.guard.is_for_protected
    }

    /// Checks before a dial whether a stream to the link's endpoint can have the protection that the link needs.
    pub(crate) fn check_endpoint(&self) -> io::Result<()> {
        let may_be_protected = self.endpoint().is_none_or(Protection::may_suffice_at);
        if self.guard.demands.load(Ordering::Acquire) && !may_be_protected { Err(too_low()) } else { Ok(()) }
    }

    /// Checks a stream that was opened, before anything is said on it.
    pub(crate) fn check(&self, stream: &Stream) -> io::Result<()> {
        let is_low = self.guard.demands.load(Ordering::Acquire) && !stream.protection().suffices();
        if is_low { Err(too_low()) } else { Ok(()) }
    }

    /// Whether pointers that come over the connection lead by protected paths only.
    pub(crate) fn is_protection_demanded(&self) -> bool {
        self.guard.protection.load(Ordering::Acquire) == Protection::Channel as u8
    }

    /// Whether the connection may serve pointers that came over a protected channel.
    pub(crate) fn is_protected(&self) -> bool {
        self.guard.protection.load(Ordering::Acquire) >= Protection::Host as u8
    }
}

fn too_low() -> io::Error {
    let words = "the address came over a protected channel, and no plain one leads there";
    io::Error::new(io::ErrorKind::PermissionDenied, words)
}
