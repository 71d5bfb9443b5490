//! The honest client: asks the node repeatedly over an existing connection, and now and then comes as a newcomer, over
//! a slow link, so that its greeting takes longer than those of the strangers.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use actix::clock::sleep;
use actix_hermod::Node;
use hermod_demos::Outcome;
use hermod_demos::child::orders;
use hermod_demos::child::say;

use super::besieged::Question;
use super::distance;

/// The pause between two asks.
const PAUSE: Duration = Duration::from_millis(5);

/// The pause between two newcomers.
const NEWCOMER: Duration = Duration::from_millis(500);

/// The time after which an ask has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The client's results.
#[derive(Default)]
struct Fared {
    took: Vec<Duration>,
    failed: u64,
    newcomers: (u64, u64),
}

impl Fared {
    /// Returns a line: the asks that were answered and that failed, the microseconds within which half and 99 of 100 of
    /// them were answered, and the newcomers that got through and that did not.
    fn line(&mut self) -> String {
        self.took.sort();
        let within = |share: f64| {
            let at = (self.took.len().saturating_sub(1) as f64 * share) as usize;
            self.took.get(at).map_or(0, Duration::as_micros)
        };
        let (came, failed) = self.newcomers;
        format!("{} {} {} {} {came} {failed}", self.took.len(), self.failed, within(0.5), within(0.99))
    }
}

/// Asks until the standard input ends.
pub(crate) async fn live(endpoint: &str) -> Outcome<()> {
    let fared = Rc::new(RefCell::new(Fared::default()));
    let node = Node::start();
    let echo = node.remote::<Question>(endpoint, "echo")?;
    echo.ask(Question(0)).await?;
    let far = distance::far_from(endpoint.to_owned()).await?;
    say("connected")?;
    let notes = Rc::clone(&fared);
    actix::spawn(async move {
        loop {
            let began = Instant::now();
            let answer = echo.ask(Question(1)).timeout(PATIENCE).await;
            match answer {
                Ok(_) => notes.borrow_mut().took.push(began.elapsed()),
                Err(_) => notes.borrow_mut().failed += 1,
            }
            sleep(PAUSE).await;
        }
    });
    let notes = Rc::clone(&fared);
    actix::spawn(async move {
        loop {
            sleep(NEWCOMER).await;
            let came = comes_newly(&far).await;
            let newcomers = &mut notes.borrow_mut().newcomers;
            *(if came { &mut newcomers.0 } else { &mut newcomers.1 }) += 1;
        }
    });
    let mut orders = orders();
    while let Some(order) = orders.recv().await {
        if order == "begin" {
            fared.take();
        }
        say(&fared.borrow_mut().line())?;
    }
    Ok(())
}

/// Whether a freshly started node gets an answer.
async fn comes_newly(endpoint: &str) -> bool {
    let node = Node::start();
    let Ok(echo) = node.remote::<Question>(endpoint, "echo") else { return false };
    let is_answered = echo.ask(Question(2)).timeout(PATIENCE).await.is_ok();
    node.shutdown().await;
    is_answered
}
