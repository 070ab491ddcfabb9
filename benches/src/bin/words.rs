//! Seconds of a CLIP and a BLIP, as `benches/words.py` counts those of PyTorch.
//!
//!     cargo run --release -p benches --bin words -- FOLDER PICTURE [REPEAT]
//!
//! FOLDER is of make_interrogation.py. A picture's vector, a caption of 32 new tokens, the vectors of the phrases in FOLDER/phrases.txt, and a
//! chain of mode "best". A JSON line for each.

use std::{path::Path, time::Instant};

use sdrs::{CaptionParams, InterrogateMode, Interrogator, Picture};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, picture, repeat @ ..] = args.as_slice() else {
        return Err("usage: words FOLDER PICTURE [REPEAT]".into());
    };
    let repeat: usize = repeat.first().map_or(Ok(3), |repeat| repeat.parse())?;
    let folder = Path::new(folder);
    let picture = Picture::open(picture)?;
    let phrases = std::fs::read_to_string(folder.join("phrases.txt"))?;
    let phrases: Vec<&str> = phrases.lines().collect();

    let start = Instant::now();
    let clip = Interrogator::builder()
        .clip(folder.join("clip"))
        .device("cpu")
        .build()?;
    report("CLIP's loading", &[start.elapsed().as_secs_f64()]);
    timed("a picture's vector", repeat, || {
        clip.embed_image(&picture).map(drop)
    })?;
    timed(&format!("vectors of {} phrases", phrases.len()), 1, || {
        clip.embed_texts(&phrases).map(drop)
    })?;
    // A step of a chain, of which there are up to 32: all phrases behind what the text says so far.
    let said = "a photograph of a lighthouse on a cliff above the sea at dawn, oil on canvas, by an unknown painter, trending on a website, ";
    let chain: Vec<String> = phrases
        .iter()
        .take(2048)
        .map(|phrase| format!("{said}{phrase}"))
        .collect();
    timed("a step of a chain, 2048 phrases", 1, || {
        clip.embed_texts(&chain).map(drop)
    })?;
    drop(clip);

    let start = Instant::now();
    let blip = Interrogator::builder()
        .blip(folder.join("blip"))
        .device("cpu")
        .build()?;
    report("BLIP's loading", &[start.elapsed().as_secs_f64()]);
    for beams in [1, 3] {
        let mut caption = CaptionParams::default();
        (caption.min_length, caption.max_length, caption.beams) = (Some(33), Some(33), Some(beams));
        timed(&format!("a caption of 32 tokens, beams {beams}"), repeat, || {
            let run = blip.interrogate(&picture).mode(InterrogateMode::Caption);
            run.caption_params(caption.clone()).run().map(drop)
        })?;
    }
    Ok(())
}

fn timed(what: &str, repeat: usize, run: impl Fn() -> Result<(), sdrs::Error>) -> Result<(), sdrs::Error> {
    let mut seconds = Vec::new();
    for _ in 0..repeat {
        let start = Instant::now();
        run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    report(what, &seconds);
    Ok(())
}

fn report(what: &str, seconds: &[f64]) {
    let mut seconds = seconds.to_vec();
    seconds.sort_by(f64::total_cmp);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
    println!(
        r#"{{"what": "{what}", "program": "sdrs", "median_s": {:.3}, "peak_gb": {:.2}}}"#,
        seconds[seconds.len() / 2],
        kilobytes.unwrap_or(0.0) * 1024.0 / 1e9,
    );
}
