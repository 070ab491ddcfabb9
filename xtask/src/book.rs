//! `cargo xtask docs`: the book of docs/, and what must hold of it and of the other Markdown files.
//!
//! The checks that need no mdBook are a stage of `cargo xtask test`. mdBook is a program, installed once into the target folder; nothing
//! of the workspace depends on it.

mod built;
mod code;
mod links;
mod markdown;

use std::{collections::BTreeMap, path::PathBuf};

pub use markdown::Block;
use markdown::Page;

use crate::{
    install_c::target,
    repository,
    shell::{Outcome, cargo, program, root, run},
};

/// mdBook's version: the newest when the book was last looked at.
const MDBOOK: &str = "0.5.4";

/// The stage: every link and anchor leads somewhere, the table of contents is whole, code is what its language allows.
pub fn check() -> Outcome {
    let files = repository::files()?;
    let pages = pages(&files)?;
    let mut faults = links::check(&pages, &files);
    faults.extend(links::check_contents(&pages));
    let counted = code::check(&pages, &files, &mut faults)?;
    if !faults.is_empty() {
        return Err(format!("\n  {}", faults.join("\n  ")));
    }
    let links: usize = pages.values().map(|page| page.links.len()).sum();
    println!("{} pages, {links} links, {counted}", pages.len());
    Ok(())
}

/// The task: the same, and the book in `target/book`, whose links are checked again as they stand there.
pub fn build() -> Outcome {
    check()?;
    let book = target()?.join("book");
    let mdbook = mdbook()?;
    run(program(mdbook).args(["build", "docs", "--dest-dir"]).arg(&book))?;
    built::check(&book)?;
    println!("{}", book.join("index.html").display());
    Ok(())
}

/// The blocks of a language in the book and in the pages of packages, page by page.
pub fn blocks_of(languages: &[&str]) -> Outcome<Vec<(String, Vec<Block>)>> {
    let pages = pages(&repository::files()?)?;
    let of_page = |page: &Page| -> Vec<Block> {
        let wanted = |block: &&Block| languages.contains(&block.language());
        page.blocks.iter().filter(wanted).cloned().collect()
    };
    let found = pages.iter().filter(|(name, _)| has_examples(name));
    let found = found.map(|(name, page)| (name.clone(), of_page(page)));
    Ok(found.filter(|(_, blocks)| !blocks.is_empty()).collect())
}

/// Whether all code of a page is checked: the book's, and what people read before it.
fn has_examples(name: &str) -> bool {
    const OTHERS: [&str; 3] = [
        "README.md",
        "bindings/python/README.md",
        "crates/sd-sched/README.md",
    ];
    name.starts_with("docs/") || OTHERS.contains(&name)
}

/// Every Markdown file of the repository, by its path from the root.
fn pages(files: &[String]) -> Outcome<BTreeMap<String, Page>> {
    let names = files.iter().filter(|name| name.ends_with(".md"));
    let read = |name: &String| {
        let text = std::fs::read_to_string(root().join(name)).map_err(|e| format!("{name}: {e}"))?;
        let page = Page::parse(&text).map_err(|e| format!("{name}: {e}"))?;
        Ok((name.clone(), page))
    };
    names.map(read).collect()
}

/// mdBook's path; it is installed where it isn't there.
fn mdbook() -> Outcome<PathBuf> {
    let tools = target()?.join("tools").join(format!("mdbook-{MDBOOK}"));
    let path = tools.join(format!("bin/mdbook{}", std::env::consts::EXE_SUFFIX));
    if !path.is_file() {
        let mut install = cargo();
        install.args([
            "install",
            "--locked",
            "--no-default-features",
            "--features",
            "search",
        ]);
        install
            .args(["mdbook", "--version", MDBOOK, "--root"])
            .arg(&tools);
        run(&mut install)?;
    }
    Ok(path)
}
