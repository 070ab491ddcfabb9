//! `cargo xtask gallery`: pictures of the demo model on sheets and strips, and a page that says how each is made.

mod blend;
mod picture;
mod sheets;
mod strips;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::shell::{Outcome, cargo, program, root, run as run_command};
use picture::{Grid, Rgb};
use sheets::{CHALK, FROM_PICTURES, MAKE_CHALK, MASK, SAMPLERS, SHEETS, Sheet};
use strips::{MAKE_START, MIXED, MIXES, START, STRIPS, Strip};

/// The settings of all pictures on sheets, the demo model's and others'.
const SETTINGS: [&str; 2] = ["--cfg-scale", "7"];
const SHEET: Grid = Grid {
    columns: 4,
    scale: 2,
    gap: 8,
};
/// The space between the pictures of a strip.
const STRIP_GAP: usize = 4;
const FOLDER: &str = "docs/gallery";

/// Draws the pictures with the command as people use it: all sheets and strips, or those named.
pub fn run(names: &[&str]) -> Outcome {
    let sheets = SHEETS.iter().map(|sheet| sheet.name);
    let strips = STRIPS.iter().map(|strip| strip.name);
    let known: Vec<&str> = sheets.chain(["pictures"]).chain(strips).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!(
            "no sheet is called {unknown}; there are {}",
            known.join(", ")
        ));
    }
    let wanted = |name: &str| names.is_empty() || names.contains(&name);
    // With the features of the whole workspace, so that what the tests have built is used.
    run_command(cargo().args(["build", "--release", "--workspace", "--bin", "sdrs"]))?;
    let folder = root().join(FOLDER);
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    remove(&root().join(CHALK))?;
    run_command(sdrs().args(MAKE_CHALK))?;
    for sheet in SHEETS.iter().filter(|sheet| wanted(sheet.name)) {
        let words = |(prompt, seed, more): &sheets::Picture| {
            let mut words = vec![
                "txt2img".into(),
                prompt.to_string(),
                "--seed".into(),
                seed.to_string(),
            ];
            words.extend(SETTINGS.iter().chain(*more).map(ToString::to_string));
            words
        };
        let drawn = sheet.pictures.iter().map(|picture| draw(&words(picture)));
        save(sheet.name, SHEET, &drawn.collect::<Outcome<Vec<_>>>()?)?;
    }
    if wanted("pictures") {
        from_pictures(&folder)?;
    }
    draw(&MAKE_START)?.write(&root().join(START))?;
    blend::write(&root().join(MIXES), MIXED)?;
    for strip in STRIPS.iter().filter(|strip| wanted(strip.name)) {
        let drawn = strip
            .own
            .iter()
            .map(|own| Ok(draw(&[strip.all, own].concat())?.coarse()));
        let grid = Grid {
            columns: strip.own.len(),
            scale: 1,
            gap: STRIP_GAP,
        };
        save(strip.name, grid, &drawn.collect::<Outcome<Vec<_>>>()?)?;
    }
    remove(&root().join(CHALK))?;
    remove(&root().join(START))?;
    fs::remove_dir_all(root().join(MIXES)).map_err(|e| format!("{MIXES}: {e}"))?;
    fs::write(folder.join("README.md"), page()).map_err(|e| format!("{FOLDER}/README.md: {e}"))
}

/// The picture that the command draws.
fn draw<S: AsRef<std::ffi::OsStr>>(words: &[S]) -> Outcome<Rgb> {
    let path = root().join(FOLDER).join("one.png");
    run_command(sdrs().args(words).arg("-o").arg(&path))?;
    let picture = Rgb::read(&path)?;
    remove(&path)?;
    Ok(picture)
}

fn save(name: &str, grid: Grid, pictures: &[Rgb]) -> Outcome {
    let path = root().join(FOLDER).join(format!("{name}.png"));
    grid.join(pictures).write(&path)?;
    println!("{FOLDER}/{name}.png: {} pictures", pictures.len());
    Ok(())
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Outcome {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {e}", path.display())),
        _ => Ok(()),
    }
}

/// Draws the sheet of pictures from pictures.
fn from_pictures(folder: &Path) -> Outcome {
    let path = |name: &str| folder.join(format!("{}.part.png", name.replace(' ', "-")));
    let lower = |i: usize| if i / (96 * 3) < 48 { 0 } else { 255 };
    let mask = Rgb {
        width: 96,
        height: 96,
        bytes: (0..96 * 96 * 3).map(lower).collect(),
    };
    mask.write(&root().join(MASK))?;
    let mut drawn = Vec::new();
    for (name, from, words) in FROM_PICTURES {
        let mut command = sdrs();
        match from {
            Some(from) if words == ["replay"] => command.arg("replay").arg(path(from)),
            Some(from) => command.arg("img2img").arg(path(from)).args(words).args(SETTINGS),
            None => command.args(words).args(SETTINGS),
        };
        run_command(command.arg("-o").arg(path(name)))?;
        drawn.push(Rgb::read(&path(name))?);
    }
    for (name, ..) in FROM_PICTURES {
        remove(&path(name))?;
    }
    remove(&root().join(MASK))?;
    save("pictures", SHEET, &drawn)
}

/// The command.
fn sdrs() -> std::process::Command {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    program(target.join("release/sdrs"))
}

fn page() -> String {
    let mut text = format!(
        "# Pictures of the demo model\n\nRow by row, each drawn by `sdrs txt2img PROMPT --seed SEED {}` with these options; \
         made by `cargo xtask gallery`, before which `sdrs {}` makes a checkpoint in another style.\n",
        SETTINGS.join(" "),
        MAKE_CHALK.join(" ")
    );
    for Sheet {
        name,
        about,
        pictures,
    } in &SHEETS
    {
        text +=
            &format!("\n![{name}]({name}.png)\n\n{about}\n\n| prompt | seed | options |\n|---|---|---|\n");
        for (prompt, seed, more) in *pictures {
            let options = match more {
                [] => String::new(),
                more => format!("`{}`", more.join(" ")),
            };
            text += &format!("| `{}` | {seed} | {options} |\n", prompt.replace('|', "\\|"));
        }
    }
    text += "\n![pictures](pictures.png)\n\nPictures from pictures ([docs/pictures.md](../pictures.md)), each by `sdrs img2img FROM` with these words, \
             or as it says. `mask.png` is white in its lower half. The last one equals the one it is drawn from, to the byte.\n\n\
             | picture | from | words |\n|---|---|---|\n";
    for (name, from, words) in FROM_PICTURES {
        text += &format!(
            "| {name} | {} | `{}` |\n",
            from.unwrap_or_default(),
            quoted(words)
        );
    }
    text += SAMPLERS;
    text += &format!(
        "\n## Strips\n\nEach shows one setting, for [the kitchen](../kitchen/checkpoint.md): pictures from left to right, by `sdrs` with these \
         words. Settings that are not named are those that the demo model recommends. Colours are rounded to 5 bits, which makes files \
         small. `start.png` is `sdrs {}`. The folder `mixes` has an embedding of one vector for each percentage, on the straight way between \
         the vectors that the text encoder has for \"{}\" and \"{}\".\n",
        quoted(&MAKE_START),
        MIXED[0],
        MIXED[1]
    );
    for Strip {
        name,
        about,
        all,
        own,
    } in &STRIPS
    {
        text += &format!("\n![{name}]({name}.png)\n\n{about}: `{}` and\n\n", quoted(all));
        for words in *own {
            text += &format!("- `{}`\n", quoted(words));
        }
    }
    text
}

/// Words as one types them in the gallery's folder.
fn quoted(words: &[&str]) -> String {
    let quoted = words
        .iter()
        .map(|word| match word.is_empty() || word.contains(' ') {
            true => format!("\"{word}\""),
            false => word.replace(&format!("{FOLDER}/"), ""),
        });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever changes a strip or a sheet draws it: the page says how each was made.
    #[test]
    fn the_page_is_up_to_date() {
        let written = fs::read_to_string(root().join(FOLDER).join("README.md")).unwrap();
        assert!(
            written == page(),
            "run `cargo xtask gallery SHEET` for what was changed"
        );
    }

    #[test]
    fn every_strip_has_its_pictures() {
        for Strip { name, own, .. } in &STRIPS {
            let strip = Rgb::read(&root().join(FOLDER).join(format!("{name}.png"))).unwrap();
            assert_eq!((strip.width - STRIP_GAP) % own.len(), 0, "{name}");
            assert_eq!(
                (strip.width - STRIP_GAP) / own.len(),
                strip.height - STRIP_GAP,
                "{name}"
            );
        }
    }
}
