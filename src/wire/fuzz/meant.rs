//! Messages that contain their own target, so that it is visible when one reaches another box than it was sent to.

use std::sync::atomic::AtomicU32;

use bytes::BufMut;
use bytes::BytesMut;

use super::values::Told;
use crate::reason::DropReason;
use crate::wire::body::Body;
use crate::wire::frames::Raw;
use crate::wire::frames::kind;
use crate::wire::incoming::Incoming;
use crate::wire::incoming::ReceivedAnswer;
use crate::wire::introduction::Identity;
use crate::wire::introduction::Introduction;
use crate::wire::outgoing::Correlated;
use crate::wire::outgoing::Outgoing;
use crate::wire::outgoing::Post;
use crate::wire::outgoing::Referent;

/// A box that messages are sent to and whose handles are sent around, known by its place in the pool.
#[derive(Debug)]
pub(crate) struct Whom {
    key: u64,
    hint: AtomicU32,
    pub(crate) told: Told,
}

impl Referent for Whom {
    fn key(&self) -> u64 {
        self.key
    }

    fn hint(&self) -> &AtomicU32 {
        &self.hint
    }

    fn introduction(&self) -> Introduction<'_> {
        self.told.introduction()
    }
}

pub(crate) fn whom(place: u32) -> Whom {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&place.to_le_bytes());
    let told = Told {
        form: (place % 7) as u8,
        id,
        others: [[1; 16], [2; 16], [3; 16]],
        name: place.to_string(),
        endpoints: vec!["localhost:4242".to_owned()],
        is_leased: place.is_multiple_of(5),
        fingerprint: u64::from(place % 3),
    };
    Whom { key: u64::from(place) + 1, hint: AtomicU32::new(u32::MAX), told }
}

pub(crate) fn pool(size: usize) -> Vec<Whom> {
    (0..size as u32).map(whom).collect()
}

/// Returns the place in the pool of the box that this introduces.
pub(crate) fn place(introduction: &Introduction<'_>) -> u32 {
    let place = match introduction.identity {
        Identity::YourBox(id) | Identity::MyBox { id, .. } | Identity::Third { id, .. } => {
            u32::from_le_bytes(*id.0.first_chunk().expect("an id has four bytes"))
        }
        Identity::YourName(name)
        | Identity::Place { name, .. }
        | Identity::PlaceOf { name, .. }
        | Identity::YourPlace { name, .. } => name.parse().expect("a name is a place"),
    };
    assert_eq!(*introduction, whom(place).told.introduction());
    place
}

/// A message, as its sender means it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Meant {
    pub(crate) sender: u32,
    pub(crate) serial: u32,
    /// The target; an answer has none and is for the ask in `what`.
    pub(crate) to: u32,
    pub(crate) handles: Vec<u32>,
    pub(crate) padding: usize,
    /// An ask or an answer; a post if `None`.
    pub(crate) what: Option<Correlated>,
}

impl Meant {
    /// Returns the body, which contains the target and the meaning of each handle.
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(12 + 4 * self.handles.len() + self.padding);
        for &word in [self.sender, self.serial, self.to].iter().chain(&self.handles) {
            body.put_u32_le(word);
        }
        body.resize(body.len() + self.padding, 0xee);
        body
    }

    pub(crate) fn write(
        &self,
        pool: &[Whom],
        outgoing: &mut Outgoing,
        out: &mut BytesMut,
        room: usize,
    ) -> Result<(), DropReason> {
        let handles = self.handles.iter().map(|&place| &pool[place as usize]);
        let (to, body) = (&pool[self.to as usize], self.body());
        match self.what {
            None => outgoing.post(out, room, &Post { to, handles, body: Body::from(&*body), hops: self.hops() }),
            Some(what) => {
                let to = matches!(what, Correlated::Ask { .. }).then_some(to);
                outgoing.correlated(out, room, what, &Post { to, handles, body: Body::from(&*body), hops: self.hops() })
            }
        }
    }

    /// Returns the number of relays that the message has passed: often none, sometimes more than one byte of a number
    /// holds.
    pub(crate) fn hops(&self) -> u8 {
        match self.serial % 8 {
            _ if !self.counts() => 0,
            few @ 1..4 => few as u8,
            7 => u8::MAX,
            _ => 0,
        }
    }

    /// Returns whether the frame counts as a message read and written.
    pub(crate) fn counts(&self) -> bool {
        !matches!(self.what, Some(Correlated::Answer { .. }))
    }
}

/// A post, an ask or an answer as it was read.
pub(crate) struct Came<'s, 'b> {
    pub(crate) what: Option<Correlated>,
    /// The target; an answer has none.
    pub(crate) to: Option<u32>,
    pub(crate) handles: &'s [u32],
    pub(crate) body: &'b [u8],
    pub(crate) hops: u8,
}

impl<'s, 'b> Came<'s, 'b> {
    pub(crate) fn read(incoming: &'s mut Incoming<u32>, raw: Raw<'b>) -> Came<'s, 'b> {
        if raw.kind == kind::ANSWER {
            let ReceivedAnswer { correlation, handles, body, .. } =
                incoming.answer(raw.payload, &mut place).expect("it was written here");
            return Came { what: Some(Correlated::Answer { correlation }), to: None, handles, body, hops: 0 };
        }
        let (what, received) = if raw.kind == kind::ASK {
            let (correlation, received) = incoming.ask(raw.payload, &mut place).expect("it was written here");
            (
                Some(Correlated::Ask { correlation, deadline: received.deadline().expect("it was written here") }),
                received,
            )
        } else {
            assert_eq!(raw.kind, kind::POST);
            (None, incoming.post(raw.payload, &mut place).expect("it was written here"))
        };
        let hops = received.hops().expect("it was written here");
        Came { what, to: Some(*received.to), handles: received.handles, body: received.body, hops }
    }
}
