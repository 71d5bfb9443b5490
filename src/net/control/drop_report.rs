//! Reports of dropped messages between the two ends of a connection: a running sum for each box, shape and reason, so
//! that a report that is left out or late costs nothing.

use std::collections::HashMap;
use std::collections::VecDeque;

use crate::reason::DropReason;
use crate::wire::frames::report::Account;
use crate::wire::target::Target;

/// Pairs of box and message shape that have a count of their own, in each direction; drops of others are summed up.
/// Needed because a peer may send to, and report, as many names and shapes as it likes.
const MAX_COUNTED: usize = 4096;

/// Drops that are reported with detail, of about [`MAX_DETAIL`](crate::wire::frames::refuse::MAX_DETAIL) bytes each at
/// most. Further ones are only counted.
const MAX_REMARKS: usize = 16;

/// Drops by reason.
pub(super) type ReasonCounts = [u64; DropReason::ALL.len()];

/// The account of all messages that have no count of their own.
const OTHERS: Account = Account { target: Target::Others, fingerprint: 0 };

/// Drops by box and shape.
#[derive(Debug, Default)]
struct DropCounts(HashMap<Account, ReasonCounts>);

impl DropCounts {
    /// Returns the account's own entry, or the entry of all others.
    fn of(&mut self, account: Account) -> (Account, &mut ReasonCounts) {
        let room = self.0.len() < MAX_COUNTED || self.0.contains_key(&account);
        let account = if room { account } else { OTHERS };
        (account.clone(), self.0.entry(account).or_default())
    }

    fn add(&mut self, other: DropCounts) {
        for (account, counts) in other.0 {
            let (_, sums) = self.of(account);
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.saturating_add(count));
        }
    }
}

/// Consecutive dropped messages of one shape, for one box (by the peer's name for it), dropped for one reason.
#[derive(Debug)]
pub(crate) struct DropRun {
    pub(crate) account: Account,
    pub(crate) reason: DropReason,
    pub(crate) count: u64,
    /// More about the last of them, for a person at the other end.
    pub(crate) words: Option<Box<str>>,
}

/// Drops here of messages that came over the connection.
#[derive(Debug, Default)]
pub(crate) struct LocalDrops {
    counts: DropCounts,
    /// The sums that are not reported yet, in the order in which they changed.
    untold: VecDeque<(Account, DropReason)>,
    /// The reasons in `untold` for each account, one bit each.
    marked: HashMap<Account, u32>,
    /// Details about the last of some unreported drops, for a person; at most [`MAX_REMARKS`].
    remarks: Vec<(Account, DropReason, Box<str>)>,
}

impl LocalDrops {
    /// Counts drops. Returns whether there was nothing to report before.
    pub(crate) fn dropped(&mut self, account: Account, reason: DropReason, count: u64) -> bool {
        let first = self.untold.is_empty();
        let (account, counts) = self.counts.of(account);
        if let Some(sum) = counts.get_mut(reason as usize) {
            *sum += count;
        }
        let marks = self.marked.entry(account.clone()).or_default();
        if *marks & 1 << reason as u32 == 0 {
            *marks |= 1 << reason as u32;
            self.untold.push_back((account, reason));
        }
        first
    }

    /// Adds detail about the last of those drops.
    pub(crate) fn remark(&mut self, account: Account, reason: DropReason, words: &str) {
        let has_room = self.remarks.len() < MAX_REMARKS;
        match self.remarks.iter_mut().find(|(of, why, _)| *of == account && *why == reason) {
            Some((_, _, before)) => *before = words.into(),
            None if has_room => self.remarks.push((account, reason, words.into())),
            None => {}
        }
    }

    /// Takes the details, to be sent once.
    pub(crate) fn take_remarks(&mut self) -> Vec<(Account, DropReason, Box<str>)> {
        std::mem::take(&mut self.remarks)
    }

    pub(crate) fn is_told(&self) -> bool {
        self.untold.is_empty()
    }

    /// Returns the next sum to report.
    pub(crate) fn next(&mut self) -> Option<(Account, DropReason, u64)> {
        let (account, reason) = self.untold.pop_front()?;
        if let Some(marks) = self.marked.get_mut(&account) {
            *marks &= !(1 << reason as u32);
            if *marks == 0 {
                self.marked.remove(&account);
            }
        }
        let count = self.counts.0.get(&account).and_then(|counts| counts.get(reason as usize)).copied();
        Some((account, reason, count.unwrap_or_default()))
    }
}

/// Drops at the peer of messages that went over the connection, as far as it has reported them.
#[derive(Debug, Default)]
pub(crate) struct PeerDrops {
    now: DropCounts,
    /// Drops of the link's earlier connections.
    before: DropCounts,
    /// The sum of `now`.
    believed: u64,
}

impl PeerDrops {
    /// Takes a sum from the peer, and returns by how much it has grown. A sum that shrinks is not believed, nor are
    /// more drops than messages were `written`.
    pub(crate) fn told(&mut self, account: Account, reason: DropReason, count: u64, written: u64) -> u64 {
        let (entry, counts) = self.now.of(account.clone());
        let Some(sum) = counts.get_mut(reason as usize) else { return 0 };
        if entry != account {
            // More entries than an honest peer keeps.
            return 0;
        }
        let grown = count.saturating_sub(*sum).min(written.saturating_sub(self.believed));
        *sum += grown;
        self.believed += grown;
        grown
    }

    /// Ends the counts of a connection: the next one counts from 0.
    pub(crate) fn close(&mut self) {
        let now = std::mem::take(&mut self.now);
        self.before.add(now);
        self.believed = 0;
    }

    /// Returns the known drops of messages of a shape for a box: those reported for that shape, and those reported for
    /// any shape.
    pub(crate) fn of(&self, target: &Target, fingerprint: u64) -> ReasonCounts {
        let mut sum = ReasonCounts::default();
        let of_any = (fingerprint != 0).then_some(0);
        for fingerprint in std::iter::once(fingerprint).chain(of_any) {
            let account = Account { target: target.clone(), fingerprint };
            for counts in [&self.before, &self.now].into_iter().filter_map(|counts| counts.0.get(&account)) {
                sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.saturating_add(*count));
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_box(n: usize) -> Account {
        Account { target: Target::Name(n.to_string().into()), fingerprint: 7 }
    }

    fn by_shape(n: usize) -> Account {
        Account { target: Target::Name("box".into()), fingerprint: n as u64 }
    }

    #[test]
    fn boxes_and_shapes_without_end_have_one_account_in_common() {
        for account in [by_box, by_shape] {
            let mut ours = LocalDrops::default();
            let first = (0..2 * MAX_COUNTED).filter(|n| ours.dropped(account(*n), DropReason::NoSuchBox, 1)).count();
            assert_eq!(first, 1);
            assert_eq!(ours.counts.0.len(), MAX_COUNTED + 1);
            assert_eq!((ours.untold.len(), ours.marked.len()), (MAX_COUNTED + 1, MAX_COUNTED + 1));
            let told: u64 = std::iter::from_fn(|| ours.next()).map(|(_, _, count)| count).sum();
            assert_eq!(told, 2 * MAX_COUNTED as u64, "each is told, if not of which box it was");
        }
    }

    #[test]
    fn more_is_said_of_so_many_and_of_each_about_the_last() {
        let mut ours = LocalDrops::default();
        for n in 0..2 * MAX_REMARKS {
            ["first", "last"].iter().for_each(|words| ours.remark(by_box(n), DropReason::TooLarge, words));
        }
        let said = ours.take_remarks();
        assert_eq!(said.len(), MAX_REMARKS);
        assert!(said.iter().all(|(_, _, words)| &**words == "last"));
        assert!(ours.take_remarks().is_empty());
    }

    #[test]
    fn a_peer_that_tells_of_boxes_or_shapes_without_end_is_believed_of_so_many() {
        for account in [by_box, by_shape] {
            let mut theirs = PeerDrops::default();
            let told = |n| theirs.told(account(n), DropReason::NoSuchBox, 1, u64::MAX);
            assert_eq!((0..2 * MAX_COUNTED).map(told).sum::<u64>(), MAX_COUNTED as u64);
            assert!(theirs.now.0.len() <= MAX_COUNTED + 1);
            theirs.close();
            assert!(theirs.before.0.len() <= MAX_COUNTED + 1);
        }
    }

    #[test]
    fn what_is_told_of_one_shape_is_no_loss_of_another() {
        let target = Target::Name("box".into());
        let mut theirs = PeerDrops::default();
        for (n, count) in [(0, 1), (7, 10), (8, 100)] {
            assert_eq!(theirs.told(by_shape(n), DropReason::NewestShed, count, u64::MAX), count);
        }
        let lost = |theirs: &PeerDrops, n| theirs.of(&target, n).iter().sum::<u64>();
        assert_eq!([7, 8, 9, 0].map(|n| lost(&theirs, n)), [11, 101, 1, 1], "0 is about any shape");
        theirs.close();
        theirs.told(by_shape(8), DropReason::NewestShed, 1000, u64::MAX);
        assert_eq!([7, 8, 9, 0].map(|n| lost(&theirs, n)), [11, 1101, 1, 1]);
    }
}
