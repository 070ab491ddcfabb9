//! Every dependency's licence and origin, checked against `deny.toml`.
//!
//! cargo-deny is the judge where it is installed. Building it takes longer than all our tests, so the list in `deny.toml` is also
//! checked here, from what cargo itself knows.

use std::collections::BTreeSet;

use crate::shell::{Outcome, cargo, output, root, run};

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks licences and sources of everything that a build with any features, on any platform, uses.
pub fn check() -> Outcome {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).map_err(|e| format!("{name}: {e}"));
    let deny = read("deny.toml")?;
    let allowed = allowed(&deny)?;

    let tree = output(cargo().args([
        "tree",
        "--workspace",
        "--locked",
        "--all-features",
        "--target",
        "all",
        "--prefix",
        "none",
        "--format",
        "{p}\t{l}",
    ]))?;
    let mut crates = BTreeSet::new();
    let mut faults = Vec::new();
    for line in tree.lines() {
        let line = line.trim_end_matches(" (*)");
        let Some((name, licence)) = line.split_once('\t') else {
            continue;
        };
        let licence = match licence {
            "" => clarified(&deny, name).unwrap_or_default(),
            licence => licence,
        };
        if crates.insert(name) && !permitted(licence, &allowed) {
            faults.push(format!("{name}: licence '{licence}' is not in deny.toml's list"));
        }
    }
    for line in read("Cargo.lock")?.lines() {
        if let Some(source) = line.strip_prefix("source = ")
            && source.trim_matches('"') != REGISTRY
        {
            faults.push(format!("Cargo.lock: a crate from {source}, not from crates.io"));
        }
    }
    if !faults.is_empty() {
        return Err(format!("\n  {}", faults.join("\n  ")));
    }
    println!(
        "{} crates from crates.io and here, all under licences that deny.toml allows",
        crates.len()
    );

    if output(cargo().args(["deny", "--version"])).is_ok() {
        let checks = [
            "deny",
            "--log-level",
            "error",
            "check",
            "bans",
            "licenses",
            "sources",
        ];
        return run(cargo().args(checks));
    }
    println!("cargo-deny is not installed: its other checks (bans, advisories) are left out");
    Ok(())
}

/// The strings of `allow` in the section `[licenses]`.
fn allowed(deny: &str) -> Outcome<BTreeSet<String>> {
    let lines: Vec<&str> = deny
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .skip_while(|line| line.trim() != "[licenses]")
        .collect();
    let text = lines.concat();
    let list = text
        .split_once("allow = [")
        .and_then(|(_, rest)| rest.split_once(']'));
    let (list, _) = list.ok_or("deny.toml: no list `allow` in [licenses]")?;
    Ok(list.split('"').skip(1).step_by(2).map(str::to_owned).collect())
}

/// What `[[licenses.clarify]]` says of a crate whose manifest names no licence.
fn clarified<'a>(deny: &'a str, name: &str) -> Option<&'a str> {
    let name = name.split_whitespace().next()?;
    let (_, clarified) = deny.split_once(&format!("crate = \"{name}\"\nexpression = \""))?;
    Some(clarified.split_once('"')?.0)
}

/// Whether an SPDX expression can be satisfied with the allowed licences. The old form `A/B` means `A OR B`.
fn permitted(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any(&mut rest, allowed) == Some(true) && rest.is_empty()
}

/// `A OR B`, of terms `A AND B`; `None` for what is no expression.
fn any(words: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let mut result = all(words, allowed)?;
    while let Some(("OR", rest)) = words.split_first().map(|(word, rest)| (*word, rest)) {
        *words = rest;
        result |= all(words, allowed)?;
    }
    Some(result)
}

fn all(words: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let mut result = one(words, allowed)?;
    while let Some(("AND", rest)) = words.split_first().map(|(word, rest)| (*word, rest)) {
        *words = rest;
        result &= one(words, allowed)?;
    }
    Some(result)
}

/// A licence, one with an exception, or an expression in brackets.
fn one(words: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let (&word, rest) = words.split_first()?;
    *words = rest;
    match (word, rest) {
        ("(", _) => {
            let result = any(words, allowed)?;
            let (&")", rest) = words.split_first()? else {
                return None;
            };
            *words = rest;
            Some(result)
        }
        (")" | "OR" | "AND" | "WITH", _) => None,
        (licence, ["WITH", exception, rest @ ..]) => {
            *words = rest;
            Some(allowed.contains(&format!("{licence} WITH {exception}")))
        }
        (licence, _) => Some(allowed.contains(licence)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read() {
        let deny =
            "[bans]\nallow = [\"x\"]\n[licenses] # ours\nallow = [\n  \"MIT\", # \"GPL\"\n  \"Zlib\",\n]\n";
        let expected = BTreeSet::from(["MIT".to_owned(), "Zlib".to_owned()]);
        assert_eq!(allowed(deny).unwrap(), expected);
        assert!(allowed("[bans]\nallow = []").is_err());
    }

    #[test]
    fn what_is_clarified_is_found() {
        let deny = "[[licenses.clarify]]\ncrate = \"a\"\nexpression = \"MIT\"\n";
        assert_eq!(clarified(deny, "a v1.0.0"), Some("MIT"));
        assert_eq!(clarified(deny, "b v1.0.0"), None);
    }

    #[test]
    fn expressions() {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        let allowed = BTreeSet::from(allowed);
        for good in [
            "MIT",
            "MIT OR Apache-2.0",
            "Apache-2.0/MIT",
            "Unlicense / MIT",
            "MIT AND ISC",
            "(GPL-3.0 OR MIT) AND ISC",
            "GPL-3.0 OR MIT AND ISC",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        ] {
            assert!(permitted(good, &allowed), "{good}");
        }
        for bad in [
            "",
            "Apache-2.0",
            "MIT AND GPL-3.0",
            "(MIT OR ISC) AND GPL-3.0",
            "MIT WITH LLVM-exception",
            "MIT OR",
            "(MIT",
            "MIT)",
            "MIT ISC",
        ] {
            assert!(!permitted(bad, &allowed), "{bad}");
        }
    }
}
