//! The form of the phrase files that are compiled in.

use std::{collections::BTreeMap, fs, path::PathBuf};

fn files() -> BTreeMap<String, String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("phrases");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let lists = paths.filter(|path| path.extension().is_some_and(|e| e == "txt"));
    lists
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

/// A phrase stands between commas in a prompt, and where two tables are merged each must be there once.
#[test]
fn phrases_are_trimmed_sorted_and_unique() {
    let files = files();
    let mut owners = BTreeMap::new();
    for (name, text) in &files {
        assert!(text.ends_with('\n'), "{name}: the last line doesn't end");
        let lines: Vec<&str> = text.lines().collect();
        for line in &lines {
            assert!(
                !line.is_empty() && *line == line.trim(),
                "{name}: {line:?} is empty or padded"
            );
            assert!(
                !line.contains([',', '\t', '(', ')', '[', ']', ':', '|', '\\', '"', '\u{feff}']),
                "{name}: {line:?} means something in a prompt"
            );
            assert!(
                !line.contains("  ") && line.chars().count() <= 40,
                "{name}: {line:?} is long"
            );
            if let Some(other) = owners.insert(line.to_lowercase(), name) {
                panic!("{line:?} is in {other} and in {name}");
            }
        }
        let keys: Vec<String> = lines.iter().map(|line| line.to_lowercase()).collect();
        assert!(keys.is_sorted(), "{name}: not sorted");
    }
    assert!(owners.len() > 2000, "{} phrases", owners.len());
}

#[test]
fn each_table_is_there() {
    let sizes: BTreeMap<String, usize> = files()
        .into_iter()
        .map(|(name, text)| (name, text.lines().count()))
        .collect();
    let least = [
        ("artists", 500),
        ("mediums", 100),
        ("movements", 150),
        ("flavors", 800),
        ("lights", 80),
        ("cameras", 80),
        ("sites", 15),
        ("negative", 60),
    ];
    for (name, count) in least {
        let found = sizes.get(name).copied().unwrap_or(0);
        assert!(found >= count, "{name}: {found} phrases");
    }
    assert_eq!(
        sizes.len(),
        least.len(),
        "a list that the README doesn't name: {sizes:?}"
    );
}

/// Artists are names alone: what stands before them is added where they are read.
#[test]
fn artists_are_names_and_mediums_have_articles() {
    let files = files();
    let by = |line: &&str| line.starts_with("by ") || line.starts_with("inspired ");
    assert_eq!(files["artists"].lines().find(by), None);
    let sites = files["sites"].lines().filter(|line| line.contains(" on "));
    assert_eq!(sites.count(), 0);
    let mediums = files["mediums"].lines();
    assert!(
        mediums
            .filter(|m| m.starts_with("a ") || m.starts_with("an "))
            .count()
            > 120
    );
}
