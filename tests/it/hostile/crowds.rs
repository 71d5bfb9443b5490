//! Crowds: more connections than a node may have, from peers that stay and say nothing, that greet and leave, that greet
//! as one and the same node, or that have the node dial others.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use actix_hermod::DownReason;
use actix_hermod::DropReason;
use actix_hermod::Node;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::box_at;
use support::peer::fresh_id;
use support::peer::inline;
use support::peer::kind;
use support::peer::number;
use support::peer::post_with;
use support::peer::your_box;
use support::process::alone_with_files;
use tokio::net::TcpListener;

use super::Ground;
use super::HOUR;
use super::memory;
use super::on;
use super::until;

/// As many connections as an attacker opens, where the system lets it have as many files.
const CROWD: usize = 10_000;

/// Files of a test that are not an attacker's.
const OTHER_FILES: usize = 500;

/// The bytes that a crowd may leave behind: its own side and the log, which are in the same process, are most of it.
const MARGIN: u64 = 32 << 20;

/// Longer than any test lasts: only their number can end connections.
/// As many as this process may open.
fn crowd() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let most = files.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    CROWD.min(most.unwrap_or(1024).saturating_sub(OTHER_FILES))
}

#[test]
fn ten_thousand_connections_that_stay_and_say_nothing_lock_nobody_out() {
    alone_with_files(|| {
        on(Node::builder().handshake_timeout(HOUR), async |ground| {
            let before = memory("VmRSS:");
            let mut silent = Vec::new();
            for n in 0..crowd() {
                silent.push(Peer::dial(&ground.endpoint).await);
                if n % 1000 == 999 {
                    ground.is_healthy().await;
                    ground.a_new_client_gets_through().await;
                }
            }
            let grown = memory("VmRSS:").saturating_sub(before);
            assert!(grown < MARGIN, "{grown} bytes for {} who say nothing", silent.len());
            ground.log_says(&["WARN", "no connection", "as many connections as it may have"]).await;
        });
    });
}

#[test]
fn ten_thousand_that_greet_and_leave_leave_nothing_behind() {
    alone_with_files(|| {
        on(Node::builder(), async |ground| {
            let mut before = None;
            for n in 0..CROWD {
                let leaving = Hello::of(fresh_id());
                let mut peer = Peer::dial(&ground.endpoint).await;
                // It is taken for up, and gone in the middle of what it is told.
                peer.proves(&leaving, &[]).await;
                peer.is_welcomed().await;
                if n % 1000 == 999 {
                    ground.is_healthy().await;
                    before.get_or_insert_with(|| memory("VmRSS:"));
                }
            }
            ground.a_new_client_gets_through().await;
            let is_lost = |_, why: &DownReason| *why == DownReason::Lost;
            ground.hearer.hears_an_end(is_lost).await;
            let all_left = || ground.node.stats().connections.len() <= 2;
            until(all_left, || format!("{} are left", ground.node.stats().connections.len())).await;
            let grown = memory("VmRSS:").saturating_sub(before.unwrap_or(0));
            assert!(grown < MARGIN, "{CROWD} who have left again left {grown} bytes behind");
        });
    });
}

/// The three that came last may still greet.
#[test]
fn of_those_that_have_not_greeted_the_oldest_goes_when_there_is_one_too_many() {
    on(Node::builder().max_unproven(3).handshake_timeout(HOUR), async |ground| {
        let mut silent = Vec::new();
        for _ in 0..5 {
            let mut next = Peer::dial(&ground.endpoint).await;
            // Its greeting has begun, so that the order in which they are taken is known.
            let hello = Hello::of(fresh_id());
            assert!(next.says_hello(&hello).await);
            next.hello().await.expect("a hello");
            silent.push((next, hello));
        }
        let rest = silent.split_off(2);
        for (mut oldest, _) in silent {
            assert_eq!(oldest.frame().await.expect("it is one too many, and told so").kind, kind::GOODBYE);
            assert!(oldest.frame().await.is_none());
        }
        for (mut other, hello) in rest {
            let proof = other.proof(&hello, &[]);
            assert!(other.send(&proof).await);
            other.is_welcomed().await;
        }
    });
}

/// Fewer connections are allowed than may be silent: those who say nothing make room for those who do.
#[test]
fn those_that_say_nothing_make_room_where_all_places_are_taken() {
    on(Node::builder().max_connections(4).max_per_address(4).handshake_timeout(HOUR), async |ground| {
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(Peer::dial(&ground.endpoint).await);
        }
        ground.a_new_client_gets_through().await;
        ground.is_healthy().await;
        // Those that have greeted are not sent away.
        let mut greeted = Peer::stranger(&ground.endpoint).await;
        for _ in 0..20 {
            silent.push(Peer::dial(&ground.endpoint).await);
        }
        ground.a_new_client_gets_through().await;
        assert!(greeted.is_answered().await);
    });
}

#[test]
fn one_node_has_so_many_connections_and_no_more() {
    /// Both ends' of a node that dials itself.
    const MOST: usize = 16;
    on(Node::builder(), async |ground| {
        let hello = Hello::of(fresh_id());
        let mut others = Vec::new();
        for _ in 0..MOST {
            others.push(Peer::greeted(&ground.endpoint, &hello).await);
        }
        let mut further = Peer::greeted(&ground.endpoint, &hello).await;
        assert!(further.frame().await.is_none(), "it is one too many");
        ground.log_says(&["WARN", "no connection", "as many connections as it may have"]).await;
        for other in &mut others {
            assert!(other.is_answered().await, "those from before are left alone");
        }
        others.pop();
        let left = || ground.node.stats().connections.len() == MOST;
        until(left, || format!("{} connections", ground.node.stats().connections.len())).await;
        assert!(Peer::greeted(&ground.endpoint, &hello).await.is_answered().await);
    });
}

/// One byte after the other, faster than any silence is noticed, of a greeting that never ends.
#[test]
fn a_greeting_that_comes_a_byte_at_a_time_is_not_waited_for() {
    let limit = Duration::from_millis(300);
    on(Node::builder().handshake_timeout(limit), async |ground| {
        let mut long = Hello::of(fresh_id());
        long.extensions = [number(77), number(900), vec![0; 900]].concat();
        let hello = Hello::of(fresh_id()).bytes();
        let long_proof = support::peer::frame(kind::PROOF, &[0; 1000]);
        for bytes in [long.bytes(), [hello, long_proof].concat()] {
            let mut slow = Peer::dial(&ground.endpoint).await;
            let mut sent = 0;
            while slow.send(&bytes[sent..=sent]).await {
                sent += 1;
                assert!(sent < bytes.len(), "a greeting of {sent} bytes is waited for to its end");
                tokio::time::sleep(limit / 50).await;
            }
            ground.is_healthy().await;
        }
        ground.log_says(&["WARN", "no connection", "took too long"]).await;
    });
}

// ----------------------------------------------------------------------------------------- those who have it dial

impl Ground {
    /// A peer whose messages all want to be answered at other endpoints; it stays.
    async fn is_sent_away(&self, endpoints: &[String]) -> Peer {
        let mut other = Peer::stranger(&self.endpoint).await;
        for batch in endpoints.chunks(100) {
            let probe = |at: &String| post_with(&inline(&your_box("probe")), &[inline(&box_at(at, "x"))], &[0, 1]);
            assert!(other.send(&batch.iter().flat_map(probe).collect::<Vec<u8>>()).await);
            assert!(other.is_answered().await);
        }
        other
    }
}

#[test]
fn addresses_that_lead_nowhere_cost_their_messages() {
    /// Different ones, of each of which the node finds out that nobody listens.
    const MANY: u64 = 2000;
    on(Node::builder(), async |ground| {
        let deserted = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("it is bound");
        let at = |n: u64| format!("127.1.{}.{}:{}", n / 250, n % 250 + 1, deserted.port());
        let endpoints: Vec<String> = (0..MANY).map(at).collect();
        assert_eq!(endpoints.iter().collect::<HashSet<_>>().len() as u64, MANY);
        let _other = ground.is_sent_away(&endpoints).await;
        ground.hearer.hears_of_drops(DropReason::NotConnected, MANY).await;
        assert_eq!(ground.dropped(DropReason::NotConnected), MANY);
    });
}

/// Each address leads to one who takes the connection and never greets.
#[test]
fn addresses_of_those_who_never_greet_lock_nobody_out() {
    on(Node::builder().max_connections(8).max_per_address(8).handshake_timeout(HOUR), async |ground| {
        let silent = TcpListener::bind("0.0.0.0:0").await.expect("a free port");
        let port = silent.local_addr().expect("it is bound").port();
        let endpoints: Vec<String> = (1..=20).map(|n| format!("127.1.0.{n}:{port}")).collect();
        let mut other = ground.is_sent_away(&endpoints).await;
        // An eighth of all places is for them; the older of them have made room for the younger.
        ground.hearer.hears_of_drops(DropReason::NotConnected, 19).await;
        assert_eq!(ground.dropped(DropReason::NotConnected), 19);
        // As many as like are silent on this side, too.
        let mut silent_here = Vec::new();
        for _ in 0..10 {
            silent_here.push(Peer::dial(&ground.endpoint).await);
        }
        ground.a_new_client_gets_through().await;
        assert!(other.is_answered().await);
        drop((silent, silent_here));
    });
}
