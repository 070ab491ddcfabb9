//! The U-Net of each step, where LoRAs follow a schedule.

use std::sync::Arc;

use sd_core::{models::UNet, weights::Loaded};
use sd_sched::Plan;

use super::Loras;
use crate::{
    Error, Result,
    model::{Model, Runtime},
};

/// The U-Net of those steps of a run that differ from the model's own. One is alive at a time, and kept until another is needed, so that a
/// LoRA that comes or goes is applied once for all pictures.
#[derive(Default)]
pub(crate) struct ScheduledUnet {
    /// For each step a factor for each LoRA; empty if none has a schedule.
    factors: Vec<Vec<f64>>,
    /// The last U-Net, and the factors that it was made for.
    last: Option<(Vec<f64>, Arc<Loaded<UNet>>)>,
}

impl ScheduledUnet {
    /// # Errors
    /// [`Error::InvalidParameter`] if the sampler doesn't know its steps, or a weight leaves its range at some.
    pub fn new(loras: &Loras, plan: &Plan) -> Result<Self> {
        if loras.iter().all(|lora| lora.lora_schedule().is_none()) {
            return Ok(Self::default());
        }
        if plan.is_adaptive() {
            let reason =
                "it finds its steps on the way, which a LoRA's schedule is over: take another sampler";
            return Err(Error::parameter("sampler", reason));
        }
        let mut factors = vec![Vec::new(); plan.steps()];
        for lora in loras.iter() {
            let own = match lora.lora_schedule() {
                Some(schedule) => schedule.factors(factors.len()),
                None => vec![1.0; factors.len()],
            };
            if let Some(most) = own.iter().max_by(|a, b| a.abs().total_cmp(&b.abs())) {
                lora.clone().unet(lora.unet_weight() * most).check()?;
            }
            for (all, factor) in factors.iter_mut().zip(own) {
                all.push(factor);
            }
        }
        Ok(Self { factors, last: None })
    }

    /// Whether a step, counted from 0, has another U-Net than the one before it.
    pub fn changes_at(&self, step: usize) -> bool {
        let scaled = |step: usize| {
            let factors = self.factors.get(step)?;
            factors.iter().any(|factor| *factor != 1.0).then_some(factors)
        };
        step.checked_sub(1)
            .is_some_and(|before| scaled(before) != scaled(step))
    }

    /// The U-Net of a step, counted from 0: the model's, where all LoRAs have their own weights.
    ///
    /// # Errors
    /// As [`Pipeline::with_loras`](crate::Pipeline::with_loras).
    pub fn at(
        &mut self,
        step: usize,
        model: &Model,
        loras: &Loras,
        runtime: &Runtime,
    ) -> Result<Arc<Loaded<UNet>>> {
        let factors = self.factors.get(step);
        let Some(factors) = factors.filter(|all| all.iter().any(|factor| *factor != 1.0)) else {
            return Ok(model.unet.clone());
        };
        if let Some((_, same)) = self.last.as_ref().filter(|(made_for, _)| made_for == factors) {
            return Ok(same.clone());
        }
        // Before its successor takes memory.
        self.last = None;
        if runtime.limits_memory() {
            runtime.let_idle_memory_go();
        }
        let scaled = loras.iter().zip(factors);
        let scaled = scaled.map(|(lora, factor)| lora.clone().unet(lora.unet_weight() * factor));
        let loras = loras.replaced(scaled.collect(), &model.checkpoint, runtime)?;
        let what = format_args!("changed LoRAs for step {}", step + 1);
        let unet = runtime.timed(what, || Ok(Loaded::with_patches(&model.unet, &loras.patches())?))?;
        self.last = Some((factors.clone(), unet.clone()));
        Ok(unet)
    }
}
