use std::path::PathBuf;

use sdrs::Inspection;

use crate::{Failure, out::print};

#[derive(clap::Args)]
pub struct Args {
    /// A file of weights (.safetensors, .ckpt, .gguf and the like) or a diffusers folder.
    path: PathBuf,
    /// Print JSON, with the file's metadata.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let found = sdrs::inspect(&args.path)?;
    if args.json {
        let json = serde_json::to_string_pretty(&found).expect("plain data");
        return print(&format!("{json}\n"));
    }
    print(&table(&found))
}

fn table(found: &Inspection) -> String {
    let mut lines = vec![
        found.path.clone(),
        format!("  kind         {}", found.kind),
        format!("  layout       {}", found.layout),
        format!(
            "  family       {}",
            found
                .architecture
                .map_or_else(|| found.family.to_string(), str::to_owned)
        ),
    ];
    lines.extend(
        found
            .variant
            .iter()
            .map(|variant| format!("  made for     {variant}")),
    );
    lines.extend(
        found
            .adapter
            .iter()
            .map(|adapter| format!("  adapter      {adapter}")),
    );
    let channels = found.in_channels.iter();
    lines.extend(channels.map(|channels| format!("  U-Net input  {channels} channels")));
    let prediction = found.prediction_type.as_deref().unwrap_or("not marked");
    lines.push(format!("  prediction   {prediction}"));
    lines.extend(
        found
            .prediction_reason
            .iter()
            .map(|reason| format!("               {reason}")),
    );
    if found.zero_terminal_snr {
        lines.push("  zero terminal SNR".into());
    }
    let lacks = found.lacks.iter();
    lines.extend(lacks.map(|part| format!("  lacks        {}", part.name())));
    let half = found.vae_half.iter();
    lines.extend(half.map(|half| format!("  of the VAE   {half} alone")));
    for (name, part) in &found.parts {
        let dtypes: Vec<String> = part
            .dtypes
            .iter()
            .map(|(dtype, n)| format!("{n} {dtype}"))
            .collect();
        lines.push(format!(
            "  {name:<12} {} tensors, {} values ({})",
            part.tensors,
            part.parameters,
            dtypes.join(", ")
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}
