//! One build of each dependency serves the command, the C library, the Python module and all tests.

use std::collections::BTreeSet;

use crate::shell::{Outcome, cargo, output};

/// Packages that are linked in the end, each of which people build alone.
const LINKED: [&str; 3] = ["sdrs-cli", "sdrs-c", "sdrs-python"];

/// Fails if a package, built alone, asks for a dependency with other features than the whole workspace with its tests: both would then
/// build it, and all that depends on it, anew.
pub fn check() -> Outcome {
    let workspace = features(&["--workspace"], "normal,build,dev")?;
    let mut faults = Vec::new();
    for package in LINKED {
        let alone = features(&["--package", package], "normal,build")?;
        faults.extend(
            alone
                .difference(&workspace)
                .map(|built| format!("{package} alone builds {built}")),
        );
    }
    if faults.is_empty() {
        println!("one build of each dependency serves {}", LINKED.join(", "));
        return Ok(());
    }
    Err(format!(
        "the workspace asks for more features; name them in crates/workspace-hack:\n  {}",
        faults.join("\n  ")
    ))
}

/// Each crate with its version and features.
fn features(of: &[&str], edges: &str) -> Outcome<BTreeSet<String>> {
    let tree = output(
        cargo()
            .args([
                "tree", "--locked", "--prefix", "none", "--edges", edges, "--format", "{p}: {f}",
            ])
            .args(of),
    )?;
    let lines = tree
        .lines()
        .map(|line| line.trim_end_matches(" (*)").trim_end().to_owned());
    Ok(lines.collect())
}
