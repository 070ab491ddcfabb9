//! BLIP's captions.

use sd_core::{
    BertTokenizer,
    config::Preparation,
    models::{Blip, BlipFiles, CaptionOptions, EarlyStopping},
    weights::Target,
};

use super::{
    prepare::{prepared, tensor},
    watch::{InterrogateStage, Watch},
};
use crate::{Error, Picture, Result, model::Runtime};

/// How a caption is made. What isn't said is as in the mode's program: the WebUI's 24 to 48 tokens behind "a picture of", or
/// clip-interrogator's 32 new tokens at most.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct CaptionParams {
    /// The words that it begins with, which are not part of it.
    pub prompt: Option<String>,
    /// Tokens that it has at least, those of the prompt and the one before it included.
    pub min_length: Option<usize>,
    /// Tokens that it has at most, counted alike.
    pub max_length: Option<usize>,
    /// Texts that are followed at a time, 1 to 64; with 1 the likeliest token is taken in each step.
    pub beams: Option<usize>,
    /// The exponent of a text's length, by which its score is divided where there are several beams.
    pub length_penalty: Option<f64>,
    /// Divides the scores of tokens that are there already; 1 changes nothing.
    pub repetition_penalty: Option<f64>,
    /// Whether beams end as soon as each has a whole text.
    pub early_stopping: bool,
}

/// The WebUI's captions.
const WEBUI_PROMPT: &str = "a picture of ";
const WEBUI_LENGTHS: [usize; 2] = [24, 48];
/// New tokens of clip-interrogator's.
const NEW_TOKENS: usize = 32;

/// BLIP with what surrounds it.
pub(super) struct Captioner {
    blip: Blip,
    tokenizer: BertTokenizer,
    preparation: Preparation,
    target: Target,
    runtime: Runtime,
}

impl Captioner {
    pub fn load(files: BlipFiles, target: &Target, runtime: &Runtime) -> Result<Self> {
        let blip = runtime.compute(|| Ok(Blip::load(&files, target)?))?;
        Ok(Self {
            blip,
            tokenizer: files.tokenizer,
            preparation: files.preparation,
            target: target.clone(),
            runtime: runtime.clone(),
        })
    }

    /// What a caption of these settings is made with, and its prompt's tokens.
    fn options(&self, params: &CaptionParams, webui: bool) -> Result<(CaptionOptions, Vec<u32>)> {
        let longest = self.blip.config().text.max_position_embeddings;
        let usual = if webui { WEBUI_PROMPT } else { "" };
        let words = self.tokenizer.encode(params.prompt.as_deref().unwrap_or(usual))?;
        let prompt: Vec<u32> = match words.is_empty() {
            true => Vec::new(),
            // The token before the words is replaced by the one that opens texts.
            false => std::iter::once(0).chain(words).collect(),
        };
        let given = prompt.len().max(1);
        let [least, most] = match webui {
            true => WEBUI_LENGTHS,
            false => [0, given + NEW_TOKENS],
        };
        let usual = most.min(longest);
        let most = params.max_length.unwrap_or(usual);
        let least = params.min_length.unwrap_or(least.min(most));
        let fail = |name: &'static str, reason: String| Err(Error::parameter(name, reason));
        let room = if params.max_length.is_some() {
            longest
        } else {
            usual
        };
        if given >= room {
            let or = if room < longest { " or give max_length" } else { "" };
            let reason = format!(
                "its {given} tokens leave no room behind them: a text has {room} at most here; make it shorter{or}"
            );
            return fail("caption_prompt", reason);
        }
        if !(given + 1..=longest).contains(&most) {
            let reason = format!(
                "{most}: this captioner's texts have {} to {longest} tokens, of which {given} are there before",
                given + 1
            );
            return fail("max_length", reason);
        }
        if least > most {
            return fail("min_length", format!("{least} is more than max_length, {most}"));
        }
        let beams = params.beams.unwrap_or(1);
        if !(1..=64).contains(&beams) {
            return fail("beams", format!("{beams}: there are 1 to 64"));
        }
        let length_penalty = params.length_penalty.unwrap_or(1.0);
        if !(-10.0..=10.0).contains(&length_penalty) {
            return fail("length_penalty", format!("{length_penalty} is not -10 to 10"));
        }
        let repetition_penalty = params.repetition_penalty.unwrap_or(1.0);
        if !(0.01..=100.0).contains(&repetition_penalty) {
            return fail(
                "repetition_penalty",
                format!("{repetition_penalty} is not 0.01 to 100"),
            );
        }
        let options = CaptionOptions {
            min_length: least,
            max_length: most,
            beams,
            length_penalty,
            early_stopping: match params.early_stopping {
                true => EarlyStopping::Full,
                false => EarlyStopping::Likely,
            },
            repetition_penalty,
        };
        Ok((options, prompt))
    }

    /// Whether these settings can be used.
    pub fn check(&self, params: &CaptionParams, webui: bool) -> Result<()> {
        self.options(params, webui).map(drop)
    }

    /// A caption, without its prompt.
    pub fn caption(
        &self,
        picture: &Picture,
        params: &CaptionParams,
        webui: bool,
        watch: &mut Watch,
    ) -> Result<String> {
        let (options, prompt) = self.options(params, webui)?;
        let total = options.max_length - prompt.len().max(1);
        let pixels = prepared(picture, &self.preparation)?;
        watch.tell(InterrogateStage::Caption, 0, total)?;
        let side = self.preparation.side;
        let image = self
            .runtime
            .compute(|| Ok(self.blip.encode(tensor(pixels, side, &self.target))?))?;
        let mut caption = self.blip.caption(&image, &prompt, options)?;
        while !caption.done() {
            self.runtime.compute(|| Ok(caption.step()?))?;
            watch.tell(InterrogateStage::Caption, caption.made(), total)?;
        }
        Ok(self.tokenizer.decode(caption.tokens())?.trim().to_owned())
    }
}
