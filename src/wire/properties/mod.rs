//! Promises for every value, every sequence of bytes and every order of events: written frames are read again, no bytes
//! do harm, and between two ends no message ever reaches a box that it was not sent to.

mod greeting;
mod harmless;
mod read_again;
mod runs;
mod threads;
mod two_ends;
mod violations;

use bytes::BufMut;
use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::codec::*;
use super::fuzz::kinds::*;
use super::fuzz::plain::*;
use super::fuzz::values::*;
use super::hello::*;
use super::numbering::MIN_NUMBERS;
use crate::ident::endpoint::MAX_ENDPOINT;
use crate::ident::*;
use crate::key::PublicKey;
use crate::key::SIGNATURE;
use crate::reason::DropReason;
use crate::wire::extensions::*;
use crate::wire::frames::cancel::*;
use crate::wire::frames::goodbye::*;
use crate::wire::frames::ping::*;
use crate::wire::frames::proof::*;
use crate::wire::frames::refuse::*;
use crate::wire::frames::release::*;
use crate::wire::frames::report::*;
use crate::wire::frames::shape::*;
use crate::wire::frames::welcome::*;
use crate::wire::frames::*;
use crate::wire::incoming::*;
use crate::wire::introduction::*;
use crate::wire::outgoing::*;
use crate::wire::target::*;

/// A failing input is printed in full, so nothing is kept beside the sources. `PROPTEST_CASES` sets the number of
/// cases.
fn config() -> Config {
    Config { failure_persistence: None, ..Config::default() }
}

fn told() -> impl Strategy<Value = Told> {
    let endpoints = vec(text(MAX_ENDPOINT), 0..=MAX_ENDPOINTS);
    let fingerprint = prop_oneof![Just(0), any::<u64>()];
    let ids = (any::<[u8; 16]>(), any::<[[u8; 16]; 3]>());
    (0..7_u8, ids, text(MAX_NAME), endpoints, any::<bool>(), fingerprint).prop_map(
        |(form, (id, others), name, endpoints, is_leased, fingerprint)| Told {
            form,
            id,
            others,
            name,
            endpoints,
            is_leased,
            fingerprint,
        },
    )
}

/// Returns texts of at most `limit` bytes, mostly short ones, and the longest.
fn text(limit: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        8 => vec(any::<char>(), 0..12).prop_map(String::from_iter),
        1 => vec(any::<char>(), limit..=limit).prop_map(move |chars| {
            let mut text = String::from_iter(chars);
            while text.len() > limit {
                text.pop();
            }
            text
        }),
        1 => Just("x".repeat(limit)),
    ]
}

/// Returns numbers, each length as likely as another.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64_u32).prop_map(|(number, shift)| number >> shift)
}

fn held(numbers: impl Strategy<Value = u64>) -> impl Strategy<Value = Held> {
    (0..3_u8, numbers, told())
}

fn any_post(numbers: impl Strategy<Value = u64> + Clone) -> impl Strategy<Value = AnyPost> {
    let extensions = prop::option::of(vec((prop_oneof![number(), 1..4_u64], vec(any::<u8>(), 0..9)), 0..4));
    let handles = prop::option::of(vec(held(numbers.clone()), 0..5));
    (extensions, held(numbers), handles, vec(any::<u8>(), 0..40)).prop_map(|(extensions, to, handles, body)| AnyPost {
        extensions,
        to,
        handles,
        body,
    })
}

fn any_hello() -> impl Strategy<Value = Hello> {
    let numbers = (any::<u64>(), any::<u32>(), any::<u32>());
    (1..9_u16, any::<[u8; 16]>(), numbers, any::<[u8; 32]>()).prop_map(
        |(newest, connection, (features, max_frame, numbers), nonce)| Hello {
            versions: (1, newest),
            features,
            connection: ConnectionId(connection),
            max_frame,
            numbers,
            nonce,
        },
    )
}

fn any_listener_hello() -> impl Strategy<Value = ListenerHello> {
    (any_hello(), any::<[u8; 16]>(), any::<[u8; 32]>(), any::<[[u8; 32]; 2]>()).prop_map(
        |(hello, epoch, key, signature)| ListenerHello {
            hello,
            epoch: Epoch(epoch),
            key: PublicKey(key),
            signature: signature_of(signature),
        },
    )
}

fn signature_of(halves: [[u8; 32]; 2]) -> [u8; SIGNATURE] {
    *halves.as_flattened().first_chunk().expect("two halves")
}

fn any_disclosure() -> impl Strategy<Value = Disclosure> {
    let told = (any::<[u8; 16]>().prop_map(ConnectionId), number());
    (vec(text(MAX_ENDPOINT), 0..=MAX_ENDPOINTS), vec(told, 0..=MAX_TOLD))
        .prop_map(|(endpoints, told)| Disclosure { endpoints, told })
}

fn any_proof() -> impl Strategy<Value = Proof> {
    (any::<[u8; 16]>(), any::<[u8; 32]>(), any_disclosure(), any::<[[u8; 32]; 2]>()).prop_map(
        |(epoch, key, disclosed, signature)| Proof {
            epoch: Epoch(epoch),
            key: PublicKey(key),
            disclosed,
            signature: signature_of(signature),
        },
    )
}

fn any_welcome() -> impl Strategy<Value = Welcome> {
    (any_disclosure(), any::<[[u8; 32]; 2]>())
        .prop_map(|(disclosed, signature)| Welcome { disclosed, signature: signature_of(signature) })
}

fn any_release() -> impl Strategy<Value = Vec<(BoxId, u64)>> {
    vec((any::<[u8; 16]>().prop_map(BoxId), number()), 0..6)
}

/// Returns every reason for a refuse, those of later versions included.
fn any_unanswered() -> impl Strategy<Value = Unanswered> {
    prop_oneof![
        Just(Unanswered::Abandoned),
        Just(Unanswered::NotEncodable),
        Just(Unanswered::LostOnTheWay),
        Just(Unanswered::NoRoom),
        prop::sample::select(DropReason::ALL).prop_map(Unanswered::NotDelivered),
        prop_oneof![Just(2_u8), 5..16_u8, 36..=u8::MAX].prop_map(Unanswered::Other),
    ]
}

fn any_kind_with_a_body() -> impl Strategy<Value = u8> {
    prop::sample::select(&[kind::POST, kind::ASK, kind::ANSWER][..])
}

/// Returns whole frames of every kind.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let ping = (any::<u64>(), number()).prop_map(|(nonce, read)| Ping { nonce, read });
    let goodbye = (any::<u8>(), number(), text(MAX_DETAIL));
    let refuse = (number(), any_unanswered(), text(MAX_DETAIL));
    prop_oneof![
        1 => any_proof().prop_map(|proof| written(|out| proof.put(out))),
        1 => any_welcome().prop_map(|welcome| written(|out| welcome.put(out))),
        3 => (any_kind_with_a_body(), number(), any_post(0..MIN_NUMBERS as u64)).prop_map(
            |(kind, correlation, post)| {
                written(|out| put_frame(out, kind, |out| out.put_slice(&post.written_as(kind, correlation))))
            }
        ),
        1 => refuse.prop_map(|(correlation, why, detail)| {
            written(|out| Refuse { correlation, why, detail: &detail }.put(out))
        }),
        1 => number().prop_map(|correlation| written(|out| put_cancel(out, correlation))),
        1 => any_release().prop_map(|released| written(|out| put_release(out, released))),
        1 => (ping, any::<bool>())
            .prop_map(|(ping, pong)| written(|out| ping.put(out, if pong { kind::PONG } else { kind::PING }))),
        1 => goodbye.prop_map(|(why, read, detail)| {
            written(|out| Goodbye { why: Farewell::Other(why), read, detail: &detail }.put(out))
        }),
    ]
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        text(MAX_NAME).prop_map(|name| Target::Name(name.into())),
        any::<[u8; 16]>().prop_map(|id| Target::Id(BoxId(id))),
        Just(Target::Others),
    ]
}
