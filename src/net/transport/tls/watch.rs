//! Certificates that are accepted once are looked at again while their link lives: when one of them expires, and when
//! the authorities were read again.
//!
//! Each channel with a certificate of the peer has one task of this kind, which ends with the channel: so there are
//! never more of them than connections.

use std::sync::Arc;
use std::sync::OnceLock;
use std::task::Context;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::watch;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_util::sync::CancellationToken;

use super::certificate::Contents;
use super::fault::TlsFault;
use super::state::State;

/// The longest time for which the clock of the system is not looked at: it may be set while a timer runs.
const LOOK: Duration = Duration::from_secs(60 * 60);

/// The end that a channel's certificate has come to, if it has.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    why: OnceLock<String>,
    reader: AtomicWaker,
}

impl Verdict {
    /// Returns the reason to end, or has the task be woken when there is one.
    pub(super) fn or_wake(&self, cx: &Context<'_>) -> Option<&str> {
        self.reader.register(cx.waker());
        self.given()
    }

    /// Returns the reason to end.
    pub(super) fn given(&self) -> Option<&str> {
        self.why.get().map(String::as_str)
    }

    fn give(&self, fault: TlsFault) {
        // It is given once: the watcher ends by it.
        let _ = self.why.set(TlsFault::NoLonger(Box::new(fault)).to_string());
        self.reader.wake();
    }
}

/// The side that has shown the certificates.
#[derive(Debug)]
pub(super) enum Role {
    /// The peer was dialled by that name.
    Server(ServerName<'static>),
    /// The peer has dialled.
    Client,
}

/// A peer's certificates, and the role in which it has shown them.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) role: Role,
    /// The peer's own first.
    pub(super) chain: Vec<CertificateDer<'static>>,
}

impl Shown {
    /// Verifies the certificates once more, if that is up to the state.
    fn verify(&self, state: &State, now: UnixTime) -> Result<(), rustls::Error> {
        let Some((certificate, chain)) = self.chain.split_first() else { return Ok(()) };
        match &self.role {
            Role::Server(name) => match &state.servers {
                Some(verifier) => verifier.verify_server_cert(certificate, chain, name, &[], now).map(drop),
                None if state.client.is_none() => {
                    Err(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer))
                }
                None => Ok(()),
            },
            Role::Client => match &state.clients {
                Some(verifier) => verifier.verify_client_cert(certificate, chain, now).map(drop),
                None => Ok(()),
            },
        }
    }

    /// Returns the ends of the certificates' validity that are still to come.
    fn ends(&self, now: Duration) -> Vec<Duration> {
        let ends = self.chain.iter().filter_map(|certificate| Contents::of(certificate).not_after);
        ends.filter(|end| *end >= now).collect()
    }
}

/// Watches over certificates until one is not accepted any more, or the channel is gone.
pub(super) async fn watch(
    shown: Shown,
    mut states: watch::Receiver<Arc<State>>,
    verdict: Arc<Verdict>,
    gone: CancellationToken,
) {
    let mut ends = shown.ends(clock());
    loop {
        let now = clock();
        let next = ends.iter().map(|end| end.saturating_sub(now).saturating_add(Duration::from_secs(1))).min();
        let is_anew = tokio::select! {
            biased;
            () = gone.cancelled() => return,
            is_anew = reread(&mut states) => is_anew,
            () = tokio::time::sleep(next.unwrap_or(LOOK).min(LOOK)) => false,
        };
        let now = clock();
        let has_expired = ends.iter().any(|end| *end < now);
        if !is_anew && !has_expired {
            continue;
        }
        let state = Arc::clone(&states.borrow_and_update());
        if let Err(error) = shown.verify(&state, UnixTime::since_unix_epoch(now)) {
            return verdict.give(error.into());
        }
        // Configurations of the application verify as they like, but only new connections.
        let is_own = state.servers.is_some() || state.clients.is_some();
        let own_end = shown.chain.first().and_then(|certificate| Contents::of(certificate).not_after);
        if !is_own && let Some(end) = own_end.filter(|end| ends.contains(end) && *end < now) {
            return verdict.give(TlsFault::Expired { seconds: Some(now.saturating_sub(end).as_secs()) });
        }
        ends.retain(|end| *end >= now);
    }
}

/// Waits until the files were read again.
async fn reread(states: &mut watch::Receiver<Arc<State>>) -> bool {
    match states.changed().await {
        Ok(()) => true,
        // The transport is gone, and with it all that could be read again.
        Err(_) => std::future::pending().await,
    }
}

/// Returns the time since 1970.
fn clock() -> Duration {
    Duration::from_secs(UnixTime::now().as_secs())
}
