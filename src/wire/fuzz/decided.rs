//! Values made up from a fuzzer's decisions, for frames that any writer may write.

use super::values::AnyPost;
use super::values::Held;
use super::values::Told;
use super::values::written;
use crate::ident::BoxId;
use crate::ident::ConnectionId;
use crate::ident::Epoch;
use crate::ident::MAX_NAME;
use crate::ident::endpoint::MAX_ENDPOINT;
use crate::key::PublicKey;
use crate::key::SIGNATURE;
use crate::reason::DropReason;
use crate::unstructured::Unstructured;
use crate::wire::codec::put_number;
use crate::wire::extensions::extension;
use crate::wire::frames::closed::Closed;
use crate::wire::frames::closed::Gone;
use crate::wire::frames::goodbye::Farewell;
use crate::wire::frames::goodbye::Goodbye;
use crate::wire::frames::ping::Ping;
use crate::wire::frames::proof::Disclosure;
use crate::wire::frames::proof::MAX_TOLD;
use crate::wire::frames::proof::Proof;
use crate::wire::frames::refuse::MAX_DETAIL;
use crate::wire::frames::refuse::Refuse;
use crate::wire::frames::refuse::Unanswered;
use crate::wire::frames::remark::Remark;
use crate::wire::frames::report::Account;
use crate::wire::frames::shape::Question;
use crate::wire::frames::unwatched::Unwatched;
use crate::wire::frames::watch::Watch;
use crate::wire::frames::welcome::Welcome;
use crate::wire::hello::Hello;
use crate::wire::introduction::MAX_ENDPOINTS;
use crate::wire::target::Target;

const LONG: [u8; 300] = [b'x'; 300];

/// Returns a small number more often than one of any length.
pub(crate) fn number(choices: &mut Unstructured<'_>) -> u64 {
    if choices.below(4) == 0 { choices.number() } else { u64::from(choices.byte()) }
}

fn id(choices: &mut Unstructured<'_>) -> [u8; 16] {
    [choices.byte(); 16]
}

/// Returns a text of at most `limit` bytes, and at most 300.
fn text(choices: &mut Unstructured<'_>, limit: usize) -> &'static str {
    match choices.below(8) {
        0 => "",
        1 => "ä\u{10ffff}\0",
        2 => str::from_utf8(&LONG[..limit]).expect("it is ASCII"),
        3 => str::from_utf8(&LONG[..choices.below(limit)]).expect("it is ASCII"),
        4 => "localhost:4242",
        _ => ["a", "b", "box-1", "box-2"][choices.below(4)],
    }
}

/// Returns bytes without meaning, the first of which come from the decisions.
pub(crate) fn bytes(choices: &mut Unstructured<'_>, most: usize) -> Vec<u8> {
    let len = match choices.below(16) {
        0 => choices.below(most),
        _ => choices.below(most.min(32)),
    };
    let first = choices.byte();
    let told = (0..len.min(8)).map(|_| choices.byte()).collect::<Vec<_>>();
    told.into_iter().chain(std::iter::repeat(first)).take(len).collect()
}

fn several<T>(choices: &mut Unstructured<'_>, most: usize, one: impl Fn(&mut Unstructured<'_>) -> T) -> Vec<T> {
    let count = match choices.below(32) {
        0 => most,
        few => few % 5 % (most + 1),
    };
    (0..count).map(|_| one(choices)).collect()
}

fn endpoint(choices: &mut Unstructured<'_>) -> String {
    text(choices, MAX_ENDPOINT).to_owned()
}

pub(crate) fn told(choices: &mut Unstructured<'_>) -> Told {
    let form = choices.below(7) as u8;
    let flags = choices.byte();
    Told {
        form,
        id: if matches!(form, 1..=3) { id(choices) } else { [0; 16] },
        others: if matches!(form, 3 | 6) { [(); 3].map(|()| id(choices)) } else { [[0; 16]; 3] },
        name: text(choices, MAX_NAME).to_owned(),
        endpoints: match form {
            3 => several(choices, MAX_ENDPOINTS, endpoint),
            4.. => vec![endpoint(choices)],
            _ => Vec::new(),
        },
        is_leased: flags & 1 != 0,
        fingerprint: if flags & 2 != 0 { 1 + number(choices) / 2 } else { 0 },
    }
}

/// Returns a message for `to` whose handles are made up by `held`. Extensions with a meaning have numbers at their
/// front.
pub(crate) fn post<'b>(
    choices: &mut Unstructured<'b>,
    to: Held,
    mut held: impl FnMut(&mut Unstructured<'b>) -> Held,
    longest: usize,
) -> AnyPost {
    let parts = choices.byte();
    let extensions = (parts & 0x03 == 1).then(|| several(choices, 20, extension));
    let handles = (parts & 0x0c == 0x04).then(|| {
        let most = if parts > 0xf0 { 300 } else { 6 };
        (0..choices.below(most)).map(|_| held(choices)).collect()
    });
    AnyPost { extensions, to, handles, body: bytes(choices, longest) }
}

fn extension(choices: &mut Unstructured<'_>) -> (u64, Vec<u8>) {
    let id = match choices.below(8) {
        0 => number(choices),
        known => known as u64,
    };
    let front = written(|out| put_number(out, number(choices)));
    match id {
        extension::DEADLINE | extension::HOPS => (id, front),
        _ => (id, bytes(choices, 100)),
    }
}

pub(crate) fn counts(choices: &mut Unstructured<'_>) -> Vec<(BoxId, u64)> {
    several(choices, 100, |choices| (BoxId(id(choices)), number(choices)))
}

pub(crate) fn fills(choices: &mut Unstructured<'_>) -> Vec<(Target, u8)> {
    several(choices, 100, |choices| (target(choices), choices.byte()))
}

pub(crate) fn ended(choices: &mut Unstructured<'_>) -> Vec<ConnectionId> {
    several(choices, 100, |choices| ConnectionId(id(choices)))
}

fn target(choices: &mut Unstructured<'_>) -> Target {
    match choices.below(3) {
        0 => Target::Name(text(choices, MAX_NAME).into()),
        1 => Target::Id(BoxId(id(choices))),
        _ => Target::Others,
    }
}

fn account(choices: &mut Unstructured<'_>) -> Account {
    Account { target: target(choices), fingerprint: number(choices) }
}

fn reason(choices: &mut Unstructured<'_>) -> DropReason {
    DropReason::ALL[choices.below(DropReason::ALL.len())]
}

pub(crate) fn report(choices: &mut Unstructured<'_>) -> (u64, Vec<(Account, DropReason, u64)>) {
    let read = number(choices);
    (read, several(choices, 50, |choices| (account(choices), reason(choices), number(choices))))
}

pub(crate) fn remark(choices: &mut Unstructured<'_>) -> Remark<'static> {
    Remark { account: account(choices), code: choices.byte(), words: text(choices, MAX_DETAIL) }
}

pub(crate) fn refuse(choices: &mut Unstructured<'_>) -> Refuse<'static> {
    let why = match choices.below(6) {
        0 => Unanswered::Abandoned,
        1 => Unanswered::NotEncodable,
        2 => Unanswered::LostOnTheWay,
        3 => Unanswered::NotDelivered(reason(choices)),
        4 => Unanswered::NoRoom,
        _ => Unanswered::Other(choices.byte()),
    };
    Refuse { correlation: number(choices), why, detail: text(choices, MAX_DETAIL) }
}

pub(crate) fn ping(choices: &mut Unstructured<'_>) -> Ping {
    Ping { nonce: number(choices), read: number(choices) }
}

pub(crate) fn goodbye(choices: &mut Unstructured<'_>) -> Goodbye<'static> {
    let known = [Farewell::Shutdown, Farewell::Unneeded, Farewell::Violation, Farewell::NoRoom, Farewell::Refused];
    let why = [&known[..], &[Farewell::Other(9)]].concat();
    Goodbye { why: why[choices.below(why.len())], read: number(choices), detail: text(choices, MAX_DETAIL) }
}

pub(crate) fn question(choices: &mut Unstructured<'_>) -> Question {
    match choices.below(3) {
        0 => Question::Fingerprint(number(choices)),
        1 => Question::Box(target(choices)),
        _ => Question::NamesAfter(text(choices, MAX_NAME).into()),
    }
}

pub(crate) fn answered(choices: &mut Unstructured<'_>) -> (Question, &'static [u8]) {
    (question(choices), text(choices, LONG.len()).as_bytes())
}

/// Returns milliseconds, or none.
fn duration(choices: &mut Unstructured<'_>) -> Option<u64> {
    (choices.below(2) == 0).then(|| number(choices))
}

pub(crate) fn watch(choices: &mut Unstructured<'_>) -> Watch {
    Watch { target: target(choices), on: choices.below(2) == 0, patience: duration(choices) }
}

pub(crate) fn unwatched(choices: &mut Unstructured<'_>) -> Unwatched {
    Unwatched { target: target(choices) }
}

pub(crate) fn closed(choices: &mut Unstructured<'_>) -> Closed {
    let why = [Gone::Closed, Gone::Node, Gone::Connection, Gone::Other(9)][choices.below(4)];
    Closed { target: target(choices), why, unreached: duration(choices) }
}

fn disclosure(choices: &mut Unstructured<'_>) -> Disclosure {
    Disclosure {
        endpoints: several(choices, MAX_ENDPOINTS, endpoint),
        told: several(choices, MAX_TOLD, |choices| (ConnectionId(id(choices)), number(choices))),
    }
}

pub(crate) fn proof(choices: &mut Unstructured<'_>) -> Proof {
    Proof {
        epoch: Epoch(id(choices)),
        key: PublicKey([choices.byte(); 32]),
        disclosed: disclosure(choices),
        signature: [choices.byte(); SIGNATURE],
    }
}

pub(crate) fn welcome(choices: &mut Unstructured<'_>) -> Welcome {
    Welcome { disclosed: disclosure(choices), signature: [choices.byte(); SIGNATURE] }
}

pub(crate) fn hello(choices: &mut Unstructured<'_>) -> Hello {
    Hello {
        versions: (choices.below(2) as u16, 1 + choices.below(3) as u16),
        features: number(choices),
        connection: ConnectionId(id(choices)),
        max_frame: number(choices) as u32,
        numbers: number(choices) as u32,
        nonce: [choices.byte(); 32],
    }
}
