//! The log of a node agrees with the manual's table: by the source, and by what is heard.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Instant;

use actix::System;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::Node;
use support::Number;
use support::balanced;
use support::deserted;
use support::dropped;
use support::listening;
use support::log::hear;
use support::next;
use support::peer;
use support::peer::Peer;
use support::repository;
use support::settled;
use support::watched;
use support::within;
use tracing::Event;
use tracing::Level;
use tracing::Metadata;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::field::Visit;
use tracing::span;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

// ---- lines heard

/// An event, or the beginning of a span.
#[derive(Clone, Debug)]
struct Heard {
    is_span: bool,
    level: Level,
    target: String,
    message: String,
    fields: BTreeMap<String, String>,
    /// The span that it was said in, by its name, with its fields.
    within: Option<(String, BTreeMap<String, String>)>,
}

#[derive(Default)]
struct Values(BTreeMap<String, String>);

impl Visit for Values {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

/// Hears what this crate says on this thread.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<Heard>>>);

impl Ear {
    fn start() -> (Ear, DefaultGuard) {
        let ear = Ear::default();
        let guard = hear(tracing_subscriber::registry().with(ear.clone()));
        (ear, guard)
    }

    fn all(&self) -> Vec<Heard> {
        self.those(|_| true)
    }

    fn those(&self, are: impl Fn(&Heard) -> bool) -> Vec<Heard> {
        self.0.lock().expect("nobody panics with it").iter().filter(|heard| are(heard)).cloned().collect()
    }

    /// The events of that text so far.
    fn of(&self, message: &str) -> Vec<Heard> {
        self.those(|heard| !heard.is_span && heard.message == message)
    }

    /// The lines above the level of trace.
    fn loud(&self) -> Vec<Heard> {
        self.those(|heard| heard.level < Level::TRACE)
    }

    /// Waits for an event of that text.
    #[track_caller]
    fn hears(&self, message: &str) -> impl Future<Output = Heard> {
        let heard = watched(|| self.of(message), |heard| !heard.is_empty());
        async move { heard.await.remove(0) }
    }

    /// How many drops the log tells of.
    fn told(&self, reason: DropReason, side: &str) -> u64 {
        let of = self.of("messages were dropped").into_iter();
        let of =
            of.filter(|heard| heard.fields["reason"] == format!("{reason:?}") && heard.fields["side"].contains(side));
        of.map(|heard| heard.fields["count"].parse::<u64>().expect("a number")).sum()
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.module_path().is_some_and(|path| path.split("::").next() == Some("actix_hermod"))
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Ear {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, cx: Context<'_, S>) {
        let metadata = attributes.metadata();
        if !is_ours(metadata) {
            return;
        }
        let mut values = Values::default();
        attributes.record(&mut values);
        cx.span(id).expect("it is new").extensions_mut().insert(values);
        self.0.lock().expect("nobody panics with it").push(Heard {
            is_span: true,
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            message: metadata.name().to_owned(),
            fields: metadata.fields().iter().map(|field| (field.name().to_owned(), String::new())).collect(),
            within: None,
        });
    }

    fn on_record(&self, id: &span::Id, record: &span::Record<'_>, cx: Context<'_, S>) {
        if let Some(values) = cx.span(id).expect("it is there").extensions_mut().get_mut::<Values>() {
            record.record(values);
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let metadata = event.metadata();
        if !is_ours(metadata) {
            return;
        }
        let mut values = Values::default();
        event.record(&mut values);
        let within = cx.event_span(event).map(|span| {
            let fields = span.extensions().get::<Values>().map(|values| values.0.clone()).unwrap_or_default();
            (span.name().to_owned(), fields)
        });
        let message = values.0.remove("message").unwrap_or_default();
        let (level, target) = (*metadata.level(), metadata.target().to_owned());
        let heard = Heard { is_span: false, level, target, message, fields: values.0, within };
        self.0.lock().expect("nobody panics with it").push(heard);
    }
}

// ---- lines documented

/// A line of the manual's table.
#[derive(PartialEq, Eq, Debug)]
struct Line {
    levels: BTreeSet<String>,
    fields: BTreeSet<String>,
}

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The table, by what is said.
fn documented() -> BTreeMap<String, Line> {
    let page = repository().join("src/manual/observability.md");
    let page = fs::read_to_string(page).expect("the page");
    let table = page.split("| span or event | level | fields |\n").nth(1).expect("the table of events");
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let line = |row: &str| {
        let [what, levels, fields] =
            row.trim_matches('|').split('|').collect::<Vec<_>>().try_into().expect("three columns");
        let what = what.trim();
        let name = what.strip_prefix("span ").unwrap_or(what).trim_matches('`').to_owned();
        let words = levels.split(|c: char| !c.is_alphanumeric());
        let levels = words.filter(|word| LEVELS.contains(word)).map(str::to_owned).collect();
        // A remark in brackets is for people.
        let fields = fields.split(['(', ')']).step_by(2).flat_map(|part| part.split('`').skip(1).step_by(2));
        (name, Line { levels, fields: fields.map(str::to_owned).collect() })
    };
    rows.map(line).collect()
}

/// All that this crate can say, by its source.
fn written() -> BTreeMap<String, Line> {
    let mut said: BTreeMap<String, Line> = BTreeMap::new();
    for source in sources(&repository().join("src")) {
        for rest in source.split("tracing::").skip(1) {
            let Some((name, rest)) = rest.split_once("!(") else { continue };
            let Some(level) = LEVELS.into_iter().find(|level| name.strip_suffix("_span").unwrap_or(name) == *level)
            else {
                continue;
            };
            let arguments = arguments(rest);
            let is_literal = |argument: &&String| argument.starts_with('"');
            let what = arguments.iter().find(is_literal).expect("a text").trim_matches('"').to_owned();
            assert_eq!(arguments[0], "target: \"actix_hermod\"", "{what}");
            let fields = arguments[1..].iter().filter(|argument| !is_literal(argument)).map(|argument| {
                argument.split('=').next().unwrap_or_default().trim().trim_start_matches(['%', '?']).to_owned()
            });
            let line = said.entry(what).or_insert(Line { levels: BTreeSet::new(), fields: BTreeSet::new() });
            line.levels.insert(level.to_owned());
            line.fields.extend(fields);
        }
    }
    said
}

fn sources(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let texts = entries.flat_map(|path| match path {
        path if path.is_dir() => sources(&path),
        path => vec![fs::read_to_string(path).expect("a source")],
    });
    texts.collect()
}

/// The arguments of a macro, whose text goes on behind them.
fn arguments(text: &str) -> Vec<String> {
    let (mut arguments, mut depth, mut is_text) = (vec![String::new()], 0, false);
    for c in text.chars() {
        match c {
            '"' => is_text = !is_text,
            ')' if !is_text && depth == 0 => break,
            '(' | '[' | '{' if !is_text => depth += 1,
            ')' | ']' | '}' if !is_text => depth -= 1,
            ',' if !is_text && depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        arguments.last_mut().expect("the first").push(c);
    }
    arguments.into_iter().map(|argument| argument.trim().to_owned()).filter(|argument| !argument.is_empty()).collect()
}

/// The lines heard are the lines documented.
fn check(all: &[Heard]) {
    let documented = documented();
    for heard in all {
        assert_eq!(heard.target, "actix_hermod", "{heard:?}");
        let line = documented.get(&heard.message).unwrap_or_else(|| panic!("not in the table: {heard:?}"));
        assert!(line.levels.contains(&heard.level.to_string().to_lowercase()), "{heard:?}, and not {line:?}");
        assert!(heard.fields.keys().all(|field| line.fields.contains(field)), "{heard:?}, and not {line:?}");
    }
}

// ---- the tests

#[test]
fn the_table_is_that_of_the_source() {
    let (documented, written) = (documented(), written());
    assert!(written.len() > 15, "events are no longer recognised: {written:#?}");
    assert_eq!(documented.keys().collect::<Vec<_>>(), written.keys().collect::<Vec<_>>());
    for (what, line) in documented {
        assert_eq!(line, written[&what], "{what}: in the table, and in the source");
    }
}

#[test]
fn what_happens_to_connections_and_boxes_is_said_as_documented() {
    let (ear, _guard) = Ear::start();
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder().advertise("localhost:4242")).await;
        let mut inbox = server.mailbox::<Number>().name("numbers").open().expect("the name is free");
        let client = Node::start();
        let to: Address<Number> = client.remote(&endpoint, "numbers").expect("an address");
        to.do_send(Number(1));
        next(&mut inbox).await;
        let nobody: Address<Number> = client.remote(&endpoint, "nobody").expect("an address");
        assert!(within(nobody.ask(Number(2))).await.is_err());
        drop(inbox);

        let lost: Address<Number> = client.remote(deserted().await, "numbers").expect("an address");
        lost.do_send(Number(3));
        ear.hears("no connection").await;
        let mut rude = Peer::stranger(endpoint.as_ref()).await;
        assert!(rude.send(&peer::frame(127, b"what no node says")).await);
        ear.hears("the peer broke the protocol").await;
        drop(rude);
        settled(|| ear.of("disconnected").len() == 1).await;
        within(server.shutdown()).await;
        settled(|| ear.of("disconnected").len() == 3).await;

        for said in ["listening", "dialling", "box opened", "box closed", "the peer says goodbye"] {
            ear.hears(said).await;
        }
        watched(|| ear.told(DropReason::NoSuchBox, "here"), |&told| told == 1).await;
        watched(|| ear.told(DropReason::NoSuchBox, "peer"), |&told| told == 1).await;

        // Both ends of the connection say so in its span: what is dialled has an endpoint, what is accepted has none.
        let spans: Vec<_> = ear.of("connected").into_iter().filter_map(|heard| heard.within).collect();
        let ends = |node: &Node, peer: &Node| {
            let is = |(name, fields): &&(String, BTreeMap<String, String>)| {
                let is = |field: &str, node: &Node| fields.get(field) == Some(&node.id().to_string());
                name == "connection" && is("node", node) && is("peer", peer)
            };
            spans.iter().find(is).expect("its span").1.get("endpoint").cloned()
        };
        assert_eq!(ends(&client, &server), Some(endpoint.to_string()));
        assert_eq!(ends(&server, &client), None);
        // Said by the reader.
        let (name, fields) = ear.hears("the peer refuses a request").await.within.expect("a span");
        assert_eq!((&*name, &fields["peer"]), ("connection", &server.id().to_string()));
        for said in ["no connection", "the peer broke the protocol", "the peer says goodbye", "disconnected"] {
            let within: Vec<_> = ear.of(said).into_iter().map(|heard| heard.within).collect();
            assert!(within.iter().all(|span| matches!(span, Some((name, _)) if name == "connection")), "{within:?}");
        }
    });
    check(&ear.all());
}

#[test]
fn parts_of_a_type_that_are_not_compared_are_named_once_when_a_box_opens() {
    #[derive(actix::Message, serde::Serialize, serde::Deserialize)]
    #[rtype(result = "()")]
    struct Licence(Unguessed, u32);

    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(try_from = "u64", into = "u64")]
    struct Unguessed;

    impl Clone for Unguessed {
        fn clone(&self) -> Unguessed {
            Unguessed
        }
    }

    impl TryFrom<u64> for Unguessed {
        type Error = &'static str;

        fn try_from(n: u64) -> Result<Unguessed, &'static str> {
            if n == 6_274_331_021 { Ok(Unguessed) } else { Err("not signed") }
        }
    }

    impl From<Unguessed> for u64 {
        fn from(_: Unguessed) -> u64 {
            6_274_331_021
        }
    }

    const WARNING: &str = "parts of a type are unchecked";

    let (ear, _guard) = Ear::start();
    System::new().block_on(async {
        let node = Node::start();
        let _known = node.mailbox::<Number>().open().expect("a mailbox");
        assert!(ear.of(WARNING).is_empty());
        let _boxes = [(); 3].map(|()| node.mailbox::<Licence>().open().expect("a mailbox"));
        let warning = ear.hears(WARNING).await;
        assert_eq!(warning.level, Level::WARN);
        assert_eq!(warning.fields["paths"], "Licence.1");
        assert!(warning.fields["type_name"].contains("::Licence"), "{warning:?}");
        assert_eq!(ear.of(WARNING).len(), 1);
    });
    check(&ear.all());
}

const MANY: u64 = 10_000;

/// How much may be said above the level of trace since then, however many messages there are: what happens to two nodes,
/// and a line for each of three reasons and two sides whenever drops are told, which is four times a second at each.
fn few(began: Instant) -> usize {
    20 + 2 * 6 * (4 * began.elapsed().as_secs() as usize + 4)
}

#[test]
fn messages_that_arrive_say_nothing() {
    let (ear, _guard) = Ear::start();
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let mut there = server.mailbox::<Number>().name("numbers").open().expect("the name is free");
        let client = Node::start();
        let to: Address<Number> = client.remote(&endpoint, "numbers").expect("an address");
        for to in [&to, &there.address()] {
            to.do_send(Number(0));
            next(&mut there).await;
        }
        settled(|| ear.of("connected").len() == 2).await;
        let before = ear.all().len();
        let to = [to.clone(), there.address()];
        for n in 0..MANY {
            to[n as usize % 2].do_send(Number(n));
            next(&mut there).await;
        }
        let heard = ear.all().split_off(before);
        assert!(heard.is_empty(), "{heard:#?}");
    });
    check(&ear.all());
}

#[test]
fn messages_that_are_dropped_are_gathered() {
    let ((ear, _guard), began) = (Ear::start(), Instant::now());
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let full =
            server.mailbox::<Number>().name("full").buffer(Buffer::dropping(0)).open().expect("the name is free");
        let newest = server.mailbox::<Number>().name("newest").buffer(Buffer::latest_by(|_: &Number| ())).open();
        let newest = newest.expect("the name is free");
        let client = Node::start();
        let to: Address<Number> = client.remote(&endpoint, "full").expect("an address");
        for n in 0..MANY {
            to.do_send(Number(n));
            full.address().do_send(Number(n));
            newest.address().do_send(Number(n));
        }
        watched(|| ear.told(DropReason::NewestShed, "here"), |&told| told == 2 * MANY).await;
        watched(|| ear.told(DropReason::NewestShed, "peer"), |&told| told == MANY).await;
        watched(|| ear.told(DropReason::Replaced, "here"), |&told| told == MANY - 1).await;
        balanced(&[&server, &client]).await;
        assert!(ear.loud().len() <= few(began), "{:#?}", ear.loud());
        assert!(ear.of("dropped").len() as u64 == 3 * MANY - 1, "each is there at the level of trace");
        for heard in ear.of("messages were dropped") {
            let level = if heard.fields["reason"] == "Replaced" { Level::DEBUG } else { Level::WARN };
            assert_eq!(heard.level, level, "{heard:?}");
        }
    });
    check(&ear.all());
}

#[test]
fn requests_that_are_refused_and_recipients_that_are_too_many_say_nothing_each() {
    let ((ear, _guard), began) = (Ear::start(), Instant::now());
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let mut pings = server.mailbox::<support::Ping>().name("pings").open().expect("the name is free");
        let client = Node::builder().exports(1).start();
        let to: Address<support::Ping> = client.remote(&endpoint, "pings").expect("an address");
        let nobody: Address<Number> = client.remote(&endpoint, "nobody").expect("an address");
        let mut kept = Vec::new();
        for n in 0..MANY / 10 {
            assert!(within(nobody.ask(Number(n))).await.is_err());
            let (number, caught) = support::catcher();
            let exported = client.export(number).expect("the node runs");
            drop(exported);
            kept.push(caught);
        }
        to.do_send(support::Ping { return_to: client.mailbox().open().expect("room").address(), n: 0 });
        next(&mut pings).await;
        settled(|| dropped(&server, DropReason::NoSuchBox) == MANY / 10).await;
        watched(|| ear.told(DropReason::NoSuchBox, "peer"), |&told| told == MANY / 10).await;
        assert_eq!(ear.of("the peer refuses a request").len() as u64, MANY / 10);
        let evicted = ear.of("over the limit of exports: the oldest is closed");
        assert_eq!(evicted.len() as u64, MANY / 10 - 1);
        assert_eq!(evicted.iter().filter(|heard| heard.level < Level::TRACE).count(), 1);
        assert!(ear.loud().len() <= few(began), "{:#?}", ear.loud());
    });
    check(&ear.all());
}

#[test]
fn drops_are_said_with_their_boxes_and_peers() {
    let (ear, _guard) = Ear::start();
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let client = Node::start();
        let ask = async |name: &str| {
            let nobody: Address<Number> = client.remote(&endpoint, name).expect("an address");
            assert!(within(nobody.ask(Number(1))).await.is_err());
        };
        let said = |side: &str| {
            let lines = ear.of("messages were dropped").into_iter();
            let lines = lines.filter(|heard| heard.fields["side"].contains(side));
            let field = |heard: &Heard, name: &str| heard.fields[name].trim_matches('"').to_owned();
            lines.map(|heard| (field(&heard, "boxes"), field(&heard, "peers"))).collect::<Vec<_>>()
        };
        ask("nobody").await;
        settled(|| !said("here").is_empty() && !said("peer").is_empty()).await;
        assert_eq!(said("here"), [("nobody".to_owned(), client.id().to_string())]);
        assert_eq!(said("peer"), [("nobody".to_owned(), server.id().to_string())]);
        for name in ["b", "a", "c", "b"] {
            ask(name).await;
        }
        settled(|| ear.told(DropReason::NoSuchBox, "here") == 5).await;
        // Some may have been said before the others came.
        let names = said("here").into_iter().map(|(boxes, _)| boxes).collect::<Vec<_>>().join(" ");
        assert!(names.contains("a and ") || names.split(' ').count() >= 4, "{names}");
        within(client.shutdown()).await;
        within(server.shutdown()).await;
    });
    check(&ear.all());
}
