//! The lines of one workload with one load, together: a panel of bars, or a point on each curve.

use crate::line::Line;
use crate::line::Unit;

/// The results of all contenders.
pub(crate) struct Outcome {
    pub(crate) workload: String,
    pub(crate) unit: Unit,
    /// The varied quantity, and its value.
    pub(crate) varied: Option<(String, f64)>,
    /// The contenders in the order in which they are shown; `None` for one that failed.
    pub(crate) contenders: Vec<(String, Option<Spread>)>,
}

/// The summary of the figures of several rounds.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    fn of(median: Option<f64>, least: Option<f64>, most: Option<f64>) -> Option<Spread> {
        let median = median?;
        Some(Spread { median, least: least.unwrap_or(median), most: most.unwrap_or(median) })
    }
}

impl Outcome {
    pub(crate) fn of(&self, contender: &str) -> Option<Spread> {
        self.contenders.iter().find(|(name, _)| name == contender)?.1
    }

    fn is_of(&self, line: &Line) -> bool {
        self.workload == line.workload && self.varied == varied(line)
    }
}

fn varied(line: &Line) -> Option<(String, f64)> {
    Some((line.varied.clone()?, line.at? as f64))
}

/// Puts the lines together that were measured against the same baselines.
pub(crate) fn outcomes(lines: &[Line]) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for line in lines {
        if !outcomes.iter().any(|outcome| outcome.is_of(line)) {
            let alike = |outcome: &Outcome| lines.iter().filter(|other| outcome.is_of(other)).map(ours).collect();
            let (workload, unit) = (line.workload.clone(), line.unit);
            let mut outcome = Outcome { workload, unit, varied: varied(line), contenders: Vec::new() };
            outcome.contenders = alike(&outcome);
            outcome.contenders.extend(baselines(line));
            outcomes.push(outcome);
        }
    }
    outcomes
}

fn ours(line: &Line) -> (String, Option<Spread>) {
    (line.handle.clone(), Spread::of(line.value, line.value_min, line.value_max))
}

fn baselines(line: &Line) -> [(String, Option<Spread>); 2] {
    let raw = Spread::of(line.baseline, line.baseline_min, line.baseline_max);
    [("raw".to_owned(), raw), ("task".to_owned(), Spread::of(line.task, line.task_min, line.task_max))]
}
