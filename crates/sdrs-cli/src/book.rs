//! The commands of the book, README and the like are ones that this program takes: options, names, and kinds of values.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sdrs::{GenerateParams, Given};

use crate::{Cli, Command};

/// Markdown files with commands: those at the root, those of docs/ and of packages.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = vec![root.join("README.md"), root.join("bindings/python/README.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// The words of each of our commands in the blocks of shell of a page.
fn commands(text: &str) -> Vec<Vec<String>> {
    let (mut found, mut inside) = (Vec::new(), false);
    for line in text.replace("\\\n", " ").lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside {
            let words = shlex::split(line).unwrap_or_else(|| panic!("no shell takes this: {line}"));
            let begin = match words.first().map(String::as_str) {
                Some("cargo") => words.iter().position(|word| word == "--"),
                _ => words
                    .iter()
                    .position(|word| word.rsplit('/').next() == Some("sdrs")),
            };
            // Up to a pipe, a redirection or another command.
            let ours = |begin: usize| {
                let rest = words[begin + 1..]
                    .iter()
                    .take_while(|word| !["|", "||", "&&", ">", "2>", "<", ";"].contains(&word.as_str()));
                ["sdrs".to_owned()].into_iter().chain(rest.cloned()).collect()
            };
            let runs_us = words.first().is_some_and(|word| word != "cargo")
                || words.starts_with(&["cargo".into(), "run".into(), "--release".into(), "--".into()]);
            found.extend(begin.filter(|_| runs_us).map(ours));
        }
    }
    found
}

/// The reason why a command is not taken.
fn fault(words: &[String]) -> Option<String> {
    let cli = match Cli::of(words) {
        Ok(cli) => cli,
        Err(error) => return error.use_stderr().then(|| error.to_string()),
    };
    let (mut params, mut given) = (GenerateParams::default(), Given::default());
    let applied = match &cli.command {
        Command::Txt2img(args) => args.common.drawing.settings.apply(&mut params, &mut given),
        Command::Img2img(args) => args.common.drawing.settings.apply(&mut params, &mut given),
        Command::Plan(args) => args.drawing.settings.apply(&mut params, &mut given),
        _ => Ok(()),
    };
    applied
        .err()
        .map(|failure| failure.report().1.unwrap_or_default())
}

#[test]
fn commands_of_the_book_are_taken() {
    let (mut count, mut faults) = (0, Vec::new());
    for page in pages() {
        for words in commands(&fs::read_to_string(&page).unwrap()) {
            count += 1;
            let fault = fault(&words);
            faults.extend(fault.map(|fault| format!("{}: {}: {fault}", page.display(), words.join(" "))));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count > 50, "{count} commands were found");
}

#[test]
fn wrong_commands_would_be_found() {
    let text = "```sh\nsdrs txt2img x --stebs 3   # a slip\n./sdrs txt2img \"x y\" \\\n  --sampler Eulr | cat\ncargo run --release -- prompt x\ncargo test -- sdrs\n```\nsdrs no\n";
    let found = commands(text);
    let shown: Vec<String> = found.iter().map(|words| words.join(" ")).collect();
    assert_eq!(
        shown,
        [
            "sdrs txt2img x --stebs 3",
            "sdrs txt2img x y --sampler Eulr",
            "sdrs prompt x"
        ]
    );
    assert!(fault(&found[0]).unwrap().contains("--stebs"));
    assert!(fault(&found[1]).unwrap().contains("did you mean \"Euler\""));
    assert_eq!(fault(&found[2]), None);
}
