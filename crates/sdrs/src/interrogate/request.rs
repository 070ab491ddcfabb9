//! An interrogation being described, and run.

use std::{collections::HashMap, path::Path};

use sd_core::output;
use serde::Serialize;

use super::{
    Interrogator,
    captioner::CaptionParams,
    modes::{RankedPhrase, Run},
    params::{InterrogateMode, InterrogateParams},
    watch::{InterrogateProgress, Watch},
};
use crate::{CancelToken, Error, Picture, Result};

/// What a picture says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Interrogation {
    /// The prompt.
    pub text: String,
    /// The caption that it begins with, but in the negative mode.
    pub caption: Option<String>,
    /// The phrases that were found, by list.
    pub ranks: Vec<RankedPhrase>,
}

impl Interrogation {
    /// Writes the text to a file, as training wants captions beside pictures.
    ///
    /// # Errors
    /// [`Error::Core`] if it can't be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        Ok(output::write_file(
            path.as_ref(),
            format!("{}\n", self.text).as_bytes(),
        )?)
    }
}

/// An interrogation that is being described.
#[must_use = "a request does nothing until `run`"]
pub struct Interrogate<'a> {
    interrogator: &'a Interrogator,
    picture: &'a Picture,
    params: InterrogateParams,
    watch: Watch<'a>,
}

/// Bounds that nobody needs more than.
const MOST_FLAVORS: usize = 1000;
const MOST_PHRASES: usize = 1 << 20;

impl<'a> Interrogate<'a> {
    pub(super) fn new(interrogator: &'a Interrogator, picture: &'a Picture) -> Self {
        Self {
            interrogator,
            picture,
            params: InterrogateParams {
                mode: InterrogateMode::default(),
                caption: None,
                captions: CaptionParams::default(),
                min_flavors: None,
                max_flavors: None,
                intermediate_count: 2048,
                chunk_size: 2048,
                limit: 1500,
                ranks: false,
                skipped: vec!["negative".to_owned()],
                original: false,
            },
            watch: Watch::default(),
        }
    }

    /// The way; [`InterrogateMode::Best`] if nothing is said.
    pub fn mode(mut self, mode: InterrogateMode) -> Self {
        self.params.mode = mode;
        self
    }

    /// A caption to begin with, in place of BLIP's; then no captioner is needed.
    pub fn caption(mut self, caption: impl Into<String>) -> Self {
        self.params.caption = Some(caption.into());
        self
    }

    /// How BLIP's caption is made.
    pub fn caption_params(mut self, params: CaptionParams) -> Self {
        self.params.captions = params;
        self
    }

    /// Phrases that a chain has at least, 0 to 1000; 8 if nothing is said.
    pub fn min_flavors(mut self, count: usize) -> Self {
        self.params.min_flavors = Some(count);
        self
    }

    /// Phrases that are added at most, 0 to 1000; 3 in the classic mode, 32 in others, if nothing is said.
    pub fn max_flavors(mut self, count: usize) -> Self {
        self.params.max_flavors = Some(count);
        self
    }

    /// Phrases that a chain chooses from, the best of all, 1 or more; 2048 if nothing is said.
    pub fn intermediate_count(mut self, count: usize) -> Self {
        self.params.intermediate_count = count;
        self
    }

    /// Phrases of each list that the WebUI's mode knows, from the first on; 0 for all; 1500 if nothing is said, as there.
    pub fn limit(mut self, count: usize) -> Self {
        self.params.limit = count;
        self
    }

    /// Whether the WebUI's mode writes each phrase with its probability, "(phrase:0.123)".
    pub fn ranks(mut self, on: bool) -> Self {
        self.params.ranks = on;
        self
    }

    /// Lists that the WebUI's mode passes over, by name; "negative" if nothing is said.
    pub fn skip(mut self, lists: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.params.skipped = lists.into_iter().map(Into::into).collect();
        self
    }

    /// Whether known faults of the original programs are kept, for their texts. clip-interrogator 0.6.0 ranks long lists in chunks and
    /// forgets the direction among those chunks' best, begins a negative chain with a number of the wrong sign, measures lengths without the
    /// comma, and rounds vectors to 16 bits; the WebUI overlooks "topN" at the end of a list's name.
    pub fn original(mut self, on: bool) -> Self {
        self.params.original = on;
        self
    }

    /// Phrases in one of clip-interrogator's chunks, 1 or more; 2048 if nothing is said. Of influence with [`original`](Self::original) alone.
    pub fn chunk_size(mut self, count: usize) -> Self {
        self.params.chunk_size = count;
        self
    }

    /// A token that stops the run when its clone is asked to.
    pub fn cancel_token(mut self, token: &CancelToken) -> Self {
        self.watch.cancel = token.clone();
        self
    }

    /// A function that is called now and then, in this thread.
    pub fn on_progress(mut self, callback: impl FnMut(InterrogateProgress) + 'a) -> Self {
        self.watch.progress = Some(Box::new(callback));
        self
    }

    /// Whether all settings can be used.
    fn check(&self) -> Result<()> {
        let params = &self.params;
        let [least, most] = [params.min_flavors(), params.max_flavors()];
        for (name, count, from, to) in [
            ("min_flavors", least, 0, MOST_FLAVORS),
            ("max_flavors", most, 0, MOST_FLAVORS),
            ("intermediate_count", params.intermediate_count, 1, MOST_PHRASES),
            ("chunk_size", params.chunk_size, 1, MOST_PHRASES),
            ("limit", params.limit, 0, MOST_PHRASES),
        ] {
            if !(from..=to).contains(&count) {
                return Err(Error::parameter(name, format!("{count} is not {from} to {to}")));
            }
        }
        if params.mode != InterrogateMode::Caption {
            self.interrogator.eyes()?;
        }
        if params.mode != InterrogateMode::Negative && params.caption.is_none() {
            let webui = params.mode == InterrogateMode::WebUi;
            self.interrogator.captioner()?.check(&params.captions, webui)?;
        }
        Ok(())
    }

    /// Finds the prompt.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if a setting is out of its range, or the mode needs a model that isn't there; [`Error::Cancelled`];
    /// [`Error::NotFinite`] if a network gives no numbers; [`Error::Write`] or [`Error::Core`] if vectors of phrases can't be kept.
    pub fn run(mut self) -> Result<Interrogation> {
        self.check()?;
        let mode = self.params.mode;
        let _release = self.interrogator.runtime.run();
        let caption = match (&self.params.caption, mode) {
            (_, InterrogateMode::Negative) => None,
            (Some(caption), _) => Some(caption.clone()),
            (None, _) => {
                let webui = mode == InterrogateMode::WebUi;
                let captioner = self.interrogator.captioner()?;
                Some(captioner.caption(self.picture, &self.params.captions, webui, &mut self.watch)?)
            }
        };
        let said = caption.as_deref().unwrap_or_default();
        if mode == InterrogateMode::Caption {
            return Ok(Interrogation {
                text: said.to_owned(),
                caption,
                ranks: Vec::new(),
            });
        }
        self.watch.look()?;
        let mut run = Run {
            interrogator: self.interrogator,
            params: &self.params,
            image: self.interrogator.eyes()?.picture(self.picture)?,
            watch: &mut self.watch,
            ranks: Vec::new(),
            known: HashMap::new(),
        };
        let most = self.params.max_flavors();
        let text = match mode {
            InterrogateMode::Caption => said.to_owned(),
            InterrogateMode::Classic => run.classic(said, most)?,
            InterrogateMode::Fast => run.fast(said, most)?,
            InterrogateMode::Negative => run.negative()?,
            InterrogateMode::Best => run.best(said)?,
            InterrogateMode::WebUi => run.webui(said)?,
        };
        let ranks = run.ranks;
        Ok(Interrogation { text, caption, ranks })
    }
}
