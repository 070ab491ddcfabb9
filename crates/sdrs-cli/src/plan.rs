//! The memory that a run takes, before anything is loaded.

use std::path::PathBuf;

use sdrs::MemoryPlan;

use crate::{Failure, drawing::Drawing, out::print, pictures::read};

#[derive(clap::Args)]
pub struct Args {
    /// The prompt: the LoRAs that it names count.
    prompt: Option<String>,
    /// The picture to begin at, as of `sdrs img2img`.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// A picture of the same size: what of it is drawn anew.
    #[arg(long, value_name = "FILE", requires = "image")]
    mask: Option<PathBuf>,
    /// The number of such runs at once on one pipeline, as of a server.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    parallel: u16,
    /// Print JSON, in bytes.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub drawing: Drawing,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let (params, given) = args.drawing.params(args.prompt.as_deref())?;
    let image = args.image.as_deref().map(read).transpose()?;
    let mask = args.mask.as_deref().map(read).transpose()?;
    let (depth, limit) = (args.drawing.depth()?, args.drawing.memory_limit()?);
    let plan = args.drawing.builder()?.memory_plan(|run| {
        let run = run.params_and_given(params, given);
        run.image(image).mask(mask).depth(depth)
    })?;
    let told = Told {
        plan: plan.parallel(args.parallel.into()),
        limit,
        machine: machine(),
    };
    print(&match args.json {
        true => told.json(),
        false => told.table(),
    })
}

/// The memory of a machine, in bytes.
#[derive(Clone, Copy)]
struct Machine {
    all: u64,
    /// What programs can have without others being swapped out.
    available: u64,
}

/// This machine's memory, where the system tells it.
fn machine() -> Option<Machine> {
    let memory = sdrs::machine_memory()?;
    Some(Machine {
        all: memory.total,
        available: memory.free?,
    })
}

/// What takes less memory.
const SMALLER: &str = "a smaller size, --weight-dtype, --quantization int8 or --tiled-diffusion";

/// What people should know of a run that can't fit into this machine's memory.
pub fn too_much(plan: &MemoryPlan) -> Option<String> {
    let (least, all) = (plan.least(), machine()?.all);
    (least > all).then(|| {
        format!(
            "this takes {} of memory at least, and the machine has {}: the system may end it; take {SMALLER}",
            size(least),
            size(all)
        )
    })
}

/// A plan, and what it is held against.
struct Told {
    plan: MemoryPlan,
    limit: Option<u64>,
    machine: Option<Machine>,
}

impl Told {
    fn json(&self) -> String {
        let plan = &self.plan;
        let machine = self
            .machine
            .map(|machine| serde_json::json!({"all": machine.all, "available": machine.available}));
        let json = serde_json::json!({
            "weights": plan.weights,
            "text_encoders": plan.text_encoders,
            "unet": plan.unet,
            "vae": plan.vae,
            "loras": plan.loras,
            "lora_text_encoders": plan.lora_text_encoders,
            "encoding": plan.encoding,
            "denoising": plan.denoising,
            "decoding": plan.decoding,
            "other": plan.other,
            "runs": plan.runs,
            "least": plan.least(),
            "most": plan.most(),
            "limit": self.limit,
            "machine": machine,
            "fits": self.fits(),
        });
        format!("{json}\n")
    }

    fn table(&self) -> String {
        let plan = &self.plan;
        let each = if plan.runs > 1 { ", for each run" } else { "" };
        let mut rows = vec![
            ("text encoders", plan.text_encoders, "weights".to_owned()),
            ("U-Net", plan.unet, "weights".to_owned()),
            ("VAE", plan.vae, "weights".to_owned()),
        ];
        if plan.loras > 0 {
            rows.push(("LoRAs", plan.loras, format!("layers that they change{each}")));
        }
        if plan.encoding > 0 {
            rows.push(("encoding", plan.encoding, format!("in use at once{each}")));
        }
        rows.extend([
            (
                "a call of the U-Net",
                plan.denoising,
                format!("in use at once{each}"),
            ),
            ("decoding", plan.decoding, format!("in use at once{each}")),
            (
                "program",
                plan.other,
                "with vocabularies and pages of files".to_owned(),
            ),
            ("at least", plan.least(), self.least()),
            ("at most", plan.most(), "without a limit".to_owned()),
        ]);
        if let Some(machine) = self.machine {
            let available = format!("{} of it available", size(machine.available));
            rows.push(("this machine", machine.all, available));
        }
        let row =
            |(name, bytes, about): (&str, u64, String)| format!("{name:20} {:>9}  {about}\n", size(bytes));
        let table: String = rows.into_iter().map(row).collect();
        table + &self.advice()
    }

    fn least(&self) -> String {
        match self.plan.runs {
            1 => "the smallest --memory-limit that allows it".into(),
            runs => format!("{runs} runs at once"),
        }
    }

    /// Whether what is needed at least is there; nothing where it isn't known what there is.
    fn fits(&self) -> Option<bool> {
        let there = [self.limit, self.machine.map(|machine| machine.all)];
        let there = there.into_iter().flatten().min()?;
        Some(self.plan.least() <= there)
    }

    /// What to do where it is more than there is.
    fn advice(&self) -> String {
        let (least, most) = (self.plan.least(), self.plan.most());
        let smaller = format!("Take {SMALLER}.");
        match (self.limit, self.machine) {
            (Some(limit), _) if least > limit => {
                format!("It doesn't fit in --memory-limit, {}. {smaller}\n", size(limit))
            }
            (_, Some(machine)) if least > machine.all => {
                format!("It doesn't fit in this machine's memory. {smaller}\n")
            }
            (_, Some(machine)) if least > machine.available => {
                "It fits in this machine's memory if other programs leave it more.\n".into()
            }
            (None, Some(machine)) if most > machine.available => {
                format!(
                    "It fits; with --memory-limit {} it takes no more than that.\n",
                    amount(least)
                )
            }
            _ => String::new(),
        }
    }
}

/// For people.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..100_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// As `--memory-limit` reads it, rounded up.
fn amount(bytes: u64) -> String {
    format!("{}MB", bytes.div_ceil(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_whether_a_run_fits() {
        let builder = sdrs::Pipeline::builder()
            .checkpoint(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo/base"));
        let plan = builder.memory_plan(|run| run.width(192).height(128)).unwrap();
        let (least, most) = (plan.least(), plan.most());
        let told = |limit, all, available| Told {
            plan,
            limit,
            machine: Some(Machine { all, available }),
        };
        for (limit, all, available, fits, words) in [
            (None, 2 * most, 2 * most, true, ""),
            (None, 2 * most, least, true, "with --memory-limit"),
            (None, 2 * most, least - 1, true, "if other programs leave it more"),
            (
                None,
                least - 1,
                1,
                false,
                "It doesn't fit in this machine's memory",
            ),
            (
                Some(least - 1),
                2 * most,
                2 * most,
                false,
                "It doesn't fit in --memory-limit",
            ),
            (Some(least), 2 * most, least, true, ""),
        ] {
            let told = told(limit, all, available);
            assert_eq!(told.fits(), Some(fits));
            let advice = told.advice();
            assert!(
                advice.contains(words) && advice.is_empty() == words.is_empty(),
                "{advice}"
            );
        }
        let unknown = Told {
            plan,
            limit: None,
            machine: None,
        };
        assert_eq!((unknown.fits(), unknown.advice()), (None, String::new()));
        assert_eq!(too_much(&plan), None);
        let many = plan.parallel(1 << 40);
        if machine().is_some() {
            assert!(
                too_much(&many)
                    .unwrap()
                    .contains("of memory at least, and the machine has")
            );
        }
        // The amount that it names is enough.
        assert!(sdrs::parse_memory(&amount(least)).unwrap() >= least);
    }
}
