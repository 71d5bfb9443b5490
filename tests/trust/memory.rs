//! A transport within the process, whose addresses are any words. Its channels prove what a test says.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use actix_hermod::transport::BoxFuture;
use actix_hermod::transport::Channel;
use actix_hermod::transport::Incoming;
use actix_hermod::transport::Transport;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Bytes under way in one direction.
const UNDER_WAY: usize = 64 << 10;

/// A network within the process.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    pub(crate) network: Arc<Network>,
    /// The scheme; `memory` if there is none.
    pub(crate) scheme: Option<&'static str>,
    /// Whether peers elsewhere may name addresses of it.
    pub(crate) is_private: bool,
    /// Whether the two ends of a channel do not agree about it, as if somebody stood between.
    pub(crate) is_intercepted: bool,
    /// The address that peers are said to come from.
    pub(crate) peers_at: Option<SocketAddr>,
    /// The address that dialling other than the first listener is said to lead to.
    pub(crate) leads_to: Option<SocketAddr>,
}

#[derive(Default)]
pub(crate) struct Network {
    listeners: Mutex<BTreeMap<String, mpsc::UnboundedSender<Dialled>>>,
    ports: AtomicUsize,
    dials: AtomicUsize,
    /// Whether channels have no binding from now on, like plain TCP.
    is_plain: AtomicBool,
    /// Cancelled to break all channels; replaced then.
    alive: Mutex<CancellationToken>,
}

struct Dialled {
    io: DuplexStream,
    binding: [u8; 32],
    says: Says,
}

/// The behaviour of a client in the handshake of the transport.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    Hello,
    Nothing,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// Makes a network of that scheme, whose channels have a binding or none.
    pub(crate) fn of(scheme: &'static str, is_bound: bool) -> Memory {
        let memory = Memory { scheme: Some(scheme), ..Memory::default() };
        memory.set_bound(is_bound);
        memory
    }

    /// Sets whether channels have a binding from now on.
    pub(crate) fn set_bound(&self, is_bound: bool) {
        self.network.is_plain.store(!is_bound, Ordering::SeqCst);
    }

    fn binding(&self) -> [u8; 32] {
        if self.network.is_plain.load(Ordering::SeqCst) { [0; 32] } else { [7; 32] }
    }

    /// Returns the number of dials so far.
    pub(crate) fn dials(&self) -> usize {
        self.network.dials.load(Ordering::SeqCst)
    }

    /// Breaks all channels; new ones can be made.
    pub(crate) fn cut(&self) {
        std::mem::take(&mut *lock(&self.network.alive)).cancel();
    }

    /// Connects to a listener as a client would, and gives its end of the stream.
    pub(crate) fn dial(&self, address: &str, says: Says) -> io::Result<DuplexStream> {
        self.network.dials.fetch_add(1, Ordering::SeqCst);
        let listeners = lock(&self.network.listeners);
        let listener = listeners.get(address).ok_or(io::ErrorKind::ConnectionRefused)?;
        let (near, far) = tokio::io::duplex(UNDER_WAY);
        let binding = self.binding();
        listener.send(Dialled { io: far, binding, says }).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(near)
    }

    /// Returns the stream, with both ends of which it is over once the network is cut.
    fn cuttable(&self, mut io: DuplexStream) -> DuplexStream {
        let (near, mut far) = tokio::io::duplex(UNDER_WAY);
        let cut = lock(&self.network.alive).clone();
        actix::spawn(async move {
            tokio::select! {
                () = cut.cancelled() => {}
                _ = tokio::io::copy_bidirectional(&mut io, &mut far) => {}
            }
        });
        near
    }
}

impl Transport for Memory {
    fn scheme(&self) -> &str {
        self.scheme.unwrap_or("memory")
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Channel>> {
        Box::pin(async move {
            let io = self.cuttable(self.dial(address, Says::Hello)?);
            let binding = if self.is_intercepted { [8; 32] } else { self.binding() };
            let channel = Channel::new(io).binding(binding);
            Ok(match self.leads_to.filter(|_| address != "port 0") {
                Some(led_to) => channel.address(led_to),
                None => channel,
            })
        })
    }

    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Incoming>>> {
        Box::pin(async move {
            let address = match address {
                "any" => format!("port {}", self.network.ports.fetch_add(1, Ordering::SeqCst)),
                other => other.to_owned(),
            };
            let (dialled, incoming) = mpsc::unbounded_channel();
            let mut listeners = lock(&self.network.listeners);
            if listeners.get(&address).is_some_and(|listener| !listener.is_closed()) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            listeners.insert(address.clone(), dialled);
            Ok(Box::new(Listener { address, incoming, peers_at: self.peers_at }) as Box<dyn Incoming>)
        })
    }

    fn may_be_named(&self, _: &str, is_near: bool) -> bool {
        is_near || !self.is_private
    }
}

struct Listener {
    address: String,
    incoming: mpsc::UnboundedReceiver<Dialled>,
    peers_at: Option<SocketAddr>,
}

impl Incoming for Listener {
    fn peer(&self) -> Option<SocketAddr> {
        self.peers_at
    }

    fn address(&self) -> String {
        self.address.clone()
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxFuture<'static, io::Result<Channel>>>> {
        Box::pin(async move {
            let Some(Dialled { io, binding, says }) = self.incoming.recv().await else { return pending().await };
            let handshake: BoxFuture<'static, io::Result<Channel>> = Box::pin(async move {
                match says {
                    Says::Hello => Ok(Channel::new(io).binding(binding)),
                    // The stream lives as long as the handshake waits.
                    Says::Nothing => {
                        let _held = io;
                        pending().await
                    }
                }
            });
            Ok(handshake)
        })
    }
}
