//! The devices of this machine.

use sdrs::DeviceInfo;

use crate::{Failure, out::print, plan::size};

#[derive(clap::Args)]
pub struct Args {
    /// Print JSON, with memory in bytes.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let devices = sdrs::devices();
    print(&match args.json {
        true => {
            let json = serde_json::to_string_pretty(&devices).expect("plain data");
            format!("{json}\n")
        }
        false => table(&devices, &sdrs::available_devices()),
    })
}

/// A row for each device, what "auto" takes, and the kinds that this build looks for.
fn table(devices: &[DeviceInfo], kinds: &[&str]) -> String {
    let memory = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), size);
    let mut rows = vec![["device", "name", "kind", "memory", "free", "types"].map(str::to_owned)];
    rows.extend(devices.iter().map(|device| {
        let types: Vec<&str> = device.dtypes.iter().map(|dtype| dtype.name()).collect();
        [
            device.name.clone(),
            device.title.clone(),
            device.class.title().to_owned(),
            memory(device.memory),
            memory(device.free_memory),
            match types.is_empty() {
                true => "none: its driver can't open it".to_owned(),
                false => types.join(", "),
            },
        ]
    }));
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells = row
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(column, (cell, width))| match column {
                3 | 4 => format!("{cell:>width$}"),
                _ => format!("{cell:width$}"),
            });
        let line = cells.collect::<Vec<_>>().join("  ");
        text += &format!("{}\n", line.trim_end());
    }
    if let Some(default) = devices.iter().find(|device| device.is_default) {
        text += &format!(
            "\nBy itself a run takes {}, and computes in {} there.\n",
            default.name, default.default_dtype
        );
    }
    if !kinds.iter().any(|kind| ["cuda", "vulkan"].contains(kind)) {
        text += "This program was built without GPUs: the features cuda, cuda-nvrtc and vulkan add them.\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_a_row_for_each() {
        let devices = sdrs::devices();
        let text = table(&devices, &["cpu"]);
        assert!(text.starts_with("device"), "{text}");
        assert!(text.contains("\ncpu"), "{text}");
        assert!(text.contains("By itself a run takes "), "{text}");
        assert!(text.contains("built without GPUs"), "{text}");
        assert!(!table(&devices, &["cpu", "vulkan"]).contains("built without"));
    }
}
