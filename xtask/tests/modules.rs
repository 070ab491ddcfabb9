//! Modules of a crate depend on each other in one direction.
//!
//! An arrow goes from a module to the one where a name that it uses is defined. Re-exports are followed and are no arrows themselves, nor is
//! what a module uses of those inside it, or of the crate's root. A module and its own children may refer to each other, three of them at
//! most; any other circle is a wall in the wrong place.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use syn::{Item, UseTree, Visibility, visit::Visit};

/// Crates, and the order of their modules, where there is one: an arrow goes from a module to those behind it alone.
const CRATES: [(&str, &[&str]); 9] = [
    ("bindings/c", &[]),
    ("bindings/python", &[]),
    ("crates/goldens", &[]),
    ("crates/sd-core", &["checkpoint", "models", "weights", "config"]),
    (
        "crates/sd-kernels",
        &["layers", "host", "host::kernel", "host::simd"],
    ),
    (
        "crates/sd-lora",
        &["doctor", "adapter", "file", "module", "peft", "change", "keys"],
    ),
    (
        "crates/sd-sched",
        &["run", "stepper", "plan", "sampler", "program"],
    ),
    (
        "crates/sdrs",
        &[
            "replay",
            "pipeline",
            "run",
            "interrogate",
            "upscale",
            "text",
            "lora",
            "model",
            "picture",
            "params",
            "error",
        ],
    ),
    ("crates/sdrs-cli", &[]),
];

/// A module's path from the crate's root, which is the empty one.
type Name = Vec<String>;

#[derive(Default)]
struct Module {
    /// Paths that it names, as written.
    paths: BTreeSet<Name>,
    /// Names that `use` brings in, with the paths behind them, and whether others see them.
    imports: BTreeMap<String, (Name, bool)>,
    /// Paths whose names are all brought in.
    globs: Vec<Name>,
}

#[derive(Default)]
struct Modules(BTreeMap<Name, Module>);

impl Modules {
    fn read(source: &Path) -> Self {
        let mut modules = Self::default();
        let root = ["lib.rs", "main.rs"].map(|name| source.join(name));
        let root = root
            .iter()
            .find(|path| path.is_file())
            .expect("a crate has a root");
        modules.read_file(root, source, Vec::new());
        modules
    }

    /// Reads a module's file; the files of its children lie in `folder`.
    fn read_file(&mut self, path: &Path, folder: &Path, name: Name) {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        self.read_items(&file.items, folder, name);
    }

    fn read_items(&mut self, items: &[Item], folder: &Path, name: Name) {
        let mut module = Module::default();
        for item in items {
            match item {
                Item::Mod(inner) if is_test(&inner.attrs) => {}
                Item::Mod(inner) => {
                    let child = inner.ident.to_string();
                    let below = [name.clone(), vec![child.clone()]].concat();
                    let inside = folder.join(&child);
                    match &inner.content {
                        Some((_, items)) => self.read_items(items, &inside, below),
                        None => {
                            let flat = folder.join(format!("{child}.rs"));
                            let deep = inside.join("mod.rs");
                            let file = if flat.is_file() { flat } else { deep };
                            self.read_file(&file, &inside, below);
                        }
                    }
                }
                Item::Use(import) => {
                    let public = !matches!(import.vis, Visibility::Inherited);
                    module.add_use(&import.tree, &mut Vec::new(), public);
                }
                Item::Fn(function) if is_test(&function.attrs) => {}
                item => module.visit_item(item),
            }
        }
        self.0.insert(name, module);
    }

    /// The module in which a path's name is defined, if that is in this crate.
    fn definition(&self, from: &Name, path: &[String], depth: usize) -> Option<Name> {
        let (mut at, mut rest) = (from.clone(), path);
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => {
                    at.pop();
                }
                _ => break,
            }
            rest = others;
        }
        while let Some((first, others)) = rest.split_first() {
            let child = [at.clone(), vec![first.clone()]].concat();
            if self.0.contains_key(&child) {
                (at, rest) = (child, others);
                continue;
            }
            // Nothing is re-exported through more modules than that.
            let module = self.0.get(&at).filter(|_| depth < 16)?;
            if let Some((behind, _)) = module.imports.get(first) {
                let whole = [behind.as_slice(), others].concat();
                return self.definition(&at, &whole, depth + 1);
            }
            let mut found = module.globs.iter().filter_map(|glob| {
                let place = self.definition(&at, glob, depth + 1)?;
                let there = self.0.get(&place)?;
                let child = [place.clone(), vec![first.clone()]].concat();
                let known = there.imports.contains_key(first) || self.0.contains_key(&child);
                known.then(|| self.definition(&place, rest, depth + 1)).flatten()
            });
            return found.next().or(Some(at));
        }
        Some(at)
    }

    fn arrows(&self) -> BTreeMap<&Name, BTreeSet<Name>> {
        let arrows = self.0.iter().map(|(name, module)| {
            let used = module
                .imports
                .values()
                .filter(|(_, public)| !public)
                .map(|(path, _)| path);
            let used = used.chain(&module.paths);
            let to = used.filter_map(|path| self.definition(name, path, 0));
            (
                name,
                to.filter(|to| !to.starts_with(name) && !to.is_empty()).collect(),
            )
        });
        arrows.collect()
    }

    /// Sets of modules that reach each other.
    fn circles(&self) -> Vec<BTreeSet<&Name>> {
        let arrows = self.arrows();
        let reachable = |from: &Name| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(name) = next.pop() {
                for to in arrows.get(&name).into_iter().flatten() {
                    if seen.insert(to.clone()) {
                        next.push(to.clone());
                    }
                }
            }
            seen
        };
        let reach: BTreeMap<&Name, BTreeSet<Name>> =
            arrows.keys().map(|name| (*name, reachable(name))).collect();
        let circles: BTreeSet<BTreeSet<&Name>> = reach
            .iter()
            .filter(|(name, to)| to.contains(**name))
            .map(|(name, to)| {
                reach
                    .keys()
                    .copied()
                    .filter(|other| to.contains(*other) && reach[other].contains(*name))
                    .collect()
            })
            .collect();
        circles.into_iter().collect()
    }
}

impl Module {
    fn add_use(&mut self, tree: &UseTree, path: &mut Name, public: bool) {
        match tree {
            UseTree::Path(inner) => {
                path.push(inner.ident.to_string());
                self.add_use(&inner.tree, path, public);
                path.pop();
            }
            UseTree::Name(inner) => self.add_import(&inner.ident, &inner.ident, path, public),
            UseTree::Rename(inner) => self.add_import(&inner.ident, &inner.rename, path, public),
            UseTree::Glob(_) => self.globs.push(path.clone()),
            UseTree::Group(inner) => {
                for tree in &inner.items {
                    self.add_use(tree, path, public);
                }
            }
        }
    }

    fn add_import(&mut self, name: &syn::Ident, known_as: &syn::Ident, path: &Name, public: bool) {
        let (mut whole, mut known_as) = (path.clone(), known_as.to_string());
        // `use a::b::{self}` brings in `b`.
        if name == "self" {
            known_as = path.last().cloned().unwrap_or_default();
        } else {
            whole.push(name.to_string());
        }
        self.imports.insert(known_as, (whole, public));
    }
}

impl<'ast> Visit<'ast> for Module {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Name = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        // A path of one name is defined here or was brought in.
        if names.len() > 1 {
            self.paths.insert(names);
        }
        syn::visit::visit_path(self, path);
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let list = attribute
            .meta
            .require_list()
            .ok()
            .filter(|_| attribute.path().is_ident("cfg"));
        attribute.path().is_ident("test") || list.is_some_and(|list| list.tokens.to_string().contains("test"))
    })
}

/// A module with some of its descendants, three in all at most.
fn is_family(circle: &BTreeSet<&Name>) -> bool {
    // The first by order is the shortest prefix, if there is one.
    let parent = circle.first().expect("a circle has modules");
    circle.len() <= 3 && circle.iter().all(|name| name.starts_with(parent))
}

fn modules(of: &str) -> Modules {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    Modules::read(&root.join(of).join("src"))
}

#[test]
fn modules_form_no_circle() {
    let mut faults = Vec::new();
    for (name, _) in CRATES {
        let modules = modules(name);
        let circles = modules.circles().into_iter().filter(|circle| !is_family(circle));
        faults.extend(circles.map(|circle| {
            let names: Vec<String> = circle.iter().map(|name| name.join("::")).collect();
            format!("{name}: {}", names.join(", "))
        }));
    }
    assert!(faults.is_empty(), "circles of modules:\n{}", faults.join("\n"));
}

#[test]
fn arrows_point_one_way() {
    let mut faults = Vec::new();
    for (name, order) in CRATES {
        let order: Vec<Name> = order
            .iter()
            .map(|path| path.split("::").map(str::to_owned).collect())
            .collect();
        let modules = modules(name);
        let missing = order.iter().filter(|path| !modules.0.contains_key(*path));
        faults.extend(missing.map(|path| format!("{name} has no module {}", path.join("::"))));
        // The place of the longest name in the order that a module begins with.
        let place = |module: &Name| {
            let known = order
                .iter()
                .enumerate()
                .filter(|(_, path)| module.starts_with(path));
            known.max_by_key(|(_, path)| path.len()).map(|(place, _)| place)
        };
        for (from, to) in modules.arrows() {
            let back = to
                .iter()
                .filter(|to| place(to) < place(from) && place(to).is_some());
            faults.extend(back.map(|to| format!("{name}: {} uses {}", from.join("::"), to.join("::"))));
        }
    }
    assert!(
        faults.is_empty(),
        "arrows against the order:\n{}",
        faults.join("\n")
    );
}
