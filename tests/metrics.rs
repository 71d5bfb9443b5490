//! The text that a Prometheus server reads of a node: the names in the manual's table, and the values of its `Stats`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::Mutex;

use actix::System;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::ConnectionState;
use actix_hermod::Node;
use actix_hermod::Stats;
use metrics::Counter;
use metrics::Gauge;
use metrics::Histogram;
use metrics::Key;
use metrics::KeyName;
use metrics::Metadata;
use metrics::Recorder;
use metrics::SharedString;
use metrics::Unit;
use metrics_exporter_prometheus::PrometheusBuilder;
use metrics_exporter_prometheus::PrometheusHandle;
use metrics_exporter_prometheus::PrometheusRecorder;
use support::Number;
use support::balanced;
use support::deserted;
use support::listening;
use support::next;
use support::repository;
use support::watched;
use support::within;

/// Prometheus's, which also remembers the units, as its text does not say them.
struct Exporter {
    recorder: PrometheusRecorder,
    units: Mutex<BTreeMap<String, String>>,
}

impl Exporter {
    fn new() -> (Arc<Exporter>, PrometheusHandle) {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        (Arc::new(Exporter { recorder, units: Mutex::default() }), handle)
    }

    fn note(&self, key: &KeyName, unit: Option<Unit>) {
        let unit = unit.map(|unit| unit.as_str().to_owned()).unwrap_or_default();
        self.units.lock().expect("nobody panics with it").insert(key.as_str().to_owned(), unit);
    }
}

impl Recorder for Exporter {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.note(&key, unit);
        self.recorder.describe_counter(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.note(&key, unit);
        self.recorder.describe_gauge(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.note(&key, unit);
        self.recorder.describe_histogram(key, unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.recorder.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.recorder.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.recorder.register_histogram(key, metadata)
    }
}

/// Labels and their values.
type Labels = BTreeMap<String, String>;

/// The text of an exporter, taken apart.
#[derive(Default, Debug)]
struct Scraped {
    kinds: BTreeMap<String, String>,
    described: BTreeSet<String>,
    values: BTreeMap<(String, Labels), f64>,
}

fn scrape(handle: &PrometheusHandle) -> Scraped {
    let mut scraped = Scraped::default();
    for line in handle.render().lines().filter(|line| !line.is_empty()) {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a name and a kind");
            scraped.kinds.insert(name.to_owned(), kind.to_owned());
        } else if let Some(help) = line.strip_prefix("# HELP ") {
            scraped.described.insert(help.split(' ').next().expect("a name").to_owned());
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a series and its value");
            let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
            let label = |label: &str| {
                let (name, value) = label.split_once('=').expect("a label and its value");
                (name.to_owned(), value.trim_matches('"').to_owned())
            };
            let labels = labels.split(',').filter(|label| !label.is_empty()).map(label).collect();
            scraped.values.insert((name.to_owned(), labels), value.parse().expect("a number"));
        }
    }
    scraped
}

/// The manual's table: kind, unit and labels of each name.
fn documented() -> BTreeMap<String, (String, String, BTreeSet<String>)> {
    let page = repository().join("src/manual/observability.md");
    let page = fs::read_to_string(page).expect("the page");
    let table = page.split("| metric | kind | unit | labels | value |\n").nth(1).expect("the table of metrics");
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let line = |row: &str| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let ["", name, kind, unit, labels, _, ""] = *cells else { panic!("five columns: {row}") };
        let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (name.trim_matches('`').to_owned(), (kind.to_owned(), unit.to_owned(), labels))
    };
    rows.map(line).collect()
}

/// The series of a node as its stats want them.
fn expected(stats: &Stats) -> BTreeMap<(String, Labels), f64> {
    let mut all = BTreeMap::new();
    let mut put = |name: &str, label: Option<(&str, String)>, value: f64| {
        let mut labels = Labels::from([("node".to_owned(), stats.node.to_string())]);
        labels.extend(label.map(|(name, value)| (name.to_owned(), value)));
        all.insert((format!("hermod_{name}"), labels), value);
    };
    put("messages_sent_total", None, stats.sent as f64);
    put("messages_delivered_total", None, stats.delivered as f64);
    for (name, counts) in [("messages_dropped_total", &stats.dropped), ("messages_reported_total", &stats.reported)] {
        for (reason, count) in counts {
            put(name, Some(("reason", format!("{reason:?}"))), *count as f64);
        }
    }
    put("messages_in_doubt", None, stats.in_doubt as f64);
    put("pending_requests", None, stats.pending_requests as f64);
    put("late_answers_total", None, stats.late_answers as f64);
    put("connects_total", None, stats.connects as f64);
    put("sent_bytes_total", None, stats.bytes_sent as f64);
    put("received_bytes_total", None, stats.bytes_received as f64);
    use ConnectionState::*;
    for state in [Dialling, Up, Pausing, Closing] {
        let count = stats.connections.iter().filter(|connection| connection.state == state).count();
        put("connections", Some(("state", format!("{state:?}"))), count as f64);
    }
    let connections = || stats.connections.iter();
    put("outbox_bytes", None, connections().map(|one| one.outbox_bytes as f64).sum());
    let fills = connections().map(|one| one.outbox_bytes as f64 / one.outbox_capacity as f64);
    put("outbox_fullest_ratio", None, fills.fold(0.0, f64::max));
    let round_trips = connections().filter_map(|one| one.rtt).map(|rtt| rtt.as_secs_f64());
    put("round_trip_longest_seconds", None, round_trips.fold(0.0, f64::max));
    put("boxes", None, stats.boxes.len() as f64);
    put("box_messages", None, stats.boxes.iter().map(|open| open.depth as f64).sum());
    let fills =
        stats.boxes.iter().filter(|open| open.capacity > 0).map(|open| open.depth as f64 / open.capacity as f64);
    put("box_fullest_ratio", None, fills.fold(0.0, f64::max));
    all
}

/// Waits until the exporter tells what the nodes do: each series has the value that it has to have, and 0 if nothing is
/// said of it.
#[track_caller]
fn agrees(handle: &PrometheusHandle, nodes: &[&Node]) -> impl Future<Output = ()> {
    let look = || {
        let expected: BTreeMap<_, _> = nodes.iter().flat_map(|node| expected(&node.stats())).collect();
        let scraped = scrape(handle).values;
        let keys: BTreeSet<_> = expected.keys().chain(scraped.keys()).cloned().collect();
        let pair = |key: &_| (expected.get(key).copied().unwrap_or(0.0), scraped.get(key).copied().unwrap_or(-1.0));
        let differing = keys.into_iter().map(|key| (pair(&key), key)).filter(|((one, other), _)| one != other);
        differing.collect::<Vec<_>>()
    };
    let watched = watched(look, Vec::is_empty);
    async move { drop(watched.await) }
}

/// Two nodes that have done what there is to count.
async fn busy() -> [Node; 2] {
    let (server, endpoint) = listening(Node::builder()).await;
    let small = server.mailbox::<Number>().name("small").buffer(Buffer::dropping(4)).open().expect("the name is free");
    let mut inbox = server.mailbox::<Number>().name("numbers").open().expect("the name is free");
    let client = Node::start();
    let to = |name: &str| -> Address<Number> { client.remote(&endpoint, name).expect("an address") };
    for n in 0..10 {
        ["numbers", "small", "nobody"].map(to).iter().for_each(|to| to.do_send(Number(n)));
        next(&mut inbox).await;
    }
    client.remote::<Number>(deserted().await, "numbers").expect("an address").do_send(Number(1));
    // A request that stays: its box is read by nobody.
    let asked = to("numbers").ask(Number(1));
    actix::spawn(async move { drop(asked.await) });
    watched(|| inbox.len(), |&waiting| waiting == 1).await;
    balanced(&[&server, &client]).await;
    // They stay open until the node ends.
    std::mem::forget((small, inbox));
    [client, server]
}

#[test]
fn the_values_are_those_of_the_stats() {
    let (exporter, handle) = Exporter::new();
    let _guard = metrics::set_default_local_recorder(&*exporter);
    System::new().block_on(async {
        let [client, server] = busy().await;
        agrees(&handle, &[&client, &server]).await;
        let stats = server.stats();
        assert!(stats.sent == 0 && stats.delivered == 10 && stats.dropped_total() == 16, "{stats:#?}");
        assert_eq!(client.stats().pending_requests, 1);
        // An ended node has no gauges any more, and its sums stay.
        within(client.shutdown()).await;
        within(server.shutdown()).await;
        agrees(&handle, &[&client, &server]).await;
        let scraped = scrape(&handle);
        let of = |node: &Node, name: &str| {
            let mut of = scraped.values.iter().filter(|((series, labels), _)| {
                series == name
                    && labels["node"] == node.id().to_string()
                    && labels.get("state").is_none_or(|at| at == "Up")
            });
            *of.next().expect("a series").1
        };
        assert_eq!((of(&server, "hermod_boxes"), of(&server, "hermod_connections")), (0.0, 0.0));
        assert_eq!(of(&server, "hermod_messages_delivered_total"), 10.0);
    });
}

#[test]
fn the_table_is_what_a_server_reads() {
    let (exporter, handle) = Exporter::new();
    let _guard = metrics::set_default_local_recorder(&*exporter);
    System::new().block_on(async {
        let [client, server] = busy().await;
        agrees(&handle, &[&client, &server]).await;
    });
    let (documented, scraped) = (documented(), scrape(&handle));
    assert!(documented.len() > 10, "{documented:#?}");
    let kinds: BTreeMap<_, _> = documented.iter().map(|(name, (kind, ..))| (name.clone(), kind.clone())).collect();
    assert_eq!(scraped.kinds, kinds, "read, and documented");
    assert_eq!(scraped.described, documented.keys().cloned().collect(), "described, and documented");
    let units: BTreeMap<_, _> = documented.iter().map(|(name, (_, unit, _))| (name.clone(), unit.clone())).collect();
    assert_eq!(*exporter.units.lock().expect("nobody panics with it"), units, "described, and documented");
    for (name, labels) in scraped.values.keys() {
        let (_, _, expected) = &documented[name];
        assert_eq!(&labels.keys().cloned().collect::<BTreeSet<_>>(), expected, "the labels of {name}");
    }
}

#[test]
fn an_exporter_that_comes_later_is_told_all_the_same() {
    let (exporter, handle) = Exporter::new();
    System::new().block_on(async {
        let [client, server] = busy().await;
        let _guard = metrics::set_default_local_recorder(&*exporter);
        // Nothing happens any more.
        agrees(&handle, &[&client, &server]).await;
        assert_eq!(scrape(&handle).described.len(), documented().len());
    });
}
