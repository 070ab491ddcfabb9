//! `cargo xtask gallery`: pictures of the demo model on one sheet, and a page that says how each is made.

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter},
    path::{Path, PathBuf},
};

use crate::shell::{Outcome, cargo, program, root, run as run_command};

/// A picture: prompt, seed, and further options of the command.
type Picture = (&'static str, u32, &'static [&'static str]);

/// The sheet of pictures from pictures: what is written, from which picture of the sheet, the words of the command. `MASK` is a picture whose
/// lower half is white.
#[rustfmt::skip]
const FROM_PICTURES: [(&str, Option<&str>, &[&str]); 12] = [
    ("one", None, &["txt2img", "a yellow star above a red square", "--seed", "13"]),
    ("strength 0.4", Some("one"), &["a green star above a red square", "--strength", "0.4", "--seed", "1"]),
    ("strength 0.7", Some("one"), &["a green star above a red square", "--strength", "0.7", "--seed", "1"]),
    ("strength 0.9", Some("one"), &["a green star above a red square", "--strength", "0.9", "--seed", "1"]),
    ("below", Some("one"), &["a yellow star above a blue circle on a sky background", "--mask", MASK, "--masked-content", "fill", "--strength", "1", "--seed", "2"]),
    ("above", Some("one"), &["a purple heart above a red square on a sky background", "--mask", MASK, "--mask-inverted", "--masked-content", "fill", "--strength", "1", "--seed", "2"]),
    ("beside", Some("one"), &["a yellow star above a red square", "--outpaint", "16,0,16,0", "--masked-content", "fill", "--strength", "1", "--seed", "3"]),
    ("only masked", Some("one"), &["a small green circle on a sky background", "--mask", MASK, "--only-masked", "--masked-content", "fill", "--strength", "1", "--seed", "4"]),
    ("second pass", None, &["txt2img", "a yellow star above a red square", "--seed", "13", "--width", "80", "--height", "80", "--hires-scale", "1.2", "--strength", "0.6"]),
    ("second pass of pixels", None, &["txt2img", "a yellow star above a red square", "--seed", "13", "--width", "80", "--height", "80", "--hires-scale", "1.2", "--hires-upscaler", "Lanczos", "--strength", "0.5"]),
    ("seamless", None, &["txt2img", "a dotted blue circle", "--seed", "5", "--tile-x", "--tile-y"]),
    ("again", Some("second pass"), &["replay"]),
];
const MASK: &str = "docs/gallery/mask.png";

/// About the sheet that an example of the crate `sdrs` makes.
const SAMPLERS: &str = "
![every sampler with every schedule](samplers.png)

Every sampler (rows) with every schedule (columns): one prompt, one seed, 30 steps, cfg 4, half size; made by `cargo run --release -p
sdrs --features demo --example samplers -- docs/gallery/samplers.png 30`, which prints the names of rows and columns. What differs is
the methods' own: each is compared with its reference implementation to 1e-5 or better. Linear Quadratic spends half of its steps
on the largest noise levels and was made for other models. Samplers of order 3 and 4 (DPM++ 3M SDE, IPNDM_V, SA-Solver) overshoot
where neighbouring steps differ much in size (Beta, Align Your Steps); IPNDM_V loses itself on two such schedules. With few steps
that happens sooner, and PLMS and IPNDM join them.
";

/// A sheet of pictures and the page's words about it.
struct Sheet {
    name: &'static str,
    about: &'static str,
    pictures: &'static [Picture],
}

/// A checkpoint in another style, which is there while the pictures are drawn, and how it is made.
const CHALK: &str = "docs/gallery/chalk.safetensors";
const MAKE_CHALK: [&str; 5] = [
    "convert",
    "models/demo/base",
    CHALK,
    "--lora",
    "models/demo/chalk-lora.safetensors",
];

/// The prompt that is drawn with every model.
const SAME: &str = "a yellow star above a red square";

const SHEETS: [Sheet; 3] = [
    Sheet {
        name: "demo",
        about: "What the demo model draws; the last row shows what another checkpoint, a LoRA and another VAE do.",
        pictures: &PICTURES,
    },
    Sheet {
        name: "prompts",
        about: "What the prompt language does ([docs/prompts.md](../prompts.md)).",
        pictures: &PROMPTS,
    },
    Sheet {
        name: "weights",
        about: "What LoRAs, a checkpoint of another style and another VAE do ([docs/weights.md](../weights.md)).",
        pictures: &WEIGHTS,
    },
];

const OTHER: &str = "a green heart left of a purple circle";

#[rustfmt::skip]
const WEIGHTS: [Picture; 16] = [
    (SAME, 13, &["--lora", "models/demo/outlines.safetensors:0"]),
    (SAME, 13, &["--lora", "models/demo/outlines.safetensors:0.5"]),
    (SAME, 13, &["--lora", "models/demo/outlines.safetensors"]),
    (SAME, 13, &["--lora", "models/demo/chalk-lora.safetensors"]),
    (SAME, 13, &["--lora", "models/demo/outlines.safetensors:0.5", "--lora", "models/demo/chalk-lora.safetensors:0.7"]),
    (SAME, 13, &["--model", CHALK]),
    (SAME, 13, &["--vae", "models/demo/vae-washed.safetensors"]),
    (SAME, 13, &["--model", CHALK, "--vae", "models/demo/vae-washed.safetensors"]),
    (OTHER, 14, &["--lora", "models/demo/outlines.safetensors:0"]),
    (OTHER, 14, &["--lora", "models/demo/outlines.safetensors:0.5"]),
    (OTHER, 14, &["--lora", "models/demo/outlines.safetensors"]),
    (OTHER, 14, &["--lora", "models/demo/chalk-lora.safetensors"]),
    (OTHER, 14, &["--lora", "models/demo/outlines.safetensors:0.5", "--lora", "models/demo/chalk-lora.safetensors:0.7"]),
    (OTHER, 14, &["--model", CHALK]),
    (OTHER, 14, &["--vae", "models/demo/vae-washed.safetensors"]),
    (OTHER, 14, &["--model", CHALK, "--vae", "models/demo/vae-washed.safetensors"]),
];

#[rustfmt::skip]
const PROMPTS: [Picture; 16] = [
    ("a red circle above a blue square", 21, &[]),
    ("a (red:1.4) circle above a blue square", 21, &[]),
    ("a (red:2) circle above a blue square", 21, &[]),
    ("a red circle (above:-1) a blue square", 21, &[]),
    ("a big orange circle", 22, &[]),
    ("[a big orange circle:a big orange square:0.3]", 22, &[]),
    ("[a big orange circle:a big orange square:0.8]", 22, &[]),
    ("a big [orange|purple] circle", 22, &[]),
    ("a green triangle AND a night background", 23, &[]),
    ("a green triangle AND a night background :0.5", 23, &[]),
    ("a purple star above a yellow ring", 23, &[]),
    ("a purple star above a yellow ring", 23, &["--clip-skip", "2"]),
    ("a star", 24, &[]),
    ("a star", 24, &["--negative-prompt", "a brown star"]),
    ("a circle", 25, &[]),
    ("a circle", 25, &["--negative-prompt", "a red circle"]),
];

#[rustfmt::skip]
const PICTURES: [Picture; 16] = [
    ("a red circle above a blue square", 1, &[]),
    ("a yellow star at night", 2, &[]),
    ("a green triangle to the left of a purple ring", 3, &[]),
    ("a pink heart on a sky background", 4, &[]),
    ("a small orange star inside a big blue circle", 5, &[]),
    ("a striped red square", 6, &[]),
    ("a white heart on a black background", 7, &[]),
    ("a cyan diamond below a brown cross on a pink background", 8, &[]),
    ("a big purple star at sunset", 9, &[]),
    ("a dotted blue circle right of a yellow triangle", 10, &[]),
    ("a red heart inside a white square on a green background", 11, &[]),
    ("a small pink ring on a meadow", 12, &[]),
    (SAME, 13, &[]),
    (SAME, 13, &["--model", CHALK]),
    (SAME, 13, &["--lora", "models/demo/outlines.safetensors"]),
    (SAME, 13, &["--vae", "models/demo/vae-washed.safetensors"]),
];
/// The settings of all pictures, the demo model's and others'.
const SETTINGS: [&str; 2] = ["--cfg-scale", "7"];
const COLUMNS: usize = 4;
/// The number of times that a pixel is repeated, and the white space between pictures, in pixels.
const SCALE: usize = 2;
const GAP: usize = 8;

/// A picture, 3 bytes a pixel.
struct Rgb {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

/// Draws the pictures with the command as people use it: all sheets, or those named.
pub fn run(names: &[&str]) -> Outcome {
    let known: Vec<&str> = SHEETS
        .iter()
        .map(|sheet| sheet.name)
        .chain(["pictures"])
        .collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!(
            "no sheet is called {unknown}; there are {}",
            known.join(", ")
        ));
    }
    // With the features of the whole workspace, so that what the tests have built is used.
    run_command(cargo().args(["build", "--release", "--workspace", "--bin", "sdrs"]))?;
    let folder = root().join("docs/gallery");
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let out = folder.join("one.png");
    let _ = fs::remove_file(root().join(CHALK));
    run_command(program(built().join("release/sdrs")).args(MAKE_CHALK))?;
    let wanted = |sheet: &&Sheet| names.is_empty() || names.contains(&sheet.name);
    for Sheet { name, pictures, .. } in SHEETS.iter().filter(wanted) {
        let mut drawn = Vec::new();
        for (prompt, seed, more) in *pictures {
            let mut command = program(built().join("release/sdrs"));
            let seed = seed.to_string();
            command
                .args(["txt2img", prompt, "--seed", &seed])
                .args(SETTINGS)
                .args(*more);
            run_command(command.args(["-o", "docs/gallery/one.png"]))?;
            drawn.push(read(&out)?);
        }
        fs::remove_file(&out).map_err(|e| format!("{}: {e}", out.display()))?;
        write(&folder.join(format!("{name}.png")), &sheet(&drawn))?;
        println!("docs/gallery/{name}.png: {} pictures", drawn.len());
    }
    fs::remove_file(root().join(CHALK)).map_err(|e| format!("{CHALK}: {e}"))?;
    if names.is_empty() || names.contains(&"pictures") {
        from_pictures(&folder)?;
    }
    fs::write(folder.join("README.md"), page()).map_err(|e| format!("docs/gallery/README.md: {e}"))
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
    write(&root().join(MASK), &mask)?;
    let mut drawn = Vec::new();
    for (name, from, words) in FROM_PICTURES {
        let mut command = program(built().join("release/sdrs"));
        match from {
            Some(from) if words == ["replay"] => command.arg("replay").arg(path(from)),
            Some(from) => command.arg("img2img").arg(path(from)).args(words).args(SETTINGS),
            None => command.args(words).args(SETTINGS),
        };
        run_command(command.arg("-o").arg(path(name)))?;
        drawn.push(read(&path(name))?);
    }
    for (name, ..) in FROM_PICTURES {
        fs::remove_file(path(name)).map_err(|e| format!("{}: {e}", path(name).display()))?;
    }
    fs::remove_file(root().join(MASK)).map_err(|e| format!("{MASK}: {e}"))?;
    write(&folder.join("pictures.png"), &sheet(&drawn))?;
    println!("docs/gallery/pictures.png: {} pictures", drawn.len());
    Ok(())
}

/// The folder that cargo builds in.
fn built() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
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
        let quoted = words.iter().map(|word| match word.contains(' ') {
            true => format!("\"{word}\""),
            false => word.replace("docs/gallery/", ""),
        });
        let words: Vec<String> = quoted.collect();
        text += &format!(
            "| {name} | {} | `{}` |\n",
            from.unwrap_or_default(),
            words.join(" ")
        );
    }
    text += SAMPLERS;
    text
}

fn sheet(pictures: &[Rgb]) -> Rgb {
    let side = |of: fn(&Rgb) -> usize| pictures.iter().map(of).max().unwrap_or(0) * SCALE + GAP;
    let (cell_width, cell_height) = (side(|p| p.width), side(|p| p.height));
    let width = COLUMNS * cell_width + GAP;
    let height = pictures.len().div_ceil(COLUMNS) * cell_height + GAP;
    let mut bytes = vec![255; 3 * width * height];
    for (i, picture) in pictures.iter().enumerate() {
        let (left, top) = (GAP + i % COLUMNS * cell_width, GAP + i / COLUMNS * cell_height);
        for y in 0..picture.height * SCALE {
            for x in 0..picture.width * SCALE {
                let from = 3 * (y / SCALE * picture.width + x / SCALE);
                let to = 3 * ((top + y) * width + left + x);
                bytes[to..to + 3].copy_from_slice(&picture.bytes[from..from + 3]);
            }
        }
    }
    Rgb { width, height, bytes }
}

fn read(path: &Path) -> Outcome<Rgb> {
    let fail = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let file = File::open(path).map_err(|e| fail(&e))?;
    let mut reader = png::Decoder::new(BufReader::new(file))
        .read_info()
        .map_err(|e| fail(&e))?;
    let size = reader.output_buffer_size().ok_or_else(|| fail(&"too large"))?;
    let mut bytes = vec![0; size];
    let info = reader.next_frame(&mut bytes).map_err(|e| fail(&e))?;
    if (info.color_type, info.bit_depth) != (png::ColorType::Rgb, png::BitDepth::Eight) {
        return Err(fail(&"not RGB of 8 bits"));
    }
    bytes.truncate(info.buffer_size());
    Ok(Rgb {
        width: info.width as usize,
        height: info.height as usize,
        bytes,
    })
}

fn write(path: &Path, picture: &Rgb) -> Outcome {
    let fail = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let file = File::create(path).map_err(|e| fail(&e))?;
    let (width, height) = (picture.width as u32, picture.height as u32);
    let mut encoder = png::Encoder::new(BufWriter::new(file), width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    let mut writer = encoder.write_header().map_err(|e| fail(&e))?;
    writer.write_image_data(&picture.bytes).map_err(|e| fail(&e))?;
    writer.finish().map_err(|e| fail(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_stand_in_rows() {
        let picture = |value: u8| Rgb {
            width: 2,
            height: 1,
            bytes: vec![value; 6],
        };
        let sheet = sheet(&(0..5).map(picture).collect::<Vec<_>>());
        assert_eq!((sheet.width, sheet.height), (4 * 12 + 8, 2 * 10 + 8));
        let at = |x: usize, y: usize| sheet.bytes[3 * (y * sheet.width + x)];
        assert_eq!(
            [at(0, 0), at(8, 8), at(12, 8), at(20, 9), at(8, 18)],
            [255, 0, 255, 1, 4]
        );
    }
}
