//! The options: the measurements to run, and the form of the output.

use std::str::FromStr;

use crate::compare::Rounds;
use crate::error::Result;
use crate::sweep::Axis;
use crate::workload::Contender;
use crate::workload::Subject;
use crate::workload::Workload;

pub(crate) const USAGE: &str = "usage: cargo bench --bench wire -- [address|recipient]... [--pairs N] [--scale X] \
                                [--json]\n    \
                                [rtt|window|oneway|bulk|boxes|idle|fairness]... \
                                | --sweep [bytes|boxes|connections|addresses|windows]...";

/// The parsed command line.
pub(crate) struct Options {
    workloads: Vec<Workload>,
    /// The axes to vary, instead of workloads; empty if workloads are measured.
    axes: Vec<Axis>,
    pub(crate) rounds: Rounds,
    pub(crate) json: bool,
}

impl Options {
    pub(crate) fn parse(arguments: Vec<String>) -> Result<Options> {
        let measuring = arguments.iter().any(|argument| argument == "--bench");
        let sweeps = arguments.iter().any(|argument| argument == "--sweep");
        let (pairs, scale) = if measuring { (if sweeps { 3 } else { 5 }, 1.0) } else { (1, 0.01) };
        let rounds = Rounds { handles: Vec::new(), pairs, scale };
        let mut options = Options { workloads: Vec::new(), axes: Vec::new(), rounds, json: false };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" | "--sweep" => {}
                "--json" => options.json = true,
                "--pairs" => options.rounds.pairs = value(&argument, arguments.next())?,
                "--scale" => options.rounds.scale = value(&argument, arguments.next())?,
                word => options.pick(word, sweeps)?,
            }
        }
        if options.rounds.pairs == 0 || !(options.rounds.scale.is_finite() && options.rounds.scale > 0.0) {
            return Err("--pairs and --scale must be above 0".into());
        }
        options.fill(sweeps);
        Ok(options)
    }

    /// Takes a bare word, which picks a handle or a measurement.
    fn pick(&mut self, word: &str, sweeps: bool) -> Result<()> {
        if let Ok(handle) = word.parse() {
            self.rounds.handles.push(handle);
        } else if sweeps {
            self.axes.push(word.parse()?);
        } else if word == "idle" {
            self.workloads.extend([Workload::IdleBox, Workload::IdleConnection]);
        } else {
            self.workloads.push(word.parse()?);
        }
        Ok(())
    }

    /// Picks everything where nothing was picked.
    fn fill(&mut self, sweeps: bool) {
        if sweeps && self.axes.is_empty() {
            self.axes.extend(Axis::ALL);
        }
        if !sweeps && self.workloads.is_empty() {
            self.workloads.extend(Workload::ALL);
        }
        if self.rounds.handles.is_empty() {
            self.rounds.handles.extend(Contender::OURS);
        }
    }

    pub(crate) fn subjects(&self) -> Vec<Subject> {
        let whole = |&workload: &Workload| Subject { workload, load: workload.load(self.rounds.scale), varied: None };
        let varied = self.axes.iter().flat_map(|axis| axis.subjects(self.rounds.scale));
        self.workloads.iter().map(whole).chain(varied).collect()
    }
}

/// Returns the value of an option that needs one.
fn value<T: FromStr>(option: &str, text: Option<String>) -> Result<T> {
    text.and_then(|text| text.parse().ok()).ok_or_else(|| format!("{option} needs a value").into())
}
