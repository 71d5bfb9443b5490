//! Pictures as SVG, as far as charts need it. They are readable on light and on dark pages.

use std::fmt;
use std::fmt::Display;

use svg::Document;
use svg::Node;
use svg::node::element::Circle;
use svg::node::element::Line;
use svg::node::element::Polyline;
use svg::node::element::Rectangle;
use svg::node::element::Style;
use svg::node::element::Text;

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
pub(crate) struct Picture(Document);

impl Picture {
    pub(crate) fn new(width: f64, height: f64) -> Picture {
        let page = Document::new().set("viewBox", (0, 0, width, height)).set("width", width).set("height", height);
        let mut picture = Picture(page.set("role", "img").add(Style::new(STYLE)));
        picture.rect("page", (0.0, 0.0), (width, height));
        picture
    }

    pub(crate) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let mut element = Text::new(text).set("x", tenths(x)).set("y", tenths(y));
        match anchor {
            Anchor::Start => {}
            Anchor::Middle => element = element.set("text-anchor", "middle"),
            Anchor::End => element = element.set("text-anchor", "end"),
        }
        if !class.is_empty() {
            element = element.set("class", class);
        }
        self.put(element);
    }

    pub(crate) fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
        let corner = Rectangle::new().set("class", class).set("x", tenths(x)).set("y", tenths(y)).set("rx", 2);
        self.put(corner.set("width", tenths(width)).set("height", tenths(height)));
    }

    pub(crate) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let start = Line::new().set("class", class).set("x1", tenths(x1)).set("y1", tenths(y1));
        self.put(start.set("x2", tenths(x2)).set("y2", tenths(y2)));
    }

    /// Draws a line through points, and marks each of them.
    pub(crate) fn curve(&mut self, class: &str, points: &[(f64, f64)]) {
        let path: Vec<String> = points.iter().map(|&(x, y)| format!("{},{}", tenths(x), tenths(y))).collect();
        // As a style, since it has to override the fill of the class.
        let line = Polyline::new().set("class", format!("curve {class}")).set("style", "fill: none");
        self.put(line.set("points", path.join(" ")));
        for &(x, y) in points {
            let dot = Circle::new().set("class", format!("dot {class}")).set("r", 3);
            self.put(dot.set("cx", tenths(x)).set("cy", tenths(y)));
        }
    }

    fn put(&mut self, element: impl Node) {
        self.0.append(element);
    }
}

impl Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A line break inside a text is a space for some readers, which moves the text.
        let mut is_text = false;
        for line in self.0.to_string().lines() {
            is_text = (is_text || line.starts_with("<text")) && line != "</text>";
            f.write_str(line)?;
            f.write_str(if is_text { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// Rounds to a tenth of a pixel.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
