//! Measures the cost of encoding messages for another process and of decoding them, against postcard alone.
//!
//! ```text
//! cargo bench --bench codec
//! ```
//!
//! The codec is not public, so it is measured through the public API:
//! - `encode`: sending to a mailbox of another node, up to the moment at which the message waits in the outbox. No
//!   socket is touched: the task that writes to the connection is on the same thread, and does not run meanwhile.
//! - `decode`: reading them from that mailbox. This includes the socket, both its ends and the writing task;
//!   `decode::socket_alone` moves as many bytes over a socket without decoding them, to be subtracted.
//! - `both`: sending to a mailbox of the same node whose messages are of another Rust type of equal shape, which goes
//!   through the encoder and the decoder, and no socket. It also compares two shapes for each message.
//!
//! A plain message has 40 bytes; a message with an address has a number beside it, and a message with many has 16
//! addresses. For postcard alone, a number stands in place of an address. Each sample is a thousand messages, and the
//! time shown is that of a thousand.

use actix::Message;
use actix::System;
use actix::SystemRunner;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::RemoteMessage;
use divan::Bencher;
use divan::counter::ItemsCount;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Messages in a sample; their bytes fit into an outbox.
const MESSAGES: u64 = 1_000;
/// Addresses in a message with many.
const MANY: usize = 16;

fn main() {
    divan::main();
}

// ---- the messages

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Plain {
    seq: u64,
    #[serde(with = "serde_bytes")]
    body: [u8; 32],
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct OneAddress {
    seq: u64,
    return_to: Address<Pong>,
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct ManyAddresses {
    seq: u64,
    members: Vec<Address<Pong>>,
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Pong(u64);

/// The message with an address, for postcard alone.
#[derive(Serialize, Deserialize)]
struct BareAddress {
    seq: u64,
    return_to: u32,
}

#[derive(Serialize, Deserialize)]
struct BareAddresses {
    seq: u64,
    members: Vec<u32>,
}

/// Types of the same shapes: a shape has the names of types, and not the modules that they are in.
mod twin {
    use super::Address;
    use super::Deserialize;
    use super::MANY;
    use super::Message;
    use super::Pong;
    use super::Serialize;

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    pub(super) struct Plain {
        seq: u64,
        #[serde(with = "serde_bytes")]
        body: [u8; 32],
    }

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    pub(super) struct OneAddress {
        seq: u64,
        return_to: Address<Pong>,
    }

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    pub(super) struct ManyAddresses {
        seq: u64,
        members: Vec<Address<Pong>>,
    }

    /// The use of a message once it has arrived: its fields are read.
    impl Plain {
        pub(super) fn is_whole(&self) -> bool {
            self.seq < u64::MAX && self.body[0] == 7
        }
    }

    impl OneAddress {
        pub(super) fn is_whole(&self) -> bool {
            self.seq < u64::MAX && !self.return_to.name().is_empty()
        }
    }

    impl ManyAddresses {
        pub(super) fn is_whole(&self) -> bool {
            self.seq < u64::MAX && self.members.len() == MANY
        }
    }
}

fn plain(seq: u64, _: &Address<Pong>) -> Plain {
    Plain { seq, body: [7; 32] }
}

fn one_address(seq: u64, return_to: &Address<Pong>) -> OneAddress {
    OneAddress { seq, return_to: return_to.clone() }
}

fn many_addresses(seq: u64, member: &Address<Pong>) -> ManyAddresses {
    ManyAddresses { seq, members: vec![member.clone(); MANY] }
}

// ---- through this crate

/// Two nodes in one System, and a mailbox of one of them that the other sends to.
struct Pair<M: RemoteMessage> {
    system: SystemRunner,
    to: Address<M>,
    inbox: Mailbox<M>,
    replies: Mailbox<Pong>,
}

impl<M: RemoteMessage + Message<Result = ()>> Pair<M> {
    fn new(make: fn(u64, &Address<Pong>) -> M) -> Pair<M> {
        let system = System::new();
        let (to, inbox, replies) = system.block_on(async {
            let server = Node::start();
            let buffer = Buffer::dropping(2 * MESSAGES as usize);
            let inbox = server.mailbox().name("inbox").buffer(buffer).open().expect("the name is free");
            let endpoint = server.listen("127.0.0.1:0").await.expect("a free port");
            let client = Node::start();
            let to = client.remote(&endpoint, "inbox").expect("an address");
            (to, inbox, client.mailbox().open().expect("a mailbox"))
        });
        let mut pair = Pair { system, to, inbox, replies };
        // Warms up, until the connection is there and the buffers have their size.
        for _ in 0..3 {
            pair.messages(make).into_iter().for_each(|message| pair.to.do_send(message));
            pair.receive();
        }
        pair
    }

    fn messages(&self, make: fn(u64, &Address<Pong>) -> M) -> Vec<M> {
        let return_to = self.replies.address();
        (0..MESSAGES).map(|seq| make(seq, &return_to)).collect()
    }

    fn receive(&mut self) {
        self.system.block_on(async {
            for _ in 0..MESSAGES {
                divan::black_box(self.inbox.recv().await);
            }
        });
    }
}

/// A bench for each message, and one for what postcard alone makes of it: by `measure` and `measure_bare` of the module.
macro_rules! for_each_message {
    () => {
        #[divan::bench(sample_size = 1)]
        fn plain(bencher: Bencher<'_, '_>) {
            measure(bencher, super::plain);
        }

        #[divan::bench(sample_size = 1)]
        fn one_address(bencher: Bencher<'_, '_>) {
            measure(bencher, super::one_address);
        }

        #[divan::bench(sample_size = 1)]
        fn many_addresses(bencher: Bencher<'_, '_>) {
            measure(bencher, super::many_addresses);
        }

        #[divan::bench]
        fn postcard_plain(bencher: Bencher<'_, '_>) {
            measure_bare(bencher, |seq| Plain { seq, body: [7; 32] });
        }

        #[divan::bench]
        fn postcard_one_address(bencher: Bencher<'_, '_>) {
            measure_bare(bencher, |seq| BareAddress { seq, return_to: 7 });
        }

        #[divan::bench]
        fn postcard_many_addresses(bencher: Bencher<'_, '_>) {
            measure_bare(bencher, |seq| BareAddresses { seq, members: vec![7; MANY] });
        }
    };
}

mod encode {
    use super::*;

    for_each_message!();

    fn measure<M>(bencher: Bencher<'_, '_>, make: fn(u64, &Address<Pong>) -> M)
    where
        M: RemoteMessage + Message<Result = ()>,
    {
        let mut pair = Pair::new(make);
        let to = pair.to.clone();
        let mut waits = false;
        // Messages of the last sample are received before the next one, outside of the measured time.
        let prepare = || {
            if std::mem::replace(&mut waits, true) {
                pair.receive();
            }
            pair.messages(make)
        };
        bencher
            .counter(ItemsCount::new(MESSAGES))
            .with_inputs(prepare)
            .bench_local_values(|messages| messages.into_iter().for_each(|message| to.do_send(message)));
    }

    fn measure_bare<M: Serialize>(bencher: Bencher<'_, '_>, make: fn(u64) -> M) {
        let mut bytes = [0; 256];
        let messages: Vec<M> = (0..MESSAGES).map(make).collect();
        bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
            for message in &messages {
                divan::black_box(postcard::to_slice(message, &mut bytes).expect("there is room"));
            }
        });
    }
}

mod decode {
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::net::TcpStream;

    use super::*;

    /// Bytes of a plain message with its frame.
    const FRAME: usize = 41;

    for_each_message!();

    #[divan::bench]
    fn socket_alone(bencher: Bencher<'_, '_>) {
        let system = System::new();
        let (mut from, mut to) = system.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let to = TcpStream::connect(listener.local_addr().expect("it is bound")).await.expect("it listens");
            (listener.accept().await.expect("it is connected").0, to)
        });
        let sent = vec![7; MESSAGES as usize * FRAME];
        let mut read = sent.clone();
        bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
            let (written, come) =
                system.block_on(async { tokio::join!(to.write_all(&sent), from.read_exact(&mut read)) });
            written.and(come).expect("the connection lasts");
        });
    }

    fn measure<M>(bencher: Bencher<'_, '_>, make: fn(u64, &Address<Pong>) -> M)
    where
        M: RemoteMessage + Message<Result = ()>,
    {
        let pair = std::cell::RefCell::new(Pair::new(make));
        let prepare = || {
            let pair = pair.borrow();
            pair.messages(make).into_iter().for_each(|message| pair.to.do_send(message));
        };
        bencher
            .counter(ItemsCount::new(MESSAGES))
            .with_inputs(prepare)
            .bench_local_values(|()| pair.borrow_mut().receive());
    }

    fn measure_bare<M: Serialize + DeserializeOwned>(bencher: Bencher<'_, '_>, make: fn(u64) -> M) {
        let encode = |seq| postcard::to_stdvec(&make(seq)).expect("it can be encoded");
        let messages: Vec<Vec<u8>> = (0..MESSAGES).map(encode).collect();
        bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
            for message in &messages {
                divan::black_box(postcard::from_bytes::<M>(message).expect("it was encoded"));
            }
        });
    }
}

mod both {
    use super::*;

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Carry<M: RemoteMessage>(#[serde(bound = "")] Address<M>);

    #[divan::bench(sample_size = 1)]
    fn plain(bencher: Bencher<'_, '_>) {
        measure(bencher, super::plain, twin::Plain::is_whole);
    }

    #[divan::bench(sample_size = 1)]
    fn one_address(bencher: Bencher<'_, '_>) {
        measure(bencher, super::one_address, twin::OneAddress::is_whole);
    }

    #[divan::bench(sample_size = 1)]
    fn many_addresses(bencher: Bencher<'_, '_>) {
        measure(bencher, super::many_addresses, twin::ManyAddresses::is_whole);
    }

    fn measure<M, T>(bencher: Bencher<'_, '_>, make: fn(u64, &Address<Pong>) -> M, is_whole: fn(&T) -> bool)
    where
        M: RemoteMessage + Message<Result = ()>,
        T: RemoteMessage + Message<Result = ()>,
    {
        let system = System::new();
        let (to, mut inbox, replies) = system.block_on(async {
            let node = Node::start();
            let inbox = node.mailbox::<T>().name("twins").open().expect("the name is free");
            let endpoint = node.listen("127.0.0.1:0").await.expect("a free port");
            // An address that was sent away and comes home leads to the box without a connection.
            let mut home = node.mailbox::<Carry<M>>().name("home").open().expect("the name is free");
            let away = node.remote::<Carry<T>>(&endpoint, "home").expect("an address");
            away.do_send(Carry(inbox.address()));
            let Carry(to) = home.recv().await.expect("it comes home");
            (to, inbox, node.mailbox::<Pong>().open().expect("a mailbox"))
        });
        let return_to = replies.address();
        bencher
            .counter(ItemsCount::new(MESSAGES))
            .with_inputs(|| (0..MESSAGES).map(|seq| make(seq, &return_to)).collect::<Vec<M>>())
            .bench_local_values(|messages| {
                messages.into_iter().for_each(|message| to.do_send(message));
                system.block_on(async {
                    for _ in 0..MESSAGES {
                        let message = inbox.recv().await;
                        assert!(message.as_ref().is_some_and(is_whole), "it arrives as it was");
                    }
                });
            });
    }
}
