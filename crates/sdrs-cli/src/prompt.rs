use std::path::PathBuf;

use sdrs::{GenerateParams, Given, Pipeline, PlannedLora, PlannedPart, PromptPlan};

use crate::{Failure, out::print, settings::Settings};

#[derive(clap::Args)]
pub struct Args {
    /// The prompt: a description of the picture.
    prompt: String,
    #[command(flatten)]
    settings: Settings<false>,
    /// The checkpoint whose tokenizer is used [default: CLIP's own].
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// The tokenizer that is used: its folder, a diffusers folder, or a tokenizer.json [default: the checkpoint's].
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let (mut params, mut given) = (GenerateParams::default(), Given::default());
    params.text.prompt.clone_from(&args.prompt);
    args.settings.apply(&mut params, &mut given)?;
    let plan = match (&args.model, &args.tokenizer) {
        (Some(path), tokenizer) => {
            let mut builder = Pipeline::builder().checkpoint(path);
            if let Some(tokenizer) = tokenizer {
                builder = builder.tokenizer(tokenizer);
            }
            let pipeline = builder.build()?;
            pipeline.recommended().settle(&given, &mut params);
            pipeline.plan_prompts(&params)?
        }
        (None, Some(tokenizer)) => sdrs::plan_prompts_with(tokenizer, &params)?,
        (None, None) => sdrs::plan_prompts(&params)?,
    };
    match args.json {
        true => print(&(serde_json::to_string_pretty(&plan).expect("plain data") + "\n")),
        false => print(&table(&plan)),
    }
}

/// A LoRA's strength on the U-Net, with its course and blocks if it has any.
fn course(lora: &PlannedLora) -> String {
    let mut text = match lora.course.as_slice() {
        [] => lora.unet.to_string(),
        points => {
            let points: Vec<String> = points
                .iter()
                .map(|(weight, when)| format!("{weight}@{when}"))
                .collect();
            points.join(",")
        }
    };
    let marks = [("from", lora.start), ("until", lora.stop)];
    for (mark, when) in marks.into_iter().filter_map(|(mark, when)| Some((mark, when?))) {
        text += &format!(" {mark} {when}");
    }
    match &lora.blocks {
        Some(blocks) => format!("{text}, blocks {blocks}"),
        None => text,
    }
}

fn table(plan: &PromptPlan) -> String {
    let mut out = format!("{} calls of the U-Net\n", plan.calls);
    for lora in &plan.loras {
        out += &format!(
            "LoRA      {} (text encoder {}, U-Net {})\n",
            lora.name,
            lora.text_encoder,
            course(lora)
        );
    }
    for tag in &plan.unknown_tags {
        out += &format!("ignored   {}\n", tag.text);
    }
    for part in &plan.prompt {
        out += &part_table("prompt", part);
    }
    if plan
        .negative_prompt
        .texts
        .iter()
        .any(|text| !text.text.is_empty())
    {
        out += &part_table("negative", &plan.negative_prompt);
    }
    out
}

fn part_table(name: &str, part: &PlannedPart) -> String {
    let weight = if part.weight == 1.0 {
        String::new()
    } else {
        format!(" (weight {})", part.weight)
    };
    let mut out = format!("\n{name}{weight}\n");
    for text in &part.texts {
        out += &format!(
            "  calls {}-{}: {:?}\n",
            text.calls.start + 1,
            text.calls.end,
            text.text
        );
        for (i, chunk) in text.chunks.iter().enumerate() {
            let tokens = if chunk.len() == 1 { "token" } else { "tokens" };
            out += &format!("    chunk {}: {} {tokens}\n", i + 1, chunk.len());
            // Neighbours of one weight stand on one line.
            let same = |a: &sdrs::PlannedToken, b: &sdrs::PlannedToken| {
                a.weight == b.weight && a.embedding == b.embedding
            };
            for run in chunk.chunk_by(same) {
                let words: Vec<&str> = match &run[0].embedding {
                    Some(name) => vec![name],
                    None => run.iter().map(|token| token.text.as_str()).collect(),
                };
                let kind = if run[0].embedding.is_some() {
                    " embedding"
                } else {
                    ""
                };
                let ids: Vec<String> = run.iter().map(|token| token.id.to_string()).collect();
                out += &format!(
                    "      {:>6.3}{kind}  {}  [{}]\n",
                    run[0].weight,
                    words.join(" "),
                    ids.join(" ")
                );
            }
        }
    }
    out
}
