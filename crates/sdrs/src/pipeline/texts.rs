//! The text encoders one call at a time. A model has a stack of them, one or two; they are counted from 0.

use sd_core::config::ClipTextConfig;
use sd_sched::Sampler;

use super::Pipeline;
use crate::{
    Array, Error, GenerateParams, Result,
    model::{TextEncoder, TextNetwork, values},
    text::{EncodedText, Row, side_by_side},
};

impl Pipeline {
    /// The token ids of a text, which is repaired first as a prompt's is: no start or end token, no padding, no limit. They are the same for
    /// all text encoders, which differ in their padding.
    ///
    /// # Errors
    /// [`Error::Core`] if the tokenizer fails, which no text should make it do.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
        let tokens = self.model().text_encoder().tokenizer.encode_repaired(text)?;
        Ok(tokens.into_iter().map(|(id, _)| id).collect())
    }

    /// The same of a text as it is, as transformers' fast tokenizer gives them ([`TextParams::text_as_is`](crate::TextParams::text_as_is)).
    ///
    /// # Errors
    /// As [`tokenize`](Self::tokenize).
    pub fn tokenize_as_is(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.model().text_encoder().tokenizer.encode(text)?)
    }

    /// The context of a prompt for the U-Net, `[tokens, context_width]`, weights, embeddings and all, `context_length` tokens for
    /// every 75 of the prompt: what a run of one step computes of it. `clip_skip` is 1 for the text encoder's usual layer, the last one of
    /// SD1.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for `clip_skip`, and for a `prompt` with an AND in it, which has several contexts, or with a LoRA's tag
    /// that the pipeline doesn't have.
    pub fn encode_prompt(&self, prompt: &str, clip_skip: usize) -> Result<Array> {
        let (text, width) = self.encoded_prompt(prompt, clip_skip)?;
        Ok(Array {
            shape: vec![text.context.len() / width, width],
            values: text.context,
        })
    }

    /// The pooled text of a prompt, `[pooled_width]`: of its first 75 tokens, without weights, by the last text encoder. With sizes
    /// ([`size_vector`](Self::size_vector)) behind it, it is SDXL's vector beside the timestep.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] as [`encode_prompt`](Self::encode_prompt), and if no text encoder of the model has a pooled text.
    pub fn pooled_prompt(&self, prompt: &str) -> Result<Array> {
        self.check_pooled("prompt")?;
        let (text, _) = self.encoded_prompt(prompt, 1)?;
        Ok(vector(text.pooled.unwrap_or_default()))
    }

    fn encoded_prompt(&self, prompt: &str, clip_skip: usize) -> Result<(EncodedText, usize)> {
        let params = self.low_level_params(clip_skip)?;
        let mut encoded = self
            .components()
            .condition(prompt, "", &params.reading(), &|| false)?;
        match (encoded.conds.pop(), encoded.conds.pop()) {
            (Some((_, timeline)), None) => Ok((timeline.first(), encoded.width)),
            _ => Err(Error::parameter(
                "prompt",
                "AND joins several prompts, each with a context of its own; encode them one by one",
            )),
        }
    }

    /// The context of a text in which no character has a meaning of its own, `[context_length, context_width]`: what diffusers encodes.
    /// The text is tokenized as it is; tokens for which the encoder has no room are dropped. `clip_skip` is 1 for the text encoder's usual
    /// layer, the last one of SD1.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for `clip_skip`.
    pub fn encode_text(&self, text: &str, clip_skip: usize) -> Result<Array> {
        let stack = 0..self.model().text_encoders.len();
        let mut all = Array::default();
        for encoder in stack {
            let Array { shape, values } = self.encode_text_with(text, clip_skip, encoder)?;
            all = match encoder {
                0 => Array { shape, values },
                _ => Array {
                    values: side_by_side(&all.values, &values, shape[1]),
                    shape: vec![shape[0], all.shape[1] + shape[1]],
                },
            };
        }
        Ok(all)
    }

    /// The part of [`encode_text`](Self::encode_text)'s context that one text encoder makes, `[context_length, width]`.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for `clip_skip`, and if there is no such `encoder`.
    pub fn encode_text_with(&self, text: &str, clip_skip: usize, encoder: usize) -> Result<Array> {
        let row = self.plain_row(text, clip_skip, encoder)?;
        let width = self.text_network(encoder)?.config().hidden_size;
        Ok(Array {
            shape: vec![row.states.len() / width, width],
            values: row.states.to_vec(),
        })
    }

    /// The pooled text of a text in which no character has a meaning of its own, `[pooled_width]`: what diffusers calls
    /// `pooled_prompt_embeds`. It is the last text encoder's.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if no text encoder of the model has a pooled text.
    pub fn pooled_text(&self, text: &str) -> Result<Array> {
        let encoder = self.check_pooled("text")?;
        let row = self.plain_row(text, 1, encoder)?;
        Ok(vector(
            row.pooled.map(|pooled| pooled.to_vec()).unwrap_or_default(),
        ))
    }

    /// A text as it is, as the one input of an encoder.
    fn plain_row(&self, text: &str, clip_skip: usize, encoder: usize) -> Result<Row> {
        let params = self.low_level_params(clip_skip)?;
        self.text_network(encoder)?;
        let reading = params.reading();
        let texts = self.components().encoder(&reading, &|| false);
        let TextEncoder { tokenizer, .. } = &self.model().text_encoders[encoder];
        let mut ids = tokenizer.encode(text)?;
        ids.truncate(self.model().chunk_length());
        let mut chunk = texts.empty(encoder);
        let placed = ids.into_iter().chain([tokenizer.end()]);
        chunk
            .tokens
            .iter_mut()
            .skip(1)
            .zip(placed)
            .for_each(|(to, id)| *to = id);
        texts.row(encoder, &chunk)
    }

    /// The encoder that makes the pooled text. `name` is the parameter that an error names.
    fn check_pooled(&self, name: &'static str) -> Result<usize> {
        self.model().pooling_encoder().ok_or_else(|| {
            let reason = "no text encoder of this model gives a pooled text; SDXL's second one does";
            Error::parameter(name, reason)
        })
    }

    /// Parameters that read prompts as a run of one step does.
    fn low_level_params(&self, clip_skip: usize) -> Result<GenerateParams> {
        let layers = self.model().limits().layers;
        if !(1..=layers).contains(&clip_skip) {
            let reason = format!("must be 1 to {layers}, not {clip_skip}");
            return Err(Error::parameter("clip_skip", reason));
        }
        let mut params = GenerateParams::default();
        params.text.clip_skip = clip_skip;
        (params.sampling.steps, params.sampling.sampler) = (1, Sampler::Euler);
        Ok(params)
    }

    /// The context of token ids as they are, `[ids, width]`, by one text encoder: its hidden state, from the end the one that `clip_skip`
    /// counts, with the final norm for SD1 and SD2. For SD1 and `clip_skip` 1 it is what transformers calls `last_hidden_state`, for SDXL
    /// the last but one of its `hidden_states`. Start and end token are the caller's.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for `clip_skip`, if there is no such `encoder`, and unless there are 1 to `context_length` ids, each in
    /// the vocabulary.
    pub fn encode_ids(&self, ids: &[u32], clip_skip: usize, encoder: usize) -> Result<Array> {
        let network = self.text_network(encoder)?;
        check_ids(ids, network.config())?;
        self.low_level_params(clip_skip)?;
        let network = network.get(self.runtime())?;
        self.runtime().compute(|| {
            let encoded = network.encode(&[ids.to_vec()], &[], clip_skip)?;
            Ok(Array {
                shape: vec![ids.len(), network.config().hidden_size],
                values: values(encoded.context)?,
            })
        })
    }

    /// Every hidden state of one text encoder for one row of token ids, without the final norm: `[layers + 1, ids, width]`, the embeddings
    /// first. With the final norm, [`encode_ids`](Self::encode_ids) gives them.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if there is no such `encoder`, and unless there are 1 to `context_length` ids, each in the vocabulary.
    pub fn text_hidden_states(&self, ids: &[u32], encoder: usize) -> Result<Array> {
        let network = self.text_network(encoder)?;
        check_ids(ids, network.config())?;
        let network = network.get(self.runtime())?;
        self.runtime().compute(|| {
            let states = network.hidden_states(&[ids.to_vec()], &[])?;
            let shape = vec![states.len(), ids.len(), network.config().hidden_size];
            let mut all = Vec::with_capacity(shape.iter().product());
            for state in states {
                all.extend(values(state)?);
            }
            Ok(Array { shape, values: all })
        })
    }

    fn text_network(&self, encoder: usize) -> Result<&TextNetwork> {
        let stack = &self.model().text_encoders;
        let found = stack.get(encoder).map(|found| &found.network);
        found.ok_or_else(|| {
            let reason = match stack.len() {
                1 => format!("must be 0, for this model's only text encoder, not {encoder}"),
                n => format!(
                    "must be 0 to {}, for this model's {n} text encoders, not {encoder}",
                    n - 1
                ),
            };
            Error::parameter("encoder", reason)
        })
    }
}

fn vector(values: Vec<f32>) -> Array {
    Array {
        shape: vec![values.len()],
        values,
    }
}

fn check_ids(ids: &[u32], config: &ClipTextConfig) -> Result<()> {
    let (most, vocabulary) = (config.max_position_embeddings, config.vocab_size);
    if !(1..=most).contains(&ids.len()) {
        let reason = format!("must be 1 to {most}, not {}", ids.len());
        return Err(Error::parameter("ids", reason));
    }
    let mut numbered = ids.iter().enumerate();
    if let Some((at, id)) = numbered.find(|&(_, &id)| id as usize >= vocabulary) {
        let last = vocabulary - 1;
        let reason = format!("{id} at index {at} is no token: this model's are 0 to {last}");
        return Err(Error::parameter("ids", reason));
    }
    Ok(())
}
