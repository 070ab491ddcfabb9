//! A second model that goes on with a run: SDXL's refiner (Podell et al. 2023, arXiv:2307.01952).

use sd_sched::{DenoiseCall, Denoised, ModelSampling};

use super::{
    Components,
    call_state::CallState,
    guide::{Guidance, GuidanceState},
    predict::{Batch, Changes, Predictor},
};
use crate::{GenerateParams, Result, params::Tiles, text::Conditioning};

/// The call at which the refiner takes over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Switch {
    /// The share of the way, 0 to 1.
    at: f64,
    /// Whether the way is counted in steps; else in timesteps.
    by_steps: bool,
    /// Calls of the denoiser that the WebUI expects.
    calls: usize,
}

impl Switch {
    pub fn new(params: &GenerateParams) -> Self {
        Self {
            at: params.sampling.refiner_switch_at,
            by_steps: params.sampling.refiner_by_steps,
            calls: params.reading().steps.base,
        }
    }

    /// Whether a call is beyond it, by the WebUI's rules: that of 1.9, or the older one, which counts steps.
    fn is_over(self, call: &DenoiseCall, sampling: &ModelSampling) -> bool {
        let way = match self.by_steps {
            true => call.call as f64 / self.calls as f64,
            false => {
                let trained = sampling.train_steps();
                (trained - 1 - sampling.nearest_index(call.sigma)) as f64 / trained as f64
            }
        };
        way >= self.at
    }
}

/// What a refiner takes over with in a pass: the prompts, encoded by its own text encoder, and guidance of its own network.
pub(crate) struct Refiner {
    pub conditioning: Conditioning,
    pub guidance: Guidance,
    pub switch: Switch,
}

impl Refiner {
    /// It at the calls of so many pictures, whose latents have this shape.
    pub fn pictures<'a>(
        &'a self,
        count: usize,
        components: &'a Components,
        changes: Changes,
        (shape, tiles): ([usize; 4], Option<&'a Tiles>),
        cancelled: &'a dyn Fn() -> bool,
    ) -> Refining<'a> {
        let Components { model, runtime, .. } = components;
        let predictor = Predictor {
            model,
            runtime,
            conditioning: &self.conditioning,
            changes: changes.within(model.unet.branches()),
            guidance: model.guidance_embedding(self.guidance.cfg_scale),
            shape,
            concat: None,
            tiles,
            cancelled,
            cache: Default::default(),
            steady: Default::default(),
        };
        Refining {
            predictor,
            guidance: &self.guidance,
            states: vec![GuidanceState::default(); count],
            switch: self.switch,
            has_begun: false,
        }
    }
}

/// A refiner at the pictures of a run that are drawn together.
pub(crate) struct Refining<'a> {
    predictor: Predictor<'a>,
    guidance: &'a Guidance,
    /// For each picture.
    states: Vec<GuidanceState>,
    switch: Switch,
    has_begun: bool,
}

impl Refining<'_> {
    /// Itself, if a call is its own: from the first one on that is, also where a sampler goes back to more noise.
    /// `sampling` is the base's.
    pub fn at(&mut self, call: &DenoiseCall, sampling: &ModelSampling) -> Option<&mut Self> {
        let Predictor { model, runtime, .. } = self.predictor;
        if !self.has_begun && self.switch.is_over(call, sampling) {
            self.has_begun = true;
            runtime.info(|| format!("{} takes over at step {}", model.name, call.step + 1));
        }
        self.has_begun.then_some(self)
    }

    /// What it hands on to step `next` of a picture, if it has taken over.
    pub fn call_state(&self, picture: usize, next: usize) -> Result<Option<CallState>> {
        let state = self.has_begun.then(|| {
            let guidance = (picture, &self.states[picture]);
            CallState::new(&self.predictor, guidance, (next, true))
        });
        state.transpose()
    }

    /// Goes on as one that has taken over, with the only picture.
    pub fn resume(&mut self, state: CallState) {
        self.has_begun = true;
        self.predictor.restore(&state.cache);
        self.states = vec![state.guidance];
    }

    /// As [`Guidance::denoise`].
    pub fn denoise(&mut self, batch: Batch<'_>) -> Result<Vec<Denoised<Vec<f32>>>> {
        let unet = &self.predictor.model.unet;
        self.guidance
            .denoise(&mut self.predictor, &mut self.states, batch, unet)
    }
}

#[cfg(test)]
mod tests {
    use sd_sched::{BetaSchedule, Dialect, Prediction};

    use super::*;

    /// The calls of 20, at falling noise levels of a model of 1000 timesteps, that are the refiner's.
    fn first(at: f64, by_steps: bool) -> Option<usize> {
        let mut params = GenerateParams::default();
        (
            params.sampling.refiner_switch_at,
            params.sampling.refiner_by_steps,
        ) = (at, by_steps);
        let betas = BetaSchedule::ScaledLinear {
            start: 0.00085,
            end: 0.012,
        };
        let sampling = ModelSampling::from_betas(betas, 1000, Prediction::Epsilon, Dialect::WebUi).unwrap();
        let switch = Switch::new(&params);
        (0..20).find(|&call| {
            // Timesteps 999, 949, .. 49.
            let timestep = 999 - 50 * call;
            let call = DenoiseCall {
                sigma: sampling.sigmas()[timestep],
                timestep: timestep as f64,
                step: call,
                call,
                needs_uncond: false,
            };
            switch.is_over(&call, &sampling)
        })
    }

    #[test]
    fn the_switch_is_the_webuis() {
        // Of 1000 timesteps 800 are over at 199.
        assert_eq!(first(0.8, false), Some(16));
        assert_eq!(first(0.801, false), Some(17));
        assert_eq!((first(0.0, false), first(1.0, false)), (Some(0), None));
        assert_eq!(first(0.8, true), Some(16));
        assert_eq!(first(0.81, true), Some(17));
        assert_eq!((first(0.0, true), first(1.0, true)), (Some(0), None));
    }
}
