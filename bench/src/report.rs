//! The figures, as a table and as JSON, with what the machine is.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

/// One figure.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) what: String,
    /// `Err` says why it could not be measured.
    pub(crate) value: Result<f64, String>,
    pub(crate) unit: &'static str,
    pub(crate) goal: Goal,
    /// What it was made of.
    pub(crate) of: String,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Report(pub(crate) Vec<Figure>);

impl Report {
    pub(crate) fn add(&mut self, figure: Figure) {
        let value = match &figure.value {
            Ok(value) => format!("{value:.2}{}", figure.unit),
            Err(why) => format!("not measured: {why}"),
        };
        eprintln!("{}: {value} ({})", figure.what, figure.of);
        self.0.push(figure);
    }

    /// A table for people. Without `judge` it does not mention the goals.
    pub(crate) fn table(&self, judge: bool) -> String {
        let mut table =
            String::from("| figure | measured | goal | of |\n| --- | --- | --- | --- |\n");
        for figure in &self.0 {
            let measured = match &figure.value {
                Ok(value) => {
                    let mark = match (judge, figure.goal.is_met(*value)) {
                        (true, false) => " **missed**",
                        _ => "",
                    };
                    format!("{value:.2}{}{mark}", figure.unit)
                }
                Err(why) => format!("**not measured**: {}", why.lines().next().unwrap_or("")),
            };
            let goal = if judge {
                figure.goal.to_string()
            } else {
                "–".to_owned()
            };
            writeln!(
                table,
                "| {} | {measured} | {goal} | {} |",
                figure.what, figure.of
            )
            .expect("writing to a string does not fail");
        }
        table
    }

    pub(crate) fn json(&self, facts: &Value) -> Value {
        let figures = self.0.iter().map(|figure| {
            json!({
                "figure": figure.what,
                "value": figure.value.as_ref().ok(),
                "unit": figure.unit.trim(),
                "goal": figure.goal.to_string(),
                "met": figure.value.as_ref().ok().map(|value| figure.goal.is_met(*value)),
                "not_measured_because": figure.value.as_ref().err(),
                "of": figure.of,
            })
        });
        json!({ "machine": facts, "figures": figures.collect::<Vec<_>>() })
    }
}

/// What the machine is, as far as it tells.
pub(crate) fn facts(folder: &Path, flush: Option<u32>) -> Value {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (!text.is_empty()).then_some(text)
    };
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let wrk = Command::new("wrk").arg("--version").output().ok();
    let wrk = wrk.map(|output| {
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()
            .map(str::to_owned)
    });
    json!({
        "date": crate::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        "commit": run("git", &["rev-parse", "--short", "HEAD"]),
        "cpu": cpu.map(|text| text.trim_start_matches([' ', '\t', ':'])),
        "cores": std::thread::available_parallelism().map(usize::from).ok(),
        "memory": memory.map(str::trim),
        "kernel": run("uname", &["-sr"]),
        "file_system": run("stat", &["--file-system", "--format=%T", &folder.display().to_string()]),
        "flush_microseconds_at_least": flush,
        "rustc": run("rustc", &["--version"]),
        "sqlite": rusqlite::version(),
        "postgresql": run("pgbench", &["--version"]),
        "wrk": wrk.flatten(),
        "node": run("node", &["--version"]),
        "python": run("python3", &["--version"]),
    })
}
