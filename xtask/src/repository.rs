//! The rules for the files in the repository.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::shell::{Outcome, output, program, root};

/// Limits in bytes of one file and of all: a clone must stay quick.
const FILE_LIMIT: u64 = 16_000_000;
const TOTAL_LIMIT: u64 = 48_000_000;

/// Folders that only one machine has.
const MACHINE_PATHS: [&str; 5] = ["home/", "root/", "Users/", "work/", "mnt/"];

/// Lists every fault, or says what was looked at.
pub fn check() -> Outcome {
    let files = files()?;
    let mut faults = Vec::new();
    let mut total = 0;
    for name in &files {
        let bytes = fs::read(root().join(name)).map_err(|e| format!("{name}: {e}"))?;
        let size = bytes.len() as u64;
        total += size;
        if size > FILE_LIMIT {
            faults.push(format!("{name}: {size} bytes, over the limit of {FILE_LIMIT}"));
        }
        if let Ok(text) = String::from_utf8(bytes) {
            let lines = text.lines().enumerate();
            let found = lines.filter(|(_, line)| has_machine_path(line));
            faults.extend(found.map(|(i, line)| {
                let line: String = line.trim().chars().take(80).collect();
                format!("{name}:{}: a path of one machine: {line}", i + 1)
            }));
        }
    }
    if total > TOTAL_LIMIT {
        faults.push(format!(
            "all files: {total} bytes, over the limit of {TOTAL_LIMIT}"
        ));
    }
    let goldens = check_manifests(&files, &mut faults)?;
    if faults.is_empty() {
        println!(
            "{} files, {:.1} MB; {goldens} files of reference values, each with its origin",
            files.len(),
            total as f64 / 1e6
        );
        return Ok(());
    }
    Err(format!("\n  {}", faults.join("\n  ")))
}

/// The files of the repository that are there, with paths from the root; without git, all but the usual leftovers.
pub fn files() -> Outcome<Vec<String>> {
    let listed = output(program("git").args(["ls-files", "-z"]));
    let mut names: Vec<String> = match listed {
        Ok(list) => list
            .split_terminator('\0')
            .map(str::to_owned)
            .filter(|name| root().join(name).is_file())
            .collect(),
        Err(_) => {
            let mut names = Vec::new();
            walk(&root(), "", &mut names)?;
            names
        }
    };
    names.sort();
    Ok(names)
}

fn walk(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Outcome {
    const SKIPPED: [&str; 5] = [".git", ".venv", "target", "out", "__pycache__"];
    let fail = |e: std::io::Error| format!("{}: {e}", folder.display());
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().map_err(fail)?;
        if kind.is_file() {
            names.push(format!("{prefix}{name}"));
        } else if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            walk(&entry.path(), &format!("{prefix}{name}/"), names)?;
        }
    }
    Ok(())
}

/// Whether a line names a file by a path that begins at a folder such as `home`, and not within a URL or another path.
fn has_machine_path(line: &str) -> bool {
    line.match_indices('/').any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let begins = before.is_none_or(|c| !c.is_alphanumeric() && !"._-~/*})]>".contains(c));
        begins
            && MACHINE_PATHS
                .iter()
                .any(|folder| line[at + 1..].starts_with(folder))
    })
}

/// Each file of reference values stands in a manifest, and each entry has its file; returns how many there are.
///
/// `goldens/manifest.json` names files by their paths from the root, those of the folders below by their names alone.
fn check_manifests(files: &[String], faults: &mut Vec<String>) -> Outcome<usize> {
    const TOP: &str = "goldens/manifest.json";
    let is_manifest = |name: &str| name.starts_with("goldens/") && name.ends_with("/manifest.json");
    let mut named = BTreeSet::new();
    for manifest in files.iter().filter(|name| is_manifest(name)) {
        let text = fs::read_to_string(root().join(manifest)).map_err(|e| format!("{manifest}: {e}"))?;
        let json: Value = serde_json::from_str(&text).map_err(|e| format!("{manifest}: {e}"))?;
        let folder = manifest.trim_end_matches("manifest.json");
        let (entries, prefix) = match manifest == TOP {
            true => (&json["files"], ""),
            false => (&json, folder),
        };
        let entries = entries
            .as_object()
            .ok_or_else(|| format!("{manifest}: no list of files"))?;
        for (name, entry) in entries {
            let name = format!("{prefix}{name}");
            match entry["script"].as_str() {
                Some(script) if files.iter().any(|file| file == script) => {}
                Some(script) => faults.push(format!("{manifest}: {name}: its script {script} is missing")),
                None => faults.push(format!("{manifest}: {name}: no script")),
            }
            if !files.contains(&name) {
                faults.push(format!("{manifest}: {name} is not in the repository"));
            }
            named.insert(name);
        }
    }
    let goldens = files
        .iter()
        .filter(|name| name.starts_with("goldens/") && !is_manifest(name));
    faults.extend(
        goldens
            .filter(|name| !named.contains(*name))
            .map(|name| format!("{name}: no manifest says where it comes from")),
    );
    Ok(named.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_paths_are_told_from_others() {
        let slash = "/";
        for line in [
            "{}home/me/x",
            "cd {}root/x",
            "path = \"{}work/x\"",
            "(see {}Users/x)",
        ] {
            assert!(has_machine_path(&line.replace("{}", slash)), "{line}");
        }
        for line in [
            "src/work/x",
            "https://a.example/home/x",
            "~/work/x",
            "$DIR-/root/x",
            "/homes",
            "and/or",
        ] {
            assert!(!has_machine_path(line), "{line}");
        }
    }
}
