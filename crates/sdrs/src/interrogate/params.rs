//! The modes and settings of an interrogation.

use super::captioner::CaptionParams;

/// A way from a picture to a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InterrogateMode {
    /// BLIP's caption alone.
    Caption,
    /// The caption, then the medium, artist, site, movement and flavors that fit best.
    Classic,
    /// The caption, then the phrases of all lists that fit best.
    Fast,
    /// A negative prompt: flavors that fit least, and negative phrases, chained as in [`Best`](Self::Best).
    Negative,
    /// Phrases are chained to the caption, each time the one that brings the text nearest to the picture; the best of all modes' texts by CLIP.
    #[default]
    Best,
    /// The WebUI's: the caption, then the best phrases of each list.
    WebUi,
}

impl InterrogateMode {
    /// Every mode.
    pub const ALL: [Self; 6] = [
        Self::Caption,
        Self::Classic,
        Self::Fast,
        Self::Negative,
        Self::Best,
        Self::WebUi,
    ];

    /// The name: "caption", "classic", "fast", "negative", "best" or "webui".
    pub fn name(self) -> &'static str {
        match self {
            Self::Caption => "caption",
            Self::Classic => "classic",
            Self::Fast => "fast",
            Self::Negative => "negative",
            Self::Best => "best",
            Self::WebUi => "webui",
        }
    }

    /// The mode of a name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        let wanted = name.trim();
        Self::ALL
            .into_iter()
            .find(|mode| mode.name().eq_ignore_ascii_case(wanted))
    }
}

/// Settings of an interrogation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InterrogateParams {
    pub mode: InterrogateMode,
    /// `None`: BLIP makes it.
    pub caption: Option<String>,
    pub captions: CaptionParams,
    pub min_flavors: Option<usize>,
    pub max_flavors: Option<usize>,
    pub intermediate_count: usize,
    pub chunk_size: usize,
    pub limit: usize,
    pub ranks: bool,
    pub skipped: Vec<String>,
    pub original: bool,
}

impl InterrogateParams {
    pub fn min_flavors(&self) -> usize {
        self.min_flavors.unwrap_or(8)
    }

    pub fn max_flavors(&self) -> usize {
        match self.mode {
            InterrogateMode::Classic => self.max_flavors.unwrap_or(3),
            _ => self.max_flavors.unwrap_or(32),
        }
    }
}
