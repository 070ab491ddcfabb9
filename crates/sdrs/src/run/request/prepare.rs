//! From a request to a run: settings are settled and checked, prompts encoded, passes planned, before the first step.

use std::sync::Arc;

use sd_core::prompt::Steps;
use sd_sched::{Plan, Start as PlanStart, plan};

use super::Request;
use crate::run::{
    Components,
    guide::{Guidance, Methods, UncondRule},
    hires::{Enlargement, second_pass},
    pass::Pass,
    predict::Changes,
    refiner::{Refiner, Switch},
    start::Start,
    unused::unused,
};
use crate::{
    Error, GenerateParams, PreviewMethod, Result, StrengthRule,
    lora::ScheduledUnet,
    model::UnetExtra,
    params::{Reading, Tiles, resolve_seed},
    text::Prompts,
};

/// Strengths that are not given (WebUI).
const IMAGE_STRENGTH: f64 = 0.75;
const HIRES_STRENGTH: f64 = 0.7;

/// Everything that the pictures of a run share.
pub(super) struct Run<'a> {
    /// The components of the pipeline that was asked to draw.
    pub own: &'a Components,
    /// The image that the first pass begins at.
    pub start: Option<Start>,
    /// One after the other: one at least.
    pub passes: Vec<Pass>,
    /// The way from the first pass to the second.
    pub enlargement: Option<Enlargement>,
    /// Names and hashes of the LoRAs.
    pub hashes: Vec<(String, String)>,
    pub seed: u64,
    pub variation_seed: u64,
}

impl Run<'_> {
    /// The first pass.
    pub fn first(&self) -> &Pass {
        &self.passes[0]
    }

    /// The pass whose latents are the result.
    pub fn result(&self) -> &Pass {
        self.passes.last().expect("a run has a pass")
    }
}

impl<'a> Request<'a> {
    /// Everything that is the same for all pictures.
    pub(super) fn prepare(&mut self) -> Result<Run<'a>> {
        let own = self.components;
        self.prepare_states()?;
        let taken = own.model.recommended.settle(&self.given, &mut self.params);
        if !taken.is_empty() {
            own.runtime
                .info(|| format!("as the checkpoint recommends: {taken}"));
        }
        for told in unused(&self.params, own, &self.inputs) {
            own.runtime.warn(told);
        }
        let limits = own.model.limits();
        self.inputs.settle_size(&mut self.params, limits.downscale);
        let size = self.params.validate(&limits)?;
        let enlargement = Enlargement::new(&self.params.hires, size, limits.downscale, &own.upscalers)?;
        self.settle_strength(enlargement.is_some());
        let params = &self.params;
        let fits = own.runtime.admit(&own.models(), &own.model.target, || {
            self.work(params, &self.inputs, size, enlargement.as_ref())
        })?;
        match self.previews {
            Some((_, 0)) => return Err(Error::parameter("preview_every", "must be 1 or more, not 0")),
            Some((PreviewMethod::Full, _)) => own.model.vae.can_decode()?,
            Some((PreviewMethod::Taesd, _)) => own.model.tiny_vae().map(drop)?,
            _ => {}
        }
        self.inputs.check(&own.model, params, enlargement.is_some())?;
        let first = params.reading();
        let begins_at_image = self.inputs.has_start();
        let goes = !(fits && own.runtime.keeps_text_encoders());
        let mut went = false;
        // Of one pass before those of the next are loaded.
        let mut let_go = |pass: &Pass| {
            for components in [own, pass.components(own)] {
                went |= goes && components.let_go_text_encoders();
            }
        };
        let mut passes = vec![self.pass(
            params,
            first,
            size,
            begins_at_image,
            [false, enlargement.is_none()],
        )?];
        let_go(&passes[0]);
        if let Some(enlargement) = &enlargement {
            let second = second_pass(params);
            let mut reading = second.reading();
            reading.steps = Steps {
                base: first.steps.base,
                hires: Some(reading.steps.base),
                rule: reading.steps.rule,
            };
            let pass = self.pass(&second, reading, enlargement.size, true, [true; 2])?;
            let_go(&pass);
            passes.push(pass);
        }
        if went {
            let why = if fits { "" } else { ", as memory_limit needs it" };
            own.runtime
                .info(|| format!("text encoders are let go until a text is new{why}"));
        }
        if let Some(state) = self
            .resumed
            .as_ref()
            .filter(|state| state.place.pass >= passes.len())
        {
            return Err(Error::InvalidFile {
                path: state.origin.clone(),
                reason: "is of a second pass, but its settings ask for none".into(),
            });
        }
        let mut hashes = Vec::new();
        for pass in &passes {
            let of_pass = pass.components(own).loras.hashes();
            hashes.extend(
                of_pass
                    .into_iter()
                    .filter(|hash| !hashes.contains(hash))
                    .collect::<Vec<_>>(),
            );
        }
        let start = self.inputs.start(params, size, &own.model, &own.runtime)?;
        for pass in &mut passes {
            let image = start.as_ref().filter(|_| pass.size == size);
            pass.concat = self
                .inputs
                .concat(image, (pass.size, params.wrap()), &own.model, &own.runtime)?;
        }
        Ok(Run {
            start,
            passes,
            enlargement,
            hashes,
            own,
            seed: resolve_seed(params.noise.seed),
            variation_seed: resolve_seed(params.noise.variation_seed),
        })
    }

    /// Checks the state that the run goes on from, and takes its inputs; and the place that states are written to.
    pub(super) fn prepare_states(&mut self) -> Result<()> {
        if let Some((0, _)) = &self.states {
            return Err(Error::parameter("save_states_every", "must be 1 or more, not 0"));
        }
        if let Some(folder) = &self.state_folder {
            std::fs::create_dir_all(folder).map_err(|e| Error::Write {
                path: folder.display().to_string(),
                reason: e.to_string(),
            })?;
        }
        let Some(state) = &mut self.resumed else {
            return Ok(());
        };
        if let Some(name) = self.inputs.first() {
            let reason = "a run that goes on from a state has the inputs that it began with; leave it out";
            return Err(Error::parameter(name, reason));
        }
        state.check(&self.params, self.components)?;
        self.inputs = state.inputs.clone();
        Ok(())
    }

    /// The strength that counts stands in the parameters, so that the infotext has it; none, where nothing heeds it.
    fn settle_strength(&mut self, hires: bool) {
        let (image, strength) = (self.inputs.has_start(), &mut self.params.image.strength);
        match (image, hires) {
            // What such a model keeps of the picture it sees beside the latents.
            (true, _) if self.components.model.unet_extra == UnetExtra::Image => {
                *strength = Some(strength.unwrap_or(1.0));
            }
            (true, _) => *strength = Some(strength.unwrap_or(IMAGE_STRENGTH)),
            (false, true) => *strength = Some(strength.unwrap_or(HIRES_STRENGTH)),
            (false, false) => {
                *strength = None;
            }
        }
    }

    /// A pass at this size. The refiner draws in the last one (WebUI).
    fn pass(
        &self,
        params: &GenerateParams,
        reading: Reading,
        size: [u32; 2],
        from_image: bool,
        [hires, is_last]: [bool; 2],
    ) -> Result<Pass> {
        let own = self.components;
        let prompts = Prompts::read(&params.text.prompt, &params.text.negative_prompt, &reading);
        let tagged = self.tagged.components(own, &prompts.positive)?;
        let components = tagged.as_deref().unwrap_or(own);
        let Components {
            model,
            loras,
            runtime,
            ..
        } = components;
        let start = match from_image {
            true => start_of(params, hires),
            false => PlanStart::Noise,
        };
        let sampling = params.sampling.noise_levels(&model.sampling)?;
        let options = params.sampling.plan_options(start, model.has_sdxl_schedules());
        let (sampler, schedule) = (params.sampling.sampler, params.sampling.schedule);
        let plan = plan(sampler, schedule, params.sampling.steps, &sampling, &options)?;
        for oddity in oddities(&plan, from_image) {
            runtime.warn(oddity);
        }
        let unets = ScheduledUnet::new(loras, &plan)?;
        let cancelled = || self.cancel.is_cancelled();
        let guided = |components: &Components| {
            let config = components.model.unet.config();
            let mut methods = Methods::new(params, config)?;
            if components.model.unet_extra == UnetExtra::Image {
                methods.image_scale = params.image.image_cfg_scale - 1.0;
            }
            let (params, also_empty) = ((params, &self.given), methods.need_empty());
            let conditioning =
                components.condition_run(&prompts, &reading, params, (size, also_empty), &cancelled)?;
            let guidance = Guidance {
                weights: conditioning.conds.iter().map(|(weight, _)| *weight).collect(),
                cfg_scale: params.0.guidance.cfg_scale * sampler.cfg_scale_multiplier(),
                rule: match config.time_cond_proj_dim {
                    Some(_) => UncondRule::never(),
                    None => UncondRule::new(params.0),
                },
                methods,
            };
            Ok((conditioning, guidance))
        };
        if model.unet.config().time_cond_proj_dim.is_some() {
            runtime.info(|| "the U-Net takes cfg_scale itself: the negative prompt is not used".into());
        }
        let (conditioning, guidance) = runtime.timed("encoded the prompts", || guided(components))?;
        let refiner = components.refiner.as_ref().filter(|_| is_last).map(|refiner| {
            let (conditioning, guidance) =
                runtime.timed("encoded the prompts for the refiner", || guided(refiner))?;
            Ok::<_, Error>(Refiner {
                conditioning,
                guidance,
                switch: Switch::new(params),
            })
        });
        let downscale = model.limits().downscale;
        let [width, height] = size.map(|side| (side / downscale) as usize);
        let tiles = Tiles::new(params, [height, width]);
        if let Some(tiles) = &tiles {
            if params.guidance.sag_scale != 0.0 {
                let reason = "self-attention guidance looks at whole pictures; 0 does without, or leave tiled_diffusion out";
                return Err(Error::parameter("sag_scale", reason));
            }
            runtime.info(|| format!("{} tiles at every call of the U-Net", tiles.count()));
        }
        Ok(Pass {
            plan,
            sampling,
            changes: Changes::new(params),
            size,
            shape: [1, model.vae.config().latent_channels, height, width],
            unets,
            guidance,
            conditioning,
            tagged,
            concat: None,
            tiles,
            refiner: refiner.transpose()?,
        })
    }
}

/// The place in the schedule at which a pass over an image begins.
fn start_of(params: &GenerateParams, hires: bool) -> PlanStart {
    let strength = params.image.strength.unwrap_or(1.0);
    let steps = params.sampling.steps as f64;
    match params.image.strength_rule {
        _ if hires => PlanStart::Image {
            strength,
            exact_steps: true,
        },
        StrengthRule::WebUi => PlanStart::Image {
            strength,
            exact_steps: false,
        },
        StrengthRule::Exact => PlanStart::Image {
            strength,
            exact_steps: true,
        },
        // The WebUI's rule runs one step more than it counts: here one less is counted.
        StrengthRule::Diffusers => PlanStart::Image {
            strength: (((steps * strength).floor() - 0.5) / steps).max(0.0),
            exact_steps: false,
        },
    }
}

/// Warnings of plans that give no picture, as in the WebUI.
fn oddities(plan: &Plan, from_image: bool) -> impl Iterator<Item = String> {
    let (sampler, schedule, start) = (plan.sampler(), plan.schedule(), plan.sigmas()[0]);
    let without_calls = (!plan.is_adaptive() && plan.calls() == 0).then(|| {
        format!(
            "{sampler} makes one step less than it is asked for, as in the WebUI: here none, and the picture is noise; take more steps"
        )
    });
    let late = (without_calls.is_none() && start < 1.0 && !from_image).then(|| {
        format!(
            "{schedule} with so few steps starts at sigma {start:.3}, as in the WebUI, where there is hardly any noise to remove: \
             the picture hardly forms; take more steps or another schedule"
        )
    });
    without_calls.into_iter().chain(late)
}

impl Pass {
    /// The components that draw.
    pub fn components<'a>(&'a self, own: &'a Components) -> &'a Components {
        let tagged: Option<&Arc<Components>> = self.tagged.as_ref();
        tagged.map_or(own, |tagged| tagged)
    }
}
