//! Prompts: their texts at each step, with weights and tokens.
//!
//! A prompt goes through these stages, in the WebUI's order: [`Tag`]s like `<lora:name:1>` are cut out, `AND` splits it into parts
//! that are guided by separately, a [`Tree`] gives the text of each step, [`attention`] gives its weights, and [`chunks`] makes
//! inputs for a text encoder of it. Every stage knows where in the prompt its text stands. Nothing here fails on a text: what
//! can't be read is text. All stages take time linear in a prompt's length.
//!
//! ```
//! use sd_core::prompt::{Prompt, PromptOptions, Side, Steps, attention};
//!
//! let prompt = Prompt::parse("a [red:(blue:1.3):0.5] circle", Side::Positive, &PromptOptions::default());
//! let variants: Vec<_> = prompt.parts[0].tree.variants(&Steps::new(20)).collect();
//! assert_eq!((variants[0].end, variants[0].text.as_str()), (10, "a red circle"));
//! let fragments = attention(&variants[1].text);
//! assert_eq!((fragments[1].text.as_str(), fragments[1].weight), ("blue", 1.3));
//! ```

mod attention;
mod chars;
mod chunks;
mod comfy;
mod compose;
mod excerpt;
mod groups;
mod items;
mod schedule;
mod tags;

pub use attention::{Fragment, attention};
pub use chunks::{Chunk, ChunkOptions, EmbeddingNames, Placed, chunks, empty_chunk};
pub use comfy::{comfy_chunks, comfy_weights};
pub use excerpt::Excerpt;
pub use items::{Group, GroupKind, Item, ItemKind, Steps, TimeRule, When};
pub use schedule::{Tree, Variant};
pub use tags::{LoraTag, Tag};

use crate::{ClipTokenizer, Result};

/// The dialect of the prompt language.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PromptDialect {
    /// The AUTOMATIC1111 WebUI's.
    #[default]
    WebUi,
    /// ComfyUI's: weights that interpolate from the empty prompt; tags, AND, edits and alternations are text.
    Comfy,
}

/// The use that the WebUI makes of weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Emphasis {
    /// Multiplies the encoder's output, then gives all of it the mean that it had.
    #[default]
    Original,
    /// Multiplies only.
    NoNorm,
    /// Reads brackets and weights, and doesn't use them.
    Ignore,
    /// Brackets are text, and so is BREAK.
    None,
}

/// The rules by which prompts are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PromptOptions {
    /// The dialect.
    pub dialect: PromptDialect,
    /// The use of weights, in the WebUI's.
    pub emphasis: Emphasis,
    /// The tokens that the last comma may lie back for a full chunk to be cut after it; 0 never does so.
    pub comma_backtrack: usize,
    /// The numbers of edits that are fractions.
    pub time_rule: TimeRule,
    /// Texts are not repaired before they are tokenized: transformers' fast tokenizer takes them as they are, its slow one, which the
    /// WebUI has, runs ftfy first. ComfyUI's dialect always takes them as they are.
    pub text_as_is: bool,
}

impl Default for PromptOptions {
    fn default() -> Self {
        Self {
            dialect: PromptDialect::WebUi,
            emphasis: Emphasis::Original,
            comma_backtrack: 20,
            time_rule: TimeRule::Current,
            text_as_is: false,
        }
    }
}

/// One of a picture's two prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one that says what to draw: tags and AND have their meaning.
    Positive,
    /// The negative one: both are text.
    Negative,
}

const BYTE_ORDER_MARK: char = '\u{feff}';

/// A prompt, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// Tags in their order.
    pub tags: Vec<Tag>,
    /// The parts that AND joins; at least one.
    pub parts: Vec<Part>,
}

/// One of the prompts that AND joins.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its share of the guidance; 1 if none is given.
    pub weight: f64,
    /// Its text.
    pub tree: Tree,
}

impl Prompt {
    /// Reads a prompt.
    pub fn parse(prompt: &str, side: Side, options: &PromptOptions) -> Self {
        let mut whole = Excerpt::new(prompt);
        // Editors write it at the head of files, and it comes along.
        if prompt.starts_with(BYTE_ORDER_MARK) {
            whole = whole.slice(BYTE_ORDER_MARK.len_utf8()..prompt.len());
        }
        if options.dialect == PromptDialect::Comfy {
            return Self {
                tags: Vec::new(),
                parts: vec![Part {
                    weight: 1.0,
                    tree: Tree::plain(whole),
                }],
            };
        }
        let (tags, parts) = match side {
            Side::Positive => {
                let (tags, rest) = tags::cut(&whole);
                (tags, compose::split(&rest))
            }
            Side::Negative => (Vec::new(), vec![(whole, 1.0)]),
        };
        let part = |(text, weight)| Part {
            weight,
            tree: Tree::parse(text),
        };
        let parts = parts.into_iter().map(part).collect();
        Self { tags, parts }
    }
}

/// The text encoder's inputs for one step's text, of `length` tokens each, start and end token excepted.
///
/// # Errors
/// [`Error::Tokenizer`](crate::Error::Tokenizer) if the tokenizer fails, [`Error::Malformed`](crate::Error::Malformed) if an embedding
/// has more vectors than an input has places.
pub fn encoder_inputs(
    text: &Excerpt,
    tokenizer: &ClipTokenizer,
    embeddings: &EmbeddingNames,
    length: usize,
    options: &PromptOptions,
) -> Result<Vec<Chunk>> {
    let fragments = match (options.dialect, options.emphasis) {
        (PromptDialect::Comfy, _) => {
            return comfy_chunks(&comfy_weights(text), tokenizer, embeddings, length);
        }
        (_, Emphasis::None) => vec![Fragment {
            text: text.clone(),
            weight: 1.0,
        }],
        _ => attention(text),
    };
    let options = ChunkOptions {
        length,
        comma_backtrack: options.comma_backtrack,
        text_as_is: options.text_as_is,
    };
    chunks(&fragments, tokenizer, embeddings, &options)
}
