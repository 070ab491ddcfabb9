//! Strengths block by block.

use crate::{
    Error, Result,
    names::{Network, Place},
};

/// Factors for the blocks of a model, with which an adapter's strength is multiplied.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockWeights(Rule);

#[derive(Debug, Clone, PartialEq)]
enum Rule {
    /// Of LDM's blocks by name ("BASE" is the text encoders).
    Numbers(Vec<(String, f64)>),
    /// By patterns of names.
    Patterns(Vec<(String, f64)>),
}

/// Lists that the extension comes with.
const PRESETS: [(&str, [f64; 17]); 10] = [
    ("NONE", [0.0; 17]),
    ("ALL", [1.0; 17]),
    ("INS", chosen(&[0, 1, 2, 3])),
    ("IND", chosen(&[0, 4, 5, 6])),
    ("INALL", chosen(&[0, 1, 2, 3, 4, 5, 6])),
    ("MIDD", chosen(&[0, 4, 5, 6, 7, 8, 9, 10, 11])),
    ("OUTD", chosen(&[0, 8, 9, 10, 11])),
    ("OUTS", chosen(&[0, 12, 13, 14, 15, 16])),
    ("OUTALL", chosen(&[0, 8, 9, 10, 11, 12, 13, 14, 15, 16])),
    ("ALL0.5", [0.5; 17]),
];

/// 1 for these places of a list, 0 for the others.
const fn chosen(places: &[usize]) -> [f64; 17] {
    let mut factors = [0.0; 17];
    let mut i = 0;
    while i < places.len() {
        factors[places[i]] = 1.0;
        i += 1;
    }
    factors
}

impl BlockWeights {
    /// The lists of the WebUI's block-weight extension (hako-mikan/sd-webui-lora-block-weight), distinguished by their lengths:
    ///
    /// - 17 for SD1 and SD2: BASE, IN01, IN02, IN04, IN05, IN07, IN08, M00, OUT03 to OUT11: the blocks with transformers.
    /// - 26: BASE, IN00 to IN11, M00, OUT00 to OUT11.
    /// - 12 for SDXL: BASE, IN04, IN05, IN07, IN08, M00, OUT00 to OUT05.
    /// - 20: BASE, IN00 to IN08, M00, OUT00 to OUT08.
    ///
    /// BASE is the text encoders. As there, blocks that a list leaves out are not changed at all, and layers outside of all blocks
    /// (the timestep's embedding, the output) are changed with factor 1.
    ///
    /// # Errors
    /// [`Error::Strength`] for another number of factors, or one that is not finite.
    pub fn from_numbers(factors: &[f64]) -> Result<Self> {
        let (inputs, outputs): (Vec<usize>, _) = match factors.len() {
            17 => (vec![1, 2, 4, 5, 7, 8], 3..12),
            26 => ((0..12).collect(), 0..12),
            12 => (vec![4, 5, 7, 8], 0..6),
            20 => ((0..9).collect(), 0..9),
            n => {
                return Err(Error::Strength(format!(
                    "block weights are 17 or 26 numbers (SD1, SD2), or 12 or 20 (SDXL), not {n}"
                )));
            }
        };
        let names = std::iter::once("BASE".to_owned())
            .chain(inputs.iter().map(|i| format!("IN{i:02}")))
            .chain(std::iter::once("M00".to_owned()))
            .chain(outputs.map(|i| format!("OUT{i:02}")));
        let weights = Self(Rule::Numbers(names.zip(factors.iter().copied()).collect()));
        weights.finite()
    }

    /// Reads such a list with commas between its numbers, or the name of one of the extension's own: NONE, ALL, INS, IND, INALL, MIDD, OUTD,
    /// OUTS, OUTALL, ALL0.5, each of 17. Or patterns, as [`BlockWeights::from_patterns`] has them: `unet.*=0,unet.mid_block.*=0.5`.
    ///
    /// # Errors
    /// [`Error::Strength`] as [`BlockWeights::from_numbers`], or where something is no number.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some((_, factors)) = PRESETS.iter().find(|(name, _)| *name == text.trim()) {
            return Self::from_numbers(factors);
        }
        let number = |word: &str| {
            let word = word.trim();
            let refuse = |_| {
                let known: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
                let (word, known) = (shown(word), known.join(", "));
                Error::Strength(format!(
                    "block weights: '{word}' is no number, nor one of the lists {known}"
                ))
            };
            word.parse().map_err(refuse)
        };
        if text.contains('=') {
            let pair = |item: &str| {
                let (pattern, factor) = item.rsplit_once('=').unwrap_or((item, ""));
                Ok((pattern.trim().to_owned(), number(factor)?))
            };
            return Self::from_patterns(
                text.split(',')
                    .map(pair)
                    .collect::<Result<Vec<(String, f64)>>>()?,
            );
        }
        Self::from_numbers(&text.split(',').map(number).collect::<Result<Vec<f64>>>()?)
    }

    /// Factors by patterns of full names, such as `unet.down_blocks.*.attn1.*`: `*` stands for anything. The last pattern that matches
    /// counts; where none does, the factor is 1. Names are diffusers', without `.weight`, behind `unet.`, `text_encoder.` or
    /// `text_encoder_2.`.
    ///
    /// # Errors
    /// [`Error::Strength`] for a factor that is not finite.
    pub fn from_patterns(patterns: impl IntoIterator<Item = (impl Into<String>, f64)>) -> Result<Self> {
        let patterns = patterns
            .into_iter()
            .map(|(pattern, factor)| (pattern.into(), factor));
        Self(Rule::Patterns(patterns.collect())).finite()
    }

    fn finite(self) -> Result<Self> {
        let fault = self.factors().find(|factor| !factor.is_finite());
        match fault {
            None => Ok(self),
            Some(factor) => Err(Error::Strength(format!("a block weight is {factor}"))),
        }
    }

    pub(crate) fn factors(&self) -> impl Iterator<Item = f64> {
        let (Rule::Numbers(rules) | Rule::Patterns(rules)) = &self.0;
        rules.iter().map(|(_, factor)| *factor)
    }

    /// The factor of a layer.
    pub(crate) fn at(&self, place: &Place) -> f64 {
        match &self.0 {
            Rule::Numbers(blocks) => {
                let block = match place.network {
                    Network::Unet => place.block.as_deref(),
                    Network::TextEncoder | Network::TextEncoder2 => Some("BASE"),
                };
                let Some(block) = block else { return 1.0 };
                let found = blocks.iter().find(|(name, _)| name == block);
                found.map_or(0.0, |(_, factor)| *factor)
            }
            Rule::Patterns(patterns) => {
                let name = place.full_name();
                let found = patterns.iter().rev().find(|(pattern, _)| matches(pattern, &name));
                found.map_or(1.0, |(_, factor)| *factor)
            }
        }
    }
}

/// Whether a pattern with stars matches a text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    // Each part at its first place leaves most for those behind it; the last must end the text.
    let mut parts = parts.peekable();
    let mut stars = false;
    while let Some(part) = parts.next() {
        stars = true;
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    stars || rest.is_empty()
}

/// A word of the caller's that is not too long to be quoted.
fn shown(word: &str) -> String {
    word.chars().take(40).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(network: Network, block: Option<&str>) -> Place {
        Place {
            network,
            layer: "down_blocks.1.attentions.0.proj_in".into(),
            bias: true,
            block: block.map(str::to_owned),
        }
    }

    #[test]
    fn lists_by_length() {
        let at = |n: usize, block: &str| {
            let factors: Vec<f64> = (0..n).map(|i| 1.0 + i as f64).collect();
            BlockWeights::from_numbers(&factors)
                .unwrap()
                .at(&place(Network::Unet, Some(block)))
        };
        // Places in the extension's lists BLOCKID17, 26, 12 and 20, counted from 1; 0 for blocks that they leave out.
        for (n, block, expected) in [
            (17, "IN01", 2.0),
            (17, "IN00", 0.0),
            (17, "IN08", 7.0),
            (17, "M00", 8.0),
            (17, "OUT02", 0.0),
            (17, "OUT03", 9.0),
            (17, "OUT11", 17.0),
            (26, "IN00", 2.0),
            (26, "IN11", 13.0),
            (26, "M00", 14.0),
            (26, "OUT11", 26.0),
            (12, "IN04", 2.0),
            (12, "IN08", 5.0),
            (12, "M00", 6.0),
            (12, "OUT00", 7.0),
            (12, "OUT05", 12.0),
            (12, "OUT06", 0.0),
            (20, "IN08", 10.0),
            (20, "OUT08", 20.0),
        ] {
            assert_eq!(at(n, block), expected, "{n} {block}");
        }
        let weights = BlockWeights::parse("0.5, 1,1,1,1,1,1,1,1,1,1,1").unwrap();
        assert_eq!(weights.at(&place(Network::TextEncoder2, None)), 0.5);
        assert_eq!(weights.at(&place(Network::Unet, None)), 1.0);
        assert!(
            BlockWeights::parse("1,2,3")
                .unwrap_err()
                .to_string()
                .contains("not 3")
        );
        let error = BlockWeights::parse("1,x").unwrap_err().to_string();
        assert!(
            error.contains("'x' is no number, nor one of the lists NONE, ALL,"),
            "{error}"
        );
        let patterns = BlockWeights::from_patterns([("unet.*", 0.0), ("*", 0.5)]).unwrap();
        assert_eq!(BlockWeights::parse("unet.*=0, *=0.5").unwrap(), patterns);
        assert!(BlockWeights::parse("unet.*=0,1").is_err());
        // lbwpresets.txt.
        let middle = BlockWeights::parse("1,0,0,0,1,1,1,1,1,1,1,1,0,0,0,0,0").unwrap();
        assert_eq!(BlockWeights::parse(" MIDD").unwrap(), middle);
        assert!(BlockWeights::from_numbers(&[f64::NAN; 12]).is_err());
    }

    #[test]
    fn patterns() {
        let weights = BlockWeights::from_patterns([("*", 0.0), ("unet.down_blocks.1.*", 2.0)]).unwrap();
        assert_eq!(weights.at(&place(Network::Unet, None)), 2.0);
        assert_eq!(weights.at(&place(Network::TextEncoder, None)), 0.0);
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("*a*b*", "xaxbx", true),
            ("a*a", "a", false),
            ("a*b*c", "abcbc", true),
            ("*x*", "abc", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
