//! The U-Net of each step, where LoRAs follow a schedule.

use std::{cell::RefCell, sync::Arc};

use sd_core::{models::UNet, weights::Loaded};
use sd_sched::Plan;

use crate::{Error, Pipeline, Result, lora};

/// A run's steps, and the U-Net of those that differ from the pipeline's own. One is alive at a time, and kept until another is needed, so
/// that a LoRA that comes or goes is applied once for all pictures.
#[derive(Default)]
pub(crate) struct Phases {
    /// For each step a factor for each LoRA; empty if none has a schedule.
    factors: Vec<Vec<f64>>,
    made: RefCell<Option<Made>>,
}

/// A U-Net, and the factors that it was made for.
struct Made {
    factors: Vec<f64>,
    unet: Arc<Loaded<UNet>>,
}

impl Phases {
    /// # Errors
    /// [`Error::InvalidParameter`] if the sampler doesn't know its steps, or a weight leaves its range at some.
    pub fn new(pipeline: &Pipeline, plan: &Plan) -> Result<Self> {
        if pipeline.loras().all(|lora| lora.lora_schedule().is_none()) {
            return Ok(Self::default());
        }
        if plan.is_adaptive() {
            let reason =
                "it finds its steps on the way, which a LoRA's schedule is over: take another sampler";
            return Err(Error::parameter("sampler", reason));
        }
        let mut factors = vec![Vec::new(); plan.steps()];
        for lora in pipeline.loras() {
            let own = match lora.lora_schedule() {
                Some(schedule) => schedule.factors(factors.len()),
                None => vec![1.0; factors.len()],
            };
            if let Some(most) = own.iter().max_by(|a, b| a.abs().total_cmp(&b.abs())) {
                lora::check(&lora.clone().unet(lora.unet_weight() * most))?;
            }
            for (all, factor) in factors.iter_mut().zip(own) {
                all.push(factor);
            }
        }
        Ok(Self {
            factors,
            made: RefCell::default(),
        })
    }

    /// The U-Net of a step, counted from 0: the pipeline's, where all LoRAs have their own weights.
    ///
    /// # Errors
    /// As [`Pipeline::with_loras`].
    pub fn unet(&self, pipeline: &Pipeline, step: usize) -> Result<Arc<Loaded<UNet>>> {
        let Some(factors) = self
            .factors
            .get(step)
            .filter(|all| all.iter().any(|factor| *factor != 1.0))
        else {
            return Ok(pipeline.unet.clone());
        };
        let mut made = self.made.borrow_mut();
        if let Some(same) = made.as_ref().filter(|made| made.factors == *factors) {
            return Ok(same.unet.clone());
        }
        // Before its successor takes memory.
        *made = None;
        let loras = pipeline.loras().zip(factors);
        let loras = loras.map(|(lora, factor)| lora.clone().unet(lora.unet_weight() * factor));
        let loras = lora::apply(
            loras.collect(),
            &pipeline.checkpoint,
            &pipeline.loras,
            &pipeline.runtime,
        )?;
        let what = format_args!("changed LoRAs for step {}", step + 1);
        let unet = pipeline.runtime.timed(what, || {
            Ok(Loaded::with_patches(&pipeline.unet, &lora::patches(&loras))?)
        })?;
        let factors = factors.clone();
        Ok(made.insert(Made { factors, unet }).unet.clone())
    }
}
