//! The transports of a node, by their schemes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::seam::Transport;
use crate::ident::Endpoint;
use crate::ident::Place;
use crate::ident::is_scheme;
use crate::ident::without_transport;

/// The schemes of the transports that every node has.
const BUILT_IN: [&str; 2] = ["tcp", "unix"];

/// The transports that an application has given a node, beside TCP and Unix sockets.
#[derive(Default)]
pub(crate) struct Transports {
    by_scheme: BTreeMap<Box<str>, Arc<dyn Transport>>,
}

/// Why a transport was not taken.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum NotTaken {
    /// The text is no scheme.
    Invalid,
    /// The scheme is that of another transport.
    Taken,
}

impl Transports {
    /// Adds a transport.
    pub(crate) fn add(&mut self, transport: impl Transport) -> Result<(), NotTaken> {
        let scheme: Box<str> = transport.scheme().into();
        if !is_scheme(&scheme) {
            return Err(NotTaken::Invalid);
        }
        if BUILT_IN.contains(&&*scheme) || self.by_scheme.contains_key(&scheme) {
            return Err(NotTaken::Taken);
        }
        self.by_scheme.insert(scheme, Arc::new(transport));
        Ok(())
    }

    /// Returns the transport of a scheme, unless it is built in.
    pub(super) fn of(&self, scheme: &str) -> Option<&Arc<dyn Transport>> {
        self.by_scheme.get(scheme)
    }

    /// Checks that there is a transport for an endpoint. The error describes those that there are.
    pub(crate) fn check(&self, endpoint: &Endpoint) -> Result<(), String> {
        match endpoint.place() {
            Place::Other { scheme, .. } if self.of(scheme).is_none() => {
                Err(without_transport(endpoint, self.by_scheme.keys().map(|scheme| &**scheme)))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Transports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(BUILT_IN).entries(self.by_scheme.keys()).finish()
    }
}
