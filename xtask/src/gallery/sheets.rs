//! The sheets of pictures, and the page's words about them.

/// A picture: prompt, seed, and further options of the command.
pub(super) type Picture = (&'static str, u32, &'static [&'static str]);

/// A sheet of pictures and the page's words about it.
pub(super) struct Sheet {
    pub name: &'static str,
    pub about: &'static str,
    pub pictures: &'static [Picture],
}

/// A checkpoint in another style, which is there while the pictures are drawn, and how it is made.
pub(super) const CHALK: &str = "docs/gallery/chalk.safetensors";
pub(super) const MAKE_CHALK: [&str; 5] = [
    "convert",
    "models/demo/base",
    CHALK,
    "--lora",
    "models/demo/chalk-lora.safetensors",
];

/// The prompt that is drawn with every model.
pub(super) const SAME: &str = "a yellow star above a red square";

pub(super) const SHEETS: [Sheet; 3] = [
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
/// The sheet of pictures from pictures: what is written, from which picture of the sheet, the words of the command. `MASK` is a picture whose
/// lower half is white.
#[rustfmt::skip]
pub(super) const FROM_PICTURES: [(&str, Option<&str>, &[&str]); 12] = [
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
pub(super) const MASK: &str = "docs/gallery/mask.png";

/// About the sheet that an example of the crate `sdrs` makes.
pub(super) const SAMPLERS: &str = "
![every sampler with every schedule](samplers.png)

Every sampler (rows) with every schedule (columns): one prompt, one seed, 30 steps, cfg 4, half size; made by `cargo run --release -p
sdrs --features demo --example samplers -- docs/gallery/samplers.png 30`, which prints the names of rows and columns. What differs is
the methods' own: each is compared with its reference implementation to 1e-5 or better. Linear Quadratic spends half of its steps
on the largest noise levels and was made for other models. Samplers of order 3 and 4 (DPM++ 3M SDE, IPNDM_V, SA-Solver) overshoot
where neighbouring steps differ much in size (Beta, Align Your Steps); IPNDM_V loses itself on two such schedules. With few steps
that happens sooner, and PLMS and IPNDM join them.
";
