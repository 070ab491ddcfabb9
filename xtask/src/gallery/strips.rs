//! Strips of pictures for the book: one setting over its values.

use super::sheets::{CHALK, SAME};

/// A strip and the page's words about it.
pub(super) struct Strip {
    pub name: &'static str,
    pub about: &'static str,
    /// The words of the command that all pictures share.
    pub all: &'static [&'static str],
    /// Each picture's own.
    pub own: &'static [&'static [&'static str]],
}

/// A picture to begin at, which is there while the strips are drawn, and how it is made.
pub(super) const START: &str = "docs/gallery/start.png";
pub(super) const MAKE_START: [&str; 4] = ["txt2img", SAME, "--seed", "13"];

/// Embeddings between two words, which are there likewise ([`super::blend`]).
pub(super) const MIXES: &str = "docs/gallery/mixes";
pub(super) const MIXED: [&str; 2] = ["circle", "square"];

const HEART: &str = "a green heart left of a purple circle";
const OUTLINES: [&str; 5] = [
    "models/demo/outlines.safetensors:0",
    "models/demo/outlines.safetensors:0.4",
    "models/demo/outlines.safetensors:1",
    "models/demo/outlines.safetensors:1.5",
    "models/demo/outlines.safetensors:-1",
];
const WASHED: &str = "models/demo/vae-washed.safetensors";

#[rustfmt::skip]
pub(super) const STRIPS: [Strip; 15] = [
    Strip {
        name: "checkpoint",
        about: "Three prompts with the demo model, then with a checkpoint in another style",
        all: &["txt2img"],
        own: &[
            &[SAME, "--seed", "13"],
            &[HEART, "--seed", "14"],
            &["a pink heart on a sky background", "--seed", "4"],
            &[SAME, "--seed", "13", "--model", CHALK],
            &[HEART, "--seed", "14", "--model", CHALK],
            &["a pink heart on a sky background", "--seed", "4", "--model", CHALK],
        ],
    },
    Strip {
        name: "lora",
        about: "A LoRA of thick outlines over its weight",
        all: &["txt2img", HEART, "--seed", "14"],
        own: &[
            &["--lora", OUTLINES[0]], &["--lora", OUTLINES[1]], &["--lora", OUTLINES[2]], &["--lora", OUTLINES[3]],
            &["--lora", OUTLINES[4]],
        ],
    },
    Strip {
        name: "vae",
        about: "Three prompts with the demo's VAE, then with one that washes colours out",
        all: &["txt2img"],
        own: &[
            &[SAME, "--seed", "13"],
            &[HEART, "--seed", "14"],
            &["a pink heart on a sky background", "--seed", "4"],
            &[SAME, "--seed", "13", "--vae", WASHED],
            &[HEART, "--seed", "14", "--vae", WASHED],
            &["a pink heart on a sky background", "--seed", "4", "--vae", WASHED],
        ],
    },
    Strip {
        name: "embedding",
        about: "An embedding on the way from the word \"circle\" to the word \"square\"",
        all: &["txt2img", "--seed", "22", "--embedding", MIXES],
        own: &[
            &["a big orange mix0"], &["a big orange mix20"], &["a big orange mix40"], &["a big orange mix60"],
            &["a big orange mix100"],
        ],
    },
    Strip {
        name: "clip-skip",
        about: "CLIP skip",
        all: &["txt2img", "a purple star above a yellow ring", "--seed", "23"],
        own: &[&["--clip-skip", "1"], &["--clip-skip", "2"], &["--clip-skip", "3"], &["--clip-skip", "4"]],
    },
    Strip {
        name: "prompt",
        about: "A prompt that says more and more",
        all: &["txt2img", "--seed", "3"],
        own: &[
            &[""], &["a star"], &["a yellow star"], &["a small yellow star at night"],
            &["a small yellow star above a red square at night"],
        ],
    },
    Strip {
        name: "negative-prompt",
        about: "A negative prompt",
        all: &["txt2img", "a circle"],
        own: &[
            &["--seed", "25"],
            &["--seed", "25", "--negative-prompt", "a purple circle"],
            &["--seed", "26"],
            &["--seed", "26", "--negative-prompt", "a purple circle"],
            &["--seed", "27"],
            &["--seed", "27", "--negative-prompt", "a purple circle"],
        ],
    },
    Strip {
        name: "cfg-scale",
        about: "CFG scale",
        all: &["txt2img", "a purple star above a yellow ring", "--seed", "23"],
        own: &[
            &["--cfg-scale", "1"], &["--cfg-scale", "2"], &["--cfg-scale", "7"], &["--cfg-scale", "12"],
            &["--cfg-scale", "25"],
        ],
    },
    Strip {
        name: "steps",
        about: "Steps",
        all: &["txt2img", HEART, "--seed", "14"],
        own: &[
            &["--steps", "1"], &["--steps", "4"], &["--steps", "6"], &["--steps", "10"], &["--steps", "60"],
        ],
    },
    Strip {
        name: "sampler",
        about: "Three samplers at 6 steps, then at 40",
        all: &["txt2img", "a purple star above a yellow ring", "--seed", "23", "--schedule", "karras"],
        own: &[
            &["--sampler", "Euler", "--steps", "6"], &["--sampler", "DPM++ 2M", "--steps", "6"], &["--sampler", "Euler a", "--steps", "6"],
            &["--sampler", "Euler", "--steps", "40"], &["--sampler", "DPM++ 2M", "--steps", "40"], &["--sampler", "Euler a", "--steps", "40"],
        ],
    },
    Strip {
        name: "schedule",
        about: "Schedules at six steps of Euler",
        all: &["txt2img", "a purple star above a yellow ring", "--seed", "23", "--steps", "6", "--sampler", "Euler"],
        own: &[
            &["--schedule", "uniform"], &["--schedule", "karras"], &["--schedule", "exponential"], &["--schedule", "beta"],
            &["--schedule", "linear quadratic"],
        ],
    },
    Strip {
        name: "seed",
        about: "Seeds",
        all: &["txt2img", "a heart at sunset"],
        own: &[&["--seed", "1"], &["--seed", "2"], &["--seed", "3"], &["--seed", "4"], &["--seed", "5"], &["--seed", "6"]],
    },
    Strip {
        name: "ensd",
        about: "ENSD with an ancestral sampler, then with one that draws no noise on its way",
        all: &["txt2img", "a star at night", "--seed", "2"],
        own: &[
            &["--sampler", "Euler a", "--ensd", "0"], &["--sampler", "Euler a", "--ensd", "1"], &["--sampler", "Euler a", "--ensd", "31337"],
            &["--sampler", "Euler", "--ensd", "0"], &["--sampler", "Euler", "--ensd", "1"], &["--sampler", "Euler", "--ensd", "31337"],
        ],
    },
    Strip {
        name: "strength",
        about: "A picture drawn over with another prompt",
        all: &["img2img", START, "a green heart above a blue circle", "--seed", "1"],
        own: &[
            &["--strength", "0"], &["--strength", "0.1"], &["--strength", "0.2"], &["--strength", "0.3"],
            &["--strength", "1"],
        ],
    },
    Strip {
        name: "hires",
        about: "128 pixels a side at once, then by a second pass over 96",
        all: &["txt2img", SAME, "--seed", "13"],
        own: &[
            &["--width", "128", "--height", "128"],
            &["--hires-width", "128", "--hires-height", "128", "--strength", "0.3"],
            &["--hires-width", "128", "--hires-height", "128", "--strength", "0.7"],
            &["--hires-width", "128", "--hires-height", "128", "--hires-upscaler", "Lanczos", "--strength", "0.3"],
        ],
    },
];
