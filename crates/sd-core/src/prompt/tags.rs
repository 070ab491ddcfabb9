//! `<lora:name:weight>` and its like, which the WebUI cuts out of positive prompts.

use std::ops::Range;

use super::{Excerpt, chars::is_word};

/// A tag `<kind:argument:..>` of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its place in the prompt, in bytes, angle brackets included.
    pub span: Range<usize>,
    /// "lora", "hypernet", or whatever stands before the first colon.
    pub kind: String,
    /// Arguments in their order, those with a name excepted.
    pub positional: Vec<String>,
    /// `name=value` arguments, the last of a name counts.
    pub named: Vec<(String, String)>,
}

/// The LoRA of a `<lora:..>` tag.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraTag {
    /// The file's name without its extension, or an alias that it carries.
    pub name: String,
    /// Strength on the text encoders.
    pub text_encoder: f64,
    /// Strength on the U-Net; that of the text encoders unless given.
    pub unet: f64,
    /// Strengths on the U-Net in the course of a run, each with its moment, in the order of these; none if it stays the same. Moments
    /// are fractions of the steps, unless one is over 1: then they are steps.
    pub course: Vec<(f64, f64)>,
    /// The moment when it begins to act on the U-Net: below 1 a fraction of the steps, else a step.
    pub start: Option<f64>,
    /// The moment when it ceases to act.
    pub stop: Option<f64>,
    /// A rank to cut dynamic ones down to.
    pub dynamic_rank: Option<u32>,
    /// Factors for single blocks, as written.
    pub blocks: Option<String>,
}

impl Tag {
    /// The value of a named argument.
    pub fn value(&self, name: &str) -> Option<&str> {
        let found = self.named.iter().rev().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The LoRA, if it is a LoRA's: `<lora:name>`, `<lora:name:te>`, `<lora:name:te:unet>`, with `te=`, `unet=` and
    /// `dyn=` by name. Weights may have a course, `0@0,1@0.5`, as the WebUI's extension loractl writes it, of which text encoders get
    /// the beginning; `lbw=`, `start=`, `stop=` and `step=a-b` are those of its block-weight extension. None for other tags.
    ///
    /// # Errors
    /// The argument that is no number.
    pub fn lora(&self) -> Option<Result<LoraTag, String>> {
        if self.kind != "lora" && self.kind != "lyco" {
            return None;
        }
        let argument = |at: usize, name: &str| {
            let given = self.value(name).or(self.positional.get(at).map(String::as_str));
            given.map(str::trim)
        };
        let read = || {
            let te = argument(1, "te").map(weights).transpose()?;
            let unet = argument(2, "unet").map(weights).transpose()?;
            let first = |weights: &[(f64, f64)]| weights.first().map_or(1.0, |(weight, _)| *weight);
            let text_encoder = te.as_deref().map_or(1.0, first);
            let course = unet.or(te).unwrap_or_default();
            let number = |name: &str| self.value(name).map(number).transpose();
            let (mut start, mut stop) = (number("start")?, number("stop")?);
            // Without a hyphen the extension passes it over.
            if let Some((from, to)) = self.value("step").and_then(|span| span.split_once('-')) {
                (start, stop) = (Some(self::number(from)?), Some(self::number(to)?));
            }
            let rank = argument(3, "dyn").map(|text| text.parse().map_err(|_| no_number(text)));
            Ok(LoraTag {
                name: self.positional.first().cloned().unwrap_or_default(),
                text_encoder,
                unet: first(&course),
                course: if course.len() > 1 { course } else { Vec::new() },
                start,
                stop,
                dynamic_rank: rank.transpose()?,
                blocks: self.value("lbw").map(|text| text.trim().to_owned()),
            })
        };
        Some(read())
    }
}

fn no_number(text: &str) -> String {
    format!("'{text}' is no number")
}

fn number(text: &str) -> Result<f64, String> {
    let parsed = text
        .trim()
        .parse::<f64>()
        .ok()
        .filter(|number| number.is_finite());
    parsed.ok_or_else(|| no_number(text))
}

/// `weight`, or `weight@moment` with commas or semicolons between, by moment. One without a moment has 1 (loractl).
fn weights(text: &str) -> Result<Vec<(f64, f64)>, String> {
    if !text.contains('@') {
        return Ok(vec![(number(text)?, 0.0)]);
    }
    let pair = |piece: &str| match piece.split_once('@') {
        Some((weight, moment)) => Ok((number(weight)?, number(moment)?)),
        None => Ok((number(piece)?, 1.0)),
    };
    let mut pairs: Vec<(f64, f64)> = text.split([',', ';']).map(pair).collect::<Result<_, String>>()?;
    pairs.sort_by(|a, b| a.1.total_cmp(&b.1));
    Ok(pairs)
}

/// The tags of a prompt, and the text without them.
pub(super) fn cut(prompt: &Excerpt) -> (Vec<Tag>, Excerpt) {
    let text = prompt.as_str();
    let (mut tags, mut left, mut copied) = (Vec::new(), Excerpt::default(), 0);
    let mut at = 0;
    while let Some(found) = text[at..].find('<') {
        let open = at + found;
        at = open + 1;
        let kind = super::chars::run(&text[at..], is_word);
        let arguments = at + kind + 1;
        if kind == 0 || text.as_bytes().get(arguments - 1) != Some(&b':') {
            continue;
        }
        // Without a `>` there is no further tag at all.
        let Some(length) = text[arguments..].find('>') else {
            break;
        };
        if length == 0 {
            continue;
        }
        let end = arguments + length + 1;
        tags.push(tag(
            prompt.span(open..end),
            &text[at..at + kind],
            &text[arguments..end - 1],
        ));
        left.push(prompt, copied..open);
        (copied, at) = (end, end);
    }
    left.push(prompt, copied..text.len());
    (tags, left)
}

fn tag(span: Range<usize>, kind: &str, arguments: &str) -> Tag {
    let (mut positional, mut named) = (Vec::new(), Vec::new());
    for argument in arguments.split(':') {
        match argument.split_once('=') {
            // A second `=` makes it a plain argument.
            Some((name, value)) if !value.contains('=') => named.push((name.to_owned(), value.to_owned())),
            _ => positional.push(argument.to_owned()),
        }
    }
    Tag {
        span,
        kind: kind.to_owned(),
        positional,
        named,
    }
}
