//! Everything that pictures are drawn with.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sd_core::{
    checkpoint::Checkpoint,
    prompt::{LoraTag, Prompt},
    weights::TensorFile,
};

use crate::{
    EmptyNegativeRule, GenerateParams, Given, Lora, PromptPlan, Result, Upscaler,
    lora::{LoraFolders, Loras, lora_tags},
    model::{AddedNumbers, Model, Models, Runtime},
    params::Reading,
    text::{Conditioning, Embeddings, Encoder, Planner, Prompts, RowCache},
};

/// A model with its LoRAs, textual inversions and runtime. A clone shares everything.
#[derive(Clone)]
pub(crate) struct Components {
    pub model: Model,
    pub loras: Loras,
    pub lora_folders: Arc<LoraFolders>,
    /// The textual inversions that were given, without those of LoRAs.
    own_embeddings: Arc<Embeddings>,
    pub embeddings: Arc<Embeddings>,
    rows: Arc<RowCache>,
    /// Networks that enlarge pictures, by their names.
    pub upscalers: Arc<Vec<Arc<Upscaler>>>,
    /// What takes over from the model on the way, with its autoencoder and without LoRAs.
    pub refiner: Option<Arc<Self>>,
    pub runtime: Runtime,
}

impl Components {
    /// Components around a model whose weights have these LoRAs already.
    pub fn new(
        model: Model,
        loras: Loras,
        lora_folders: Arc<LoraFolders>,
        embeddings: Embeddings,
        upscalers: Vec<Arc<Upscaler>>,
        runtime: Runtime,
    ) -> Result<Self> {
        let own_embeddings = Arc::new(embeddings);
        Ok(Self {
            embeddings: own_embeddings.with_bundled(&loras, &model)?,
            own_embeddings,
            rows: RowCache::new(&model).into(),
            model,
            loras,
            lora_folders,
            upscalers: upscalers.into(),
            refiner: None,
            runtime,
        })
    }

    /// The models that draw.
    pub fn models(&self) -> Models<'_> {
        let refiner = self.refiner.as_ref();
        Models {
            base: &self.model.checkpoint,
            patches: self.loras.patches(),
            refiner: refiner.map(|refiner| &*refiner.model.checkpoint),
            tiny_vae: self.model.vae.tiny(),
        }
    }

    /// Lets go of all text encoders, the refiner's too; whether any were there.
    pub fn let_go_text_encoders(&self) -> bool {
        let refiner = self.refiner.as_ref();
        let refiner = refiner.is_some_and(|refiner| refiner.model.let_go_text_encoders());
        self.model.let_go_text_encoders() || refiner
    }

    /// The same with the autoencoder of another checkpoint.
    pub fn with_vae(&self, checkpoint: Checkpoint) -> Result<Self> {
        Ok(Self {
            model: self.model.with_vae(checkpoint, &self.runtime)?,
            ..self.clone()
        })
    }

    /// The same with a tiny autoencoder for its own.
    pub fn with_tiny_vae(&self, file: TensorFile) -> Result<Self> {
        Ok(Self {
            model: self.model.with_tiny_vae_for_own(file, &self.runtime)?,
            ..self.clone()
        })
    }

    /// The same with other LoRAs, which share what neither they nor its own change.
    pub fn with_loras(&self, loras: Vec<Lora>) -> Result<Self> {
        let loras = self
            .loras
            .replaced(loras, &self.model.checkpoint, &self.runtime)?;
        let mut other = self.clone();
        other.model = self.model.with_patches(&loras.patches())?;
        other.embeddings = self.own_embeddings.with_bundled(&loras, &self.model)?;
        other.loras = loras;
        let mut encoders = other.model.text_encoders.iter().zip(&self.model.text_encoders);
        if !encoders.all(|(new, old)| new.network.is(&old.network))
            || !Arc::ptr_eq(&other.embeddings, &self.embeddings)
        {
            other.rows = RowCache::new(&other.model).into();
        }
        Ok(other)
    }

    /// The bytes that the same with other LoRAs takes beside this.
    pub fn bytes_of_loras(&self, loras: Vec<Lora>) -> Result<u64> {
        let model = &self.model;
        let loras = self
            .loras
            .replaced(loras, &model.checkpoint, &Runtime::default())?;
        let [bytes, _] = self.models().sibling_bytes(&loras.patches(), &model.target);
        Ok(bytes)
    }

    /// Replaces the LoRAs, old weights going one by one as new ones are made; what a `sibling` has is shared with it. If that fails, nothing
    /// has changed.
    pub fn set_loras(&mut self, loras: Vec<Lora>, sibling: Option<&Self>) -> Result<()> {
        let loras = self
            .loras
            .replaced(loras, &self.model.checkpoint, &self.runtime)?;
        let embeddings = self.own_embeddings.with_bundled(&loras, &self.model)?;
        let sibling = sibling.map(|sibling| &sibling.model);
        self.model
            .set_patches(&self.loras.patches(), &loras.patches(), sibling)?;
        self.loras = loras;
        self.embeddings = embeddings;
        self.rows = RowCache::new(&self.model).into();
        Ok(())
    }

    /// Encodes texts that are read so.
    pub fn encoder<'a>(&'a self, reading: &'a Reading, cancelled: &'a dyn Fn() -> bool) -> Encoder<'a> {
        Encoder {
            model: &self.model,
            embeddings: &self.embeddings,
            rows: &self.rows,
            runtime: &self.runtime,
            reading,
            cancelled,
        }
    }

    /// Reads and encodes prompts for calls of single networks, whose weights can't follow a tag.
    pub fn condition(
        &self,
        prompt: &str,
        negative_prompt: &str,
        reading: &Reading,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Conditioning> {
        let prompts = Prompts::read(prompt, negative_prompt, reading);
        self.loras.check_tags(&lora_tags(&prompts.positive)?)?;
        Conditioning::new(&prompts, &self.encoder(reading, cancelled), None, false)
    }

    /// Encodes the prompts of a run for pictures of this width and height, and the empty prompt if it is needed as well.
    pub fn condition_run(
        &self,
        prompts: &Prompts,
        reading: &Reading,
        (params, given): (&GenerateParams, &Given),
        (size, also_empty): ([u32; 2], bool),
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Conditioning> {
        let numbers = self.model.added_numbers();
        let zeros = match params.conditioning.empty_negative_rule {
            EmptyNegativeRule::WebUi => numbers.is_some(),
            EmptyNegativeRule::Diffusers => {
                numbers == Some(AddedNumbers::Sizes) && !given.contains("negative_prompt")
            }
            EmptyNegativeRule::Comfy => false,
        };
        let reading = &Reading {
            clip_skip: match self.model.heeds_clip_skip() {
                true => reading.clip_skip,
                false => 1,
            },
            ..*reading
        };
        let sizes = self.model.size_vectors(&params.conditioning, size);
        let encoder = self.encoder(reading, cancelled);
        let conditioning = Conditioning::new(prompts, &encoder, sizes, zeros)?;
        match also_empty {
            true => conditioning.with_empty(&encoder),
            false => Ok(conditioning),
        }
    }

    /// Says what will be encoded for a picture.
    pub fn plan_prompts(&self, params: &GenerateParams) -> Result<PromptPlan> {
        params.validate(&self.model.limits())?;
        let reading = params.reading();
        let texts = [params.text.prompt.as_str(), &params.text.negative_prompt];
        let prompts = Prompts::read(texts[0], texts[1], &reading);
        let embeddings = self.embeddings_for(&prompts.positive)?;
        let planner = Planner {
            tokenizer: &self.model.text_encoder().tokenizer,
            names: &embeddings.names,
            resolves: &|tag| self.resolves(tag),
            length: self.model.chunk_length(),
            reading,
        };
        planner.plan(texts, &prompts)
    }

    /// Whether a run would have the LoRA that a tag asks for.
    fn resolves(&self, tag: &LoraTag) -> bool {
        self.loras.find(&tag.name, &self.lora_folders).is_ok()
    }

    /// The textual inversions of a run: the pipeline's, and those of the LoRAs that tags ask for, as far as these are found.
    fn embeddings_for(&self, prompt: &Prompt) -> Result<Arc<Embeddings>> {
        let mut tags = lora_tags(prompt)?;
        tags.retain(|(tag, _)| self.resolves(tag));
        let loras = self.loras.tagged(&tags, &self.lora_folders)?;
        if loras.iter().eq(self.loras.iter()) {
            return Ok(self.embeddings.clone());
        }
        let loras = self
            .loras
            .replaced(loras, &self.model.checkpoint, &self.runtime)?;
        self.own_embeddings.with_bundled(&loras, &self.model)
    }
}

/// The components that the last prompt with LoRA tags was drawn with.
#[derive(Default)]
pub(crate) struct Tagged(Mutex<Option<Arc<Components>>>);

impl Tagged {
    /// The components that a prompt's tags ask for; `None` if they are the pipeline's `own`.
    pub fn components(&self, own: &Components, prompt: &Prompt) -> Result<Option<Arc<Components>>> {
        let loras = own.loras.tagged(&lora_tags(prompt)?, &own.lora_folders)?;
        if loras.iter().eq(own.loras.iter()) {
            // The plan of this run doesn't have it.
            if own.runtime.limits_memory() {
                *self.cached() = None;
            }
            return Ok(None);
        }
        let last = self.cached().take();
        if let Some(last) = last {
            if last.loras.are(&loras)? {
                *self.cached() = Some(last.clone());
                return Ok(Some(last));
            }
            // Its memory serves the next ones, unless another run still draws with it. Where memory is limited it goes first: for a while there
            // would be layers of both.
            if !own.runtime.limits_memory()
                && let Ok(mut last) = Arc::try_unwrap(last)
            {
                last.set_loras(loras, Some(own))?;
                return Ok(Some(self.cached().insert(last.into()).clone()));
            }
        }
        let made = Arc::new(own.with_loras(loras)?);
        Ok(Some(self.cached().insert(made).clone()))
    }

    /// The LoRAs of these components, bound to the model without changing its weights; `None` if they are the pipeline's `own`.
    pub fn loras(&self, own: &Components, prompt: &Prompt) -> Result<Option<Loras>> {
        let loras = own.loras.tagged(&lora_tags(prompt)?, &own.lora_folders)?;
        if loras.iter().eq(own.loras.iter()) {
            return Ok(None);
        }
        let last = self.cached().clone();
        if let Some(last) = last
            && last.loras.are(&loras)?
        {
            return Ok(Some(last.loras.clone()));
        }
        // A run will tell what it opens.
        own.loras
            .replaced(loras, &own.model.checkpoint, &Runtime::default())
            .map(Some)
    }

    fn cached(&self) -> MutexGuard<'_, Option<Arc<Components>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A copy of everything that draws, on a device of its own.
pub(crate) struct Replica {
    pub components: Components,
    pub tagged: Tagged,
}

impl From<Components> for Replica {
    fn from(components: Components) -> Self {
        Self {
            components,
            tagged: Tagged::default(),
        }
    }
}

impl Replica {
    /// Replaces the LoRAs. If that fails, nothing has changed.
    pub fn set_loras(&mut self, loras: Vec<Lora>) -> Result<()> {
        self.components.set_loras(loras, None)?;
        self.tagged = Tagged::default();
        Ok(())
    }
}
