//! The layers of this crate, kept: which module may import which, and what must not stand in one. Read from the sources.
//! So is the map of the code in the manual, which names every file.
//!
//! The sources are read as text, comments and literals blanked and inline `#[cfg(test)]` items left out, as are those for
//! tests and fuzzers; each complaint names the file, the line and the rule. The last test shows each check a tree that
//! breaks it.
//!
//! Circles are forbidden between folders, not between files: types of one folder may know each other.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::fs;
use std::path::Path;

/// The layers from the top down, each with what it is there for. A file may import from its own layer and from those
/// below it in this list. `a/b` is a folder inside the layer `a`: the folders of a layer that are listed have an order,
/// too.
const LAYERS: [(&str, &str); 25] = [
    ("lib", "the public face: it shows what the others have, and nothing inside imports from it"),
    ("manual", "pages of documentation, which only rustdoc reads: no code"),
    ("fuzzing", "what fuzzers run, which is about all of the others; none of them needs it"),
    ("node", "the node: puts the layers together, so it stands above all of them"),
    ("net", "connections: bring messages to boxes and handles, which must work without any"),
    ("net/connection", "one connection's life: it joins the tables of peers and moves the bytes of links"),
    ("net/peers", "all peers: a table of links, which know nothing of each other"),
    ("net/link", "one path to a peer as other threads see it: takes the lock around the sub-protocols"),
    ("net/control", "sub-protocols as plain state: no link and no lock"),
    ("net/transport", "streams: bytes, whatever they mean"),
    ("boxes", "what lives here: boxes are reached through handles, and handles know them by a trait only"),
    (
        "handle",
        "what is held and sent through: encodes messages, and knows the node and its connections by traits only",
    ),
    ("handle/recipient", "the actix side of a pointer, which a pointer works without"),
    ("handle/pointer", "what every handle shares"),
    ("quota", "what all connections or all boxes of a node may have together: counts, and nothing that is counted"),
    ("config", "the limits: of all layers above; it borrows the decoder's from the layer of messages"),
    ("message", "what is sent: serde and a bounded decoder, which nothing of this crate helps with"),
    ("wire", "the protocol, pure: bytes and ids"),
    ("observe", "counts and events: they name the node they are about"),
    ("reason", "why a message was dropped: a word that all layers share"),
    ("key", "the key that a node's id is the hash of"),
    ("ident", "ids and endpoints, which mean something without any of the others but chance"),
    ("env", "chance, and whether the environment is a simulated one: nothing of this crate"),
    ("sync", "a lock and an atomic of others, or loom's in their place: nothing of this crate"),
    ("unstructured", "what fuzzers and tests in any layer decide by: nothing of this crate"),
];

/// A path that must not stand in a place.
struct Ban {
    /// Files whose path below `src` begins so.
    within: &'static str,
    /// Those among them that may; a folder stands for all of its files.
    except: &'static [&'static str],
    words: &'static [&'static str],
    rule: &'static str,
}

const BANS: [Ban; 9] = [
    Ban {
        within: "wire/",
        except: &[],
        words: &["std::net", "Instant", "SystemTime", "std::thread", "tracing"],
        rule: "the protocol is pure: no socket, clock, thread or log",
    },
    Ban {
        within: "wire/",
        except: &[],
        words: &[
            ".unwrap(",
            ".expect(",
            ".unwrap_err(",
            ".expect_err(",
            "panic!",
            "unreachable!",
            "todo!",
            "unimplemented!",
            "assert!",
            "assert_eq!",
            "assert_ne!",
            ".split_at(",
            ".split_at_mut(",
            ".copy_from_slice(",
            ".clone_from_slice(",
            ".split_to(",
            ".split_off(",
            ".advance(",
        ],
        rule: "no bytes of a peer may panic the node: what can panic has a checked sister",
    },
    Ban {
        within: "",
        except: &["net/transport/"],
        words: &["TcpStream", "TcpListener", "TcpSocket", "UnixStream", "UnixListener", "UnixSocket", "socket2"],
        rule: "only transport opens sockets, so that another kind of stream changes one place",
    },
    Ban {
        within: "",
        except: &["net/transport/resolver.rs"],
        words: &["lookup_host", "ToSocketAddrs", "to_socket_addrs"],
        rule: "only the resolver looks up names: a lookup on the runtime's blocking pool holds up the program's end",
    },
    Ban {
        within: "",
        // The decoder keeps an error's words there, because serde gives it no other place; a recipient's queue, which is
        // being dropped by actix, because an envelope left in it does not know whose it is; what is counted for each thread,
        // so that not each message costs a count that all share. A simulation is one of its thread.
        except: &[
            "handle/serde_scope.rs",
            "message/guard/fault.rs",
            "handle/recipient/actor.rs",
            "handle/recipient/permits.rs",
            "observe/counters.rs",
            "env.rs",
        ],
        words: &["thread_local"],
        rule: "only serde_scope touches a thread-local: what is true of a thread and not of a call is easily forgotten",
    },
    Ban {
        within: "",
        except: &[],
        words: &["std::time::Instant", "SystemTime", "UNIX_EPOCH"],
        rule: "there is one clock, tokio's, which tests pause and simulations turn",
    },
    Ban {
        within: "",
        // Secrets of a box by key: nothing that can be seen depends on them.
        except: &["env.rs", "boxes/keyed.rs"],
        words: &["new_v4", "now_v7", "getrandom", "rand", "RandomState"],
        rule: "only env draws by chance, so that a simulation can be repeated",
    },
    Ban {
        within: "net/control/",
        except: &[],
        words: &[
            "Instant::now",
            "Mutex",
            "RwLock",
            "Notify",
            "oneshot",
            "mpsc",
            "CancellationToken",
            "Waker",
            "AtomicWaker",
        ],
        rule: "a sub-protocol is plain state: no lock, channel or waker, and its caller tells it the time",
    },
    Ban {
        within: "",
        // The error and its words on the wire; the parties of a drop, as the door tells them; and what passes on the
        // refusal of another node, which has settled the loss.
        except: &[
            "handle/ask_error.rs",
            "handle/parties.rs",
            "handle/reply.rs",
            "boxes/relay.rs",
            "net/connection/dispatch.rs",
            "net/control/requests.rs",
            "net/link/control_queue.rs",
            "net/link/requests.rs",
            "net/link/shape_query.rs",
            "wire/",
        ],
        words: &["NotDelivered"],
        rule: "a caller learns of a drop through observe::loss, which counts it: make a Loss, and settle it",
    },
];

/// Crates that the protocol must not import, nor anything that it imports: so a type of its own cannot hold one of
/// these.
const IMPURE: [&str; 5] = ["actix", "actix_rt", "tokio", "tokio_util", "parking_lot"];

// ------------------------------------------------------------------------------------------------------ the tests

#[test]
fn imports_only_go_down() {
    report(&upward_imports(&tree()));
}

#[test]
fn no_circle_between_folders() {
    report(&circles(&tree()));
}

#[test]
fn the_protocol_and_all_that_it_imports_is_pure() {
    report(&impure(&tree()));
}

#[test]
fn each_layer_keeps_to_its_own() {
    report(&banned_words(&tree()));
}

#[test]
fn the_protocol_never_indexes() {
    report(&indexing(&tree()));
}

#[test]
fn nothing_is_selected_by_chance() {
    report(&unbiased(&tree()));
}

#[test]
fn the_map_of_the_manual_is_that_of_the_sources() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/manual/contributors.md");
    let map = mapped(&fs::read_to_string(page).expect("the page"));
    assert!(map.len() > 100, "only {} entries of the map were found", map.len());
    report(&unmapped(&map, &tree()));
}

#[test]
fn every_layer_is_there() {
    let tree = tree();
    for (layer, _) in LAYERS {
        let module: Vec<String> =
            if layer == "lib" { Vec::new() } else { layer.split('/').map(str::to_owned).collect() };
        let is_there = tree.iter().any(|source| source.module.starts_with(&module));
        assert!(is_there, "no file of src is in the layer {layer}: was it renamed?");
    }
    assert!(tree.len() > 20, "only {} files were found", tree.len());
    assert!(tree.iter().flat_map(|source| imports(source, &tree)).count() > 200, "imports are no longer recognised");
}

/// Files that break each rule once or more.
fn broken() -> Vec<Source> {
    vec![
        Source::new("lib.rs", "mod node;\npub use node::Node;\n"),
        Source::new("ident.rs", "/// See [`crate::node`], \"crate::net\".\nuse crate::observe::Stats;\n"),
        Source::new("observe.rs", "fn f() -> &'static str { crate::Node::name(\"crate::net\", '\"', \"\\\"\") }\n"),
        Source::new("net/mod.rs", "mod link;\nmod peers;\npub(crate) use self::link::Link;\n"),
        // A circle of files in one folder is none of folders; one of folders may go through several files.
        Source::new("net/link/mod.rs", "mod outbox;\nuse self::outbox::Outbox;\nuse crate::ident::NodeId;\n"),
        Source::new(
            "net/link/outbox.rs",
            "use super::Link;\nuse super::super::{\n    peers::{hints::{Hint, self}, table},\n};\n",
        ),
        Source::new("net/peers/mod.rs", "mod hints;\nmod table;\n"),
        Source::new("net/peers/table.rs", "use crate::net::link::Link;\n"),
        Source::new("net/peers/hints.rs", "use tokio::net::TcpStream;\n"),
        Source::new("net/control/mod.rs", "use super::{link};\n"),
        Source::new("net/control/watch.rs", "use crate::sync::Mutex;\nfn f() { Instant::now(); }\n"),
        Source::new(
            "wire/mod.rs",
            "#[cfg(test)]\nmod golden;\n#[cfg(any(test, fuzzing))]\npub(crate) mod fuzz;\n#[cfg(unix)]\nmod unix;\n",
        ),
        Source::new("wire/golden.rs", "fn f(b: &[u8]) -> u8 { b[0] }\n"),
        Source::new("wire/fuzz/mod.rs", "mod ends;\n"),
        Source::new("wire/fuzz/ends.rs", "use crate::node::Node;\nfn f(b: &[u8]) -> u8 { b[0] }\n"),
        Source::new("wire/unix.rs", "use crate::reason::DropReason;\nfn f(b: &[u8]) -> u8 { b[1] }\n"),
        Source::new("reason.rs", "use crate::sync;\n"),
        Source::new("sync.rs", "pub(crate) use parking_lot::Mutex;\n"),
        Source::new(
            "wire/codec.rs",
            "fn f<'a>(b: &'a [u8]) -> u8 { b[0] + b.last().unwrap() }\n\
             #[cfg(test)]\nmod tests { fn g(b: &[u8]) { b[1]; } }\nuse std::time::Instant;\n",
        ),
        Source::new("handle/route.rs", "// thread_local\nthread_local! {}\nuse crate::{node, net::link::Link as L};\n"),
        Source::new("attic.rs", "use crate::ident::NodeId;\n"),
        Source::new("handle/send.rs", "fn f() -> AskError { AskError::NotDelivered { reason, detail: None } }\n"),
        Source::new(
            "boxes/queue.rs",
            "use std::time::Instant;\nUuid::new_v4();\nselect! {\n}\nselect! {\n    biased;\n}\n",
        ),
    ]
}

#[test]
fn each_check_finds_what_it_is_there_for() {
    let tree = broken();
    let found = |complaints: Vec<String>| complaints.iter().map(|text| first_two(text)).collect::<Vec<_>>();
    let upward = [
        "ident.rs:2",
        "observe.rs:1",
        // A group over several lines, in a group.
        "net/link/outbox.rs:2",
        "net/link/outbox.rs:2",
        "net/link/outbox.rs:2",
        "net/control/mod.rs:1",
        "wire/fuzz/ends.rs:1",
        "handle/route.rs:3",
        "handle/route.rs:3",
        "attic.rs:1",
    ];
    assert_eq!(found(upward_imports(&tree)), upward);
    let circles = circles(&tree);
    assert_eq!(circles.len(), 1, "{circles:#?}");
    let [circle] = circles.as_slice() else { unreachable!() };
    assert!(["net/link/outbox.rs:2", "net/peers/table.rs:1"].iter().all(|at| circle.contains(at)), "{circle}");
    let impure = impure(&tree);
    assert_eq!(found(impure.clone()), ["sync.rs:1"]);
    assert!(impure[0].contains("src/wire/unix.rs:1 → src/reason.rs:1 → src/sync.rs:1"), "{impure:?}");
    assert_eq!(
        found(banned_words(&tree)),
        [
            "net/peers/hints.rs:1",
            "net/control/watch.rs:1",
            "net/control/watch.rs:2",
            "wire/codec.rs:4",
            "wire/codec.rs:1",
            "wire/codec.rs:4",
            "handle/route.rs:2",
            "handle/send.rs:1",
            "boxes/queue.rs:1",
            "boxes/queue.rs:2",
        ]
        .map(str::to_owned)
    );
    assert_eq!(found(indexing(&tree)), ["wire/unix.rs:2", "wire/codec.rs:1"]);
    assert_eq!(found(unbiased(&tree)), ["boxes/queue.rs:3"]);
    let map = "# A page\n## Map\n### `src`\n| `lib`, `ident` | |\n| `wire/` | |\n\
               ### `src/net`\n| file | |\n| `link/`, `gone` | |\n";
    let unmapped = unmapped(&mapped(map), &tree);
    assert!(unmapped.contains(&"src/net/peers/table.rs: the map does not name it".to_owned()), "{unmapped:#?}");
    assert!(unmapped.contains(&"src/net/gone: the map names it, and it is not there".to_owned()), "{unmapped:#?}");
    assert!(unmapped.iter().all(|text| !["lib.rs", "wire/", "net/link/"].iter().any(|file| text.contains(file))));
}

#[test]
fn grouped_imports_are_read_name_by_name() {
    let read = |statement: &str| {
        let paths = use_paths(statement);
        paths.iter().map(|path| path.join("::")).collect::<Vec<_>>()
    };
    assert_eq!(read("use a::b::C;"), ["a::b::C"]);
    assert_eq!(read("pub(crate) use self::b::C as D;"), ["self::b::C"]);
    assert_eq!(read("use a::{self, b::{C, d::*}, e as f};"), ["a", "a::b::C", "a::b::d", "a::e"]);
    assert_eq!(read("use {crate::a, super::b::{C,\n D,}};"), ["crate::a", "super::b::C", "super::b::D"]);
}

/// `src/a.rs:1: why` without what is around the place.
fn first_two(complaint: &str) -> String {
    let rest = complaint.strip_prefix("src/").unwrap_or(complaint);
    rest.splitn(3, ':').take(2).collect::<Vec<_>>().join(":")
}

fn report(complaints: &[String]) {
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

// ----------------------------------------------------------------------------------------------------- the checks

/// Where a layer stands in the list.
fn height(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|(name, _)| *name == layer)
}

/// Where the paths of two modules part: what they share, and what comes next on each side, if anything does.
fn parting<'a>(from: &'a [String], to: &'a [String]) -> (&'a [String], Option<&'a String>, Option<&'a String>) {
    let shared = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    (&from[..shared], from.get(shared), to.get(shared))
}

fn upward_imports(tree: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in tree {
        for import in imports(source, tree) {
            let at = format!("src/{}:{}", source.file, import.line);
            let (shared, from, to) = parting(&source.module, &import.module);
            let name = |child: Option<&String>| match child {
                Some(child) => shared.iter().chain([child]).cloned().collect::<Vec<_>>().join("/"),
                None => "lib".to_owned(),
            };
            let (from, to) = (name(from), name(to));
            match (height(&from), height(&to)) {
                (Some(above), Some(below)) if above > below => {
                    let (_, why) = LAYERS[above];
                    complaints
                        .push(format!("{at}: {from} must not import from {to}, which is above it ({from} is {why})"));
                }
                (None, _) if shared.is_empty() => {
                    complaints.push(format!("{at}: the layer {from} has no place in this test's list"));
                }
                (_, None) if shared.is_empty() => {
                    complaints.push(format!("{at}: the layer {to} has no place in this test's list"));
                }
                _ => {}
            }
        }
    }
    complaints
}

/// For each folder from which imports lead through others beside it and back, one complaint. A file in a folder belongs
/// to it, however deep; imports between a folder and one that is inside of it are its own affair.
fn circles(tree: &[Source]) -> Vec<String> {
    let mut graph: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for source in tree {
        for import in imports(source, tree) {
            let Some(target) = tree.iter().find(|other| other.file == import.file) else { continue };
            let (from, to) = (source.folder(tree), target.folder(tree));
            if let (shared, Some(from), Some(to)) = parting(from, to) {
                let name = |child: &String| shared.iter().chain([child]).cloned().collect::<Vec<_>>().join("/");
                let at = format!("src/{}:{}", source.file, import.line);
                graph.entry(name(from)).or_default().push((name(to), at));
            }
        }
    }
    let (mut complaints, mut seen) = (Vec::new(), BTreeSet::new());
    for start in graph.keys() {
        if seen.contains(start) {
            continue;
        }
        if let Some(circle) = circle_from(&graph, start) {
            let steps: Vec<&str> = circle.iter().map(|(_, at)| at.as_str()).collect();
            complaints.push(format!("folders import one another in a circle: {}", steps.join(" → ")));
            seen.extend(circle.into_iter().map(|(folder, _)| folder));
        }
    }
    complaints
}

/// The shortest way along imports back to `start`, as (importing folder, place).
fn circle_from(graph: &BTreeMap<String, Vec<(String, String)>>, start: &str) -> Option<Vec<(String, String)>> {
    let mut ways = VecDeque::from([(start.to_owned(), Vec::new())]);
    let mut seen = BTreeSet::new();
    while let Some((folder, steps)) = ways.pop_front() {
        for (next, at) in graph.get(&folder).into_iter().flatten() {
            let mut steps: Vec<(String, String)> = steps.clone();
            steps.push((folder.clone(), at.clone()));
            if next == start {
                return Some(steps);
            }
            if seen.insert(next.clone()) {
                ways.push_back((next.clone(), steps));
            }
        }
    }
    None
}

/// Files that the protocol reaches by imports and that mention what it must not.
fn impure(tree: &[Source]) -> Vec<String> {
    let tests = test_files(tree);
    let pure = tree.iter().filter(|source| source.layer() == "wire" && !tests.contains(&source.file));
    let mut ways: VecDeque<(&Source, Vec<String>)> = pure.map(|source| (source, Vec::new())).collect();
    let mut seen: BTreeSet<&str> = ways.iter().map(|(source, _)| source.file.as_str()).collect();
    let mut complaints = Vec::new();
    while let Some((source, way)) = ways.pop_front() {
        for (line, text) in source.lines() {
            for word in IMPURE.iter().filter(|word| stands_in(word, text)) {
                let at = format!("src/{}:{line}", source.file);
                let way = way.iter().chain([&at]).cloned().collect::<Vec<_>>().join(" → ");
                complaints.push(format!("{at}: {word}: the protocol is pure, with all that it imports: {way}"));
            }
        }
        for import in imports(source, tree) {
            let target = tree.iter().find(|other| other.file == import.file && !tests.contains(&other.file));
            if let Some(target) = target.filter(|target| target.file != "lib.rs")
                && seen.insert(&target.file)
            {
                let step = format!("src/{}:{}", source.file, import.line);
                ways.push_back((target, way.iter().cloned().chain([step]).collect()));
            }
        }
    }
    complaints
}

/// tokio's `select!` looks at its branches in an order that it draws by chance, unless it is told not to.
fn unbiased(tree: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in tree {
        let next = source.lines().skip(1).map(|(_, text)| text).chain([""]);
        for ((line, text), next) in source.lines().zip(next) {
            if stands_in("select!", text) && next.trim() != "biased;" {
                complaints.push(format!("src/{}:{line}: select! draws by chance unless it is biased", source.file));
            }
        }
    }
    complaints
}

/// The entries of the map, as paths below `src`: files without their ending, folders with a slash at their end.
fn mapped(page: &str) -> Vec<String> {
    let map = page.split_once("\n## Map\n").map_or("", |(_, map)| map);
    let (mut folder, mut entries) = (String::new(), Vec::new());
    for line in map.lines() {
        if let Some(heading) = line.strip_prefix("### `src") {
            let below = heading.trim_matches(['/', '`']);
            folder = if below.is_empty() { String::new() } else { format!("{below}/") };
        } else if let Some(files) = line.strip_prefix('|').and_then(|line| line.split('|').next()) {
            entries.extend(files.split('`').skip(1).step_by(2).map(|name| format!("{folder}{name}")));
        }
    }
    entries
}

/// Files that the map does not name, and entries of the map for which there is no file. Files for tests only may be
/// left out, and a folder's `mod.rs` stands for the folder.
fn unmapped(map: &[String], tree: &[Source]) -> Vec<String> {
    let is_at = |entry: &str, file: &str| match entry.ends_with('/') {
        true => file.starts_with(entry),
        false => file.strip_suffix(".rs") == Some(entry),
    };
    let tests = test_files(tree);
    let files = tree.iter().map(|source| source.file.as_str());
    let files: Vec<&str> = files.filter(|file| !tests.contains(*file)).collect();
    let is_named = |file: &&&str| file.ends_with("mod.rs") || map.iter().any(|entry| is_at(entry, file));
    let missing =
        files.iter().filter(|file| !is_named(file)).map(|file| format!("src/{file}: the map does not name it"));
    let gone = map.iter().filter(|entry| !files.iter().any(|file| is_at(entry, file)));
    missing.chain(gone.map(|entry| format!("src/{entry}: the map names it, and it is not there"))).collect()
}

fn banned_words(tree: &[Source]) -> Vec<String> {
    let tests = test_files(tree);
    let mut complaints = Vec::new();
    for source in tree {
        for ban in &BANS {
            let file = source.file.as_str();
            let may = |except: &&str| file == *except || (except.ends_with('/') && file.starts_with(*except));
            if !file.starts_with(ban.within) || ban.except.iter().any(may) || tests.contains(file) {
                continue;
            }
            for (line, text) in source.lines() {
                for word in ban.words.iter().filter(|word| stands_in(word, text)) {
                    complaints.push(format!("src/{file}:{line}: {word}: {}", ban.rule));
                }
            }
        }
    }
    complaints
}

/// `x[..]` in `wire/`. rustfmt writes an index close behind what it is applied to, and a type or a pattern apart.
fn indexing(tree: &[Source]) -> Vec<String> {
    let tests = test_files(tree);
    let pure = tree.iter().filter(|source| source.layer() == "wire" && !tests.contains(&source.file));
    let mut complaints = Vec::new();
    for source in pure {
        for (line, text) in source.lines() {
            // All of something is always there.
            let text = text.replace("[..]", "");
            let mut pairs = text.chars().zip(text.chars().skip(1));
            if pairs.any(|(before, at)| at == '[' && (is_word(before) || ")]?".contains(before))) {
                complaints
                    .push(format!("src/{}:{line}: an index can panic: use get, or split what is left", source.file));
            }
        }
    }
    complaints
}

/// Files that are modules for tests only, or parts of one.
fn test_files(tree: &[Source]) -> BTreeSet<String> {
    let of = |source: &Source| source.test_modules.iter().map(|name| with(&source.module, name)).collect::<Vec<_>>();
    let modules: Vec<Vec<String>> = tree.iter().flat_map(of).collect();
    let tests = tree.iter().filter(|source| modules.iter().any(|module| source.module.starts_with(module)));
    tests.map(|source| source.file.clone()).collect()
}

// ---------------------------------------------------------------------------------------------------- the imports

/// A path in the code of a file that leads to another.
struct Import {
    line: usize,
    /// The module that it leads to, or through.
    module: Vec<String>,
    /// The file of that module.
    file: String,
}

/// `crate::…`, `super::…` and `self::…` anywhere, and what a file takes from modules of its own.
fn imports(source: &Source, tree: &[Source]) -> Vec<Import> {
    let mut found = Vec::new();
    for (line, path) in source.paths() {
        let mut segments = path.iter().map(String::as_str).peekable();
        let mut at = source.module.clone();
        match segments.peek() {
            Some(&"crate") => {
                at.clear();
                segments.next();
            }
            Some(&"self") => {
                segments.next();
            }
            Some(&"super") => {}
            Some(own) if tree.iter().any(|other| other.module == with(&source.module, own)) => {}
            _ => continue,
        }
        while segments.next_if_eq(&"super").is_some() {
            at.pop();
        }
        at.extend(segments.map(str::to_owned));
        let import = leads_to(&at, tree, line);
        if import.file != source.file {
            found.push(import);
        }
    }
    found
}

fn with(module: &[String], child: &str) -> Vec<String> {
    module.iter().map(String::as_str).chain([child]).map(str::to_owned).collect()
}

/// The file in which what has that path is, or from which it is shown.
fn leads_to(path: &[String], tree: &[Source], line: usize) -> Import {
    let inner = tree.iter().filter(|source| path.starts_with(&source.module)).max_by_key(|source| source.module.len());
    match inner {
        Some(source) if !source.module.is_empty() => {
            Import { line, module: source.module.clone(), file: source.file.clone() }
        }
        // A module of the crate that this tree does not have is a layer all the same.
        _ => match path.first().filter(|name| LAYERS.iter().any(|(layer, _)| layer == name)) {
            Some(layer) => Import { line, module: vec![layer.clone()], file: String::new() },
            None => Import { line, module: Vec::new(), file: "lib.rs".to_owned() },
        },
    }
}

/// The paths that a `use` statement names, as segments: one for each name in its groups.
fn use_paths(statement: &str) -> Vec<Vec<String>> {
    let tree = statement.split_once("use ").map_or("", |(_, tree)| tree).trim_end().trim_end_matches(';');
    let mut found = Vec::new();
    group_paths(tree, &[], &mut found);
    found
}

/// The paths of a comma-separated list of use trees behind a prefix.
fn group_paths(list: &str, prefix: &[String], found: &mut Vec<Vec<String>>) {
    let (mut depth, mut start) = (0, 0);
    for (at, c) in list.char_indices().chain([(list.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                tree_paths(list[start..at].trim(), prefix, found);
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// The paths of one use tree: `a::b`, `a::*`, `a as b`, `self`, `a::{…}`.
fn tree_paths(tree: &str, prefix: &[String], found: &mut Vec<Vec<String>>) {
    if tree.is_empty() {
        return;
    }
    let (path, group) = match tree.split_once('{') {
        Some((path, group)) => (path, Some(group.trim_end().strip_suffix('}').unwrap_or(group))),
        None => (tree.split_whitespace().next().unwrap_or_default(), None),
    };
    let is_inner = !prefix.is_empty();
    let names = path.split("::").map(str::trim);
    let names = names.filter(|name| !name.is_empty() && *name != "*" && !(is_inner && *name == "self"));
    let path: Vec<String> = prefix.iter().cloned().chain(names.map(str::to_owned)).collect();
    match group {
        Some(group) => group_paths(group, &path, found),
        None => found.push(path),
    }
}

/// The paths in a line of code that is no import, as segments.
fn paths(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_word) {
        let mut path = Vec::new();
        rest = &rest[at..];
        loop {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            path.push(rest[..end].to_owned());
            rest = &rest[end..];
            match rest.strip_prefix("::") {
                Some(more) if more.starts_with(is_word) => rest = more,
                _ => break,
            }
        }
        if path.len() > 1 {
            found.push(path);
        }
    }
    found
}

/// Whether a line of code begins a `use`.
fn begins_import(text: &str) -> bool {
    let mut first = words(text);
    match first.next() {
        Some("use") => true,
        Some("pub") => first.find(|word| !matches!(*word, "crate" | "super" | "in")) == Some("use"),
        _ => false,
    }
}

/// Whether a text has that in it, as whole words.
fn stands_in(what: &str, text: &str) -> bool {
    let is_whole = |(at, _)| {
        let (before, behind) = (text[..at].chars().next_back(), text[at + what.len()..].chars().next());
        let joins = |outer: Option<char>, inner: Option<char>| outer.is_some_and(is_word) && inner.is_some_and(is_word);
        !joins(before, what.chars().next()) && !joins(behind, what.chars().next_back())
    };
    text.match_indices(what).any(is_whole)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| !is_word(c)).filter(|word| !word.is_empty())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

// ---------------------------------------------------------------------------------------------------- the sources

/// One file of `src`.
struct Source {
    /// Its path below `src`.
    file: String,
    /// Its path as a module.
    module: Vec<String>,
    /// The code in it, without comments, literals and tests.
    code: String,
    /// Modules that it declares for tests only.
    test_modules: Vec<String>,
}

impl Source {
    fn new(file: &str, text: &str) -> Source {
        let stem = file.strip_suffix(".rs").unwrap_or(file);
        let mut module: Vec<String> = stem.split('/').map(str::to_owned).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
            module.pop();
        }
        let (code, test_modules) = without_tests(&blanked(text));
        Source { file: file.to_owned(), module, code, test_modules }
    }

    /// The layer that it belongs to: its folder below `src`, or its own name.
    fn layer(&self) -> &str {
        self.module.first().map_or("lib", String::as_str)
    }

    /// The folder that it is in, as a module. `a.rs` beside a folder `a`, and `a/mod.rs`, are in that folder.
    fn folder<'a>(&'a self, tree: &[Source]) -> &'a [String] {
        let has_children =
            tree.iter().any(|other| other.module.len() > self.module.len() && other.module.starts_with(&self.module));
        let len = if has_children { self.module.len() } else { self.module.len().saturating_sub(1) };
        &self.module[..len]
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.code.lines())
    }

    /// All paths in its code, each with the line on which it, or the statement around it, begins.
    fn paths(&self) -> Vec<(usize, Vec<String>)> {
        let mut found = Vec::new();
        let mut statement: Option<(usize, String)> = None;
        for (line, text) in self.lines() {
            let (line, text) = match statement.take() {
                Some((line, before)) => (line, format!("{before}\n{text}")),
                None => (line, text.to_owned()),
            };
            let is_use = begins_import(&text);
            match () {
                () if is_use && !text.contains(';') => statement = Some((line, text)),
                () if is_use => found.extend(use_paths(&text).into_iter().map(|path| (line, path))),
                () => found.extend(paths(&text).into_iter().map(|path| (line, path))),
            }
        }
        found
    }
}

/// All files of `src`.
fn tree() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let mut tree = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src can be read") {
            let path = entry.expect("src can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = path.strip_prefix(&root).expect("it is below src").to_string_lossy().replace('\\', "/");
                tree.push(Source::new(&file, &fs::read_to_string(&path).expect("sources are texts")));
            }
        }
    }
    tree.sort_by(|a, b| a.file.cmp(&b.file));
    tree
}

/// The text with comments, strings and characters blanked; lines stay where they are.
fn blanked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = literal(rest);
        if skipped == 0 {
            // Whole words at once, so that the r at the end of one is not taken for that of a raw string.
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len()).max(first.len_utf8());
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        } else {
            out.extend(rest[..skipped].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[skipped..];
        }
    }
    out
}

/// How long the comment or literal is that the text begins with; 0 if it begins with none.
fn literal(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return text.find("*/").map_or(text.len(), |end| end + 2);
    }
    let body = text.strip_prefix('b').unwrap_or(text);
    let prefix = text.len() - body.len();
    if let Some(raw) = body.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = prefix + 2 + hashes;
            return text[begin..].find(&end).map_or(text.len(), |at| begin + at + end.len());
        }
    }
    match body.chars().next() {
        Some('"') => prefix + quoted(body, '"').unwrap_or(body.len()),
        Some('\'') => character(body).map_or(0, |len| prefix + len),
        _ => 0,
    }
}

/// The length of a character literal; none for a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut inside = text.chars().skip(1);
    match inside.next()? {
        '\\' => quoted(text, '\''),
        c => (inside.next()? == '\'').then_some(c.len_utf8() + 2),
    }
}

/// The length up to the closing quote.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|&(_, c)| {
        let closes = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    });
    end.map(|(at, _)| at + 1)
}

/// Blanks each item that is for tests, or for tests and fuzzers, and names those that are modules in files of their own.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARKS: [&str; 2] = ["#[cfg(test)]", "#[cfg(any(test, fuzzing))]"];
    let first = |code: &str| MARKS.iter().filter_map(|mark| Some((code.find(mark)?, mark.len()))).min();
    let (mut out, mut modules, mut rest) = (String::new(), Vec::new(), code);
    while let Some((at, mark)) = first(rest) {
        out.push_str(&rest[..at]);
        let item = &rest[at..];
        let end = item_end(item);
        let words: Vec<&str> = words(&item[mark..end]).collect();
        if item[..end].ends_with(';')
            && let Some(name) = words.iter().position(|word| *word == "mod").and_then(|at| words.get(at + 1))
        {
            modules.push((*name).to_owned());
        }
        out.extend(item[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &item[end..];
    }
    out.push_str(rest);
    (out, modules)
}

/// Where the item ends: at its semicolon, or where its braces close.
fn item_end(item: &str) -> usize {
    let mut depth = 0;
    for (at, c) in item.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}
