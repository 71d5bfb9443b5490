//! Looks up the addresses of a name, on a detached thread.
//!
//! The system's `getaddrinfo` cannot be interrupted, and takes 40 seconds and more while a name server does not answer.
//! tokio's own lookup runs it on the runtime's blocking pool, and a runtime waits at its end for all that runs there.
//! So the lookup runs on a detached thread here: a caller that gives up, or a runtime that ends, leaves it behind.
//!
//! Invariant: one thread for each name that is being looked up, and at most [`MAX_LOOKUPS`] in the process, however
//! many callers ask for the names, and however often.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::ident::NodeId;

/// Names looked up at a time in this process. Each costs a thread, which a name server that does not answer keeps for
/// as long as it likes; while that many are under way, dials of further names fail and are tried again after a pause.
const MAX_LOOKUPS: usize = 64;

/// Lookups at a time of names that one peer has named.
const MAX_OF_PEER: usize = MAX_LOOKUPS / 4;

/// Lookups at a time of names that all peers have named: the rest is for the program's own.
const MAX_OF_PEERS: usize = MAX_LOOKUPS / 4 * 3;

type Answer = Result<Vec<SocketAddr>, Arc<io::Error>>;

static LOOKUPS: Lookups = Lookups { under_way: Mutex::new(BTreeMap::new()) };

/// The lookups under way, and the callers that wait for each.
struct Lookups {
    under_way: Mutex<BTreeMap<String, Waiting>>,
}

/// The callers that wait for one lookup.
#[derive(Default)]
struct Waiting {
    /// The peer that has named the host; `None` if this program has.
    asked_by: Option<NodeId>,
    all: Vec<oneshot::Sender<Answer>>,
    /// The number of callers that had not given up when that was last checked.
    left: usize,
}

impl Waiting {
    fn add(&mut self, tell: oneshot::Sender<Answer>) {
        // Senders whose receiver has given up would pile up behind a resolver that hangs. Checked only when the number
        // of senders has doubled, since very many may wait.
        if self.all.len() > 2 * self.left + 64 {
            self.all.retain(|waiting| !waiting.is_closed());
            self.left = self.all.len();
        }
        self.all.push(tell);
    }
}

/// Returns the addresses of a host, in the order in which the system prefers them (RFC 6724), each once and at least
/// one. If the host is an address, it is returned as it is, without a lookup. Nothing is cached. A lookup for a peer
/// that has named the host counts against that peer.
pub(super) async fn look_up(host: &str, port: u16, asked_by: Option<NodeId>) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let addresses = LOOKUPS.look_up(host, asked_by, |host| Ok((host, 0).to_socket_addrs()?.collect())).await?;
    let mut seen = BTreeSet::new();
    let mut addresses: Vec<_> = addresses.into_iter().filter(|address| seen.insert(*address)).collect();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address")));
    }
    addresses.iter_mut().for_each(|address| address.set_port(port));
    Ok(addresses)
}

impl Lookups {
    async fn look_up(
        &'static self,
        host: &str,
        asked_by: Option<NodeId>,
        resolve: impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static,
    ) -> io::Result<Vec<SocketAddr>> {
        let answer = self.ask(host, asked_by, resolve)?.await;
        // The thread has panicked in the system's resolver.
        let answer = answer.map_err(|_| io::Error::other(format!("the lookup of {host} broke off")))?;
        answer.map_err(|error| io::Error::new(error.kind(), error))
    }

    /// Waits for the lookup of a name together with others, begun with `resolve` if none is under way.
    fn ask(
        &'static self,
        host: &str,
        asked_by: Option<NodeId>,
        resolve: impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static,
    ) -> io::Result<oneshot::Receiver<Answer>> {
        let (tell, answer) = oneshot::channel();
        let mut under_way = self.under_way.lock();
        if let Some(waiting) = under_way.get_mut(host) {
            waiting.add(tell);
            return Ok(answer);
        }
        check_room(&under_way, asked_by)?;
        let name = host.to_owned();
        // Started under the lock, so that the thread finds the name in the table.
        thread::Builder::new().name("hermod-lookup".to_owned()).spawn(move || {
            let mut lookup = Lookup { lookups: self, host: name, answer: None };
            lookup.answer = Some(resolve(&lookup.host).map_err(Arc::new));
        })?;
        under_way.entry(host.to_owned()).or_insert(Waiting { asked_by, ..Waiting::default() }).add(tell);
        Ok(answer)
    }
}

/// Checks that one more name may be looked up for the caller.
fn check_room(under_way: &BTreeMap<String, Waiting>, asked_by: Option<NodeId>) -> io::Result<()> {
    let count = |is_it: &dyn Fn(NodeId) -> bool| {
        under_way.values().filter_map(|one| one.asked_by).filter(|of| is_it(*of)).count()
    };
    let (limit, whose) = match asked_by {
        Some(peer) if count(&|of| of == peer) >= MAX_OF_PEER => (MAX_OF_PEER, "other names that this peer has named"),
        Some(_) if count(&|_| true) >= MAX_OF_PEERS => (MAX_OF_PEERS, "other names that peers have named"),
        _ if under_way.len() >= MAX_LOOKUPS => (MAX_LOOKUPS, "other names"),
        _ => return Ok(()),
    };
    let words = format!("{limit} {whose} are being looked up, and the resolver does not answer");
    Err(io::Error::new(io::ErrorKind::QuotaExceeded, words))
}

/// A lookup under way. Dropping it answers all waiting dials, or ends their wait without an answer if the system's
/// resolver panicked.
struct Lookup {
    lookups: &'static Lookups,
    host: String,
    answer: Option<Answer>,
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let waiting = self.lookups.under_way.lock().remove(&self.host).unwrap_or_default();
        let Some(answer) = &self.answer else { return };
        for waiting in waiting.all {
            // The caller may have given up.
            let _ = waiting.send(answer.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn lookups() -> &'static Lookups {
        Box::leak(Box::new(Lookups { under_way: Mutex::new(BTreeMap::new()) }))
    }

    fn loopback() -> Vec<SocketAddr> {
        vec![SocketAddr::from(([127, 0, 0, 1], 0))]
    }

    /// Returns a resolver that answers once the returned sender is dropped.
    fn hanging() -> (mpsc::Sender<()>, impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send) {
        let (release, released) = mpsc::channel::<()>();
        let resolve = move |_: &str| {
            let _ = released.recv();
            Ok(loopback())
        };
        (release, resolve)
    }

    #[test]
    fn a_resolver_that_hangs_does_not_hold_the_end_of_a_runtime() {
        let (release, resolve) = hanging();
        let (ended, end) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = lookups().look_up("name.test", None, resolve) => panic!("it does not answer yet"),
                    () = std::future::ready(()) => {}
                }
            });
            drop(runtime);
            ended.send(()).unwrap();
        });
        assert_eq!(end.recv_timeout(LIMIT), Ok(()));
        drop(release);
    }

    #[tokio::test]
    async fn who_asks_for_a_name_that_is_being_looked_up_waits_for_that_answer() {
        let (lookups, (release, resolve)) = (lookups(), hanging());
        let first = lookups.ask("name.test", None, resolve).unwrap();
        let second = lookups.ask("name.test", None, |_| panic!("it is being looked up")).unwrap();
        drop(first);
        let again = || lookups.ask("name.test", None, |_| panic!("it is being looked up")).unwrap();
        (0..10_000).for_each(|_| drop(again()));
        assert!(lookups.under_way.lock()["name.test"].all.len() < 100, "who has given up is forgotten");
        let third = again();
        drop(release);
        for answer in [second, third] {
            assert_eq!(answer.await.unwrap().unwrap(), loopback());
        }
        // The name is looked up anew each time.
        let error = lookups.look_up("name.test", None, |_| Err(io::ErrorKind::HostUnreachable.into())).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::HostUnreachable);
    }

    #[tokio::test]
    async fn no_more_names_are_looked_up_at_a_time_than_the_limit_says() {
        let lookups = lookups();
        let (mut releases, mut answers) = (Vec::new(), Vec::new());
        for n in 0..MAX_LOOKUPS {
            let (release, resolve) = hanging();
            releases.push(release);
            answers.push(lookups.ask(&n.to_string(), None, resolve).unwrap());
        }
        let refused = lookups.look_up("one more", None, |_| Ok(loopback())).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::QuotaExceeded);
        assert!(lookups.ask("0", None, |_| panic!("it is being looked up")).is_ok());
        drop(releases.pop());
        answers.pop().unwrap().await.unwrap().unwrap();
        assert_eq!(lookups.look_up("one more", None, |_| Ok(loopback())).await.unwrap(), loopback());
    }

    #[test]
    fn names_that_peers_have_named_take_no_turn_of_others() {
        let (lookups, mut kept) = (lookups(), Vec::new());
        let mut ask = |n: usize, asked_by: Option<u8>| {
            let (release, resolve) = hanging();
            let asked = lookups.ask(&n.to_string(), asked_by.map(|byte| NodeId([byte; 16])), resolve);
            asked.map(|answer| kept.push((release, answer))).map_err(|error| error.to_string())
        };
        for (peer, names) in [(1, 0..16), (2, 16..32), (3, 32..48)] {
            names.clone().for_each(|n| ask(n, Some(peer)).expect("it has a quarter"));
            if peer < 3 {
                assert!(ask(99, Some(peer)).unwrap_err().starts_with("16 other names that this peer has named"));
            }
        }
        assert!(ask(99, Some(4)).unwrap_err().starts_with("48 other names that peers have named"));
        // Anyone may wait for a name that is being looked up already.
        ask(0, Some(4)).expect("it waits");
        (48..64).for_each(|n| ask(n, None).expect("the program's own"));
        assert!(ask(99, None).unwrap_err().starts_with("64 other names are"));
    }

    #[tokio::test]
    async fn a_lookup_that_panics_is_over() {
        let lookups = lookups();
        assert!(lookups.look_up("name.test", None, |_| panic!("on purpose")).await.is_err());
        assert_eq!(lookups.look_up("name.test", None, |_| Ok(loopback())).await.unwrap(), loopback());
    }

    #[tokio::test]
    async fn what_is_an_address_has_that_address() {
        for (host, address) in [("127.0.0.1", "127.0.0.1:7"), ("::1", "[::1]:7")] {
            assert_eq!(look_up(host, 7, None).await.unwrap(), [address.parse().unwrap()]);
        }
    }
}
