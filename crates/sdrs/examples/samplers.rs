//! A contact sheet of the demo model: every sampler (rows) with every schedule (columns), one prompt, one seed, half size.
//!
//!     cargo run --release -p sdrs --features demo --example samplers -- docs/gallery/samplers.png [STEPS]
//!
//! It prints the order of rows and columns, and every picture that differs much from most others: where a combination leaves
//! artefacts, it shows there first.

use std::{fs::File, io::BufWriter};

use sdrs::{Pipeline, Sampler, Schedule};

const PROMPT: &str = "a red circle above a blue square";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: samplers OUT.png [STEPS]")?;
    let steps = args.next().map_or(Ok(20), |steps| steps.parse())?;
    let pipeline = Pipeline::builder().demo().device("cpu").build()?;
    let (samplers, schedules) = (Sampler::ALL, Schedule::ALL);
    println!(
        "columns: {}",
        schedules
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    );

    let (mut sheet, mut side) = (Vec::new(), 0);
    let mut pictures = Vec::new();
    for &sampler in samplers {
        println!("row: {sampler}");
        for &schedule in schedules {
            let request = pipeline.txt2img(PROMPT).sampler(sampler).schedule(schedule);
            let image = request
                .steps(steps)
                .cfg_scale(4.0)
                .seed(1)
                .run()?
                .images
                .swap_remove(0);
            side = image.width as usize;
            pictures.push((format!("{sampler}, {schedule}"), image.rgb));
        }
    }
    // Half the size: a sheet of all is large enough.
    let half = side / 2;
    for row in pictures.chunks(schedules.len()) {
        for y in 0..half {
            for (_, rgb) in row {
                for x in 0..half {
                    for channel in 0..3 {
                        let at = |dx: usize, dy: usize| {
                            u16::from(rgb[3 * ((2 * y + dy) * side + 2 * x + dx) + channel])
                        };
                        sheet.push(((at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1) + 2) / 4) as u8);
                    }
                }
            }
        }
    }
    let mut encoder = png::Encoder::new(
        BufWriter::new(File::create(path)?),
        (half * schedules.len()) as u32,
        (half * samplers.len()) as u32,
    );
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    encoder.write_header()?.write_image_data(&sheet)?;

    // The median picture, value by value, is what nearly all agree on.
    let median: Vec<u8> = (0..pictures[0].1.len())
        .map(|i| {
            let mut values: Vec<u8> = pictures.iter().map(|(_, rgb)| rgb[i]).collect();
            values.sort_unstable();
            values[values.len() / 2]
        })
        .collect();
    for (name, rgb) in &pictures {
        let difference: u64 = rgb
            .iter()
            .zip(&median)
            .map(|(a, b)| u64::from(a.abs_diff(*b)))
            .sum();
        let mean = difference as f64 / rgb.len() as f64;
        if mean > 20.0 {
            println!("far from the others: {name} ({mean:.0} of 255 on average)");
        }
    }
    Ok(())
}
