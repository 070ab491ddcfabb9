//! The memory that a run takes, by its settings, its prompts' LoRAs and its inputs.

use sd_core::prompt::Prompt;

use super::Request;
use crate::{
    GenerateParams, Lora, MemoryPlan, Result,
    model::Work,
    run::{
        hires::{Enlargement, second_pass},
        start::Inputs,
    },
    text::Prompts,
};

impl Request<'_> {
    /// The part of the CPU's memory that this run takes, with the layers that its prompts' LoRAs change and the pictures that it encodes; a
    /// GPU's own memory is not counted. Nothing is drawn. `memory_limit` is held against the same plan.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) if a value is out of its range or a LoRA that a prompt names is not found,
    /// [`Error::Lora`](crate::Error::Lora) if it can't be used.
    pub fn memory_plan(&self) -> Result<MemoryPlan> {
        let own = self.components;
        let (mut params, limits) = (self.params.clone(), own.model.limits());
        own.model.recommended.settle(&self.given, &mut params);
        let inputs = self.resumed.as_ref().map_or(&self.inputs, |state| &state.inputs);
        inputs.settle_size(&mut params, limits.downscale);
        let size = params.validate(&limits)?;
        let enlargement = Enlargement::new(&params.hires, size, limits.downscale, &own.upscalers)?;
        let work = self.work(&params, inputs, size, enlargement.as_ref())?;
        Ok(MemoryPlan::new(&own.models(), &own.model.target, &work))
    }

    /// What the run does, whose first pass has this size.
    pub(super) fn work<'a>(
        &self,
        params: &'a GenerateParams,
        inputs: &Inputs,
        size: [u32; 2],
        enlargement: Option<&Enlargement>,
    ) -> Result<Work<'a>> {
        let own = self.components;
        let passes = [size].into_iter().chain(enlargement.map(|it| it.size));
        let passes: Vec<[u32; 2]> = passes.collect();
        let mut encoded = inputs.encoded_sizes(params, &passes, &own.model);
        encoded.extend(enlargement.and_then(Enlargement::encoded));
        let mut work = Work {
            encoded,
            passes,
            ..Work::picture(size, params)
        };
        let mut models: Vec<Vec<Lora>> = Vec::new();
        let second = enlargement.map(|_| second_pass(params));
        for params in [Some(params), second.as_ref()].into_iter().flatten() {
            let tagged = self.tagged.loras(own, &positive(params))?;
            let loras = tagged.as_ref().unwrap_or(&own.loras);
            if let Some(steady) = loras.steady_patches() {
                work.scheduled.push([loras.patches(), steady]);
            }
            // Passes with the same LoRAs draw with one model.
            let all: Vec<Lora> = loras.iter().cloned().collect();
            if tagged.is_some() && !models.contains(&all) {
                work.siblings.push(loras.patches());
                models.push(all);
            }
        }
        Ok(work)
    }
}

fn positive(params: &GenerateParams) -> Prompt {
    let text = &params.text;
    Prompts::read(&text.prompt, &text.negative_prompt, &params.reading()).positive
}
