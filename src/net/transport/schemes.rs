//! The transports of a node, by their schemes.

#[cfg(any(feature = "shared-key", feature = "tls-aws-lc", feature = "tls-ring"))]
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

#[cfg(any(feature = "shared-key", feature = "tls-aws-lc", feature = "tls-ring"))]
use super::over_tcp::OverTcp;
use super::seam::Transport;
#[cfg(feature = "shared-key")]
use super::shared_key::SharedKey;
#[cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))]
use super::tls::Tls;
use crate::ident::endpoint::Endpoint;
use crate::ident::endpoint::Place;
use crate::ident::endpoint::is_scheme;
use crate::ident::endpoint::without_transport;

/// The schemes of the transports that every node has.
const BUILT_IN: [&str; 2] = ["tcp", "unix"];

/// The transports that an application has given a node, beside TCP and Unix sockets.
#[derive(Default)]
pub(crate) struct Transports {
    by_scheme: BTreeMap<Box<str>, Entry>,
    /// The permissions of the files of Unix sockets, unless the process's umask decides.
    pub(crate) socket_mode: Option<u32>,
}

/// A transport, with its number among those of the node.
pub(super) struct Entry {
    pub(super) number: u32,
    pub(super) transport: Arc<dyn Transport>,
    /// The same transport, if it is one of this crate over TCP: it is told for whom it dials, and need not open a
    /// connection to find out where a name leads.
    #[cfg(any(feature = "shared-key", feature = "tls-aws-lc", feature = "tls-ring"))]
    pub(super) over_tcp: Option<Arc<dyn OverTcp>>,
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
        let number = u32::try_from(self.by_scheme.len()).unwrap_or(u32::MAX);
        let entry = Entry {
            number,
            #[cfg(any(feature = "shared-key", feature = "tls-aws-lc", feature = "tls-ring"))]
            over_tcp: over_tcp(&transport),
            transport: Arc::new(transport),
        };
        self.by_scheme.insert(scheme, entry);
        Ok(())
    }

    /// Returns the transport of a scheme, unless it is built in.
    pub(super) fn of(&self, scheme: &str) -> Option<&Entry> {
        self.by_scheme.get(scheme)
    }

    /// Whether there is a transport for an endpoint.
    pub(crate) fn have(&self, endpoint: &Endpoint) -> bool {
        match endpoint.place() {
            Place::Other { scheme, .. } => self.of(scheme).is_some(),
            Place::Tcp { .. } | Place::Unix { .. } => true,
        }
    }

    /// Checks that there is a transport for an endpoint. The error describes those that there are.
    pub(crate) fn check(&self, endpoint: &Endpoint) -> Result<(), String> {
        if self.have(endpoint) {
            return Ok(());
        }
        Err(without_transport(endpoint, self.by_scheme.keys().map(|scheme| &**scheme)))
    }
}

/// Returns the handshake over TCP of a transport of this crate; `None` for one of the application.
#[cfg(any(feature = "shared-key", feature = "tls-aws-lc", feature = "tls-ring"))]
fn over_tcp(transport: &dyn Any) -> Option<Arc<dyn OverTcp>> {
    #[cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))]
    if let Some(tls) = transport.downcast_ref::<Tls>() {
        return Some(Arc::new(tls.clone()));
    }
    #[cfg(feature = "shared-key")]
    if let Some(key) = transport.downcast_ref::<SharedKey>() {
        return Some(Arc::new(key.clone()));
    }
    None
}

impl fmt::Debug for Transports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(BUILT_IN).entries(self.by_scheme.keys()).finish()
    }
}
