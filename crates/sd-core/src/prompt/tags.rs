//! `<lora:name:weight>` and its like, which the WebUI cuts out of positive prompts.

use std::ops::Range;

use super::{Excerpt, chars::is_word};

/// A tag `<kind:argument:..>` of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Where in the prompt it stands, in bytes, angle brackets included.
    pub span: Range<usize>,
    /// "lora", "hypernet", or whatever stands before the first colon.
    pub kind: String,
    /// Arguments in their order, those with a name excepted.
    pub positional: Vec<String>,
    /// `name=value` arguments, the last of a name counts.
    pub named: Vec<(String, String)>,
}

/// What a `<lora:..>` tag asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraTag {
    /// The file's name without its extension, or an alias that it carries.
    pub name: String,
    /// Strength on the text encoders.
    pub text_encoder: f64,
    /// Strength on the U-Net; that of the text encoders unless given.
    pub unet: f64,
    /// A rank to cut dynamic ones down to.
    pub dynamic_rank: Option<u32>,
}

impl Tag {
    /// The value of a named argument.
    pub fn value(&self, name: &str) -> Option<&str> {
        let found = self.named.iter().rev().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// What it asks for, if it is a LoRA's: `<lora:name>`, `<lora:name:te>`, `<lora:name:te:unet>`, with `te=`, `unet=` and
    /// `dyn=` by name. None for other tags.
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
        let number = |at: usize, name: &str, default: f64| match argument(at, name) {
            Some(text) => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(value),
                _ => Err(text.to_owned()),
            },
            None => Ok(default),
        };
        let read = || {
            let text_encoder = number(1, "te", 1.0)?;
            let rank = argument(3, "dyn").map(|text| text.parse().map_err(|_| text.to_owned()));
            Ok(LoraTag {
                name: self.positional.first().cloned().unwrap_or_default(),
                text_encoder,
                unet: number(2, "unet", text_encoder)?,
                dynamic_rank: rank.transpose()?,
            })
        };
        Some(read())
    }
}

/// The tags of a prompt, and what is left without them.
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
