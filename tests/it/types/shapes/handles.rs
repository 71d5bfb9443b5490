//! Addresses and recipients inside messages, and messages with their results.

use std::collections::HashMap;

use actix::prelude::*;
use actix_hermod::Address;
use actix_hermod::Node;
use actix_hermod::Shape;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Ping {
    return_to: Address<Pong>,
    #[serde(with = "actix_hermod::recipient")]
    report_to: Recipient<Pong>,
    #[serde(with = "actix_hermod::recipient")]
    all: HashMap<String, Vec<Recipient<Pong>>>,
    maybe: Option<Address<Ping>>,
    n: u32,
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Pong(u32);

/// Answers with addresses of itself.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Address<Itself>")]
struct Itself {
    me: Address<Itself>,
    others: Vec<Address<Itself>>,
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
#[serde(bound = "")]
struct Wrap<T: 'static> {
    to: Address<T>,
}

mod elsewhere {
    use super::*;

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    pub(super) struct Pong(pub(super) u32);
}

#[test]
fn addresses_and_recipients_are_leaves_with_the_name_of_their_message() {
    let shape = Shape::of::<Ping>().to_string();
    let expected = "Ping -> u64\n\nstruct Ping {\n    return_to: Address<Pong>,\n    report_to: Address<Pong>,\n    \
                    all: Map<String, Vec<Address<Pong>>>,\n    maybe: Option<Address<Ping>>,\n    n: u32,\n}";
    assert_eq!(shape, expected);
}

#[test]
fn a_message_may_carry_and_be_answered_with_addresses_of_itself() {
    let shape = Shape::of::<Itself>().to_string();
    let expected = "Itself -> Address<Itself>\n\nstruct Itself {\n    me: Address<Itself>,\n    \
                    others: Vec<Address<Itself>>,\n}";
    assert_eq!(shape, expected);
}

#[test]
fn an_address_says_the_name_of_its_message_without_paths() {
    let shape = Shape::of_value::<Wrap<Wrap<elsewhere::Pong>>>();
    assert_eq!(shape.to_string(), "Wrap\n\nstruct Wrap {\n    to: Address<Wrap<Pong>>,\n}");
    assert_eq!(shape, Shape::of_value::<Wrap<Wrap<Pong>>>());
    assert_ne!(shape, Shape::of_value::<Wrap<Wrap<Ping>>>());
}

#[test]
fn the_result_is_part_of_a_message_s_shape() {
    macro_rules! answered_with {
        ($name:ident $result:literal) => {
            mod $name {
                use super::*;

                #[derive(Message, Serialize, Deserialize)]
                #[rtype(result = $result)]
                pub(crate) struct Question {
                    n: u32,
                }
            }
        };
    }
    answered_with!(nothing "()");
    answered_with!(number "u64");
    answered_with!(same "u64");

    let number = Shape::of::<number::Question>();
    assert_eq!(number, Shape::of::<same::Question>());
    assert_eq!(Shape::of_value::<number::Question>(), Shape::of_value::<nothing::Question>());
    let differences = number.diff(&Shape::of::<nothing::Question>());
    let [difference] = differences.as_slice() else { panic!("{differences:?}") };
    assert_eq!(difference.to_string(), "`Question -> result`: u64 here, () there");
}

#[test]
fn an_address_made_for_a_shape_leads_nowhere_and_harms_nobody() {
    /// Uses the address while it is read, which no type should.
    #[derive(Serialize)]
    struct Eager(Address<Pong>);

    impl<'de> Deserialize<'de> for Eager {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Eager, D::Error> {
            let address = Address::<Pong>::deserialize(deserializer)?;
            address.do_send(Pong(1));
            assert!(address.try_send(Pong(2)).is_err());
            drop(address.send(Pong(3)));
            drop(address.recipient().send(Pong(4)));
            address.recipient().do_send(Pong(5));
            assert!(!address.connected());
            assert_eq!(address.uri(), None);
            let _ = (format!("{address} {address:?}"), address.is_local(), address.lost(), address.node_id());
            Ok(Eager(address))
        }
    }

    System::new().block_on(async {
        let node = Node::start();
        assert_eq!(Shape::of_value::<(Eager, u8)>().to_string(), "(Address<Pong>, u8)");
        let stats = node.stats();
        assert_eq!((stats.sent, stats.dropped_total(), stats.boxes.len()), (0, 0, 0), "{stats:?}");
        node.shutdown().await;
    });
}

#[test]
fn what_is_marked_opaque_is_a_leaf_of_that_name_and_the_rest_goes_on() {
    fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        actix_hermod::opaque(from, "secret 1", || Secret(7))
    }
    fn newer<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        actix_hermod::opaque(from, "secret 2", || Secret(7))
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    #[serde(try_from = "u64")]
    struct Secret(u64);

    impl TryFrom<u64> for Secret {
        type Error = &'static str;
        fn try_from(n: u64) -> Result<Secret, &'static str> {
            if n == 987_654_321 { Ok(Secret(n)) } else { Err("no") }
        }
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Letter {
        #[serde(deserialize_with = "secret")]
        secret: Secret,
        #[serde(deserialize_with = "newer")]
        newer: Secret,
        behind: Option<u8>,
    }

    let shape = Shape::of_value::<Letter>().to_string();
    let fields = "{\n    secret: opaque(secret 1),\n    newer: opaque(secret 2),\n    behind: Option<u8>,\n}";
    assert_eq!(shape, format!("Letter\n\nstruct Letter {fields}"));
    // Neither bytes nor JSON change.
    let letter = Letter { secret: Secret(987_654_321), newer: Secret(987_654_321), behind: Some(1) };
    let bytes = postcard::to_stdvec(&(987_654_321_u64, 987_654_321_u64, Some(1_u8))).unwrap();
    assert_eq!(postcard::from_bytes::<Letter>(&bytes).unwrap(), letter);
    let json = r#"{"secret":[987654321],"newer":[987654321],"behind":1}"#.replace(['[', ']'], "");
    assert_eq!(serde_json::from_str::<Letter>(&json).unwrap(), letter);
}
