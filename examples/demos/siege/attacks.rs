//! The attacks: each lasts for a given time, and reports in the end how much it did.
//!
//! A stranger whose connection is closed comes again, from the next address. The frames of strangers are written by the
//! peer of the tests, which has an encoder of its own.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use actix::clock::Instant;
use actix::clock::sleep;
use hermod_demos::Outcome;

use super::besieged::UNREAD;
use super::peer::ask;
use super::peer::box_at;
use super::peer::box_named;
use super::peer::frame;
use super::peer::fresh_id;
use super::peer::inline;
use super::peer::kind;
use super::peer::my_counted_box;
use super::peer::number;
use super::peer::ping;
use super::peer::post;
use super::peer::post_with;
use super::peer::your_box;
use super::stranger::Stranger;

type Made = Pin<Box<dyn Future<Output = Outcome<String>>>>;

/// One kind of attack.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) make: fn(String, Duration) -> Made,
}

macro_rules! attacks {
    ($($name:ident),* $(,)?) => {
        &[$(Attack { name: stringify!($name), make: |endpoint, lasts| Box::pin($name(Siege::of(endpoint, lasts))) }),*]
    };
}

/// All attacks. The first does nothing: the others are compared with it.
pub(crate) const ATTACKS: &[Attack] = attacks![
    nothing, endpoints, handles, hang_ups, silent, drips, halves, pieces, watches, requests, unread, full_boxes, names,
    notes,
];

/// Handles in a message: nearly as many as the protocol has room for.
const HANDLES: u64 = 16_000;

/// The target and the end of an attack, and the counts of its actions.
#[derive(Clone)]
struct Siege {
    endpoint: Rc<str>,
    until: Instant,
    /// The number of strangers so far.
    came: Rc<Cell<u32>>,
    /// The number of strangers that were greeted.
    admitted: Rc<Cell<u64>>,
    bytes: Rc<Cell<u64>>,
}

impl Siege {
    fn of(endpoint: String, lasts: Duration) -> Siege {
        Siege {
            endpoint: endpoint.into(),
            until: Instant::now() + lasts,
            came: Rc::default(),
            admitted: Rc::default(),
            bytes: Rc::default(),
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Returns an address of this host, a different one each time.
    fn next_address(&self) -> Ipv4Addr {
        let number = self.came.replace(self.came.get() + 1);
        let [_, _, high, low] = number.to_be_bytes();
        Ipv4Addr::new(127, 77, high, low)
    }

    /// Opens a connection on which nothing was said yet; `None` if the node does not accept it.
    async fn caller(&self) -> Option<Stranger> {
        Stranger::dial(self.next_address(), &self.endpoint).await
    }

    /// Returns a stranger that the node has greeted, if it does.
    async fn stranger(&self) -> Option<Stranger> {
        let stranger = self.caller().await?.greets().await?;
        self.admitted.set(self.admitted.get() + 1);
        Some(stranger)
    }

    async fn send(&self, stranger: &mut Stranger, bytes: &[u8]) -> bool {
        let is_sent = stranger.send(bytes).await;
        if is_sent {
            self.bytes.set(self.bytes.get() + bytes.len() as u64);
        }
        is_sent
    }

    /// Has that many strangers act at once; each comes again when its connection is closed.
    async fn by<F: Future<Output = ()> + 'static>(
        self,
        strangers: usize,
        act: fn(Siege, Stranger) -> F,
    ) -> Outcome<String> {
        let tasks: Vec<_> = (0..strangers)
            .map(|_| {
                let siege = self.clone();
                actix::spawn(async move {
                    while !siege.is_over() {
                        match siege.stranger().await {
                            Some(stranger) => act(siege.clone(), stranger).await,
                            None => sleep(Duration::from_millis(20)).await,
                        }
                    }
                })
            })
            .collect();
        sleep(self.until.saturating_duration_since(Instant::now())).await;
        tasks.iter().for_each(|task| task.abort());
        Ok(self.done())
    }

    fn done(&self) -> String {
        let (came, admitted, bytes) = (self.came.get(), self.admitted.get(), self.bytes.get());
        format!("{came} connections, {admitted} greeted, {:.1} MB sent", bytes as f64 / 1e6)
    }

    async fn rest(&self) {
        sleep(self.until.saturating_duration_since(Instant::now())).await;
    }
}

async fn nothing(siege: Siege) -> Outcome<String> {
    siege.rest().await;
    Ok(siege.done())
}

/// Sends messages for nobody that name very many endpoints, about 4 MB a second.
async fn endpoints(siege: Siege) -> Outcome<String> {
    let named = |n: u64| inline(&box_at(&format!("10.{}.{}.{}:1", n >> 16 & 255, n >> 8 & 255, n & 255), "x"));
    let message = bearing((0..HANDLES).map(named).collect());
    MESSAGE.set(message);
    siege.by(4, send_message_again_and_again).await
}

/// Sends messages for nobody with very many leased handles.
async fn handles(siege: Siege) -> Outcome<String> {
    let counted = |_| inline(&my_counted_box(fresh_id()));
    MESSAGE.set(bearing((0..HANDLES).map(counted).collect()));
    siege.by(4, send_message_again_and_again).await
}

thread_local! {
    /// Encoded once: encoding it takes longer than reading it.
    static MESSAGE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn bearing(handles: Vec<Vec<u8>>) -> Vec<u8> {
    post_with(&inline(&your_box("nobody")), &handles, &number(1))
}

async fn send_message_again_and_again(siege: Siege, mut stranger: Stranger) {
    let message = MESSAGE.with_borrow(Vec::clone);
    while siege.send(&mut stranger, &message).await && !siege.is_over() {
        stranger.reads_what_there_is();
        sleep(Duration::from_secs(1)).await;
    }
}

/// Greets and hangs up, as often as possible.
async fn hang_ups(siege: Siege) -> Outcome<String> {
    siege.by(8, |_, stranger| async move { drop(stranger) }).await
}

/// Opens connections and says nothing on them.
async fn silent(siege: Siege) -> Outcome<String> {
    let mut callers = VecDeque::new();
    while !siege.is_over() {
        match siege.caller().await {
            Some(caller) => callers.push_back(caller),
            None => sleep(Duration::from_millis(1)).await,
        }
        // About as many as a process may have open files.
        if callers.len() > 500 {
            callers.pop_front();
        }
    }
    Ok(siege.done())
}

/// Sends a byte now and then in the middle of a frame.
async fn drips(siege: Siege) -> Outcome<String> {
    siege
        .by(400, |siege, mut stranger| async move {
            let message = post(&inline(&your_box("nobody")), &[0; 1 << 20]);
            let mut is_open = siege.send(&mut stranger, &message[..1000]).await;
            for byte in &message[1000..] {
                if !is_open || siege.is_over() {
                    return;
                }
                sleep(Duration::from_secs(1)).await;
                is_open = siege.send(&mut stranger, &[*byte]).await;
            }
        })
        .await
}

/// Sends frames that are nearly complete.
async fn halves(siege: Siege) -> Outcome<String> {
    siege
        .by(48, |siege, mut stranger| async move {
            let message = post(&inline(&your_box("nobody")), &vec![0; (16 << 20) - 100]);
            siege.send(&mut stranger, &message[..message.len() - 1]).await;
            siege.rest().await;
        })
        .await
}

/// Sends eight messages in pieces, each without its last piece.
async fn pieces(siege: Siege) -> Outcome<String> {
    siege
        .by(48, |siege, mut stranger| async move {
            for of in 0..8 {
                let begun = [vec![kind::POST, 0], inline(&your_box("nobody")), vec![0; 2 << 20]].concat();
                for piece in begun.chunks(64 << 10) {
                    let piece = frame(kind::FRAGMENT, &[&number(of), &number(1), piece].concat());
                    if !siege.send(&mut stranger, &piece).await {
                        return;
                    }
                }
            }
            siege.rest().await;
        })
        .await
}

/// Watches very many boxes, and hangs up.
async fn watches(siege: Siege) -> Outcome<String> {
    siege
        .by(4, |siege, mut stranger| async move {
            for n in 0..60_000 {
                let name = if n == 0 { "echo".to_owned() } else { format!("box {n}") };
                if !siege.send(&mut stranger, &frame(kind::WATCH, &[vec![1], box_named(&name)].concat())).await {
                    return;
                }
            }
        })
        .await
}

/// Sends requests that nobody answers.
async fn requests(siege: Siege) -> Outcome<String> {
    siege
        .by(8, |siege, mut stranger| async move {
            for n in 0.. {
                let request = ask(n, &inline(&your_box("silent")), &number(n));
                if siege.is_over() || !siege.send(&mut stranger, &request).await {
                    return;
                }
                stranger.reads_what_there_is();
            }
        })
        .await
}

/// Sends requests that the node answers, and reads nothing.
async fn unread(siege: Siege) -> Outcome<String> {
    siege
        .by(100, |siege, mut stranger| async move {
            for n in 0.. {
                let answered = [ask(n, &inline(&your_box("mirror")), &number(n)), ping(n)].concat();
                if siege.is_over() || !siege.send(&mut stranger, &answered).await {
                    return;
                }
            }
        })
        .await
}

/// Fills boxes that nobody reads with large messages.
async fn full_boxes(siege: Siege) -> Outcome<String> {
    siege
        .by(4, |siege, mut stranger| async move {
            let note = [number(60_000), vec![7; 60_000]].concat();
            for n in 0.. {
                let to = inline(&your_box(&format!("unread {}", n % UNREAD)));
                if siege.is_over() || !siege.send(&mut stranger, &post(&to, &note)).await {
                    return;
                }
                stranger.reads_what_there_is();
            }
        })
        .await
}

/// Sends small messages to one box as fast as it can: the attack that a budget of messages is made for.
async fn notes(siege: Siege) -> Outcome<String> {
    siege
        .by(4, |siege, mut stranger| async move {
            let note = [number(8), vec![7; 8]].concat();
            let posts: Vec<u8> = (0..1_000).flat_map(|_| post(&inline(&your_box("unread 0")), &note)).collect();
            while !siege.is_over() && siege.send(&mut stranger, &posts).await {
                stranger.reads_what_there_is();
            }
        })
        .await
}

/// Sends messages to boxes that do not exist, a different one each time.
async fn names(siege: Siege) -> Outcome<String> {
    siege
        .by(4, |siege, mut stranger| async move {
            for n in 0_u64.. {
                let posts = (0..100).flat_map(|m| post(&inline(&your_box(&format!("name {n} {m}"))), b"a body"));
                if siege.is_over() || !siege.send(&mut stranger, &posts.collect::<Vec<u8>>()).await {
                    return;
                }
                stranger.reads_what_there_is();
            }
        })
        .await
}
