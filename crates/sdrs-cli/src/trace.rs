//! Comparing traces.

use std::path::PathBuf;

use clap::Subcommand;
use sdrs::trace::{Comparison, Difference, StageComparison, compare};

use crate::{Failure, out::print};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Name the first stage in which two runs differ, and by how much. Exit code 1 says that one differs by more than the tolerance.
    Compare {
        /// A trace, as --trace or a script of tools/trace wrote it.
        first: PathBuf,
        /// The trace to compare it with.
        second: PathBuf,
        /// The relative difference up to which a stage counts as the same.
        #[arg(long, value_name = "X", default_value_t = 1e-3, value_parser = tolerance)]
        tolerance: f64,
        /// List all stages.
        #[arg(long)]
        all: bool,
    },
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() && x >= 0.0 => Ok(x),
        _ => Err("a number from 0 on, such as 1e-3".into()),
    }
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let Command::Compare {
        first,
        second,
        tolerance,
        all,
    } = &args.command;
    let compared = compare(first, second)?;
    print(&report(&compared, *tolerance, *all))?;
    match compared.first_beyond(*tolerance) {
        Some(stage) => Err(Failure::Differs(format!("{} differs", stage.stage))),
        None => Ok(()),
    }
}

fn line(
    StageComparison {
        stage, difference, ..
    }: &StageComparison,
) -> String {
    let told = match difference {
        Difference::None => "the same bits".into(),
        Difference::Values {
            relative, largest, ..
        } => {
            format!("relative difference {relative:.3e}, largest {largest:.3e}")
        }
        Difference::NotFinite => "values that are no numbers".into(),
        Difference::Shape { first, second, .. } => format!("shape {first:?}, and {second:?}"),
        _ => "different".into(),
    };
    format!("{stage}: {told}\n")
}

fn report(compared: &Comparison, tolerance: f64, all: bool) -> String {
    let mut text = String::new();
    if all {
        text.extend(compared.stages.iter().map(line));
    }
    for (which, alone) in [
        ("first", &compared.first_alone),
        ("second", &compared.second_alone),
    ] {
        if !alone.is_empty() {
            let named: Vec<&str> = alone.iter().take(5).map(String::as_str).collect();
            let more = if alone.len() > named.len() { ", .." } else { "" };
            text += &format!(
                "in the {which} alone, {}: {}{more}\n",
                alone.len(),
                named.join(", ")
            );
        }
    }
    match compared.first_difference() {
        None => text += &format!("{} stages are the same to the bit\n", compared.stages.len()),
        Some(stage) => text += &format!("first difference in any bit: {}", line(stage)),
    }
    match compared.first_beyond(tolerance) {
        None => text += &format!("no stage differs by more than {tolerance:e}\n"),
        Some(stage) => text += &format!("first difference of more than {tolerance:e}: {}", line(stage)),
    }
    text
}
