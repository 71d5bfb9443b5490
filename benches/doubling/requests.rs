//! Many requests that wait for their answers.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use actix::Actor;
use actix::Context;
use actix::Handler;
use actix::Message;
use actix::dev::MessageResponse;
use actix::dev::OneshotSender;
use actix_hermod::Address;
use actix_hermod::AskError;
use actix_hermod::NodeBuilder;
use serde::Deserialize;
use serde::Serialize;

use crate::cpu::Cpu;
use crate::stage::Stage;
use crate::stage::all;
use crate::stage::node;

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Question(u64);

/// An actor that answers when it is told to.
#[derive(Default)]
struct Oracle {
    asked: Asked,
}

/// The requests that wait for the oracle.
type Asked = Rc<RefCell<Vec<OneshotSender<u64>>>>;

impl Actor for Oracle {
    type Context = Context<Self>;
}

impl Handler<Question> for Oracle {
    type Result = Later;

    fn handle(&mut self, _: Question, _: &mut Context<Self>) -> Later {
        Later(Rc::clone(&self.asked))
    }
}

/// An answer that is not there yet. Not a future of the actor, which would be polled whenever one of the others is
/// ready.
struct Later(Asked);

impl MessageResponse<Oracle, Question> for Later {
    fn handle(self, _: &mut Context<Oracle>, reply: Option<OneshotSender<u64>>) {
        self.0.borrow_mut().extend(reply);
    }
}

/// Returns a stage, and the address of an oracle at its server.
async fn asked() -> (Stage, Address<Question>, Asked) {
    asked_by(node()).await
}

async fn asked_by(client: NodeBuilder) -> (Stage, Address<Question>, Asked) {
    let stage = Stage::with(node(), client).await;
    let asked = Asked::default();
    let oracle = Oracle { asked: Rc::clone(&asked) }.start();
    stage.server.publish("oracle", oracle.recipient::<Question>()).expect("the name is free");
    let to = stage.client.remote(&stage.endpoint, "oracle").expect("an endpoint");
    (stage, to, asked)
}

/// Sends that many requests at once, and returns their outcomes.
fn ask(
    to: &Address<Question>,
    n: usize,
    limit: Option<Duration>,
) -> impl Future<Output = Vec<Result<u64, AskError>>> + use<> {
    let one = |n| {
        let asking = to.ask(Question(n));
        let asking = if let Some(limit) = limit { asking.timeout(limit) } else { asking };
        actix_rt::spawn(asking)
    };
    let asking: Vec<_> = (0..n as u64).map(one).collect();
    async { all(asking).await.into_iter().map(|outcome| outcome.expect("it is not aborted")).collect() }
}

/// That many requests have reached the oracle, and wait.
struct Waiting<F> {
    stage: Stage,
    oracle: Asked,
    asking: F,
    /// Since before they were sent.
    cpu: Cpu,
}

async fn waiting(n: usize) -> Waiting<impl Future<Output = Vec<Result<u64, AskError>>>> {
    let (stage, to, oracle) = asked().await;
    let cpu = Cpu::now();
    let asking = ask(&to, n, None);
    has(&oracle, n).await;
    Waiting { stage, oracle, asking, cpu }
}

async fn has(asked: &Asked, n: usize) {
    while asked.borrow().len() < n {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn none_is_pending(stage: &Stage) {
    while stage.client.stats().pending_requests > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The requests time out.
pub(crate) async fn timed_out(n: usize) -> Duration {
    let (stage, to, _asked) = asked().await;
    let cpu = Cpu::now();
    let outcomes = ask(&to, n, Some(Duration::from_millis(100))).await;
    assert!(outcomes.iter().all(Result::is_err));
    stage.settle(n).await;
    none_is_pending(&stage).await;
    stage.cost_since(cpu).await
}

/// The askers, who used a recipient, have gone, which a sweep finds out: half of the requests that may wait do, and one
/// more comes.
pub(crate) async fn swept(n: usize) -> Duration {
    let (stage, to, oracle) = asked_by(node().pending_requests(2 * n)).await;
    let recipient = to.recipient();
    let cpu = Cpu::now();
    let asking: Vec<_> = (0..n as u64).map(|n| actix_rt::spawn(recipient.send(Question(n)))).collect();
    has(&oracle, n).await;
    asking.iter().for_each(|asking| asking.abort());
    all(asking).await;
    let one_more = ask(&to, 1, None);
    has(&oracle, n + 1).await;
    assert_eq!(stage.client.stats().pending_requests, 1);
    oracle.borrow_mut().clear();
    one_more.await;
    stage.settle(n).await;
    stage.cost_since(cpu).await
}

/// The node that was asked says goodbye.
pub(crate) async fn goodbye(n: usize) -> Duration {
    let Waiting { stage, oracle, asking, cpu } = waiting(n).await;
    let answering = async {
        oracle.borrow_mut().drain(..).for_each(drop);
        stage.server.shutdown().await;
    };
    tokio::join!(asking, answering);
    stage.cost_since(cpu).await
}

/// The connection breaks.
pub(crate) async fn lost(n: usize) -> Duration {
    let Waiting { stage, oracle, asking, cpu } = waiting(n).await;
    stage.link.cut();
    assert!(asking.await.iter().all(Result::is_err));
    stage.settle(n).await;
    let cost = cpu.elapsed();
    oracle.borrow_mut().clear();
    stage.end().await;
    cost
}

/// All requests are answered at once.
pub(crate) async fn answered(n: usize) -> Duration {
    let Waiting { stage, oracle, asking, cpu } = waiting(n).await;
    oracle.borrow_mut().drain(..).for_each(|reply| assert!(reply.send(7).is_ok()));
    assert!(asking.await.iter().all(|outcome| matches!(outcome, Ok(7))));
    stage.cost_since(cpu).await
}
