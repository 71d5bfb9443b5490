//! The wording of comments and pages: few sentences begin with "What" or "Who", and the README is short. Links from one
//! page to another are followed, too.
//!
//! A sentence that begins so makes its reader wait for the subject. The sources are read as text: code in comments and
//! definitions of links are left out; a heading, an item of a list and a cell of a table each begin a sentence.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::path::PathBuf;

/// So many sentences of a thousand may begin with one of [`WORDS`], in all comments and pages together.
const LIMIT_PER_MILLE: usize = 5;

/// In README.md and in the manual, none may.
const STRICT: [&str; 2] = ["README.md", "src/manual/"];

const WORDS: [&str; 8] = ["what", "what's", "whatever", "whatsoever", "who", "who's", "whoever", "who'd"];

/// The words of the README outside of code, from the fewest to the most.
const README_WORDS: RangeInclusive<usize> = 850..=950;

/// Folders with comments or pages; a folder `target` in one is not read.
const FOLDERS: [&str; 5] = ["src", "tests", "examples", "benches", "fuzz"];

// ------------------------------------------------------------------------------------------------------ the tests

#[test]
fn few_sentences_begin_with_what_or_who() {
    let sentences = all_sentences();
    let found: Vec<&Sentence> = sentences.iter().filter(|sentence| sentence.is_found()).collect();
    assert!(sentences.len() > 5_000, "only {} sentences were found", sentences.len());
    let share = (found.len() * 1_000).div_ceil(sentences.len());
    println!("{} of {} sentences, {share} per mille", found.len(), sentences.len());
    assert!(
        share <= LIMIT_PER_MILLE,
        "{} of {} sentences begin with What or Who, {share} per mille:\n{}",
        found.len(),
        sentences.len(),
        listed(&found)
    );
}

#[test]
fn no_sentence_of_the_pages_begins_with_what_or_who() {
    let sentences = all_sentences();
    let is_strict = |sentence: &&Sentence| STRICT.iter().any(|place| sentence.file.starts_with(place));
    assert!(sentences.iter().filter(is_strict).count() > 500, "the pages were not found");
    let found: Vec<&Sentence> = sentences.iter().filter(is_strict).filter(|sentence| sentence.is_found()).collect();
    assert!(found.is_empty(), "sentences of pages that begin with What or Who:\n{}", listed(&found));
}

/// In parentheses at the end of a line or a sentence of `SECURITY.md` stand tests, or modules of tests.
#[test]
fn the_tests_that_the_security_page_names_exist() {
    let page = fs::read_to_string(root().join("SECURITY.md")).expect("the page");
    let in_parentheses = page.split("(`").skip(1).filter_map(|part| part.split_once("`)").map(|(names, _)| names));
    let names: Vec<&str> =
        in_parentheses.flat_map(|names| names.split("`,")).map(|name| name.trim().trim_matches('`')).collect();
    let sources: Vec<PathBuf> =
        files().into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")).collect();
    let texts: Vec<String> = sources.iter().map(|file| fs::read_to_string(file).expect("a source")).collect();
    let is_there = |name: &&str| {
        let last = name.rsplit("::").next().unwrap_or(name);
        texts.iter().any(|text| text.contains(&format!("fn {last}(")) || text.contains(&format!("mod {last};")))
    };
    let missing: Vec<&&str> = names.iter().filter(|name| !is_there(name)).collect();
    assert!(names.len() > 15, "only {names:?} were found");
    assert!(missing.is_empty(), "SECURITY.md names tests that do not exist: {missing:?}");
}

#[test]
fn the_readme_is_short() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    let words = count_words(&readme);
    assert!(README_WORDS.contains(&words), "the README has {words} words outside of code, and not {README_WORDS:?}");
}

#[test]
fn links_of_pages_lead_to_files() {
    let pages = files().into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "md"));
    let (mut links, mut broken) = (0, Vec::new());
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page");
        for target in link_targets(&text).iter().filter(|target| !target.contains("::") && !target.contains("//")) {
            links += 1;
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !page.parent().expect("a folder").join(path).exists() {
                broken.push(format!("{}: {target}", name_of(&page)));
            }
        }
    }
    assert!(links > 60, "only {links} links were found");
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn the_manual_defines_the_same_links_for_rustdoc_and_for_the_repository() {
    let links = fs::read_to_string(root().join("src/manual/links.md")).expect("the links");
    let labels: Vec<&str> = definitions(&links).map(|(label, _)| label).collect();
    for page in files().iter().filter(|file| STRICT.iter().any(|place| name_of(file).starts_with(place))) {
        let text = fs::read_to_string(page).expect("a page");
        for (label, target) in definitions(&text).filter(|(_, target)| target.ends_with(".md")) {
            assert!(labels.contains(&label), "{}: links.md does not define [{label}]: {target}", name_of(page));
        }
    }
}

/// A text in which seven sentences begin so.
const COUNTED: &str = r##"
//! What a module is for. It has
//! a second sentence; what follows a semicolon is none. Whole words count, and
//! Whatever begins a line in the middle of a sentence does not.
//!
//! # Who reads it
//! - an item, e.g. What follows an abbreviation
//! - *what* an item begins with
//! ```
//! // What stands in code of a comment
//! ```
fn f() -> &'static str { "// What stands in a text" } // Whoever writes behind code.
/// | `what` | cell |
/// |---|---|
/// | a cell | "What's" a cell |
const RAW: &str = r#"// Who stands in a raw text"#;
// ---- a heading
// ... and `Node::what`. Whose it is does not count, nor does version 1.2. what
// is next.
//
// Who asks?
"##;

#[test]
fn sentences_are_counted_as_they_stand() {
    let sentences = sentences_of("counted.rs", COUNTED);
    let found: Vec<(usize, &str)> = sentences
        .iter()
        .filter(|sentence| sentence.is_found())
        .map(|sentence| (sentence.line, sentence.text.split(' ').next().unwrap_or_default()))
        .collect();
    let expected =
        [(2, "What"), (6, "Who"), (8, "*what*"), (12, "Whoever"), (15, "\"What's\""), (18, "what"), (21, "Who")];
    assert_eq!(found, expected, "{sentences:#?}");
    assert_eq!(sentences.len(), 15, "{sentences:#?}");

    let page = "Who\nreads it?\n\n```text\nWhat.\n```\n\n> Quoted. What is it\n\n[what]: crate::what\n\n1. who\n2. two";
    let sentences = sentences_of("page.md", page);
    let found: Vec<usize> = sentences.iter().filter(|sentence| sentence.is_found()).map(|found| found.line).collect();
    assert_eq!((found, sentences.len()), (vec![1, 8, 12], 5), "{sentences:#?}");
}

#[test]
fn words_are_counted_outside_of_code() {
    let page = "# Two words\n\nThree more [words][here] -- `x`\n\n```text\nnot these\n```\n\n\
                | a | b |\n|---|---|\n\n[here]: there.md\n";
    assert_eq!(count_words(page), 8);
    assert_eq!(link_targets(page), ["there.md"]);
    assert_eq!(link_targets("See [a](b.md#c), `[d](e)` and ![f](g.svg)."), ["b.md#c", "g.svg"]);
}

// -------------------------------------------------------------------------------------------------- the sentences

#[derive(Debug)]
struct Sentence {
    file: String,
    line: usize,
    text: String,
}

impl Sentence {
    /// Whether it begins with one of the words.
    fn is_found(&self) -> bool {
        let text = self.text.trim_start_matches(|c: char| !c.is_alphanumeric() && c != CODE);
        let end = text.find(|c: char| !c.is_alphanumeric() && !matches!(c, '\'' | '’' | CODE)).unwrap_or(text.len());
        let first = text[..end].trim_end_matches(['\'', '’']).replace('’', "'").to_lowercase();
        WORDS.contains(&first.as_str())
    }
}

/// Stands for a piece of code in a sentence.
const CODE: char = '¤';

fn listed(sentences: &[&Sentence]) -> String {
    let line = |sentence: &&Sentence| format!("{}:{}: {}", sentence.file, sentence.line, sentence.text);
    sentences.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn all_sentences() -> Vec<Sentence> {
    let read = |file: &PathBuf| sentences_of(&name_of(file), &fs::read_to_string(file).expect("a text"));
    files().iter().flat_map(read).collect()
}

/// The sentences of a source's comments, or of a page.
fn sentences_of(file: &str, text: &str) -> Vec<Sentence> {
    let blocks = if file.ends_with(".rs") { comments(text) } else { vec![numbered(text)] };
    let paragraphs = blocks.iter().flat_map(paragraphs);
    paragraphs.flat_map(|paragraph| sentences(file, &paragraph)).collect()
}

/// Lines with their numbers.
type Lines = Vec<(usize, String)>;

fn numbered(text: &str) -> Lines {
    (1..).zip(text.lines().map(str::to_owned)).collect()
}

/// The parts of prose within which sentences go on from line to line: paragraphs, headings, items, cells of tables.
fn paragraphs(block: &Lines) -> Vec<Lines> {
    let (mut found, mut is_code, mut goes_on) = (Vec::<Lines>::new(), false, false);
    for (line, text) in block {
        let text = text.trim().trim_start_matches("> ");
        let is_fence = text.starts_with("```");
        is_code ^= is_fence;
        match kind(text) {
            _ if is_code || is_fence => goes_on = false,
            Kind::Nothing => goes_on = false,
            Kind::Table => {
                let cells = text.split('|').map(str::trim).filter(|cell| !cell.is_empty());
                found.extend(cells.map(|cell| vec![(*line, cell.to_owned())]));
                goes_on = false;
            }
            Kind::Heading(text) => {
                found.push(vec![(*line, text.to_owned())]);
                goes_on = false;
            }
            Kind::Item(text) => {
                found.push(vec![(*line, text.to_owned())]);
                goes_on = true;
            }
            Kind::Text => {
                match found.last_mut() {
                    Some(paragraph) if goes_on => paragraph.push((*line, text.to_owned())),
                    _ => found.push(vec![(*line, text.to_owned())]),
                }
                goes_on = true;
            }
        }
    }
    found
}

enum Kind<'a> {
    /// An empty line, or the definition of a link.
    Nothing,
    Table,
    Heading(&'a str),
    Item(&'a str),
    Text,
}

fn kind(text: &str) -> Kind<'_> {
    let marks = text.trim_start_matches(['#', '-', '=']);
    let number = text.trim_start_matches(|c: char| c.is_ascii_digit());
    if text.is_empty() || definition(text).is_some() {
        Kind::Nothing
    } else if text.starts_with('|') {
        Kind::Table
    } else if (text.starts_with('#') && marks.starts_with(' '))
        || ["---", "==="].iter().any(|line| text.starts_with(line))
    {
        Kind::Heading(marks.trim())
    } else if let Some(item) = ["- ", "* ", "+ "].iter().find_map(|mark| text.strip_prefix(mark)) {
        Kind::Item(item)
    } else if let Some(item) = number.strip_prefix(". ").filter(|_| number.len() < text.len()) {
        Kind::Item(item)
    } else {
        Kind::Text
    }
}

/// Cuts a paragraph behind each full stop that ends a sentence.
fn sentences(file: &str, paragraph: &Lines) -> Vec<Sentence> {
    const ABBREVIATIONS: [&str; 5] = ["e.g", "i.e", "cf", "vs", "etc"];
    let (mut found, mut begun, mut text) = (Vec::new(), 0, String::new());
    let mut finish = |line: usize, text: &mut String| {
        if text.chars().any(char::is_alphanumeric) {
            found.push(Sentence { file: file.to_owned(), line, text: text.trim().to_owned() });
        }
        text.clear();
    };
    for (line, word) in words_of(paragraph) {
        if text.is_empty() {
            begun = line;
        }
        text.push_str(&word);
        text.push(' ');
        let bare = word.trim_end_matches([')', ']', '"', '”', '»', '*', '_', '\'']);
        let stop = bare.strip_suffix(['.', '!', '?']);
        if stop.is_some_and(|word| !ABBREVIATIONS.contains(&word.trim_start_matches('('))) {
            finish(begun, &mut text);
        }
    }
    finish(begun, &mut text);
    found
}

/// The words of a paragraph, each with its line; a piece of code stands as one sign.
fn words_of(paragraph: &Lines) -> Vec<(usize, String)> {
    let (mut found, mut is_code) = (Vec::new(), false);
    for (line, text) in paragraph {
        let mut bare = String::new();
        for c in text.chars() {
            match c {
                '`' => {
                    is_code = !is_code;
                    bare.extend(is_code.then_some(CODE));
                }
                c if !is_code => bare.push(c),
                _ => {}
            }
        }
        found.extend(bare.split_whitespace().map(|word| (*line, word.to_owned())));
    }
    found
}

// ------------------------------------------------------------------------------------------- comments, pages, files

/// The comments of a source: lines that follow each other with the same mark are one, as is one behind code.
fn comments(source: &str) -> Vec<Lines> {
    let (mut found, mut last) = (Vec::<Lines>::new(), (0, ""));
    let (mut line, mut rest, mut is_first) = (1, source, true);
    while let Some(first) = rest.chars().next() {
        let len = token(rest);
        let text = &rest[..len];
        if let Some(comment) = text.strip_prefix("//") {
            let mark = ["/", "!"].into_iter().find(|mark| comment.starts_with(mark)).unwrap_or("");
            let words = (line, comment[mark.len()..].to_owned());
            match found.last_mut() {
                Some(comment) if is_first && last == (line - 1, mark) => comment.push(words),
                _ => found.push(vec![words]),
            }
            last = if is_first { (line, mark) } else { (0, "") };
        }
        is_first = first == '\n' || (is_first && first.is_whitespace());
        line += text.matches('\n').count();
        rest = &rest[len..];
    }
    found
}

/// The length of what a source begins with: a comment to the end of its line, a literal, a word, or any one sign.
fn token(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return text.find("*/").map_or(text.len(), |end| end + 2);
    }
    let word = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (prefix, behind) = text.split_at(word);
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    if matches!(prefix, "r" | "br") && behind[hashes..].starts_with('"') {
        let (begin, end) = (word + hashes + 1, format!("\"{}", "#".repeat(hashes)));
        return text[begin..].find(&end).map_or(text.len(), |at| begin + at + end.len());
    }
    match behind.chars().next() {
        Some('"') if matches!(prefix, "" | "b") => word + quoted(behind),
        Some('\'') if matches!(prefix, "" | "b") => word + character(behind),
        Some(sign) if word == 0 => sign.len_utf8(),
        _ => word,
    }
}

/// The length up to the quote that closes.
fn quoted(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|&(_, c)| {
        let closes = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        closes
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// The length of a character, or of the quote of a lifetime.
fn character(text: &str) -> usize {
    let mut inside = text.chars().skip(1);
    match (inside.next(), inside.next()) {
        (Some('\\'), _) => text[2..].find('\'').map_or(1, |end| end + 3 + usize::from(text[2..].starts_with("''"))),
        (Some(c), Some('\'')) => c.len_utf8() + 2,
        _ => 1,
    }
}

/// The words of a page outside of code and of definitions; the text of a link counts, and its target does not.
fn count_words(page: &str) -> usize {
    let mut is_code = false;
    let mut words = 0;
    for line in page.lines() {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        if is_code || is_fence || definition(line).is_some() {
            continue;
        }
        words += line.split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)).count();
    }
    words
}

/// A line that says where the links of a label lead.
fn definition(line: &str) -> Option<(&str, &str)> {
    let (label, target) = line.strip_prefix('[')?.split_once("]: ")?;
    (!target.contains(' ')).then_some((label, target))
}

fn definitions(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.lines().filter_map(definition)
}

/// Where the links of a page lead, outside of code.
fn link_targets(page: &str) -> Vec<String> {
    let mut targets: Vec<String> = definitions(page).map(|(_, target)| target.to_owned()).collect();
    let mut is_fenced = false;
    for line in page.lines() {
        is_fenced ^= line.starts_with("```");
        let prose: String = if is_fenced { String::new() } else { line.split('`').step_by(2).collect() };
        targets.extend(prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())));
    }
    targets
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The path of a file below the root.
fn name_of(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).to_string_lossy().replace('\\', "/")
}

/// All sources and pages.
fn files() -> Vec<PathBuf> {
    let is_text = |path: &Path| path.extension().is_some_and(|extension| extension == "rs" || extension == "md");
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("a folder that can be read");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    let mut found: Vec<PathBuf> = entries(root()).into_iter().filter(|path| is_text(path)).collect();
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if is_text(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
