//! The figures of one attack, the marks that they have to reach, and the table of both.

use std::time::Duration;

use hermod_demos::Outcome;
use hermod_demos::memory::peak;

/// The mark for the node's memory, in MB.
const MEMORY: u64 = 300;

/// CPU time that a turn of the I/O thread may take. The longest two are not judged: in a virtual machine, time that the
/// host takes away shows as a long turn now and then.
const TURN: Duration = Duration::from_millis(20);

/// The factor for the mark of turns on a machine with other work, where caches are cold and hosts busy. It still shows
/// a thread that hangs.
const BESIDE_OTHERS: u32 = 3;

/// The time that 99 of 100 asks may take in any case, however little they take without an attack.
const P99: Duration = Duration::from_millis(5);

/// The factor for the latency of asks, compared with that without an attack.
const TIMES: u32 = 3;

/// The cost of one attack.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    answered: u64,
    failed: u64,
    p50: Duration,
    p99: Duration,
    newcomers: (u64, u64),
    /// The longest turn, and the third longest.
    turns: [Duration; 2],
    /// The peak, in MB.
    memory: u64,
}

impl Figures {
    pub(crate) const HEAD: &str =
        "attack          answered  failed  p50 ms  p99 ms  newcomers  longest turns    memory  marks";

    /// Reads the figures from the lines of the client and the node.
    pub(crate) fn of(client: &str, node: &str, process: u32) -> Outcome<Figures> {
        let numbers = client.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let [answered, failed, p50, p99, came, shut_out] = numbers[..] else {
            return Err(format!("the client says {client:?}").into());
        };
        let turns = node.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let [first, third] = turns[..] else { return Err(format!("the node says {node:?}").into()) };
        Ok(Figures {
            answered,
            failed,
            p50: Duration::from_micros(p50),
            p99: Duration::from_micros(p99),
            newcomers: (came, shut_out),
            turns: [first, third].map(Duration::from_micros),
            memory: peak(process),
        })
    }

    /// Returns a line of the table.
    pub(crate) fn row(&self, name: &str, missed: &[&str]) -> String {
        let Figures { answered, failed, p50, p99, newcomers: (came, shut_out), turns: [first, third], memory } = self;
        let ms = |time: &Duration| time.as_secs_f64() * 1e3;
        let marks = if missed.is_empty() { "reached".to_owned() } else { format!("MISSED: {}", missed.join(", ")) };
        format!(
            "{name:<14}  {answered:>8}  {failed:>6}  {:>6.2}  {:>6.2}  {:>9}  {:>13}  {memory:>6}  {marks}",
            ms(p50),
            ms(p99),
            format!("{came}/{}", came + shut_out),
            format!("{:.1}, {:.1} ms", ms(first), ms(third)),
        )
    }
}

/// The marks to be reached.
#[derive(Debug)]
pub(crate) struct Marks {
    /// `None` if latency is not judged.
    p99: Option<Duration>,
    turn: Duration,
}

impl Marks {
    /// Returns the marks, given the figures without an attack.
    pub(crate) fn beside(idle: Option<&Figures>, judges_latency: bool) -> Marks {
        let p99 = idle.filter(|_| judges_latency).map(|idle| P99.max(idle.p99 * TIMES));
        let turn = if judges_latency { TURN } else { TURN * BESIDE_OTHERS };
        Marks { p99, turn }
    }

    /// Returns the missed marks, by name.
    pub(crate) fn missed(&self, figures: &Figures) -> Vec<&'static str> {
        let marks = [
            ("asks", figures.failed == 0 && figures.answered > 0),
            ("newcomers", figures.newcomers.1 == 0),
            ("p99", self.p99.is_none_or(|limit| figures.p99 <= limit)),
            ("turn", figures.turns[1] < self.turn),
            ("memory", figures.memory < MEMORY),
        ];
        marks.into_iter().filter(|(_, is_reached)| !is_reached).map(|(name, _)| name).collect()
    }
}
