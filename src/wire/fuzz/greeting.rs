//! Fuzzed: greetings between honest nodes, with an attacker in between who has recorded every message ever sent, holds
//! keys of his own, mixes parts of recorded messages, and plays either side.
//!
//! No honest side identifies the other as a node whose key the attacker does not hold, unless that very node is at the
//! other end of this very greeting: each has received exactly the bytes that the other sent. So an attacker can do no
//! more than pass on a whole greeting while it goes on.

use bytes::BytesMut;
use sha2::Digest;
use sha2::Sha256;

use crate::ident::ConnectionId;
use crate::ident::Epoch;
use crate::ident::NodeId;
use crate::key::NodeKey;
use crate::key::SIGNATURE;
use crate::unstructured::Unstructured;
use crate::wire::frames::Front;
use crate::wire::frames::LENGTH;
use crate::wire::frames::front;
use crate::wire::frames::proof::Disclosure;
use crate::wire::greeting::Answered;
use crate::wire::greeting::Dialled;
use crate::wire::greeting::Dialling;
use crate::wire::greeting::Ourselves;
use crate::wire::greeting::Step;
use crate::wire::greeting::UNBOUND;
use crate::wire::greeting::Unwelcomed;
use crate::wire::hello::Hello;

/// Number of honest nodes; the keys of the attacker come behind theirs.
const HONEST: usize = 2;
const KEYS: usize = HONEST + 2;

/// Maximum number of honest ends of connections.
const ENDS: usize = 24;

const LIMIT: usize = 4_096;

/// Position of the public key in a listener's hello, and in a proof.
const KEY_AT: [usize; 2] = [96, LENGTH + 1 + 16];

/// Runs one input: the bytes decide the attacker's steps, until they are used up. Returns how many honest ends have
/// identified another honest node, and how many the attacker.
pub(crate) fn run(bytes: &[u8]) -> [usize; 2] {
    let mut choices = Unstructured::new(bytes);
    let mut attack = Attack::new();
    while !choices.is_over() {
        attack.step(&mut choices);
    }
    attack.check()
}

/// The state of an honest end.
enum State {
    Dialling(Dialling),
    Unwelcomed(Unwelcomed),
    Listening,
    Answered(Answered),
    Over,
}

/// One honest end of a connection.
struct End {
    /// Index of the owner's key.
    owner: usize,
    has_dialled: bool,
    expected: Option<NodeId>,
    state: State,
    /// All messages sent and received, in turns.
    transcript: Vec<Vec<u8>>,
    /// The node identified at the other end, and the number of messages until then.
    taken_for: Option<(NodeId, usize)>,
}

struct Attack {
    keys: Vec<NodeKey>,
    ends: Vec<End>,
    /// All messages ever sent, by their place in a greeting.
    recorded: [Vec<Vec<u8>>; 4],
    fresh: u8,
}

impl Attack {
    /// Starts an attack; the attacker has overheard one greeting.
    fn new() -> Attack {
        let keys = (1..=KEYS as u8).map(|secret| NodeKey::from_secret(&[secret; 32])).collect();
        let mut attack = Attack { keys, ends: Vec::new(), recorded: Default::default(), fresh: 0 };
        attack.dial(0, None);
        attack.listen(1);
        for (message, to) in [(0, 1), (1, 0), (2, 1), (3, 0)] {
            let said = attack.recorded[message].last().cloned().unwrap_or_default();
            attack.deliver(to, &said);
        }
        attack
    }

    fn step(&mut self, choices: &mut Unstructured<'_>) {
        match choices.below(6) {
            0 if self.ends.len() < ENDS => {
                let expected = choices.below(KEYS + HONEST);
                let expected = self.keys.get(expected).map(NodeKey::id);
                self.dial(choices.below(HONEST), expected);
            }
            1 if self.ends.len() < ENDS => self.listen(choices.below(HONEST)),
            _ => {
                // The latest ends are the most promising.
                let to = self.ends.len() - 1 - choices.below(self.ends.len()).min(choices.below(4));
                let message = self.make(to, choices);
                self.deliver(to, &message);
            }
        }
    }

    fn dial(&mut self, owner: usize, expected: Option<NodeId>) {
        let mut said = BytesMut::new();
        let state = State::Dialling(Dialling::begin(&self.hello(), UNBOUND, expected, &mut said));
        let transcript = vec![said.to_vec()];
        self.recorded[0].push(said.to_vec());
        self.ends.push(End { owner, has_dialled: true, expected, state, transcript, taken_for: None });
    }

    fn listen(&mut self, owner: usize) {
        let (state, transcript) = (State::Listening, Vec::new());
        self.ends.push(End { owner, has_dialled: false, expected: None, state, transcript, taken_for: None });
    }

    fn hello(&mut self) -> Hello {
        self.fresh = self.fresh.wrapping_add(1);
        let (connection, nonce) = (ConnectionId([self.fresh; 16]), [self.fresh; 32]);
        Hello { versions: (1, 1), features: 7, connection, max_frame: 1 << 20, numbers: 64, nonce }
    }

    /// Returns the attacker's message to a waiting end: a recorded message as it is, changed, combined from two, or
    /// signed by himself.
    fn make(&self, to: usize, choices: &mut Unstructured<'_>) -> Vec<u8> {
        let place = self.ends[to].transcript.len().min(3);
        let kind = choices.below(8);
        let mut message = self.any(if kind == 0 { choices.below(4) } else { place }, choices);
        match kind {
            1 => {
                let at = choices.below(message.len());
                message[at] ^= choices.byte().max(1);
            }
            2 => {
                let other = self.any(choices.below(4), choices);
                let signature = other.len().saturating_sub(SIGNATURE);
                let end = message.len().saturating_sub(SIGNATURE);
                message.splice(end.., other[signature..].iter().copied());
            }
            3 | 4 => self.sign(&self.ends[to], place, &mut message, choices),
            _ => {}
        }
        message
    }

    fn any(&self, place: usize, choices: &mut Unstructured<'_>) -> Vec<u8> {
        let said = &self.recorded[place];
        let back = choices.below(said.len()).min(choices.below(4));
        said[said.len() - 1 - back].clone()
    }

    /// Puts any node's key into a message, and signs it with one of the attacker's keys for just this greeting, in any
    /// role.
    fn sign(&self, end: &End, place: usize, message: &mut [u8], choices: &mut Unstructured<'_>) {
        let signer = HONEST + choices.below(KEYS - HONEST);
        let shown = if choices.below(2) == 0 { signer } else { choices.below(KEYS) };
        if let Some(key) = [1, 2].iter().position(|with_key| *with_key == place).map(|at| KEY_AT[at]) {
            message[key..][..32].copy_from_slice(&self.keys[shown].public().0);
        }
        let words: [&[u8]; 3] = [b"hermod1 listener\0", b"hermod1 dialler\0", b"hermod1 welcome\0"];
        let word = if choices.below(4) == 0 { choices.below(3) } else { place.saturating_sub(1) };
        let unsigned = message.len() - SIGNATURE;
        let hash = transcript_of(&end.transcript, &message[..unsigned]);
        message[unsigned..].copy_from_slice(&self.keys[signer].sign(&[words[word], &hash].concat()));
    }

    /// Delivers bytes to an honest end, which sends its reply.
    fn deliver(&mut self, to: usize, bytes: &[u8]) {
        let state = std::mem::replace(&mut self.ends[to].state, State::Over);
        let answer = self.hello();
        let end = &mut self.ends[to];
        let key = &self.keys[end.owner];
        let ourselves = Ourselves { key, epoch: Epoch([end.owner as u8; 16]) };
        let mut said = BytesMut::new();
        let heard = match state {
            State::Listening => match Dialled::front(bytes, LIMIT) {
                Ok(Step::To(dialled, size)) => {
                    end.state = State::Answered(dialled.answer(answer, ourselves, UNBOUND, &mut said));
                    &bytes[..size]
                }
                _ => return,
            },
            State::Dialling(dialling) => match dialling.answered(bytes, LIMIT) {
                Ok(Step::To((proving, greeted), size)) => {
                    end.taken_for = Some((greeted.peer.node, 2));
                    end.state = State::Unwelcomed(proving.prove(ourselves, Disclosure::default(), &mut said));
                    &bytes[..size]
                }
                _ => return,
            },
            State::Answered(answered) => {
                let Ok(Front::Frame(raw)) = front(bytes, LIMIT) else { return };
                let Ok((accepting, greeted, _)) = answered.proven(raw) else { return };
                end.taken_for = Some((greeted.peer.node, 3));
                accepting.welcome(key, Disclosure::default(), &mut said);
                &bytes[..raw.size]
            }
            State::Unwelcomed(unwelcomed) => {
                let Ok(Front::Frame(raw)) = front(bytes, LIMIT) else { return };
                if unwelcomed.welcome(raw).is_err() {
                    return;
                }
                end.taken_for = end.taken_for.map(|(node, _)| (node, 4));
                &bytes[..raw.size]
            }
            State::Over => return,
        };
        end.transcript.push(heard.to_vec());
        if !said.is_empty() {
            self.recorded[end.transcript.len()].push(said.to_vec());
            end.transcript.push(said.to_vec());
        }
    }

    /// Checks that each end that has identified the other was right.
    fn check(&self) -> [usize; 2] {
        let mut taken = [0, 0];
        for end in &self.ends {
            let Some((node, heard)) = end.taken_for else { continue };
            assert!(end.expected.is_none_or(|expected| expected == node), "another was expected");
            let owner = self.keys.iter().position(|key| key.id() == node).expect("an id of nobody's");
            if owner >= HONEST {
                taken[1] += 1;
                continue;
            }
            let said = &end.transcript[..heard];
            let is_there = |other: &End| {
                other.owner == owner && other.has_dialled != end.has_dialled && other.transcript.starts_with(said)
            };
            assert!(self.ends.iter().any(is_there), "taken for node {owner}, which was not there, after {heard}");
            taken[0] += 1;
        }
        taken
    }
}

/// Returns the hash that the signature of a message covers, given the messages before it, as the specification defines
/// it.
fn transcript_of(before: &[Vec<u8>], unsigned: &[u8]) -> [u8; 32] {
    let hash = |parts: &[&[u8]]| -> [u8; 32] { Sha256::digest(parts.concat()).into() };
    let parts = |message: &[u8]| {
        let (unsigned, signature) = message.split_at(message.len().saturating_sub(SIGNATURE));
        (unsigned.to_vec(), signature.to_vec())
    };
    let Some((first, rest)) = before.split_first() else { return hash(&[unsigned]) };
    let Some((second, rest)) = rest.split_first() else { return hash(&[first, unsigned, &UNBOUND]) };
    let (raw, signature) = parts(second);
    let mut heard = [&hash(&[first, &raw, &UNBOUND])[..], &signature].concat();
    for message in rest {
        let (raw, signature) = parts(message);
        heard = [&hash(&[&heard, &raw])[..], &signature].concat();
    }
    hash(&[&heard, unsigned])
}
