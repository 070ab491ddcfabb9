//! From prompts to what the U-Net is conditioned on at each call.

use std::sync::Arc;

use burn_tensor::Tensor;
use sd_core::{
    embedding::Embedding,
    prompt::{EmbeddingNames, Prompt, Side},
};

use crate::{Error, Pipeline, Result, encoder::Encoder, lora::Applied, params::Reading};

/// Prompts that AND may join; each is another call of the U-Net at every step.
const MOST_PARTS: usize = 100;

/// The textual inversions that a pipeline knows, their vectors by number.
#[derive(Default, Clone)]
pub(crate) struct Embeddings {
    pub names: EmbeddingNames,
    pub vectors: Vec<Vec<f32>>,
    /// Why some files of a folder are not among them.
    pub skipped: Vec<String>,
}

/// A prompt's encoded texts, and which of them holds for which call.
pub(crate) struct Timeline {
    /// `(end, index)`: rising ends.
    pub entries: Vec<(usize, usize)>,
    /// `[n, width]` each, all of one length.
    pub contexts: Vec<Vec<f32>>,
}

impl Timeline {
    /// One text for all calls.
    #[cfg(test)]
    pub fn fixed(context: Vec<f32>) -> Self {
        Self {
            entries: vec![(0, 0)],
            contexts: vec![context],
        }
    }

    /// The context of the first call.
    pub fn first(mut self) -> Vec<f32> {
        let at = self.at(0);
        self.contexts.swap_remove(at)
    }

    /// The text of a call, counted from 0. One that ends at step n is used in call n as well, and calls beyond the last end get the
    /// first text: so the WebUI has it.
    fn at(&self, call: usize) -> usize {
        let entry = self.entries.iter().find(|(end, _)| call <= *end);
        entry.or(self.entries.first()).map_or(0, |(_, index)| *index)
    }
}

/// What a run's U-Net calls are conditioned on.
pub(crate) struct Conditioning {
    /// What AND joins, each with its weight.
    pub conds: Vec<(f64, Timeline)>,
    pub uncond: Timeline,
    /// The width of a context.
    pub width: usize,
    /// The empty prompt, if shorter contexts are padded with it.
    pub padding: Option<Arc<[f32]>>,
}

/// The contexts of one call, `[1, n, width]`, in the order of [`Conditioning::indices`]; those that AND joins are of one length.
#[derive(Clone)]
pub(crate) struct Contexts(Vec<Tensor<3>>);

impl Contexts {
    /// Of one part: those that AND joins, then the negative prompt.
    pub fn part(&self, part: usize) -> &Tensor<3> {
        &self.0[part]
    }
}

impl Conditioning {
    /// Which texts hold for a call: the same for two calls, if their contexts are.
    pub fn indices(&self, call: usize) -> Vec<usize> {
        let all = self
            .conds
            .iter()
            .map(|(_, timeline)| timeline)
            .chain([&self.uncond]);
        all.map(|timeline| timeline.at(call)).collect()
    }

    /// The contexts for `indices`.
    pub fn contexts(&self, indices: &[usize], pipeline: &Pipeline) -> Contexts {
        let timelines = self
            .conds
            .iter()
            .map(|(_, timeline)| timeline)
            .chain([&self.uncond]);
        let mut texts: Vec<Vec<f32>> = timelines
            .zip(indices)
            .map(|(t, &i)| t.contexts[i].clone())
            .collect();
        let uncond = texts.len() - 1;
        // Prompts joined by AND go through the U-Net together: the shorter repeat their last vector.
        let longest = texts[..uncond].iter().map(Vec::len).max().unwrap_or(0);
        for text in &mut texts[..uncond] {
            while text.len() < longest {
                text.extend_from_within(text.len() - self.width..);
            }
        }
        if let Some(empty) = &self.padding {
            let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
            for text in &mut texts {
                while text.len() < longest {
                    text.extend_from_slice(empty);
                }
            }
        }
        let tensor = |text: Vec<f32>| {
            let shape = [1, text.len() / self.width, self.width];
            pipeline.tensor(text, shape)
        };
        Contexts(texts.into_iter().map(tensor).collect())
    }
}

impl Pipeline {
    /// Adds a textual inversion to the pipeline's own.
    pub(crate) fn add_embedding(&mut self, embedding: &Embedding) -> Result<()> {
        let mut own = std::mem::take(&mut self.own_embeddings);
        let added = self.add_embedding_to(&mut own, embedding);
        self.own_embeddings = own;
        added
    }

    /// The pipeline's own embeddings, and those that come along with these LoRAs. Where names are the same, its own count, then those
    /// of the first LoRA (WebUI).
    pub(crate) fn bundled(&self, loras: &[Arc<Applied>]) -> Result<Arc<Embeddings>> {
        let mut all = self.own_embeddings.clone();
        for applied in loras {
            for embedding in &applied.embeddings {
                if all.names.contains(&embedding.name) {
                    continue;
                }
                match self.add_embedding_to(&mut all, embedding) {
                    Err(error) if applied.lora.strengths().allow_unmatched => {
                        Arc::make_mut(&mut all).skipped.push(error.to_string());
                    }
                    added => added?,
                }
            }
        }
        Ok(all)
    }

    fn add_embedding_to(&self, embeddings: &mut Arc<Embeddings>, embedding: &Embedding) -> Result<()> {
        let path = || embedding.origin.clone();
        let refuse = |reason: String| Err(Error::InvalidFile { path: path(), reason });
        let (width, places) = (self.text_encoder.config().hidden_size, self.chunk_length());
        let Some(vectors) = embedding.of_width(width).filter(|_| embedding.parts.len() == 1) else {
            let widths: Vec<String> = embedding
                .parts
                .iter()
                .map(|part| part.width.to_string())
                .collect();
            let widths = widths.join(" and ");
            return refuse(format!(
                "its vectors have {widths} values, and this model's text encoder has {width}: it is for another kind of model"
            ));
        };
        if embedding.vectors() > places {
            return refuse(format!(
                "its {} vectors don't fit into the {places} places of the text encoder's input",
                embedding.vectors()
            ));
        }
        if embeddings.names.contains(&embedding.name) {
            let name = &embedding.name;
            let reason = format!("{}: there is another embedding named '{name}' already", path());
            return Err(Error::parameter("embedding", reason));
        }
        let embeddings = Arc::make_mut(embeddings);
        embeddings
            .names
            .add(&embedding.name, embedding.vectors(), &self.tokenizer)?;
        embeddings.vectors.push(vectors.values.clone());
        Ok(())
    }

    /// Names of the textual inversions that prompts may use.
    pub fn embeddings(&self) -> impl Iterator<Item = &str> {
        (0..self.embeddings.vectors.len()).filter_map(|i| self.embeddings.names.name(i))
    }

    /// Which files of embedding folders were passed over, and why.
    pub fn skipped_embeddings(&self) -> &[String] {
        &self.embeddings.skipped
    }

    /// Reads and encodes both prompts.
    pub(crate) fn condition(
        &self,
        prompt: &str,
        negative_prompt: &str,
        reading: &Reading,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Conditioning> {
        let positive = Prompt::parse(prompt, Side::Positive, &reading.options);
        self.check_tags(&positive)?;
        let negative = Prompt::parse(negative_prompt, Side::Negative, &reading.options);
        if positive.parts.len() > MOST_PARTS {
            let reason = format!(
                "AND joins {} prompts; {MOST_PARTS} are the most",
                positive.parts.len()
            );
            return Err(Error::parameter("prompt", reason));
        }
        let encoder = Encoder {
            pipeline: self,
            reading,
            cancelled,
        };
        let conds = positive.parts.iter().map(|part| {
            if part.weight.abs() > 1000.0 {
                let reason = format!(
                    "the weight of a part must be from -1000 to 1000, not {}",
                    part.weight
                );
                return Err(Error::parameter("prompt", reason));
            }
            Ok((part.weight, encoder.timeline("prompt", &part.tree)?))
        });
        Ok(Conditioning {
            conds: conds.collect::<Result<_>>()?,
            uncond: encoder.timeline("negative_prompt", &negative.parts[0].tree)?,
            width: self.text_encoder.config().hidden_size,
            padding: reading.pad.then(|| encoder.row(&encoder.empty())).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path};

    use goldens::Refs;
    use safetensors::{SafeTensors, tensor::TensorView};
    use sd_core::prompt::{PromptOptions, Steps, TimeRule};

    use super::*;
    use crate::pipeline::values;

    const LAYERS: usize = 12;

    /// The tiny model with its text encoder's layers gone through again and again, as the reference has them.
    fn pipeline() -> Pipeline {
        let folder = tempfile::tempdir().unwrap();
        let tiny = goldens::root().join("tiny-sd1");
        copy(&tiny, folder.path());
        let part = folder.path().join("text_encoder");
        let config = std::fs::read_to_string(part.join("config.json")).unwrap();
        let config = config.replace(
            "\"num_hidden_layers\": 5",
            &format!("\"num_hidden_layers\": {LAYERS}"),
        );
        std::fs::write(part.join("config.json"), config).unwrap();
        let bytes = std::fs::read(part.join("model.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut stacked: HashMap<String, TensorView<'_>> = HashMap::new();
        for (name, tensor) in file.iter() {
            let Some((before, after)) = name.split_once(".layers.") else {
                stacked.insert(name.to_owned(), tensor);
                continue;
            };
            let (number, rest) = after.split_once('.').unwrap();
            for layer in (number.parse().unwrap()..LAYERS).step_by(5) {
                stacked.insert(format!("{before}.layers.{layer}.{rest}"), tensor.clone());
            }
        }
        safetensors::serialize_to_file(&stacked, None, &part.join("model.safetensors")).unwrap();
        Pipeline::builder()
            .checkpoint(folder.path())
            .device("cpu")
            .build()
            .unwrap()
    }

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }

    #[derive(Default, serde::Deserialize)]
    struct Case {
        name: String,
        prompt: String,
        entries: Vec<(usize, usize)>,
        emphasis: Option<String>,
        dialect: Option<String>,
        clip_skip: Option<usize>,
        backtrack: Option<usize>,
    }

    impl Case {
        fn reading(&self) -> Reading {
            let mut options = PromptOptions::default();
            if let Some(name) = &self.emphasis {
                options.emphasis = crate::parse_emphasis(name).unwrap();
            }
            if let Some(name) = &self.dialect {
                options.dialect = crate::parse_prompt_dialect(name).unwrap();
            }
            options.comma_backtrack = self.backtrack.unwrap_or(options.comma_backtrack);
            Reading {
                options,
                steps: Steps {
                    base: 10,
                    hires: None,
                    rule: TimeRule::Current,
                },
                clip_skip: self.clip_skip.unwrap_or(1),
                pad: false,
            }
        }
    }

    fn condition(pipeline: &Pipeline, case: &Case) -> Conditioning {
        pipeline
            .condition(&case.prompt, "", &case.reading(), &|| false)
            .unwrap()
    }

    #[test]
    fn contexts_are_transformers() {
        let mut pipeline = pipeline();
        let refs = Refs::open("tiny-sd1/refs/conditioning.safetensors");
        let embeddings = Arc::make_mut(&mut pipeline.embeddings);
        embeddings.names.add("sdrsstyle", 3, &pipeline.tokenizer).unwrap();
        embeddings.vectors.push(refs.f32s("embedding"));
        let text = std::fs::read_to_string(goldens::root().join("tiny-sd1/refs/conditioning.json")).unwrap();
        let cases: Vec<Case> = serde_json::from_str(&text).unwrap();
        assert!(cases.len() >= 20);
        // Once more, from the cache.
        for case in cases.iter().chain(&cases) {
            let timeline = &condition(&pipeline, case).conds[0].1;
            assert_eq!(timeline.entries, case.entries, "{}", case.name);
            for (i, context) in timeline.contexts.iter().enumerate() {
                refs.assert_close(&format!("{}.{i}", case.name), context, 1e-5);
            }
        }
    }

    /// Which text a call uses: one that ends at step n is still used in call n, counted from 0; after the last the first comes again.
    #[test]
    fn calls_are_counted_as_the_webui_does() {
        let timeline = Timeline {
            entries: vec![(3, 0), (5, 1), (10, 2)],
            contexts: vec![],
        };
        let used: Vec<usize> = (0..13).map(|call| timeline.at(call)).collect();
        assert_eq!(used, [0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 0, 0]);
    }

    #[test]
    fn prompts_of_different_length_fit_together() {
        let pipeline = pipeline();
        let mut case = Case {
            prompt: "a AND b BREAK c :0.5 AND d :-1".into(),
            ..Case::default()
        };
        let shapes = |conditioning: &Conditioning| {
            let contexts = conditioning.contexts(&conditioning.indices(0), &pipeline);
            let length = |part| contexts.part(part).dims()[1];
            let weights = conditioning.conds.iter().map(|(weight, _)| *weight).enumerate();
            let conds: Vec<(f64, usize)> = weights.map(|(part, weight)| (weight, length(part))).collect();
            let uncond = length(conds.len());
            (conds, uncond)
        };
        let conditioning = condition(&pipeline, &case);
        assert_eq!(
            shapes(&conditioning),
            (vec![(1.0, 154), (0.5, 154), (-1.0, 154)], 77)
        );
        // The shorter of what AND joins repeats its last vector.
        let contexts = conditioning.contexts(&conditioning.indices(0), &pipeline);
        let first = values(contexts.part(0).clone()).unwrap();
        assert!(
            first[77 * 16..]
                .chunks(16)
                .all(|row| row == &first[76 * 16..77 * 16])
        );
        case.prompt = "a BREAK c".into();
        let mut reading = case.reading();
        reading.pad = true;
        let padded = pipeline
            .condition(&case.prompt, "x", &reading, &|| false)
            .unwrap();
        assert_eq!(shapes(&padded), (vec![(1.0, 154)], 154));
        let contexts = padded.contexts(&padded.indices(0), &pipeline);
        let empty = pipeline.condition("", "", &reading, &|| false).unwrap();
        assert_eq!(
            values(contexts.part(1).clone()).unwrap()[77 * 16..],
            empty.conds[0].1.contexts[0]
        );
    }

    #[test]
    fn odd_prompts_are_answered() {
        let pipeline = pipeline();
        let reading = Case::default().reading();
        let run = |prompt: &str| pipeline.condition(prompt, "", &reading, &|| false).map(|_| ());
        let message = |prompt: &str| run(prompt).unwrap_err().to_string();
        run("(((((a:1.5):2):3)").unwrap();
        assert!(
            message("(a:99999999999999999999999999999999999999999999)").contains("its weights are too large")
        );
        assert!(message(&"a AND ".repeat(100)).contains("AND joins 101 prompts; 100 are the most"));
        assert!(message("a :1e9 AND b :2000").contains("must be from -1000 to 1000"));
        assert!(message("<lora:x:1> a").contains("the LoRA 'x' at 1 and 1, which this pipeline does not"));
        assert!(message("<lora:x:y> a").contains("'y' is no number, in its <lora:..> tag at byte 0"));
        run("<hypernet:x:1> a").unwrap();
        let cancelled = pipeline.condition("never seen before", "", &reading, &|| true);
        assert!(matches!(cancelled, Err(Error::Cancelled)));
    }
}
