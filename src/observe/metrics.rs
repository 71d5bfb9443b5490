//! A node's counts for the `metrics` facade.
//!
//! Nothing is counted here: the figures of [`Stats`] are published now and then. Boxes and peers have no series of
//! their own, since their number is unbounded: they are summed up, and the fullest box and the most distant peer are
//! published.

use metrics::Unit;
use metrics::counter;
use metrics::describe_counter;
use metrics::describe_gauge;
use metrics::gauge;

use super::stats::ConnectionState;
use super::stats::Stats;
use crate::reason::DropReason;

/// The connection states that have a series each.
const STATES: [ConnectionState; 4] =
    [ConnectionState::Dialling, ConnectionState::Up, ConnectionState::Pausing, ConnectionState::Closing];

/// The messages that wait in a box, and its capacity.
pub(crate) type Fill = (u64, u64);

/// Publishes the counts. The boxes in `stats` are ignored: `fills` stands for them.
pub(crate) fn publish(stats: &Stats, fills: &[Fill]) {
    // Each time, because an exporter may be installed at any time, and then has missed the earlier descriptions.
    describe();
    let node = stats.node.to_string();
    publish_messages(&node, stats);
    publish_connections(&node, stats);
    publish_boxes(&node, fills);
}

fn describe() {
    describe_counter!("hermod_messages_sent_total", Unit::Count, "Messages given to addresses and recipients");
    describe_counter!("hermod_messages_delivered_total", Unit::Count, "Messages taken by readers, or begun by actors");
    describe_counter!("hermod_messages_dropped_total", Unit::Count, "Messages dropped by this node");
    describe_counter!("hermod_messages_reported_total", Unit::Count, "Messages that peers have reported as dropped");
    describe_counter!("hermod_late_answers_total", Unit::Count, "Answers that nobody waited for any more");
    describe_gauge!("hermod_messages_in_doubt", Unit::Count, "Messages neither known to be read nor to be lost");
    describe_gauge!("hermod_pending_requests", Unit::Count, "Requests that wait for their answers");
    describe_counter!("hermod_connects_total", Unit::Count, "Connections that came up");
    describe_counter!("hermod_sent_bytes_total", Unit::Bytes, "Bytes written to connections");
    describe_counter!("hermod_received_bytes_total", Unit::Bytes, "Bytes read from connections");
    describe_gauge!("hermod_connections", Unit::Count, "Ways to other nodes by what they do");
    describe_gauge!("hermod_outbox_bytes", Unit::Bytes, "Bytes that wait for connections");
    describe_gauge!("hermod_outbox_fullest_ratio", "How full the fullest outbox is, 0 to 1");
    describe_gauge!("hermod_round_trip_longest_seconds", Unit::Seconds, "The last round trip to the farthest peer");
    describe_gauge!("hermod_boxes", Unit::Count, "Boxes open");
    describe_gauge!("hermod_box_messages", Unit::Count, "Messages that wait in boxes");
    describe_gauge!("hermod_box_fullest_ratio", "How full the fullest box is, 0 to 1");
}

fn publish_messages(node: &str, stats: &Stats) {
    counter!("hermod_messages_sent_total", "node" => node.to_owned()).absolute(stats.sent);
    counter!("hermod_messages_delivered_total", "node" => node.to_owned()).absolute(stats.delivered);
    for (name, counts) in
        [("hermod_messages_dropped_total", &stats.dropped), ("hermod_messages_reported_total", &stats.reported)]
    {
        // Reasons without drops too: a rate sees the first drop only if the count was 0 before.
        for reason in DropReason::ALL {
            let count = counts.get(reason).copied().unwrap_or(0);
            counter!(name, "node" => node.to_owned(), "reason" => format!("{reason:?}")).absolute(count);
        }
    }
    counter!("hermod_late_answers_total", "node" => node.to_owned()).absolute(stats.late_answers);
    set("hermod_messages_in_doubt", node, stats.in_doubt as f64);
    set("hermod_pending_requests", node, stats.pending_requests as f64);
}

fn publish_connections(node: &str, stats: &Stats) {
    counter!("hermod_connects_total", "node" => node.to_owned()).absolute(stats.connects);
    counter!("hermod_sent_bytes_total", "node" => node.to_owned()).absolute(stats.bytes_sent);
    counter!("hermod_received_bytes_total", "node" => node.to_owned()).absolute(stats.bytes_received);
    for state in STATES {
        let count = stats.connections.iter().filter(|connection| connection.state == state).count();
        gauge!("hermod_connections", "node" => node.to_owned(), "state" => format!("{state:?}")).set(count as f64);
    }
    let connections = || stats.connections.iter();
    set("hermod_outbox_bytes", node, connections().map(|one| one.outbox_bytes).sum::<u64>() as f64);
    let fills = connections().map(|one| ratio((one.outbox_bytes, one.outbox_capacity)));
    set("hermod_outbox_fullest_ratio", node, fills.fold(0.0, f64::max));
    let round_trips = connections().filter_map(|one| one.rtt).max().unwrap_or_default();
    set("hermod_round_trip_longest_seconds", node, round_trips.as_secs_f64());
}

fn publish_boxes(node: &str, fills: &[Fill]) {
    set("hermod_boxes", node, fills.len() as f64);
    set("hermod_box_messages", node, fills.iter().map(|(depth, _)| depth).sum::<u64>() as f64);
    set("hermod_box_fullest_ratio", node, fills.iter().copied().map(ratio).fold(0.0, f64::max));
}

fn set(name: &'static str, node: &str, value: f64) {
    gauge!(name, "node" => node.to_owned()).set(value);
}

/// Returns the fill of a box, from 0 to 1. A box without room is not full: nothing waits there.
fn ratio((used, room): Fill) -> f64 {
    if room == 0 { 0.0 } else { (used as f64 / room as f64).min(1.0) }
}
