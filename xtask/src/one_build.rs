//! One build of each dependency serves the command, the C library, the Python module and all tests.

use std::collections::BTreeSet;

use crate::shell::{Outcome, cargo, output};

/// Packages that people build or test alone, with the kinds of dependencies that this takes.
const ALONE: [(&str, &str); 6] = [
    ("sdrs-cli", "normal,build"),
    ("sdrs-c", "normal,build"),
    ("sdrs-python", "normal,build"),
    ("sdrs", "normal,build,dev"),
    ("sd-lora", "normal,build,dev"),
    ("sd-core", "normal,build,dev"),
];

/// Fails if a package, built alone, asks for a dependency with other features than the whole workspace with its tests: both would then
/// build it, and all that depends on it, anew.
pub fn check() -> Outcome {
    let workspace = features(&["--workspace"], "normal,build,dev")?;
    let mut faults = Vec::new();
    for (package, edges) in ALONE {
        let alone = features(&["--package", package], edges)?;
        // Crates of the workspace itself are built anew all the time.
        let others = alone
            .difference(&workspace)
            .filter(|built| !built.contains(" (/"));
        faults.extend(others.map(|built| format!("{package} alone builds {built}")));
    }
    if faults.is_empty() {
        let packages = ALONE.map(|(package, _)| package);
        println!("one build of each dependency serves {}", packages.join(", "));
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
