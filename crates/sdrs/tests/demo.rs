//! The demo model's pictures against those that k-diffusion and diffusers make of it from the same seeds.
#![cfg(feature = "demo")]

use sdrs::{Pipeline, Sampler, Schedule};

/// As tools/goldens/demo.py has them, by seed.
const PROMPTS: [(i64, &str); 4] = [
    (1, "a red circle above a blue square"),
    (2, "a yellow star left of a purple heart on a night sky"),
    (3, "a small white diamond inside a big green ring"),
    (4, "a striped orange triangle on a meadow"),
];

fn pixels(path: &str) -> Vec<u8> {
    let file = std::fs::File::open(goldens::root().join(path)).unwrap();
    let mut decoder = png::Decoder::new(std::io::BufReader::new(file));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    pixels
}

#[test]
fn pictures_are_the_references() {
    let pipeline = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .demo()
        .device("cpu")
        .build()
        .unwrap();
    let runs = [
        ("euler-uniform", Sampler::Euler, Schedule::Uniform),
        ("dpmpp_2m-karras", Sampler::DpmPp2m, Schedule::Karras),
    ];
    for (name, sampler, schedule) in runs {
        for (seed, prompt) in PROMPTS {
            let request = pipeline
                .txt2img(prompt)
                .sampler(sampler)
                .schedule(schedule)
                .seed(seed);
            let output = request.steps(20).cfg_scale(5.0).run().unwrap();
            let psnr = goldens::psnr(&output.images[0].rgb, &pixels(&format!("demo/{name}-{seed}.png")));
            println!("{name} {seed}: {psnr:.1} dB");
            assert!(psnr >= 45.0, "{name} {seed}: {psnr:.1} dB");
        }
    }
}
