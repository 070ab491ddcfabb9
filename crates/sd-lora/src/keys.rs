//! The keys of an adapter's file: a module's name, and which of its tensors it is.

/// The role of a tensor in its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Leaf {
    Down,
    Up,
    Mid,
    UpBias,
    Alpha,
    Scale,
    DoraScale,
    Magnitude,
    HadaW1A,
    HadaW1B,
    HadaW2A,
    HadaW2B,
    HadaT1,
    HadaT2,
    LokrW1,
    LokrW1A,
    LokrW1B,
    LokrW2,
    LokrW2A,
    LokrW2B,
    LokrT2,
    Diff,
    DiffBias,
    WNorm,
    BNorm,
    Ia3Weight,
    OnInput,
    GloraA1,
    GloraA2,
    GloraB1,
    GloraB2,
    OftBlocks,
    OftDiag,
    OftR,
    Rescale,
}

impl Leaf {
    /// The name in kohya's and LyCORIS' files, for errors.
    pub fn name(self) -> &'static str {
        let ending = ENDINGS.iter().find(|(_, leaf)| *leaf == self);
        let name = ending.map_or("", |(ending, _)| ending.trim_start_matches('.'));
        name.trim_end_matches(".weight")
    }
}

/// The endings of keys, the usual one of each tensor first. Where one is the end of another, the longer comes first.
const ENDINGS: [(&str, Leaf); 44] = [
    // kohya, LyCORIS, OneTrainer.
    (".lora_down.weight", Leaf::Down),
    (".lora_up.weight", Leaf::Up),
    (".lora_mid.weight", Leaf::Mid),
    (".alpha", Leaf::Alpha),
    (".scale", Leaf::Scale),
    (".dora_scale", Leaf::DoraScale),
    // PEFT, and diffusers since it builds on that.
    (".lora_A.weight", Leaf::Down),
    (".lora_B.weight", Leaf::Up),
    (".lora_B.bias", Leaf::UpBias),
    (".lora_magnitude_vector.weight", Leaf::Magnitude),
    (".lora_magnitude_vector", Leaf::Magnitude),
    (".oft_R.weight", Leaf::OftR),
    // diffusers before: beside the layers, and before that in attention processors.
    (".lora.down.weight", Leaf::Down),
    (".lora.up.weight", Leaf::Up),
    (".lora_linear_layer.down.weight", Leaf::Down),
    (".lora_linear_layer.up.weight", Leaf::Up),
    ("_lora.down.weight", Leaf::Down),
    ("_lora.up.weight", Leaf::Up),
    (".hada_w1_a", Leaf::HadaW1A),
    (".hada_w1_b", Leaf::HadaW1B),
    (".hada_w2_a", Leaf::HadaW2A),
    (".hada_w2_b", Leaf::HadaW2B),
    (".hada_t1", Leaf::HadaT1),
    (".hada_t2", Leaf::HadaT2),
    (".lokr_w1", Leaf::LokrW1),
    (".lokr_w1_a", Leaf::LokrW1A),
    (".lokr_w1_b", Leaf::LokrW1B),
    (".lokr_w2", Leaf::LokrW2),
    (".lokr_w2_a", Leaf::LokrW2A),
    (".lokr_w2_b", Leaf::LokrW2B),
    (".lokr_t2", Leaf::LokrT2),
    (".diff", Leaf::Diff),
    (".diff_b", Leaf::DiffBias),
    (".w_norm", Leaf::WNorm),
    (".b_norm", Leaf::BNorm),
    (".on_input", Leaf::OnInput),
    (".a1.weight", Leaf::GloraA1),
    (".a2.weight", Leaf::GloraA2),
    (".b1.weight", Leaf::GloraB1),
    (".b2.weight", Leaf::GloraB2),
    (".oft_blocks", Leaf::OftBlocks),
    (".oft_diag", Leaf::OftDiag),
    (".rescale", Leaf::Rescale),
    (".weight", Leaf::Ia3Weight),
];

/// The beginning of a bundled embedding's key.
pub(crate) const BUNDLE: &str = "bundle_emb.";

/// The parts of a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    /// A tensor of a module.
    Module(&'a str, Leaf),
    /// A tensor of a bundled embedding: its name, and the key in the embedding's own file.
    Bundled(&'a str, &'a str),
    /// No ending that is known.
    Unknown,
}

/// Takes a key apart.
pub(crate) fn parse(key: &str) -> Key<'_> {
    if let Some(rest) = key.strip_prefix(BUNDLE) {
        return match rest.split_once('.') {
            Some((name, inner)) if !name.is_empty() => Key::Bundled(name, inner),
            _ => Key::Unknown,
        };
    }
    let known = ENDINGS
        .iter()
        .find_map(|(ending, leaf)| Some((key.strip_suffix(ending)?, *leaf)));
    match known
        .filter(|(_, leaf)| *leaf != Leaf::Ia3Weight)
        .or_else(|| with_adapter_name(key))
        .or(known)
    {
        Some((module, leaf)) if !module.is_empty() => Key::Module(module, leaf),
        _ => Key::Unknown,
    }
}

/// PEFT's keys while a model holds them: `lora_A.default.weight`, with the adapter's name in between.
fn with_adapter_name(key: &str) -> Option<(&str, Leaf)> {
    let (rest, last) = key.rsplit_once('.')?;
    let (module, kind) = match last {
        "weight" | "bias" => rest.rsplit_once('.')?.0.rsplit_once('.')?,
        _ => rest.rsplit_once('.')?,
    };
    let leaf = match (kind, last) {
        ("lora_A", "weight") => Leaf::Down,
        ("lora_B", "weight") => Leaf::Up,
        ("lora_B", "bias") => Leaf::UpBias,
        ("lora_magnitude_vector", "bias") => return None,
        ("lora_magnitude_vector", _) => Leaf::Magnitude,
        ("oft_R", "weight") => Leaf::OftR,
        _ => return None,
    };
    Some((module, leaf))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_all_dialects() {
        for (key, module, leaf) in [
            ("lora_unet_x.lora_down.weight", "lora_unet_x", Leaf::Down),
            ("unet.a.to_q.lora_A.weight", "unet.a.to_q", Leaf::Down),
            ("a.to_q.lora_B.default.weight", "a.to_q", Leaf::Up),
            ("a.to_q.lora_B.default.bias", "a.to_q", Leaf::UpBias),
            ("a.to_q.lora_magnitude_vector", "a.to_q", Leaf::Magnitude),
            ("a.to_q.lora_magnitude_vector.style", "a.to_q", Leaf::Magnitude),
            (
                "a.to_q.lora_magnitude_vector.style.weight",
                "a.to_q",
                Leaf::Magnitude,
            ),
            (
                "a.processor.to_q_lora.down.weight",
                "a.processor.to_q",
                Leaf::Down,
            ),
            ("a.to_k.lora.up.weight", "a.to_k", Leaf::Up),
            ("a.q_proj.lora_linear_layer.up.weight", "a.q_proj", Leaf::Up),
            ("a.to_q.oft_R.weight", "a.to_q", Leaf::OftR),
            ("a.to_q.oft_R.default.weight", "a.to_q", Leaf::OftR),
            ("a.lokr_w1_a", "a", Leaf::LokrW1A),
            ("a.lokr_w1", "a", Leaf::LokrW1),
            ("a.weight", "a", Leaf::Ia3Weight),
            ("a.diff_b", "a", Leaf::DiffBias),
        ] {
            assert_eq!(parse(key), Key::Module(module, leaf), "{key}");
        }
        let vector = "bundle_emb.my style.string_to_param.*";
        assert_eq!(parse(vector), Key::Bundled("my style", "string_to_param.*"));
        for key in [
            "",
            "x",
            ".alpha",
            "bundle_emb.",
            "bundle_emb..x",
            "a.bias",
            "a.lora_C.default.bias",
        ] {
            assert_eq!(parse(key), Key::Unknown, "{key}");
        }
    }
}
