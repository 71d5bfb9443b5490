//! Draws the figures of `cargo bench --bench wire -- --json`: bars for workloads, curves for sweeps.
//!
//! ```text
//! cargo run -p hermod-charts -- FIGURES CHART   # draws lines of JSON as an SVG file
//! cargo run -p hermod-charts                    # draws the charts of the manual from the figures in this folder
//! ```
//!
//! The charts of the manual are `benches/wire.svg` and `benches/sweep.svg`, for readers of the repository, and
//! `src/manual/charts.md`, which has the same two as URLs: the published documentation has no other files. A test
//! compares them with the figures. The figures of 2026-11-26, `wire.jsonl` and `sweep.jsonl`, were read back from the
//! pictures that were drawn at the time, to about a tenth of a percent (`wire`) or of a pixel (`sweep`).

mod chart;
// The form of the lines, which the bench defines.
#[allow(dead_code, reason = "the bench has fields that no chart shows")]
#[path = "../wire/line.rs"]
mod line;
mod outcome;
mod picture;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use percent_encoding::AsciiSet;
use percent_encoding::CONTROLS;
use percent_encoding::utf8_percent_encode;

use line::Line;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The bytes that end a URL in Markdown or HTML, or that mean something else in one.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'&');

/// The charts of the manual.
const CHARTS: [&str; 2] = ["sweep", "wire"];

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let drawn = match arguments.as_slice() {
        [] => manual().and_then(|files| files.iter().try_for_each(|(path, text)| write(path, text))),
        [figures, chart] => drawing(figures).and_then(|drawing| write(chart, &drawing)),
        _ => Err("usage: hermod-charts [FIGURES CHART]".into()),
    };
    match drawn {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|why| format!("{}: {why}", path.display()).into())
}

/// Returns the files of the manual's charts, and their contents.
fn manual() -> Result<Vec<(PathBuf, String)>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut files, mut links) = (Vec::new(), String::new());
    for name in CHARTS {
        let drawing = drawing(&here.join(name).with_extension("jsonl"))?;
        links += &format!("[{name}-chart]: {}\n", url(&drawing));
        files.push((here.join("..").join(name).with_extension("svg"), drawing));
    }
    files.push((here.join("../../src/manual/charts.md"), links));
    Ok(files)
}

/// Draws the lines of a file.
fn drawing(figures: &Path) -> Result<String> {
    let text = fs::read_to_string(figures).map_err(|why| format!("{}: {why}", figures.display()))?;
    let lines = text.lines().map(serde_json::from_str).collect::<std::result::Result<Vec<Line>, _>>()?;
    Ok(chart::draw(&lines)?.to_string())
}

/// Returns the URL that contains a drawing.
fn url(drawing: &str) -> String {
    let one_line = drawing.replace('\n', "").replace('"', "'");
    format!("data:image/svg+xml,{}", utf8_percent_encode(&one_line, ESCAPED))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::manual;

    #[test]
    fn the_charts_of_the_manual_show_the_figures() {
        for (path, text) in manual().unwrap() {
            let is_drawn = fs::read_to_string(&path).unwrap() == text;
            assert!(is_drawn, "{} is not as `cargo run -p hermod-charts` draws it", path.display());
        }
    }
}
