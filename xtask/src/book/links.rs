//! Links between Markdown files, and the table of contents.

use std::collections::{BTreeMap, BTreeSet};

use super::markdown::Page;

/// The table of contents.
const CONTENTS: &str = "docs/SUMMARY.md";

/// Links that lead nowhere: to no file or folder of the repository, or to no heading of a page.
pub fn check(pages: &BTreeMap<String, Page>, files: &[String]) -> Vec<String> {
    let mut places: BTreeSet<&str> = files.iter().map(String::as_str).collect();
    for file in files {
        places.extend(file.match_indices('/').map(|(at, _)| &file[..at]));
    }
    let mut faults = Vec::new();
    for (name, page) in pages {
        for (line, link) in &page.links {
            if is_elsewhere(link) {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => Some(name.clone()),
                path => joined(name, path),
            };
            let Some(target) = target.filter(|target| places.contains(target.as_str())) else {
                faults.push(format!("{name}:{line}: {link}: no such file in the repository"));
                continue;
            };
            let known = |page: &Page| anchor.is_empty() || page.anchors.contains(anchor);
            if !pages.get(&target).is_none_or(known) {
                faults.push(format!("{name}:{line}: {link}: {target} has no such heading"));
            }
        }
    }
    faults
}

/// Pages that the table of contents lacks, or lists twice.
pub fn check_contents(pages: &BTreeMap<String, Page>) -> Vec<String> {
    let mut faults = Vec::new();
    let Some(contents) = pages.get(CONTENTS) else {
        return vec![format!("{CONTENTS}: is missing")];
    };
    let mut listed = BTreeSet::new();
    for (line, link) in &contents.links {
        if !listed.insert(joined(CONTENTS, link).unwrap_or_default()) {
            faults.push(format!("{CONTENTS}:{line}: {link} is there twice"));
        }
    }
    let of_book = pages
        .keys()
        .filter(|name| name.starts_with("docs/") && *name != CONTENTS);
    let missing = of_book.filter(|name| !listed.contains(*name));
    faults.extend(missing.map(|name| format!("{name}: is not in {CONTENTS}")));
    faults
}

/// Whether a link leaves the repository.
pub fn is_elsewhere(link: &str) -> bool {
    ["https://", "http://", "mailto:", "data:", "javascript:"]
        .iter()
        .any(|scheme| link.starts_with(scheme))
}

/// The path that a link means in a file; none if it goes out of the root.
pub fn joined(file: &str, link: &str) -> Option<String> {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_nowhere_are_told() {
        let pages: BTreeMap<String, Page> = [
            ("README.md", "[a](docs/b.md#b) [c](docs) [d](https://d) [e](e.md)"),
            ("docs/SUMMARY.md", "[b](b.md)\n\n[b](b.md)"),
            (
                "docs/b.md",
                "# B\n\n[f](#b) [g](#g) [h](../README.md) [i](../../i)",
            ),
            ("docs/c/j.md", ""),
        ]
        .map(|(name, text)| (name.to_owned(), Page::parse(text).unwrap()))
        .into();
        let files: Vec<String> = pages.keys().cloned().collect();
        assert_eq!(
            check(&pages, &files),
            [
                "README.md:1: e.md: no such file in the repository",
                "docs/b.md:3: #g: docs/b.md has no such heading",
                "docs/b.md:3: ../../i: no such file in the repository",
            ]
        );
        assert_eq!(
            check_contents(&pages),
            [
                "docs/SUMMARY.md:3: b.md is there twice",
                "docs/c/j.md: is not in docs/SUMMARY.md"
            ]
        );
    }
}
