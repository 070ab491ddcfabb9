//! The book as mdBook has built it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::{
    links::{is_elsewhere, joined},
    markdown::attributes,
};
use crate::{repository, shell::Outcome};

/// Where the repository's files are shown that are no part of the book.
const SOURCE: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main");

/// Lets links that leave the book lead to the repository, and checks that all others lead to a file and to a name in it.
pub fn check(book: &Path) -> Outcome {
    let sources = repository::files()?;
    let mut files = BTreeSet::new();
    collect(book, "", &mut files)?;
    let mut pages = BTreeMap::new();
    for name in files.iter().filter(|name| name.ends_with(".html")) {
        let path = book.join(name);
        let fail = |e| format!("{}: {e}", path.display());
        let text = fs::read_to_string(&path).map_err(fail)?;
        let linked = with_sources(name, &text, &sources);
        if linked != text {
            fs::write(&path, &linked).map_err(fail)?;
        }
        pages.insert(name.as_str(), linked);
    }
    let anchors: BTreeMap<&str, BTreeSet<&str>> = pages
        .iter()
        .map(|(name, text)| (*name, attributes(text, "id").collect()))
        .collect();
    let (mut faults, mut count) = (Vec::new(), 0);
    for (name, text) in &pages {
        for link in links(text) {
            count += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => Some((*name).to_owned()),
                path => joined(name, path),
            };
            let Some(target) = target.filter(|target| files.contains(target)) else {
                faults.push(format!("{name}: {link}: no such file in the book"));
                continue;
            };
            let known = anchors.get(target.as_str());
            if !anchor.is_empty() && known.is_some_and(|known| !known.contains(anchor)) {
                faults.push(format!("{name}: {link}: {target} has no such name"));
            }
        }
    }
    match faults.as_slice() {
        [] => {
            println!("the book: {} pages, {count} links", pages.len());
            Ok(())
        }
        faults => Err(format!("\n  {}", faults.join("\n  "))),
    }
}

/// Links and pictures of a page that stay in the book.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let all = ["href", "src"].map(|name| attributes(text, name).collect::<Vec<_>>());
    all.into_iter().flatten().filter(|link| !is_elsewhere(link))
}

/// A page whose links out of the book lead to the repository. The book lies where docs/ does; mdBook has made `.html` of `.md`.
fn with_sources(name: &str, text: &str, sources: &[String]) -> String {
    let mut text = text.to_owned();
    let outside: BTreeSet<String> = links(&text)
        .filter(|link| joined(name, link.split('#').next().unwrap_or_default()).is_none())
        .map(str::to_owned)
        .collect();
    for link in outside {
        let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
        let Some(path) = joined(&format!("docs/{name}"), path) else {
            continue;
        };
        let page = path
            .strip_suffix(".html")
            .map(|path| format!("{path}.md"))
            .filter(|page| sources.contains(page));
        let mut url = format!("{SOURCE}/{}", page.unwrap_or(path));
        if !anchor.is_empty() {
            url += &format!("#{anchor}");
        }
        for attribute in ["href", "src"] {
            text = text.replace(
                &format!(" {attribute}=\"{link}\""),
                &format!(" {attribute}=\"{url}\""),
            );
        }
    }
    text
}

fn collect(folder: &Path, prefix: &str, names: &mut BTreeSet<String>) -> Outcome {
    let fail = |e: std::io::Error| format!("{}: {e}", folder.display());
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.file_type().map_err(fail)?.is_dir() {
            true => collect(&entry.path(), &format!("{name}/"), names)?,
            false => drop(names.insert(name)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_out_of_the_book_lead_to_the_repository() {
        let sources = ["README.md".to_owned()];
        let page = "<a href=\"../../README.html#more\">a</a> <a href=\"../b.html\">b</a> <a href=\"../../bindings/c\">c</a>";
        assert_eq!(
            with_sources("start/x.html", page, &sources),
            format!(
                "<a href=\"{SOURCE}/README.md#more\">a</a> <a href=\"../b.html\">b</a> <a href=\"{SOURCE}/bindings/c\">c</a>"
            )
        );
    }
}
