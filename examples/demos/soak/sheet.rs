//! The balance sheet: all sent messages and their fate, and the memory that they took.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use std::time::Instant;

use actix_hermod::DropReason;

use hermod_demos::memory::resident;

use super::player::Report;

/// Returns the interval between lines of progress.
pub(crate) fn pace(lasts: Duration) -> Duration {
    (lasts / 12).clamp(Duration::from_secs(1), Duration::from_secs(10))
}

/// See the [module](self).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sheet {
    sent: u64,
    delivered: u64,
    waiting: u64,
    dropped: BTreeMap<DropReason, u64>,
    in_doubt: u64,
    /// Requests without an outcome, as the nodes and as the askers see it.
    open_requests: u64,
    answered: u64,
    reconnects: u64,
    pub(crate) wrong: u64,
}

impl Sheet {
    pub(crate) fn of(reports: &[Report]) -> Sheet {
        let mut sheet = Sheet::default();
        for report in reports {
            let stats = &report.stats;
            sheet.sent += stats.sent;
            sheet.delivered += stats.delivered;
            sheet.waiting += stats.boxes.iter().map(|open| open.depth).sum::<u64>();
            sheet.in_doubt += stats.in_doubt;
            sheet.open_requests += stats.pending_requests + report.asking;
            sheet.answered += report.answered;
            sheet.reconnects += stats.connections.iter().map(|connection| connection.reconnects).sum::<u64>();
            sheet.wrong += report.wrong();
            for (reason, count) in &stats.dropped {
                *sheet.dropped.entry(*reason).or_default() += count;
            }
        }
        sheet
    }

    fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }

    fn accounted(&self) -> u64 {
        self.delivered + self.waiting + self.dropped_total() + self.in_doubt
    }

    /// Whether each message is accounted for, none is in doubt, and every request has ended.
    pub(crate) fn is_even(&self) -> bool {
        self.sent == self.accounted() && self.in_doubt == 0 && self.open_requests == 0
    }
}

/// Shows the sheet on one line; with `#`, in full.
impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dropped = self.dropped_total();
        if !f.alternate() {
            let Sheet { sent, delivered, in_doubt, reconnects, .. } = self;
            return write!(
                f,
                "{sent:>9} sent {delivered:>9} delivered {dropped:>8} dropped {in_doubt:>6} in doubt {reconnects:>4} reconnects"
            );
        }
        writeln!(f, "sent            {:>12}", self.sent)?;
        writeln!(f, "  delivered     {:>12}", self.delivered)?;
        writeln!(f, "  waiting       {:>12}", self.waiting)?;
        writeln!(f, "  dropped       {dropped:>12}")?;
        for (reason, count) in &self.dropped {
            writeln!(f, "    {:<14}{count:>10}", format!("{reason:?}"))?;
        }
        writeln!(f, "  in doubt      {:>12}", self.in_doubt)?;
        writeln!(f, "  unaccounted   {:>12}", i128::from(self.sent) - i128::from(self.accounted()))?;
        writeln!(f, "answered        {:>12}", self.answered)?;
        writeln!(f, "without an end  {:>12}", self.open_requests)?;
        writeln!(f, "reconnects      {:>12}", self.reconnects)?;
        write!(f, "damaged, twice, out of order, or answered wrongly: {}", self.wrong)
    }
}

/// The memory of processes over time.
pub(crate) struct Memory {
    begun: Instant,
    processes: Vec<u32>,
    seen: Vec<(Duration, Vec<u64>)>,
}

impl Memory {
    pub(crate) fn of(processes: impl IntoIterator<Item = u32>) -> Memory {
        Memory { begun: Instant::now(), processes: processes.into_iter().collect(), seen: Vec::new() }
    }

    /// Takes a sample, and returns it in words.
    pub(crate) fn look(&mut self) -> String {
        let now: Vec<u64> = self.processes.iter().map(|process| resident(*process)).collect();
        let words: Vec<String> = now.iter().map(|kib| format!("{:.1}", *kib as f64 / 1024.0)).collect();
        self.seen.push((self.begun.elapsed(), now));
        format!("{} MB", words.join(" "))
    }

    /// Returns the mean of each process in a part of the time, in MB.
    fn mean(&self, part: impl Fn(Duration) -> bool) -> Vec<f64> {
        let looks: Vec<&Vec<u64>> = self.seen.iter().filter(|(at, _)| part(*at)).map(|(_, look)| look).collect();
        let sum = |process: usize| looks.iter().filter_map(|look| look.get(process)).sum::<u64>();
        (0..self.processes.len()).map(|process| sum(process) as f64 / looks.len().max(1) as f64 / 1024.0).collect()
    }
}

/// Shows the first minute against the last one; in shorter runs, the first quarter against the last.
impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((end, _)) = self.seen.last() else { return write!(f, "The memory was not looked at.") };
        let part = (*end / 4).min(Duration::from_secs(60));
        // Extended to the first sample, so that each part has a sample in it.
        let first_end = self.seen.first().map_or(part, |(first, _)| part.max(*first));
        let (first, last) = (self.mean(|at| at <= first_end), self.mean(|at| at >= *end - part));
        write!(f, "Resident memory in MB, in the first and in the last {} s:", part.as_secs().max(1))?;
        for ((process, first), last) in self.processes.iter().zip(first).zip(last) {
            write!(f, "\n  process {process:>7}  {first:>8.1}  {last:>8.1}")?;
        }
        Ok(())
    }
}
