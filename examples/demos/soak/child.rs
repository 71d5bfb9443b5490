//! The other processes take orders on their standard input, and answer on their standard output: so the reports about a
//! link do not depend on that link.

use hermod_demos::Outcome;
use hermod_demos::child;
use hermod_demos::child::orders;
use hermod_demos::child::say;
use hermod_demos::within;

use super::player::Player;
use super::player::Report;

// ---- In the parent.

/// A child; dropping this ends it.
pub(crate) struct Child {
    process: child::Child,
    pub(crate) endpoint: String,
}

impl Child {
    pub(crate) async fn start(arguments: &[&str]) -> Outcome<Child> {
        let (process, endpoint) = child::Child::start("player", arguments).await?;
        Ok(Child { process, endpoint })
    }

    pub(crate) fn process(&self) -> u32 {
        self.process.id()
    }

    /// Has the child send to those endpoints.
    pub(crate) async fn begin(&mut self, others: &[String], seed: u64) -> Outcome<()> {
        self.process.ask(&format!("begin {seed} {}", others.join(" "))).await.map(drop)
    }

    pub(crate) async fn hold(&mut self) -> Outcome<()> {
        self.process.ask("hold").await.map(drop)
    }

    pub(crate) async fn report(&mut self) -> Outcome<Report> {
        Ok(serde_json::from_str(&self.process.ask("report").await?)?)
    }

    /// Has the child end in good order.
    pub(crate) async fn end(&mut self) -> Outcome<()> {
        self.process.ask("end").await?;
        within("the end of a child", self.process.ended()).await?.map(drop)
    }

    /// Kills the child at once.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }
}

// ---- In the child.

/// Follows the orders of the parent, until it orders the end, or is gone.
pub(crate) async fn live() -> Outcome<()> {
    let mut orders = orders();
    let player = Player::open().await?;
    say(&player.endpoint)?;
    while let Some(order) = orders.recv().await {
        let mut words = order.split_whitespace();
        match words.next() {
            Some("begin") => {
                let seed = words.next().ok_or("no seed")?.parse()?;
                let others: Vec<String> = words.map(str::to_owned).collect();
                player.begin(&others, seed);
                say("begun")?;
            }
            Some("hold") => {
                player.hold();
                say("held")?;
            }
            Some("report") => say(&serde_json::to_string(&player.report())?)?,
            Some("end") => break,
            other => return Err(format!("what is {other:?}?").into()),
        }
    }
    player.end().await;
    say("ended")
}
