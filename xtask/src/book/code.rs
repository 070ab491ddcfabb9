//! What must hold of the book's code, as far as it can be said without building anything. CONTRIBUTING.md has the whole of it.

use std::{collections::BTreeMap, fs, path::Path};

use super::{
    has_examples,
    markdown::{Block, Page},
};
use crate::{
    HELP,
    install_c::target,
    python,
    shell::{Outcome, cargo, output, program, root},
};

/// The list of pages whose Rust is compiled.
const RUST_PAGES: &str = "crates/sdrs/src/book.rs";

/// The programs that commands of the book may begin with.
const PROGRAMS: [&str; 13] = [
    "sdrs", "cargo", "python", "pip", "cc", "c++", "cmake", "make", "meson", "export", "cd", "git", "rustup",
];

/// Checks the code of all pages that have examples, and returns what was counted.
pub fn check(pages: &BTreeMap<String, Page>, files: &[String], faults: &mut Vec<String>) -> Outcome<String> {
    let work = target()?.join("book-code");
    fs::create_dir_all(&work).map_err(|e| format!("{}: {e}", work.display()))?;
    let listed = fs::read_to_string(root().join(RUST_PAGES)).map_err(|e| format!("{RUST_PAGES}: {e}"))?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut python = Vec::new();
    for (name, page) in pages.iter().filter(|(name, _)| has_examples(name)) {
        for block in &page.blocks {
            *counts.entry(block.language()).or_default() += 1;
            let mut fault = |what: &str| faults.push(format!("{name}:{}: {what}", block.line));
            if block.is_nested && !block.info.is_empty() {
                fault("code stands at the beginning of a line: in a list the tests don't see it");
            }
            match block.language() {
                "rust" => {
                    if name.starts_with("docs/") && !listed.contains(&format!("\"{name}\"")) {
                        fault(&format!(
                            "{RUST_PAGES} doesn't list this page: its Rust isn't compiled"
                        ));
                    }
                    if !["rust", "rust,no_run"].contains(&block.info.as_str()) {
                        fault("Rust is `rust` or `rust,no_run`");
                    }
                }
                "python" => python.push((name, block)),
                "sh" => check_shell(block, files, &mut fault),
                "c" => check_c(name, block, &work, "c11", &mut fault),
                "cpp" => check_c(name, block, &work, "c++17", &mut fault),
                "json" => {
                    if let Err(e) = serde_json::from_str::<serde_json::Value>(&block.code) {
                        fault(&e.to_string());
                    }
                }
                "toml" => {
                    if let Err(e) = check_manifest(block, &work) {
                        fault(&e);
                    }
                }
                // Compiled by the stage `c`.
                "cmake" | "make" | "meson" => {}
                "text" => {}
                "" => fault("code needs a language, behind a fence: `text` if it has none"),
                other => fault(&format!("no check knows the language {other}")),
            }
        }
    }
    check_python(&python, faults)?;
    let shown = counts.iter().map(|(language, n)| format!("{language} {n}"));
    Ok(format!(
        "blocks of code: {}",
        shown.collect::<Vec<_>>().join(", ")
    ))
}

/// Python is parsed here, all of it by one call; the package's tests run it.
fn check_python(blocks: &[(&String, &Block)], faults: &mut Vec<String>) -> Outcome {
    const PARSE: &str = "\
import ast, json, sys
for place, code in json.load(open(sys.argv[1], encoding='utf-8')):
    try:
        ast.parse(code)
    except SyntaxError as error:
        print(f'{place}, line {error.lineno} of the block: {error.msg}')
";
    let listed: Vec<(String, &str)> = blocks
        .iter()
        .map(|(name, block)| (format!("{name}:{}", block.line), block.code.as_str()))
        .collect();
    let file = target()?.join("book-code/python.json");
    let text = serde_json::to_string(&listed).map_err(|e| e.to_string())?;
    fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
    let printed = output(program(python::find()?).args(["-c", PARSE]).arg(file))?;
    faults.extend(printed.lines().map(str::to_owned));
    Ok(())
}

/// A shell must parse it, and each command must begin with a program that the book may use. Options of `sdrs` are checked by its own tests.
fn check_shell(block: &Block, files: &[String], fault: &mut impl FnMut(&str)) {
    if cfg!(unix)
        && let Err(e) = output(program("sh").args(["-n", "-c", &block.code]))
    {
        fault(&e);
    }
    for command in block.code.replace("\\\n", " ").lines() {
        let words: Vec<&str> = command
            .split_whitespace()
            .take_while(|word| !word.starts_with('#'))
            .collect();
        match words.as_slice() {
            [] => {}
            ["cargo", "xtask", task, ..] => {
                if !HELP.contains(&format!("cargo xtask {task} ")) {
                    fault(&format!("there is no task `cargo xtask {task}`"));
                }
            }
            ["python", script, ..] if script.ends_with(".py") && script.contains('/') => {
                if !files.iter().any(|file| file == script) {
                    fault(&format!("{script} is not in the repository"));
                }
            }
            [first, ..] => {
                // Settings of the environment may come first.
                let first = words.iter().find(|word| !word.contains('=')).unwrap_or(first);
                let name = first.rsplit('/').next().unwrap_or(first);
                if !PROGRAMS.contains(&name) && !first.starts_with("./") {
                    fault(&format!("{first} is no program that the book knows"));
                }
            }
        }
    }
}

/// A manifest of Cargo's. A checkout beside it is this one.
fn check_manifest(block: &Block, work: &Path) -> Outcome {
    let folder = work.join("manifest");
    let fail = |e: std::io::Error| format!("{}: {e}", folder.display());
    fs::create_dir_all(folder.join("src")).map_err(fail)?;
    fs::write(folder.join("src/main.rs"), "fn main() {}\n").map_err(fail)?;
    let package = "[package]\nname = \"application\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n";
    let text = match block.code.contains("[package]") {
        true => block.code.clone(),
        false => format!("{package}{}", block.code),
    };
    let text = text.replace("../sdrs/", &format!("{}/", root().display()));
    let manifest = folder.join("Cargo.toml");
    fs::write(&manifest, format!("{text}\n[workspace]\n")).map_err(fail)?;
    let metadata = [
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
        "--manifest-path",
    ];
    output(cargo().args(metadata).arg(manifest)).map(drop)
}

/// What a fragment of C finds: the names that the pages use.
const C_NAMES: &str = "\
#include <sdrs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
";
const C_ARGUMENTS: &str = "sdrs_builder *builder, sdrs_pipeline *pipeline, sdrs_images *images, sdrs_generate_params params, \
    sdrs_run_options options, sdrs_cancel_token *token, sdrs_status status";
const CPP_NAMES: &str =
    "#include <sdrs.hpp>\n#include <iostream>\n#include <string>\n#include <thread>\n#include <vector>\n";
const CPP_ARGUMENTS: &str = "sdrs::Builder &builder, sdrs::Pipeline &pipeline, sdrs::GenerateParams &params, sdrs::CancelToken &token";

/// Compiles C or C++ against the headers, without a library: as a whole file, or else as the body of a function.
fn check_c(name: &str, block: &Block, work: &Path, standard: &str, fault: &mut impl FnMut(&str)) {
    let plus = standard.starts_with("c++");
    let (compiler, language, names, arguments) = match plus {
        true => ("c++", "c++", CPP_NAMES, CPP_ARGUMENTS),
        false => ("cc", "c", C_NAMES, C_ARGUMENTS),
    };
    if plus && output(program(compiler).arg("--version")).is_err() {
        return;
    }
    let place = format!("#line {} \"{name}\"\n", block.line);
    let code = &block.code;
    let file = format!("{names}{place}{code}");
    let body =
        format!("{names}void fragment({arguments});\nvoid fragment({arguments}) {{\n{place}{code}}}\n");
    let compile = |text: &str| {
        let source = work.join(if plus { "block.cpp" } else { "block.c" });
        fs::write(&source, text).map_err(|e| format!("{}: {e}", source.display()))?;
        let mut command = program(compiler);
        command.args(["-fsyntax-only", &format!("-std={standard}"), "-x", language]);
        command.args(["-Wall", "-Wextra", "-Werror", "-Wno-unused"]);
        command.args(["-I", "include"]).arg(&source);
        output(&mut command)
    };
    let whole = compile(&file);
    if whole.is_err()
        && let Err(e) = if code.contains("main(") {
            whole
        } else {
            compile(&body)
        }
    {
        fault(&e);
    }
}
