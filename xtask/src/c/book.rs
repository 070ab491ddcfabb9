//! The book's programs in C and C++, and the files that build them, with an installed library.

use std::{fs, path::Path, process::Command};

use super::{Stage, Tool, there};
use crate::{
    book::blocks_of,
    shell::{Outcome, output, program},
};

/// The page whose program in C is built with make and its like.
const FIRST: &str = "docs/start/first-picture.md";

impl Stage {
    /// Builds the programs of the book that need no model but the demo's, and runs them; then builds one of them as the book says.
    pub(super) fn book(&mut self, cc: &str, cxx: &str) -> Outcome {
        if self.tool != Tool::None {
            return Ok(());
        }
        let folder = self.work.join("book");
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let (mut first, mut count) = (None, 0);
        for (page, blocks) in blocks_of(&["c", "cpp"])? {
            for block in blocks {
                let code = &block.code;
                if !code.contains("main(") || !code.contains("demo(") {
                    continue;
                }
                let (compiler, standard) = match block.language() {
                    "c" => (cc, "c11"),
                    _ if there(cxx) => (cxx, "c++17"),
                    _ => continue,
                };
                let name = format!("book-{count}.{}", block.language());
                let source = write(&folder, &name, code)?;
                let exe = self.compile(compiler, standard, Path::new(&source), &name, &self.shared)?;
                let ran = output(self.found(program(exe).current_dir(&folder)));
                ran.map_err(|e| format!("{page}:{}: {e}", block.line))?;
                count += 1;
                if block.language() == "c" && page == FIRST {
                    first = Some(code.clone());
                }
            }
        }
        let first =
            first.ok_or_else(|| format!("{FIRST}: no program in C that draws with the demo model"))?;
        println!("the book: {count} programs ran");
        for tool in ["make", "cmake", "meson"] {
            let needed = if tool == "cmake" { cxx } else { "pkg-config" };
            if !there(tool) || !there(needed) {
                self.left_out
                    .push(format!("the book's lines for {tool} (not installed)"));
                continue;
            }
            for (page, blocks) in blocks_of(&[tool])? {
                for block in blocks {
                    let built = self.built_with(tool, &first, &block.code);
                    built.map_err(|e| format!("{page}:{}: {e}", block.line))?;
                }
            }
        }
        Ok(())
    }

    /// Builds `first.c` with a tool, and runs it.
    fn built_with(&self, tool: &str, first: &str, lines: &str) -> Outcome {
        let folder = self.work.join(format!("book-{tool}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        write(&folder, "first.c", first)?;
        let name = match tool {
            "make" => "Makefile",
            "cmake" => "CMakeLists.txt",
            _ => "meson.build",
        };
        write(&folder, name, lines)?;
        let run = |line: &[&str]| {
            let mut command = program(line[0]);
            output(self.found(command.args(&line[1..]).current_dir(&folder)))
        };
        let first_of =
            |folder: &Path| output(self.found(program(folder.join("build/first")).current_dir(folder)));
        match tool {
            "make" => drop(run(&["make"])?),
            "cmake" => {
                let prefix = format!("-DCMAKE_PREFIX_PATH={}", self.prefix.display());
                run(&["cmake", "-B", "build", &prefix])?;
                run(&["cmake", "--build", "build"])?;
                first_of(&folder)?;
            }
            _ => {
                run(&["meson", "setup", "build"])?;
                run(&["meson", "compile", "-C", "build"])?;
                first_of(&folder)?;
            }
        }
        let picture = folder.join("out.png");
        match fs::read(&picture) {
            Ok(bytes) if bytes.starts_with(b"\x89PNG") => {
                println!("the book: {tool} builds its first program");
                Ok(())
            }
            _ => Err(format!("{tool}: the program has drawn no {}", picture.display())),
        }
    }

    /// A command that finds the library as the book says, by the environment.
    fn found<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let lib = self.prefix.join("lib");
        command
            .env("PKG_CONFIG_PATH", lib.join("pkgconfig"))
            .env("LD_LIBRARY_PATH", lib)
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Outcome<String> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path.display().to_string())
}
