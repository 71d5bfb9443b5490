//! Shows the message types of the boxes of a running node, and the differences between two nodes: so a new build can be
//! checked against the old one before it replaces it.
//!
//! Run it with `cargo run --example wire_check`: it starts two nodes, as two builds of a shop would, and compares them.
//! With an endpoint, `cargo run --example wire_check -- HOST:PORT`, it prints the definitions of the message types of
//! all named boxes at that node; with two endpoints, `-- OLD:PORT NEW:PORT`, the differences of the second from the
//! first. It knows none of these types itself: nodes tell the shapes of their boxes to anybody who asks.
//!
//! The exit status is 0 if the nodes do not differ, 1 if they do, and 2 if a node cannot be asked; without arguments it
//! is 0 if exactly the intended differences of the two builds are found.
//!
//! Messages to boxes without a name, for example answers to an address in a message, are not seen here. Their types are
//! compared, as all are, when the first message is sent to such a box.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

use actix::System;
use actix_hermod::Difference;
use actix_hermod::Node;
use actix_hermod::Shape;
use hermod_demos::Outcome;
use hermod_demos::arguments;
use hermod_demos::arguments::Arg;
use hermod_demos::arguments::Error;
use hermod_demos::arguments::ValueExt;
use hermod_demos::arguments::Values;
use hermod_demos::exit_code;

// ---- The check.

/// The endpoints to ask.
#[derive(Default)]
struct Endpoints(Vec<String>);

impl arguments::Options for Endpoints {
    const NAME: &'static str = "wire_check";
    const USAGE: &'static str = "usage: wire_check [HOST:PORT [HOST:PORT]]

  no endpoint     starts two nodes, as two builds of a shop would, and compares them
  one endpoint    prints the message types of the named boxes at that node
  two endpoints   prints the differences of the second node from the first
  --help          this";

    fn take(&mut self, argument: Arg<'_>, _: &mut Values<'_>) -> Result<(), Error> {
        match argument {
            Arg::Value(endpoint) => self.0.push(endpoint.string()?),
            other => return Err(other.unexpected()),
        }
        if self.0.len() > 2 { Err("two endpoints at most".into()) } else { Ok(()) }
    }
}

#[allow(dead_code, reason = "a test that runs this has a head of its own")]
fn main() -> ExitCode {
    let endpoints: Endpoints = match arguments::of_this_program() {
        Ok(endpoints) => endpoints,
        Err(status) => return status,
    };
    exit_code(
        "wire_check",
        System::new().block_on(run(&endpoints.0)).map(|finding| {
            print!("{}", finding.text);
            finding.is_good
        }),
    )
}

/// The printed text, and whether the finding is good.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) text: String,
    pub(crate) is_good: bool,
}

pub(crate) async fn run(endpoints: &[String]) -> Outcome<Finding> {
    let node = Node::start();
    match endpoints {
        [] => demonstrate(&node).await,
        [at] => Ok(Finding { text: definitions(&shapes_at(&node, at).await?)?, is_good: true }),
        [first, second] => {
            let boxes = compare(&shapes_at(&node, first).await?, &shapes_at(&node, second).await?);
            let is_good = boxes.values().all(|verdict| *verdict == Verdict::Same);
            Ok(Finding { text: comparison((first, second), &boxes)?, is_good })
        }
        _ => Err("two endpoints at most: wire_check [HOST:PORT [HOST:PORT]]".into()),
    }
}

/// The shapes of the messages that the named boxes of a node take.
type Shapes = BTreeMap<String, Shape>;

async fn shapes_at(node: &Node, endpoint: &str) -> Outcome<Shapes> {
    let shapes = node.shapes_at(endpoint).await;
    Ok(shapes.map_err(|error| format!("{endpoint}: {error}"))?)
}

/// The verdict on a box that one or both of two nodes have.
#[derive(PartialEq, Eq, Debug)]
enum Verdict {
    Same,
    OnlyInFirst,
    OnlyInSecond,
    Differs(Vec<String>),
}

fn compare(first: &Shapes, second: &Shapes) -> BTreeMap<String, Verdict> {
    let names = first.keys().chain(second.keys());
    let verdict = |name| match (first.get(name), second.get(name)) {
        (Some(first), Some(second)) if first == second => Verdict::Same,
        (Some(first), Some(second)) => Verdict::Differs(first.diff(second).iter().map(sentence).collect()),
        (_, None) => Verdict::OnlyInFirst,
        (None, _) => Verdict::OnlyInSecond,
    };
    names.map(|name| (name.clone(), verdict(name))).collect()
}

fn sentence(difference: &Difference) -> String {
    let Difference { path, here, there, .. } = difference;
    format!("`{path}`: {here} in the first, {there} in the second")
}

// ---- The text.

fn definitions(shapes: &Shapes) -> Outcome<String> {
    let mut text = String::new();
    for (name, shape) in shapes {
        writeln!(text, "{name}, fingerprint {:016x}:", shape.fingerprint())?;
        for line in shape.to_string().lines() {
            writeln!(text, "{}", format!("    {line}").trim_end())?;
        }
        writeln!(text)?;
    }
    writeln!(text, "Boxes with a name: {}.", shapes.len())?;
    Ok(text)
}

fn comparison((first, second): (&str, &str), boxes: &BTreeMap<String, Verdict>) -> Outcome<String> {
    let mut text = format!("The first node is that at {first}, the second that at {second}.\n\n");
    for (name, verdict) in boxes {
        match verdict {
            Verdict::Same => writeln!(text, "{name}: the same")?,
            Verdict::OnlyInFirst => writeln!(text, "{name}: only in the first")?,
            Verdict::OnlyInSecond => writeln!(text, "{name}: only in the second")?,
            Verdict::Differs(differences) => {
                writeln!(text, "{name}: not the same")?;
                differences.iter().try_for_each(|difference| writeln!(text, "    {difference}"))?;
            }
        }
    }
    let same = boxes.values().filter(|verdict| **verdict == Verdict::Same).count();
    writeln!(text, "\nBoxes that are the same: {same} of {}.", boxes.len())?;
    if same < boxes.len() {
        text += "What one build sends to the rest, the other build refuses.\n";
    }
    Ok(text)
}

// ---- Two builds of a shop.

/// The build that the shop runs today.
mod today {
    use actix::Message;
    use serde::Deserialize;
    use serde::Serialize;

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    pub(crate) struct Order {
        customer: String,
        lines: Vec<Line>,
        state: State,
    }

    #[derive(Serialize, Deserialize)]
    struct Line {
        article: u32,
        count: u16,
    }

    #[derive(Serialize, Deserialize)]
    enum State {
        Open,
        Sent { tracking: String },
    }

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    pub(crate) struct Price {
        article: u32,
        cents: u64,
    }
}

/// The build that it would run tomorrow: with more articles, parcels and gifts.
mod tomorrow {
    use actix::Message;
    use serde::Deserialize;
    use serde::Serialize;

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    pub(crate) struct Order {
        customer: String,
        lines: Vec<Line>,
        state: State,
        gift: Option<String>,
    }

    #[derive(Serialize, Deserialize)]
    struct Line {
        article: u64,
        count: u16,
    }

    #[derive(Serialize, Deserialize)]
    enum State {
        Open,
        Packed,
        Sent { tracking: String },
    }

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    pub(crate) struct Price {
        article: u32,
        cents: u64,
    }

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    pub(crate) struct Return {
        order: u64,
        why: Option<String>,
    }
}

/// Returns the intended differences: the boxes `orders` differ in three places.
fn expected() -> BTreeMap<String, Verdict> {
    let differences = [
        "`Order.gift`: no such field in the first, a field of type Option<String> in the second",
        "`Order.state::Packed`: no such variant in the first, a variant in the second",
        "`Order.lines[].article`: u32 in the first, u64 in the second",
    ];
    let orders = Verdict::Differs(differences.map(str::to_owned).into());
    let boxes = [("orders", orders), ("prices", Verdict::Same), ("returns", Verdict::OnlyInSecond)];
    boxes.map(|(name, verdict)| (name.to_owned(), verdict)).into()
}

async fn demonstrate(node: &Node) -> Outcome<Finding> {
    let (old, new) = (Node::start(), Node::start());
    let _open = (
        old.mailbox::<today::Order>().name("orders").open()?,
        old.mailbox::<today::Price>().name("prices").open()?,
        new.mailbox::<tomorrow::Order>().name("orders").open()?,
        new.mailbox::<tomorrow::Price>().name("prices").open()?,
        new.mailbox::<tomorrow::Return>().name("returns").open()?,
    );
    let (first, second) = (old.listen("127.0.0.1:0").await?, new.listen("127.0.0.1:0").await?);
    let boxes = compare(&shapes_at(node, first.as_ref()).await?, &shapes_at(node, second.as_ref()).await?);
    Ok(Finding { text: comparison((first.as_ref(), second.as_ref()), &boxes)?, is_good: boxes == expected() })
}
