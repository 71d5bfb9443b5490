//! The order of the house, kept: who may import whom, and what a room must never touch. Read from the sources.
//!
//! The sources are read as text, comments and literals blanked and inline `#[cfg(test)]` items left out, as are those for
//! tests and fuzzers; each complaint names the file, the line and the rule. The last test shows each check a house that breaks it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The rooms from the top down, each with what it is there for. A file may import from its own room and from those
/// behind it in this list.
const ROOMS: [(&str, &str); 14] = [
    ("lib", "the front door: it shows what the others have, and nobody goes through it from inside"),
    ("fuzzing", "what fuzzers run, which is about all of the others; none of them needs it"),
    ("node", "the household: puts the rooms together, so it stands above all of them"),
    ("net", "connections: bring messages to boxes and handles, which must work without any"),
    ("boxes", "what lives here: boxes are reached through handles, and handles know them by a trait only"),
    (
        "handle",
        "what is held and sent through: encodes messages, and knows the node and its connections by traits only",
    ),
    ("config", "the limits: of all rooms above; it borrows the decoder's from the room of messages"),
    ("message", "what is sent: serde and a bounded decoder, which nothing of this crate helps with"),
    ("wire", "the protocol, pure: bytes and ids"),
    ("observe", "the books: they name the node they are about"),
    ("ident", "words: ids and endpoints, which mean something without any of the others but chance"),
    ("world", "chance, and whether the world is a simulated one: nothing of this crate"),
    ("sync", "a lock and an atomic of others, or loom's in their place: nothing of this crate"),
    ("choices", "what fuzzers and tests in any room decide by: nothing of this crate"),
];

/// What must not stand in a place.
struct Ban {
    /// Files whose path below `src` begins so.
    within: &'static str,
    /// Those among them that may.
    except: &'static [&'static str],
    words: &'static [&'static str],
    rule: &'static str,
}

const BANS: [Ban; 6] = [
    Ban {
        within: "wire/",
        except: &[],
        words: &[
            "actix",
            "actix_rt",
            "tokio",
            "std::net",
            "Instant",
            "SystemTime",
            "std::thread",
            "parking_lot",
            "tracing",
        ],
        rule: "the protocol is pure: no actor, runtime, socket, clock, thread, lock or log",
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
        except: &["net/transport.rs", "net/transport/simulated.rs"],
        words: &["TcpStream", "TcpListener", "TcpSocket", "UnixStream", "UnixListener", "UnixSocket", "socket2"],
        rule: "only transport opens sockets, so that another kind of stream changes one place",
    },
    Ban {
        within: "",
        // The decoder keeps an error's words there, because serde gives it no other place; a proxy, whose channel is
        // being dropped by actix, because an envelope left in it does not know whose it is; what is counted for each thread,
        // so that not each message costs a count that all share. A simulation is one of its thread.
        except: &[
            "handle/scope.rs",
            "message/guard/fault.rs",
            "handle/intake.rs",
            "handle/places.rs",
            "observe/tally.rs",
            "world.rs",
        ],
        words: &["thread_local"],
        rule: "only scope touches a thread-local: what is true of a thread and not of a call is easily forgotten",
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
        except: &["world.rs", "boxes/latest.rs"],
        words: &["new_v4", "now_v7", "getrandom", "rand", "RandomState"],
        rule: "only world draws by chance, so that a simulation can be repeated",
    },
];

// ------------------------------------------------------------------------------------------------------ the tests

#[test]
fn imports_only_go_down() {
    report(&upward_imports(&house()));
}

#[test]
fn no_circle_between_the_files_of_a_room() {
    report(&circles(&house()));
}

#[test]
fn each_room_keeps_to_its_own() {
    report(&banned_words(&house()));
}

#[test]
fn the_protocol_never_indexes() {
    report(&indexing(&house()));
}

#[test]
fn nothing_is_selected_by_chance() {
    report(&unbiased(&house()));
}

#[test]
fn every_room_is_there() {
    let house = house();
    let standing: BTreeSet<&str> = house.iter().map(Source::room).collect();
    for (room, _) in ROOMS {
        assert!(standing.contains(room), "no file of src is in the room {room}: was it renamed?");
    }
    assert!(house.len() > 20, "only {} files were found", house.len());
    assert!(house.iter().flat_map(|source| imports(source, &house)).count() > 200, "imports are no longer recognised");
}

#[test]
fn each_check_finds_what_it_is_there_for() {
    let house = [
        Source::new("lib.rs", "mod node;\npub use node::Node;\n"),
        Source::new("ident.rs", "/// See [`crate::node`], \"crate::net\".\nuse crate::observe::Stats;\n"),
        Source::new("observe.rs", "fn f() -> &'static str { crate::Node::name(\"crate::net\", '\"', \"\\\"\") }\n"),
        Source::new("net/mod.rs", "mod link;\nmod pipe;\npub(crate) use link::Link;\n"),
        Source::new("net/link.rs", "use super::pipe::Pipe;\nuse crate::ident::NodeId;\n"),
        Source::new("net/pipe.rs", "use tokio::net::TcpStream;\nuse crate::net::Link;\n"),
        Source::new(
            "wire/mod.rs",
            "#[cfg(test)]\nmod golden;\n#[cfg(any(test, fuzzing))]\npub(crate) mod fuzz;\n#[cfg(unix)]\nmod unix;\n",
        ),
        Source::new("wire/golden.rs", "fn f(b: &[u8]) -> u8 { b[0] }\n"),
        Source::new("wire/fuzz/mod.rs", "mod ends;\n"),
        Source::new("wire/fuzz/ends.rs", "use crate::node::Node;\nfn f(b: &[u8]) -> u8 { b[0] }\n"),
        Source::new("wire/unix.rs", "fn f(b: &[u8]) -> u8 { b[1] }\n"),
        Source::new(
            "wire/codec.rs",
            "fn f<'a>(b: &'a [u8]) -> u8 { b[0] + b.last().unwrap() }\n\
             #[cfg(test)]\nmod tests { fn g(b: &[u8]) { b[1]; } }\nuse std::time::Instant;\n",
        ),
        Source::new("handle/route.rs", "// thread_local\nthread_local! {}\nuse crate::{node, net};\n"),
        Source::new("attic.rs", "use crate::ident::NodeId;\n"),
        Source::new(
            "boxes/inbox.rs",
            "use std::time::Instant;\nUuid::new_v4();\nselect! {\n}\nselect! {\n    biased;\n}\n",
        ),
    ];
    let found = |complaints: Vec<String>| complaints.iter().map(|text| first_two(text)).collect::<Vec<_>>();
    let upward =
        ["ident.rs:2", "observe.rs:1", "wire/fuzz/ends.rs:1", "handle/route.rs:3", "handle/route.rs:3", "attic.rs:1"];
    assert_eq!(found(upward_imports(&house)), upward);
    let circles = circles(&house);
    assert_eq!(circles.len(), 1, "{circles:#?}");
    let [circle] = circles.as_slice() else { unreachable!() };
    assert!(["net/mod.rs:3", "net/link.rs:1", "net/pipe.rs:2"].iter().all(|at| circle.contains(at)), "{circle}");
    assert_eq!(
        found(banned_words(&house)),
        [
            "net/pipe.rs:1",
            "wire/codec.rs:4",
            "wire/codec.rs:1",
            "wire/codec.rs:4",
            "handle/route.rs:2",
            "boxes/inbox.rs:1",
            "boxes/inbox.rs:2",
        ]
        .map(str::to_owned)
    );
    assert_eq!(found(indexing(&house)), ["wire/unix.rs:1", "wire/codec.rs:1"]);
    assert_eq!(found(unbiased(&house)), ["boxes/inbox.rs:3"]);
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

/// Where a file stands in the list of rooms.
fn floor(room: &str) -> Option<usize> {
    ROOMS.iter().position(|(name, _)| *name == room)
}

fn upward_imports(house: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in house {
        for import in imports(source, house) {
            let (from, to) = (source.room(), import.room.as_str());
            let complaint = match (floor(from), floor(to)) {
                (None, _) => format!("the room {from} has no place in this test's list"),
                (_, None) => format!("the room {to} has no place in this test's list"),
                (Some(above), Some(below)) if above > below => {
                    let (_, why) = ROOMS[above];
                    format!("{from} must not import from {to}, which is above it ({from} is {why})")
                }
                _ => continue,
            };
            complaints.push(format!("src/{}:{}: {complaint}", source.file, import.line));
        }
    }
    complaints
}

/// One complaint for each file of a room from which imports lead back to it, but for those already in a circle found.
fn circles(house: &[Source]) -> Vec<String> {
    let mut graph: BTreeMap<&str, Vec<(String, usize)>> = BTreeMap::new();
    for source in house {
        let edges = imports(source, house).into_iter().filter(|import| import.room == source.room());
        let edges = edges.filter(|import| import.file != source.file).map(|import| (import.file, import.line));
        graph.insert(&source.file, edges.collect());
    }
    let (mut complaints, mut seen) = (Vec::new(), BTreeSet::new());
    for &start in graph.keys() {
        if seen.contains(start) {
            continue;
        }
        if let Some(circle) = way(&graph, start, start) {
            let steps: Vec<String> = circle.iter().map(|(file, line)| format!("src/{file}:{line}")).collect();
            complaints.push(format!("the files of a room import one another in a circle: {}", steps.join(" → ")));
            seen.extend(circle.into_iter().map(|(file, _)| file));
        }
    }
    complaints
}

/// The shortest way along imports, as (importing file, line).
fn way(graph: &BTreeMap<&str, Vec<(String, usize)>>, from: &str, to: &str) -> Option<Vec<(String, usize)>> {
    let mut ways = vec![(from.to_owned(), Vec::new())];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut further = Vec::new();
        for (file, steps) in ways {
            for (next, line) in graph.get(file.as_str()).into_iter().flatten() {
                let mut steps: Vec<(String, usize)> = steps.clone();
                steps.push((file.clone(), *line));
                if next == to {
                    return Some(steps);
                }
                if seen.insert(next.clone()) {
                    further.push((next.clone(), steps));
                }
            }
        }
        ways = further;
    }
    None
}

/// tokio's `select!` looks at its branches in an order that it draws by chance, unless it is told not to.
fn unbiased(house: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in house {
        let next = source.lines().skip(1).map(|(_, text)| text).chain([""]);
        for ((line, text), next) in source.lines().zip(next) {
            if stands_in("select!", text) && next.trim() != "biased;" {
                complaints.push(format!("src/{}:{line}: select! draws by chance unless it is biased", source.file));
            }
        }
    }
    complaints
}

fn banned_words(house: &[Source]) -> Vec<String> {
    let tests = test_files(house);
    let mut complaints = Vec::new();
    for source in house {
        for ban in &BANS {
            let file = source.file.as_str();
            if !file.starts_with(ban.within) || ban.except.contains(&file) || tests.contains(file) {
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
fn indexing(house: &[Source]) -> Vec<String> {
    let tests = test_files(house);
    let pure = house.iter().filter(|source| source.room() == "wire" && !tests.contains(&source.file));
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
fn test_files(house: &[Source]) -> BTreeSet<String> {
    let of = |source: &Source| source.test_modules.iter().map(|name| with(&source.module, name)).collect::<Vec<_>>();
    let modules: Vec<Vec<String>> = house.iter().flat_map(of).collect();
    let tests = house.iter().filter(|source| modules.iter().any(|module| source.module.starts_with(module)));
    tests.map(|source| source.file.clone()).collect()
}

// ---------------------------------------------------------------------------------------------------- the imports

/// A path in the code of a file that leads to another.
struct Import {
    line: usize,
    room: String,
    /// The file, if it is one of the house's.
    file: String,
}

/// `crate::…` and `super::…` anywhere, and what a file takes from modules of its own.
fn imports(source: &Source, house: &[Source]) -> Vec<Import> {
    let mut found = Vec::new();
    for (line, text) in source.lines() {
        for path in paths(text) {
            let mut segments = path.iter().map(String::as_str).peekable();
            let mut at = source.module.clone();
            match segments.peek() {
                Some(&"crate") => {
                    at.clear();
                    segments.next();
                }
                Some(&"super") => {}
                Some(own) if house.iter().any(|other| other.module == with(&source.module, own)) => {}
                _ => continue,
            }
            while segments.next_if_eq(&"super").is_some() {
                at.pop();
            }
            at.extend(segments.map(str::to_owned));
            found.push(leads_to(&at, house, line));
        }
    }
    found
}

fn with(module: &[String], child: &str) -> Vec<String> {
    module.iter().map(String::as_str).chain([child]).map(str::to_owned).collect()
}

/// The file in which what has that path is, or from which it is shown.
fn leads_to(path: &[String], house: &[Source], line: usize) -> Import {
    let inner = house.iter().filter(|source| path.starts_with(&source.module)).max_by_key(|source| source.module.len());
    match inner {
        Some(source) => Import { line, room: source.room().to_owned(), file: source.file.clone() },
        None => Import { line, room: "lib".to_owned(), file: "lib.rs".to_owned() },
    }
}

/// The paths in a line of code, as segments. A group in braces gives a path for each of its first-level names.
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
                Some(more) if more.starts_with('{') => {
                    let group = &more[1..more.find('}').unwrap_or(more.len())];
                    found.extend(group.split(',').map(|name| {
                        let name = name.trim().split("::").next().unwrap_or_default().to_owned();
                        path.iter().cloned().chain([name]).collect()
                    }));
                    path.clear();
                    break;
                }
                _ => break,
            }
        }
        if path.len() > 1 {
            found.push(path);
        }
    }
    found
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
    /// What is in it, but for comments, literals and tests.
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

    fn room(&self) -> &str {
        self.module.first().map_or("lib", String::as_str)
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.code.lines())
    }
}

fn house() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut house = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src can be read") {
            let path = entry.expect("src can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = path.strip_prefix(&root).expect("it is below src").to_string_lossy().replace('\\', "/");
                house.push(Source::new(&file, &fs::read_to_string(&path).expect("sources are texts")));
            }
        }
    }
    house.sort_by(|a, b| a.file.cmp(&b.file));
    house
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
