//! Messages that postcard cannot carry are refused before they leave, with the place that does not fit; and those that
//! it can carry are not.

use std::collections::BTreeMap;

use actix::Actor;
use actix::Context;
use actix::Handler;
use actix::Message;
use actix::MessageResult;
use actix::Recipient;
use actix_hermod::Address;
use actix_hermod::AddressError;
use actix_hermod::AskError;
use actix_hermod::DropReason;
use actix_hermod::Event;
use actix_hermod::IoThread;
use actix_hermod::Node;
use actix_hermod::OpenError;
use actix_hermod::RemoteMessage;
use actix_hermod::SendError;
use serde::Deserialize;
use serde::Serialize;
use serde::Serializer;
use support::Events;
use support::Number;
use support::Pong;
use support::balanced;
use support::events;
use support::listening;
use support::next;
use support::on_either_thread;
use support::within;

#[derive(Message, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[rtype(result = "()")]
struct Sparse {
    n: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    note: Option<String>,
    last: u8,
}

#[derive(Message, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[rtype(result = "()")]
struct Flats(Vec<Flat>);

#[derive(Message, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[rtype(result = "()")]
struct Flat {
    n: u64,
    #[serde(flatten)]
    others: BTreeMap<String, u64>,
}

#[derive(Message, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[rtype(result = "()")]
struct Anything {
    n: u64,
    parts: Vec<Option<serde_json::Value>>,
}

#[derive(Message, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[rtype(result = "()")]
struct Choices(Vec<Untagged>);

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
}

#[derive(Message, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[rtype(result = "()")]
struct Tagged(Vec<Adjacently>);

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(tag = "type", content = "of")]
enum Adjacently {
    Number(u64),
    Nothing,
}

#[derive(Message, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[rtype(result = "()")]
struct Step(u8, Gap);

/// Serde numbers all variants when it writes, and those that are not skipped when it reads.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
enum Gap {
    First,
    #[serde(skip)]
    #[expect(dead_code, reason = "it is there to be skipped")]
    Hidden,
    Middle,
    Last,
}

/// Writes a text and reads a number.
#[derive(Message, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[rtype(result = "()")]
struct Disagreeing {
    #[serde(serialize_with = "as_text")]
    n: u32,
}

fn as_text<S: Serializer>(n: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(n)
}

/// The detail of the next dead letter that could not be encoded.
async fn detail(ears: &mut Events) -> String {
    ears.find(|event| match event {
        Event::DeadLetter { reason: DropReason::NotEncodable, detail: Some(detail), .. } => Some(detail.clone()),
        _ => None,
    })
    .await
}

/// Sends `unfit` between two nodes, in each way that there is, and looks at what is said of it; then `fit`, if there is a
/// value of that type that arrives.
fn is_refused<M>(unfit: M, words: &str, fit: Option<M>)
where
    M: RemoteMessage + Message<Result = ()> + Clone + PartialEq + std::fmt::Debug + Sync + Unpin,
{
    on_either_thread(|thread| {
        let (unfit, fit) = (unfit.clone(), fit.clone());
        async move {
            let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
            let mut inbox = there.mailbox::<M>().name("box").open().expect("the name is free");
            let here = Node::builder().io_thread(thread).start();
            let mut ears = events(&here);
            let to = here.remote::<M>(&endpoint, "box").expect("an address");

            to.do_send(unfit.clone());
            let said = detail(&mut ears).await;
            assert!(said.contains(words), "{said:?} does not contain {words:?}");
            to.recipient().do_send(unfit.clone());
            assert_eq!(detail(&mut ears).await, said);
            assert!(matches!(to.try_send(unfit.clone()), Err(SendError::Closed(back)) if back == unfit));
            let asked = within(to.ask(unfit.clone())).await;
            let reason = DropReason::NotEncodable;
            assert_eq!(asked, Err(AskError::NotDelivered { reason, detail: Some(said) }));
            assert_eq!(here.stats().dropped, [(reason, 3)].into());

            if let Some(fit) = fit {
                to.do_send(fit.clone());
                assert_eq!(next(&mut inbox).await, fit);
                to.do_send(unfit.clone());
                detail(&mut ears).await;
            }
            // In one process nothing is written, and so everything fits.
            inbox.address().do_send(unfit.clone());
            assert_eq!(next(&mut inbox).await, unfit);
            assert_eq!(there.stats().dropped_total(), 0);
            balanced(&[&here, &there]).await;
        }
    });
}

#[test]
fn a_field_that_is_left_out_is_named() {
    let sparse = |note| Sparse { n: 1, note, last: 2 };
    let words = "Sparse.note: Serialize leaves it out (skip_serializing_if";
    is_refused(sparse(None), words, Some(sparse(Some("note".to_owned()))));
}

/// Looked at is the first message that fits, and in debug builds each: so the second of these is refused or arrives wrong.
#[test]
fn every_message_is_looked_at_in_a_debug_build_and_the_first_of_a_type_in_any() {
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Later(#[serde(serialize_with = "odd_ones_differ")] u8);

    fn odd_ones_differ<S: Serializer>(n: &u8, serializer: S) -> Result<S::Ok, S::Error> {
        if n % 2 == 1 { serializer.serialize_u16(u16::from(*n)) } else { serializer.serialize_u8(*n) }
    }

    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = there.mailbox::<Later>().name("box").open().unwrap();
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Later>(&endpoint, "box").unwrap();
        if thread == IoThread::Current {
            // The first of its type in this process.
            assert!(to.try_send(Later(1)).is_err());
        }
        to.do_send(Later(2));
        assert_eq!(next(&mut inbox).await.0, 2);
        for n in [3, 5] {
            assert_eq!(to.try_send(Later(n)).is_err(), cfg!(debug_assertions), "{n}");
        }
    });
}

#[test]
fn what_is_flattened_is_named() {
    let flat = Flat { n: 1, others: [("two".to_owned(), 2)].into() };
    let words = "Flats[0]: Serialize writes a map without saying its length (serde(flatten)";
    is_refused(Flats(vec![flat]), words, Some(Flats(vec![])));
}

#[test]
fn what_describes_itself_is_named_wherever_there_is_some() {
    let anything = |value| Anything { n: 1, parts: vec![None, value] };
    let words = "Anything.parts[1]: Deserialize reads what describes itself";
    is_refused(anything(Some(serde_json::json!({ "a": 1 }))), words, Some(anything(None)));
    let words = "Choices[0]: Deserialize reads what describes itself";
    is_refused(Choices(vec![Untagged::Text("a".to_owned())]), words, Some(Choices(vec![])));
}

#[test]
fn an_adjacently_tagged_enum_is_named_like_any_that_describes_itself() {
    for unfit in [Adjacently::Number(1), Adjacently::Nothing] {
        let words = "Tagged[0].type: Deserialize reads what describes itself";
        is_refused(Tagged(vec![unfit]), words, Some(Tagged(vec![])));
    }
}

#[test]
fn a_variant_behind_one_that_is_skipped_is_named() {
    let words = "Step.1: Serialize writes Middle as variant 2, where that is Last for Deserialize (skipped variants?)";
    is_refused(Step(1, Gap::Middle), words, cfg!(debug_assertions).then_some(Step(1, Gap::First)));
}

#[test]
fn a_serialize_that_does_not_write_what_is_read_is_named() {
    is_refused(Disagreeing { n: 7 }, "Disagreeing.n: Serialize writes String, where Deserialize reads u32", None);
}

// ---- types of which no message arrives

/// Each way to a box or an address of the type is refused, in these words, and nothing is opened or counted.
fn never_travels<M: RemoteMessage + Message<Result = ()> + Unpin>(words: &'static str) {
    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).start();
        let unopened = |opened: Result<(), OpenError>| match opened {
            Err(OpenError::NotEncodable { why }) => {
                assert!(why.starts_with(words), "{why:?} does not begin with {words:?}")
            }
            other => panic!("{other:?}"),
        };
        unopened(node.mailbox::<M>().name("box").open().map(drop));
        unopened(node.mailbox::<M>().open().map(drop));
        unopened(node.publish::<M>("box", Sink.start()).map(drop));
        unopened(node.export::<M>(Sink.start()).map(drop));
        for address in [node.remote::<M>("127.0.0.1:1", "box"), node.resolve::<M>("hermod://127.0.0.1:1/box")] {
            match address {
                Err(AddressError::NotEncodable { why }) => assert!(why.starts_with(words), "{why:?}"),
                other => panic!("{other:?}"),
            }
        }
        assert!(node.shapes().is_empty() && node.stats().boxes.is_empty());
        // A fault of the name is said first.
        assert!(matches!(node.mailbox::<M>().name("").open(), Err(OpenError::NameEmpty)));
    });
}

struct Sink;

impl Actor for Sink {
    type Context = Context<Self>;
}

impl<M: RemoteMessage + Message<Result = ()>> Handler<M> for Sink {
    type Result = ();

    fn handle(&mut self, _: M, _: &mut Context<Self>) {}
}

const ASKS: &str = ": Deserialize asks the bytes what they are (deserialize_any: serde_json::Value, untagged and tagged enums \
                    do), and a message's bytes do not say; use a type that is always of one form";

macro_rules! never_travels {
    ($($test:ident: $type:ident $fields:tt => $path:literal, $why:expr;)*) => { $(
        #[test]
        fn $test() {
            #[derive(Message, Serialize, Deserialize)]
            #[rtype(result = "()")]
            struct $type $fields
            never_travels::<$type>(format!("{}{}", $path, $why).leak());
        }
    )* };
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type")]
enum InternallyTagged {
    One { n: u8 },
}

#[derive(Serialize, Deserialize)]
enum EachVariant {
    One(u8, serde_json::Value),
    Two { flat: Flat },
}

#[derive(Serialize, Deserialize)]
struct Linked {
    of: serde_json::Value,
    next: Option<Box<Linked>>,
}

const FLATTENED: &str = ": serde(flatten) makes it a map of unknown length, which a message cannot hold; use a field that holds \
                         the struct, or the map, without this attribute";

never_travels! {
    a_field_that_can_be_anything_refuses_its_type: Json { n: u8, payload: serde_json::Value } => "Json.payload", ASKS;
    an_untagged_enum_refuses_its_type: Wrapped { of: (u8, Untagged) } => "Wrapped.of.1", ASKS;
    an_internally_tagged_enum_refuses_its_type: Inner { tagged: InternallyTagged } => "Inner.tagged", ASKS;
    an_adjacently_tagged_enum_refuses_its_type: Outer { tagged: [Adjacently; 2] } => "Outer.tagged.0.type", ASKS;
    a_flattened_struct_refuses_its_type: Flattening { flat: Flat, n: u8 } => "Flattening.flat", FLATTENED;
    an_enum_of_which_no_variant_travels_refuses_its_type: Each { of: EachVariant } => "Each.of::One.1", ASKS;
    a_type_that_contains_itself_is_refused_too: List { first: Linked } => "List.first.of", ASKS;
}

#[test]
fn a_type_of_which_some_messages_arrive_is_opened() {
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Some {
        option: Option<serde_json::Value>,
        list: Vec<Untagged>,
        map: BTreeMap<String, Flat>,
        choice: Choice,
        nothing: [serde_json::Value; 0],
        tree: Tree,
        unknown: Unknown,
    }

    #[derive(Serialize, Deserialize)]
    enum Choice {
        Json(serde_json::Value),
        None,
    }

    #[derive(Serialize, Deserialize)]
    struct Tree {
        children: Vec<Tree>,
        more: Option<Box<Tree>>,
    }

    /// Nothing is known of it but that it is read as a text.
    #[derive(Serialize, Deserialize)]
    #[serde(try_from = "String", into = "String")]
    struct Unknown;

    impl TryFrom<String> for Unknown {
        type Error = String;

        fn try_from(text: String) -> Result<Unknown, String> {
            if text == "only this" { Ok(Unknown) } else { Err(text) }
        }
    }

    impl From<Unknown> for String {
        fn from(_: Unknown) -> String {
            "only this".to_owned()
        }
    }

    impl Clone for Unknown {
        fn clone(&self) -> Unknown {
            Unknown
        }
    }

    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = there.mailbox::<Some>().name("box").open().unwrap();
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Some>(&endpoint, "box").unwrap();
        let (list, map, nothing) = (vec![], BTreeMap::new(), []);
        let tree = Tree { children: vec![], more: None };
        to.do_send(Some { option: None, list, map, choice: Choice::None, nothing, tree, unknown: Unknown });
        assert!(matches!(next(&mut inbox).await, Some { option: None, choice: Choice::None, .. }));
    });
}

/// Only an `ask` needs the result to travel.
#[test]
fn a_result_that_never_travels_refuses_nothing_but_the_answer() {
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "serde_json::Value")]
    struct AskJson(u8);

    struct Json;

    impl Actor for Json {
        type Context = Context<Self>;
    }

    impl Handler<AskJson> for Json {
        type Result = MessageResult<AskJson>;

        fn handle(&mut self, AskJson(n): AskJson, _: &mut Context<Self>) -> Self::Result {
            MessageResult(n.into())
        }
    }

    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        there.publish::<AskJson>("json", Json.start()).unwrap();
        let here = Node::builder().io_thread(thread).start();
        let json = here.remote::<AskJson>(&endpoint, "json").unwrap();
        match within(json.ask(AskJson(1))).await {
            Err(AskError::AnswerNotEncodable { why }) => assert!(why.contains("AskJson -> result: "), "{why}"),
            other => panic!("{other:?}"),
        }
    });
}

// ---- answers

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Sparse")]
struct AskSparse(Option<String>);

struct Oracle;

impl Actor for Oracle {
    type Context = Context<Self>;
}

impl Handler<AskSparse> for Oracle {
    type Result = MessageResult<AskSparse>;

    fn handle(&mut self, AskSparse(note): AskSparse, _: &mut Context<Self>) -> Self::Result {
        MessageResult(Sparse { n: 1, note, last: 2 })
    }
}

#[test]
fn an_answer_that_does_not_fit_ends_the_request_with_the_place() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        there.publish::<AskSparse>("oracle", Oracle.start()).unwrap();
        let here = Node::builder().io_thread(thread).start();
        let oracle = here.remote::<AskSparse>(&endpoint, "oracle").unwrap();
        let why = match within(oracle.ask(AskSparse(None))).await {
            Err(AskError::AnswerNotEncodable { why }) => why,
            other => panic!("{other:?}"),
        };
        assert!(why.contains("AskSparse -> result.note: Serialize leaves it out"), "{why}");
        let answer = within(oracle.ask(AskSparse(Some("note".to_owned())))).await.unwrap();
        assert_eq!(answer.note.as_deref(), Some("note"));
    });
}

// ---- addresses

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Handles {
    first: Address<Pong>,
    #[serde(with = "actix_hermod::recipient")]
    second: Option<Recipient<Number>>,
    more: Vec<(u8, Address<Pong>)>,
    last: Address<Number>,
}

/// Looking must not shift the handles: each leads to where it was meant to.
#[test]
fn a_message_with_addresses_fits_and_they_lead_to_where_they_did() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = there.mailbox::<Handles>().name("handles").open().unwrap();
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Handles>(&endpoint, "handles").unwrap();
        let mut pongs = [(); 4].map(|()| here.mailbox::<Pong>().open().unwrap());
        let mut numbers = here.mailbox::<Number>().open().unwrap();
        let (catcher, mut caught) = support::catcher();
        for round in 0..3 {
            let more = pongs[1..].iter().zip(0..).map(|(pongs, n)| (n, pongs.address())).collect();
            let second = Some(catcher.clone());
            to.do_send(Handles { first: pongs[0].address(), second, more, last: numbers.address() });
            let handles = next(&mut inbox).await;
            handles.first.do_send(Pong(round));
            handles.second.unwrap().do_send(Number(round));
            handles.more.iter().for_each(|(n, to)| to.do_send(Pong(round * 10 + u64::from(*n))));
            handles.last.do_send(Number(round));
            assert_eq!(next(&mut pongs[0]).await, Pong(round));
            for n in 0..3 {
                assert_eq!(next(&mut pongs[n + 1]).await, Pong(round * 10 + n as u64));
            }
            assert_eq!(next(&mut numbers).await, Number(round));
            assert_eq!(caught.next().await, round);
        }
    });
}

#[test]
fn one_address_may_be_used_for_two_types() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = there.mailbox::<Number>().name("box").open().unwrap();
        let here = Node::builder().io_thread(thread).start();
        let mut ears = events(&here);
        let numbers = here.remote::<Number>(&endpoint, "box").unwrap();
        let others = here.remote::<Disagreeing>(&endpoint, "box").unwrap();
        for n in 0..3 {
            numbers.do_send(Number(n));
            assert_eq!(next(&mut inbox).await, Number(n));
            others.do_send(Disagreeing { n: 7 });
            detail(&mut ears).await;
        }
    });
}
