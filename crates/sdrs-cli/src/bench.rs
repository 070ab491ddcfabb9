//! How fast this machine is in each type.

use clap::ValueEnum;
use sdrs::{Family, Quantization, TypeSpeed, type_speeds};

use crate::{
    Failure,
    out::{interruptible, note, print},
};

#[derive(clap::Args)]
pub struct Args {
    /// The models whose U-Net is timed, with made-up weights.
    #[arg(long, value_enum, default_value_t = Model::Sd1)]
    family: Model,
    /// The side of the pictures, a multiple of 64. At 512, SD1's own size, it takes four times as long.
    #[arg(long, value_name = "PIXELS", default_value_t = 256)]
    size: u32,
    /// The number of threads [default: one for each core].
    #[arg(long)]
    threads: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Model {
    Sd1,
    Sdxl,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let family = match args.family {
        Model::Sd1 => Family::Sd1,
        Model::Sdxl => Family::Sdxl,
    };
    if !args.json {
        note(format_args!(
            "a step of {family} at {0}x{0}, both halves of guidance, on the CPU:",
            args.size
        ));
    }
    let told = |speed: &TypeSpeed| {
        if !args.json {
            note(format_args!("{}: {:.2} s", name(speed), speed.seconds));
        }
    };
    let speeds = type_speeds(family, args.size, args.threads, &interruptible(), told)?;
    print(&match args.json {
        true => json(&speeds),
        false => table(&speeds),
    })
}

/// The options that choose it.
fn options(speed: &TypeSpeed) -> String {
    match speed.quantization {
        Quantization::Int8 => "--quantization int8".into(),
        _ if speed.is_default => "(the default)".into(),
        _ => format!("--dtype {}", speed.dtype),
    }
}

fn name(speed: &TypeSpeed) -> String {
    match speed.quantization {
        Quantization::None => speed.dtype.to_string(),
        other => other.name().to_owned(),
    }
}

fn json(speeds: &[TypeSpeed]) -> String {
    let row = |speed: &TypeSpeed| {
        serde_json::json!({
            "type": name(speed),
            "default": speed.is_default,
            "seconds": speed.seconds,
            "weight_bytes": speed.weight_bytes,
        })
    };
    let rows: Vec<_> = speeds.iter().map(row).collect();
    format!("{}\n", serde_json::Value::Array(rows))
}

fn table(speeds: &[TypeSpeed]) -> String {
    let Some(default) = speeds.iter().find(|speed| speed.is_default) else {
        return String::new();
    };
    let mut text = format!(
        "{:6} {:>10} {:>9} {:>11}\n",
        "type", "s a step", "times", "weights"
    );
    for speed in speeds {
        text += &format!(
            "{:6} {:10.2} {:9.2} {:8.2} GB  {}\n",
            name(speed),
            speed.seconds,
            default.seconds / speed.seconds,
            speed.weight_bytes as f64 / 1e9,
            options(speed)
        );
    }
    text + &advice(speeds, default)
}

/// A type that is faster than the default by less is not worth a word.
const WORTH: f64 = 1.1;

/// What to take.
fn advice(speeds: &[TypeSpeed], default: &TypeSpeed) -> String {
    let gain = |speed: &TypeSpeed| default.seconds / speed.seconds;
    let better = |speed: &&TypeSpeed| gain(speed) >= WORTH;
    let whole = speeds
        .iter()
        .filter(|speed| speed.quantization == Quantization::None);
    let mut text = match whole
        .clone()
        .filter(better)
        .max_by(|a, b| gain(a).total_cmp(&gain(b)))
    {
        Some(faster) => format!(
            "Take {}: it is {:.1} times as fast as the default here.",
            options(faster),
            gain(faster)
        ),
        None => "Take the default.".to_owned(),
    };
    if let Some(int8) = speeds
        .iter()
        .find(|speed| speed.quantization == Quantization::Int8)
    {
        text += &match gain(int8) {
            gain if gain >= WORTH => format!(
                " --quantization int8 is {gain:.1} times as fast as the default and draws nearly the same picture."
            ),
            gain => format!(
                " --quantization int8 saves memory alone: here it is {gain:.1} times as fast, and pictures change a little."
            ),
        };
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_advises_what_is_faster() {
        let cancel = sdrs::CancelToken::new();
        let mut speeds = type_speeds(Family::Sd1, 64, None, &cancel, |_| {}).unwrap();
        assert_eq!(
            speeds.iter().map(name).collect::<Vec<_>>(),
            ["f32", "bf16", "int8"]
        );
        assert_eq!(speeds.iter().filter(|speed| speed.is_default).count(), 1);
        // In memory the weights have as many bits as the file's 16, or half of these.
        let bytes: Vec<u64> = speeds.iter().map(|speed| speed.weight_bytes >> 20).collect();
        assert!(bytes[..2].iter().all(|n| (1600..1700).contains(n)), "{bytes:?}");
        assert!((800..900).contains(&bytes[2]), "{bytes:?}");
        assert!(speeds.iter().all(|speed| speed.seconds > 0.0));
        let parsed: serde_json::Value = serde_json::from_str(&json(&speeds)).unwrap();
        assert_eq!(parsed[2]["type"], "int8");

        for (i, seconds) in [2.0, 3.0, 1.0].into_iter().enumerate() {
            speeds[i].seconds = seconds;
            speeds[i].is_default = i == 0;
        }
        let text = table(&speeds);
        assert!(
            text.contains("Take the default. --quantization int8 is 2.0 times as fast as the default"),
            "{text}"
        );
        (speeds[1].seconds, speeds[2].seconds) = (1.0, 4.0);
        let text = table(&speeds);
        assert!(
            text.contains("Take --dtype bf16: it is 2.0 times as fast"),
            "{text}"
        );
        assert!(
            text.contains("int8 saves memory alone: here it is 0.5 times"),
            "{text}"
        );
        cancel.cancel();
        let cancelled = type_speeds(Family::Sd1, 64, None, &cancel, |_| {});
        assert!(matches!(cancelled, Err(sdrs::Error::Cancelled)));
        let new = sdrs::CancelToken::new();
        for (family, size, word) in [
            (Family::Sd2, 64, "family: "),
            (Family::Sd1, 0, "size: "),
            (Family::Sd1, 100, "size: "),
        ] {
            let error = type_speeds(family, size, None, &new, |_| {}).unwrap_err();
            assert!(error.to_string().starts_with(word), "{error}");
        }
    }
}
