use std::path::PathBuf;

use crate::Failure;

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
        println!("{json}");
        return Ok(());
    }
    println!("{}", found.path);
    println!("  kind         {}", found.kind);
    println!("  layout       {}", found.layout);
    println!("  family       {}", found.family);
    if let Some(variant) = found.variant {
        println!("  made for     {variant}");
    }
    if let Some(adapter) = found.adapter {
        println!("  adapter      {adapter}");
    }
    if let Some(channels) = found.in_channels {
        println!("  U-Net input  {channels} channels");
    }
    println!(
        "  prediction   {}",
        found.prediction_type.as_deref().unwrap_or("not marked")
    );
    if let Some(reason) = &found.prediction_reason {
        println!("               {reason}");
    }
    if found.zero_terminal_snr {
        println!("  zero terminal SNR");
    }
    for part in &found.lacks {
        println!("  lacks        {}", part.name());
    }
    if let Some(half) = found.vae_half {
        println!("  of the VAE   {half} alone");
    }
    for (name, part) in &found.parts {
        let dtypes: Vec<String> = part
            .dtypes
            .iter()
            .map(|(dtype, n)| format!("{n} {dtype}"))
            .collect();
        println!(
            "  {name:<12} {} tensors, {} values ({})",
            part.tensors,
            part.parameters,
            dtypes.join(", ")
        );
    }
    Ok(())
}
