//! The balance sheet: the fate of every message.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;

use actix_hermod::DropReason;
use actix_hermod::Losses;
use actix_hermod::Stats;

use super::NAMES;
use super::Outcome;
use super::chart::grouped;

/// Returns the messages dropped on either side, by reason.
pub(crate) fn by_reason(losses: &Losses) -> BTreeMap<DropReason, u64> {
    let mut sums = losses.local.clone();
    losses.remote.iter().for_each(|(reason, count)| *sums.entry(*reason).or_default() += count);
    sums
}

/// The fate of messages, in numbers.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Account {
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) waiting: u64,
    pub(crate) dropped: BTreeMap<DropReason, u64>,
    /// Counted by nodes, not by address.
    pub(crate) in_doubt: u64,
}

impl Account {
    /// Returns the account of a node.
    pub(crate) fn of(stats: &Stats) -> Account {
        Account {
            sent: stats.sent,
            delivered: stats.delivered,
            waiting: stats.boxes.iter().map(|one| one.depth).sum(),
            // Without `reported`: those drops are in the books of the node that has dropped them.
            dropped: stats.dropped.clone(),
            in_doubt: stats.in_doubt,
        }
    }

    pub(crate) fn with(mut self, other: &Account) -> Account {
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.waiting += other.waiting;
        other.dropped.iter().for_each(|(reason, count)| *self.dropped.entry(*reason).or_default() += count);
        self.in_doubt += other.in_doubt;
        self
    }

    pub(crate) fn lost(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Returns the sent messages that are not accounted for; negative if more are accounted for than were sent.
    fn missing(&self) -> i128 {
        let found = self.delivered + self.waiting + self.lost() + self.in_doubt;
        i128::from(self.sent) - i128::from(found)
    }
}

/// The books, kept twice: for each sender, by its sent readings, those that its reader has taken, and the losses
/// reported to it; and for both nodes, by their own statistics.
pub(crate) struct Sheet {
    /// The sender that heeds pressure, and the one that ignores it.
    pub(crate) senders: [Account; 2],
    pub(crate) nodes: Account,
    /// Readings that each sender did not send.
    pub(crate) skipped: [u64; 2],
    /// The average number of readings that each reader was behind.
    pub(crate) behind: [u64; 2],
}

impl Sheet {
    /// Whether every message is accounted for, and both ways of counting agree. So none may be in doubt, since its
    /// sender would be unknown.
    pub(crate) fn balances(&self) -> bool {
        let sum = self.senders.iter().fold(Account::default(), Account::with);
        self.accounts().all(|account| account.missing() == 0) && sum == self.nodes
    }

    /// Checks that the example shows its point.
    pub(crate) fn verdict(&self) -> Outcome<()> {
        let [heeding, ignoring] = &self.senders;
        if !self.balances() {
            return Err("the books do not balance".into());
        }
        if heeding.lost() > ignoring.lost() {
            return Err("the sender that heeds pressure has lost more than the one that ignores it".into());
        }
        Ok(())
    }

    fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.senders.iter().chain([&self.nodes])
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, what: &str, figure: impl Fn(&Account) -> String) -> fmt::Result {
        let [heeding, ignoring] = self.senders.each_ref().map(&figure);
        writeln!(f, "{what:<26}{heeding:>14}{ignoring:>14}{:>16}", figure(&self.nodes))
    }
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<26}{:>14}{:>14}{:>16}", "", NAMES[0], NAMES[1], "both nodes")?;
        self.row(f, "  sent", |account| grouped(account.sent))?;
        self.row(f, "= delivered", |account| grouped(account.delivered))?;
        self.row(f, "+ waiting", |account| grouped(account.waiting))?;
        let reasons: BTreeSet<_> = self.accounts().flat_map(|account| account.dropped.keys()).collect();
        for reason in reasons {
            let dropped = |account: &Account| grouped(account.dropped.get(reason).copied().unwrap_or(0));
            self.row(f, &format!("+ dropped, {reason:?}"), dropped)?;
        }
        writeln!(f, "{:<54}{:>16}", "+ in doubt", grouped(self.nodes.in_doubt))?;
        self.row(f, "+ not accounted for", |account| account.missing().to_string())?;
        writeln!(f, "\n{}\n", if self.balances() { "It balances." } else { "It does not balance." })?;
        let manners = ["The sender that heeds pressure", "The sender that ignores it"];
        for (at, who) in manners.iter().enumerate() {
            let [skipped, lost, behind] = [self.skipped[at], self.senders[at].lost(), self.behind[at]].map(grouped);
            writeln!(f, "{who} skipped {skipped} readings, and {lost} were lost.")?;
            writeln!(f, "    What was read was {behind} readings behind, on average.")?;
        }
        Ok(())
    }
}
