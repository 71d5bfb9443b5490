//! Pictures as SVG, as far as charts need it. They are readable on light and on dark pages.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

/// Colours and letters, by class. A picture brings its own background, because a page may be light where the reader's
/// system is dark.
const STYLE: &str = "
  text { font: 12px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #24292f; }
  .title { font-size: 17px; font-weight: 600; } .head { font-size: 13px; font-weight: 600; }
  .soft { fill: #59636e; font-size: 11px; } .page { fill: #ffffff; }
  .address { fill: #1f6feb; stroke: #1f6feb; } .recipient { fill: #79b0ff; stroke: #79b0ff; }
  .raw { fill: #8b949e; stroke: #8b949e; } .task { fill: #d29922; stroke: #d29922; }
  rect { stroke: none !important; } .curve { fill: none; stroke-width: 2; } .dot { stroke: none; }
  .range { stroke: #24292f; stroke-width: 1; } .grid { stroke: #d1d9e0; stroke-width: 1; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .soft { fill: #9198a1; } .page { fill: #0d1117; }
    .address { fill: #4493f8; stroke: #4493f8; } .recipient { fill: #265999; stroke: #265999; }
    .raw { fill: #6e7681; stroke: #6e7681; } .task { fill: #bb8009; stroke: #bb8009; }
    .range { stroke: #e6edf3; } .grid { stroke: #30363d; }
  }";

/// The alignment of a text to its point.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture under construction.
pub(crate) struct Picture {
    width: f64,
    height: f64,
    body: String,
}

impl Picture {
    pub(crate) fn new(width: f64, height: f64) -> Picture {
        let mut picture = Picture { width, height, body: String::new() };
        picture.rect("page", (0.0, 0.0), (width, height));
        picture
    }

    pub(crate) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        self.put(format_args!(r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#));
    }

    pub(crate) fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
        self.put(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="2"/>"#
        ));
    }

    pub(crate) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.put(format_args!(r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#));
    }

    /// Draws a line through points, and marks each of them.
    pub(crate) fn curve(&mut self, class: &str, points: &[(f64, f64)]) {
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        // As a style, since it has to override the fill of the class.
        self.put(format_args!(r#"<polyline class="curve {class}" style="fill: none" points="{}"/>"#, path.join(" ")));
        for (x, y) in points {
            self.put(format_args!(r#"<circle class="dot {class}" cx="{x:.1}" cy="{y:.1}" r="3"/>"#));
        }
    }

    pub(crate) fn save(&self, file: &Path) -> io::Result<()> {
        let (width, height) = (self.width, self.height);
        fs::write(
            file,
            format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
                 height=\"{height}\" role=\"img\">\n<style>{STYLE}\n</style>\n{}</svg>\n",
                self.body
            ),
        )
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.body, "{element}");
    }
}
