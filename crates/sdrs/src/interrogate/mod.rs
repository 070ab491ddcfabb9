//! From pictures to words: captions, and phrases that fit a picture.

mod aesthetic;
mod builder;
mod captioner;
mod modes;
mod params;
mod phrases;
mod prepare;
mod request;
mod vectors;
mod watch;

use std::{path::PathBuf, sync::Arc};

pub use aesthetic::AestheticPredictor;
pub use builder::InterrogatorBuilder;
pub use captioner::CaptionParams;
pub use modes::RankedPhrase;
pub use params::InterrogateMode;
pub use phrases::{PhraseCategory, Phrases};
pub use request::{Interrogate, Interrogation};
pub use watch::{InterrogateProgress, InterrogateStage};

use self::{
    captioner::Captioner,
    vectors::{Eyes, Table, Tables},
    watch::Watch,
};
use crate::{Error, Picture, Result, model::Runtime};

/// Says what is in a picture: a caption by BLIP, phrases by CLIP, and both as a prompt that draws something like it. It holds nothing of a
/// run, and threads may share it.
///
/// ```no_run
/// # fn main() -> Result<(), sdrs::Error> {
/// let interrogator = sdrs::Interrogator::builder()
///     .clip("ViT-L-14.pt")
///     .blip("blip-image-captioning-large")
///     .build()?;
/// let picture = sdrs::Picture::open("photo.jpg")?;
/// println!("{}", interrogator.caption(&picture)?);
/// let found = interrogator.interrogate(&picture).mode(sdrs::InterrogateMode::Fast).run()?;
/// println!("{}", found.text);
/// # Ok(())
/// # }
/// ```
pub struct Interrogator {
    eyes: Option<Eyes>,
    captioner: Option<Captioner>,
    phrases: Phrases,
    cache: Option<PathBuf>,
    tables: Tables,
    runtime: Runtime,
}

impl Interrogator {
    /// Begins to describe one.
    pub fn builder() -> InterrogatorBuilder {
        InterrogatorBuilder::default()
    }

    /// The phrases that pictures are ranked against.
    pub fn phrases(&self) -> &Phrases {
        &self.phrases
    }

    /// Begins to interrogate a picture.
    pub fn interrogate<'a>(&'a self, picture: &'a Picture) -> Interrogate<'a> {
        Interrogate::new(self, picture)
    }

    /// A caption, as clip-interrogator has it: 32 tokens at most, the likeliest one in each step.
    ///
    /// # Errors
    /// As [`Interrogate::run`].
    pub fn caption(&self, picture: &Picture) -> Result<String> {
        Ok(self
            .interrogate(picture)
            .mode(InterrogateMode::Caption)
            .run()?
            .text)
    }

    /// The cosine of a picture with each of these texts, -1 to 1. Texts beyond CLIP's 77 tokens are cut.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if there is no CLIP, [`Error::NotFinite`] if it gives no numbers.
    pub fn rank(&self, picture: &Picture, texts: &[impl AsRef<str>]) -> Result<Vec<f32>> {
        let eyes = self.eyes()?;
        let _release = self.runtime.run();
        let image = eyes.picture(picture)?;
        Ok(eyes.texts(texts, None, &mut Watch::default())?.cosines(&image))
    }

    /// A picture's vector, of length 1: that of two pictures, or of a picture and a text, are near (their product is large) where these are
    /// alike.
    ///
    /// # Errors
    /// As [`rank`](Self::rank).
    pub fn embed_image(&self, picture: &Picture) -> Result<Vec<f32>> {
        let _release = self.runtime.run();
        self.eyes()?.picture(picture)
    }

    /// The vectors of texts, of length 1, in their order.
    ///
    /// # Errors
    /// As [`rank`](Self::rank).
    pub fn embed_texts(&self, texts: &[impl AsRef<str>]) -> Result<Vec<Vec<f32>>> {
        let _release = self.runtime.run();
        let vectors = self.eyes()?.texts(texts, None, &mut Watch::default())?;
        Ok((0..texts.len()).map(|at| vectors.of(at).to_vec()).collect())
    }

    /// A text's vector, of length 1.
    ///
    /// # Errors
    /// As [`rank`](Self::rank).
    pub fn embed_text(&self, text: &str) -> Result<Vec<f32>> {
        Ok(self.embed_texts(&[text])?.swap_remove(0))
    }

    /// The CLIP score of a picture and a prompt (Hessel et al. 2021, arXiv:2104.08718) on the usual scale: 100 times their cosine, or 0 if
    /// that is negative.
    ///
    /// # Errors
    /// As [`rank`](Self::rank).
    pub fn clip_score(&self, picture: &Picture, prompt: &str) -> Result<f32> {
        Ok((100.0 * self.rank(picture, &[prompt])?[0]).max(0.0))
    }

    fn eyes(&self) -> Result<&Eyes> {
        self.eyes.as_ref().ok_or_else(|| {
            Error::parameter(
                "clip",
                "ranking pictures needs a CLIP; name its files to the builder (the mode \"caption\" does without)",
            )
        })
    }

    fn captioner(&self) -> Result<&Captioner> {
        self.captioner.as_ref().ok_or_else(|| {
            Error::parameter(
                "blip",
                "captions need a BLIP; name its files to the builder, or give a caption",
            )
        })
    }

    fn table(&self, name: &str, phrases: Vec<String>, watch: &mut Watch) -> Result<Arc<Table>> {
        let eyes = self.eyes()?;
        self.tables.get(eyes, name, phrases, self.cache.as_deref(), watch)
    }
}
