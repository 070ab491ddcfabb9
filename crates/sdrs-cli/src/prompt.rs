use std::path::PathBuf;

use sdrs::{GenerateParams, Pipeline, PlannedLora, PlannedPart, PromptPlan, Recommended, parse_sampler};

use crate::{Failure, out::print};

#[derive(clap::Args)]
pub struct Args {
    /// What the picture should show.
    prompt: String,
    /// What it should not show.
    #[arg(long, value_name = "TEXT", default_value = "")]
    negative_prompt: String,
    /// Sampling steps [default: what the model recommends, else 20].
    #[arg(long)]
    steps: Option<usize>,
    /// The sampler: some count steps double [default: what the model recommends, else DPM++ 2M].
    #[arg(long, value_name = "NAME")]
    sampler: Option<String>,
    #[command(flatten)]
    reading: Reading,
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

/// How prompts are read; the same options wherever there is a prompt.
#[derive(clap::Args)]
pub struct Reading {
    /// Whose prompt language is meant: webui or comfy [default: webui].
    #[arg(long, value_name = "NAME")]
    prompt_dialect: Option<String>,
    /// What weights in prompts do: original, no-norm, ignore or none [default: original].
    #[arg(long, value_name = "MODE")]
    emphasis: Option<String>,
    /// Read the numbers of prompt edits as before version 1.6 of the WebUI.
    #[arg(long)]
    old_prompt_times: bool,
    /// How many tokens back the last comma may lie for a long prompt to be cut there; 0 never does so.
    #[arg(long, value_name = "TOKENS", default_value_t = 20)]
    comma_backtrack: usize,
    /// Tokenize prompts as they are, without repairing typographic quotes and the like first.
    #[arg(long)]
    text_as_is: bool,
}

impl Reading {
    pub fn apply(&self, params: &mut GenerateParams) -> Result<(), Failure> {
        let usage = |e: sdrs::Error| Failure::Usage(e.to_string());
        if let Some(name) = &self.prompt_dialect {
            params.prompt_dialect = sdrs::parse_prompt_dialect(name).map_err(usage)?;
        }
        if let Some(mode) = &self.emphasis {
            params.emphasis = sdrs::parse_emphasis(mode).map_err(usage)?;
        }
        if self.old_prompt_times {
            params.time_rule = sdrs::TimeRule::Before16;
        }
        params.comma_backtrack = self.comma_backtrack;
        params.text_as_is |= self.text_as_is;
        Ok(())
    }
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let mut params = GenerateParams::default();
    params.prompt.clone_from(&args.prompt);
    params.negative_prompt.clone_from(&args.negative_prompt);
    args.reading.apply(&mut params)?;
    let mut given = Recommended::default();
    given.steps = args.steps;
    if let Some(name) = &args.sampler {
        let sampler = parse_sampler(name).map_err(|e| Failure::Usage(e.to_string()))?;
        given.sampler = Some(sampler.0);
    }
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
        (None, tokenizer) => {
            Recommended::default().settle(&given, &mut params);
            match tokenizer {
                Some(tokenizer) => sdrs::plan_prompts_with(tokenizer, &params)?,
                None => sdrs::plan_prompts(&params)?,
            }
        }
    };
    match args.json {
        true => print(&(serde_json::to_string_pretty(&plan).expect("plain data") + "\n")),
        false => print(&table(&plan)),
    }
}

/// A LoRA's strength on the U-Net, with its course and blocks if it has any.
fn course(lora: &PlannedLora) -> String {
    let mut told = match lora.course.as_slice() {
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
        told += &format!(" {mark} {when}");
    }
    match &lora.blocks {
        Some(blocks) => format!("{told}, blocks {blocks}"),
        None => told,
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
