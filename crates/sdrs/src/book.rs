//! The Rust of the book and of README: it compiles, and what is not marked `no_run` runs. `cargo xtask book` tells a page that is not here.

macro_rules! pages {
    ($($name:ident: $path:literal,)*) => {$(
        #[doc = include_str!(concat!("../../../", $path))]
        struct $name;
    )*};
}

pages! {
    Readme: "README.md",
    FirstPicture: "docs/start/first-picture.md",
    OwnCheckpoint: "docs/start/own-checkpoint.md",
    KitchenCfgScale: "docs/kitchen/cfg-scale.md",
    KitchenCheckpoint: "docs/kitchen/checkpoint.md",
    KitchenClipSkip: "docs/kitchen/clip-skip.md",
    KitchenEmbedding: "docs/kitchen/embedding.md",
    KitchenEnsd: "docs/kitchen/ensd.md",
    KitchenHires: "docs/kitchen/hires.md",
    KitchenLora: "docs/kitchen/lora.md",
    KitchenNegativePrompt: "docs/kitchen/negative-prompt.md",
    KitchenPrompt: "docs/kitchen/prompt.md",
    KitchenSampler: "docs/kitchen/sampler.md",
    KitchenSchedule: "docs/kitchen/schedule.md",
    KitchenSeed: "docs/kitchen/seed.md",
    KitchenSteps: "docs/kitchen/steps.md",
    KitchenStrength: "docs/kitchen/strength.md",
    KitchenVae: "docs/kitchen/vae.md",
    HowLoop: "docs/how/loop.md",
    HowOverview: "docs/how/overview.md",
    SettingsFromAPicture: "docs/recipes/settings-from-a-picture.md",
    ConvertAndMerge: "docs/recipes/convert-and-merge.md",
    LoraDoesNotWork: "docs/recipes/lora-does-not-work.md",
    LowMemory: "docs/recipes/low-memory.md",
    ManyPictures: "docs/recipes/many-pictures.md",
    ServersAndThreads: "docs/recipes/servers-and-threads.md",
    InAnApplication: "docs/recipes/in-an-application.md",
    Weights: "docs/weights.md",
    Pictures: "docs/pictures.md",
}
