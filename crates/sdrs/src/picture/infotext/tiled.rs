//! Settings of tiled diffusion, as the WebUI's extension (multidiffusion-upscaler-for-automatic1111) writes them: all in one pair.

use serde_json::{Map, Value};

use crate::{GenerateParams, TiledDiffusion};

/// The key of the pair.
pub const KEY: &str = "Tiled Diffusion";

const METHOD: &str = "Method";

/// The names of methods there.
const METHODS: [(&str, TiledDiffusion); 2] = [
    ("MultiDiffusion", TiledDiffusion::MultiDiffusion),
    ("Mixture of Diffusers", TiledDiffusion::MixtureOfDiffusers),
];

/// The names of sizes there, and what older versions called them in pairs of their own.
const SIZES: [(&str, &str); 3] = [
    ("Tile tile width", "Tiled Diffusion tile width"),
    ("Tile tile height", "Tiled Diffusion tile height"),
    ("Tile Overlap", "Tiled Diffusion overlap"),
];

const OLD_METHOD: &str = "Tiled Diffusion method";

fn size(params: &mut GenerateParams, i: usize) -> &mut usize {
    let tiles = &mut params.tiles;
    match i {
        0 => &mut tiles.tile_width,
        1 => &mut tiles.tile_height,
        _ => &mut tiles.tile_overlap,
    }
}

/// The pair's value, a JSON object, if there are tiles.
pub fn written(params: &GenerateParams) -> Option<String> {
    let method = METHODS
        .iter()
        .find(|(_, method)| *method == params.tiles.tiled_diffusion)?;
    let mut params = params.clone();
    let sizes = (0..3).map(|i| format!(", \"{}\": {}", SIZES[i].0, size(&mut params, i)));
    Some(format!(
        "{{\"{METHOD}\": \"{}\"{}}}",
        method.0,
        sizes.collect::<String>()
    ))
}

/// What a pair of tiled diffusion said.
pub enum Read {
    /// No pair of it.
    Other,
    /// All was taken; of the pair in one object the rest, which has no place here.
    Taken(Vec<(String, String)>),
    /// It means nothing.
    Bad,
}

/// Takes a pair, as any version of the extension writes it.
pub fn read(params: &mut GenerateParams, key: &str, value: &str) -> Read {
    let number = |value: &str| value.parse().ok();
    if let Some(i) = SIZES.iter().position(|(_, old)| *old == key) {
        let Some(number) = number(value) else {
            return Read::Bad;
        };
        *size(params, i) = number;
        return Read::Taken(Vec::new());
    }
    if key == OLD_METHOD {
        let Some(method) = method(value) else {
            return Read::Bad;
        };
        params.tiles.tiled_diffusion = method;
        return Read::Taken(Vec::new());
    }
    if key != KEY {
        return Read::Other;
    }
    let Some(mut object) = object(value) else {
        return Read::Bad;
    };
    let Some(Value::String(named)) = object.remove(METHOD) else {
        return Read::Bad;
    };
    let Some(method) = method(&named) else {
        // A method that is not known here is told as a whole.
        return Read::Other;
    };
    params.tiles.tiled_diffusion = method;
    for (i, (name, _)) in SIZES.iter().enumerate() {
        let Some(value) = object.remove(*name) else {
            continue;
        };
        let Some(value) = value.as_u64().and_then(|value| usize::try_from(value).ok()) else {
            return Read::Bad;
        };
        *size(params, i) = value;
    }
    // Pictures don't depend on it.
    object.remove("Tile batch size");
    let rest = object
        .into_iter()
        .map(|(name, value)| (format!("{KEY}: {name}"), value.to_string()));
    Read::Taken(rest.collect())
}

fn method(name: &str) -> Option<TiledDiffusion> {
    let found = METHODS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, method)| *method)
}

/// An object in JSON, or in Python's spelling, which older versions of the WebUI wrote.
fn object(value: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(value).ok().or_else(|| {
        let json = value
            .replace('\'', "\"")
            .replace(": True", ": true")
            .replace(": False", ": false");
        serde_json::from_str(&json).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infotext::parse;

    /// As they are found in pictures that people share.
    #[test]
    fn what_the_extension_writes_is_read() {
        let read = |pairs: &str| {
            parse(&format!(
                "a\nSteps: 25, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 1024x1536, {pairs}, Version: v1.9.4"
            ))
        };
        let tiles = |pairs: &str| {
            let tiles = read(pairs).unwrap().params.tiles;
            (
                tiles.tiled_diffusion,
                [tiles.tile_width, tiles.tile_height, tiles.tile_overlap],
            )
        };
        let new = "Tiled Diffusion: {\"Method\": \"MultiDiffusion\", \"Tile tile width\": 112, \"Tile tile height\": 144, \"Tile Overlap\": 4, \
                   \"Tile batch size\": 8, \"Keep input size\": true}, Pad conds: True";
        let expected = (TiledDiffusion::MultiDiffusion, [112, 144, 4]);
        assert_eq!(tiles(new), expected);
        let whole = read(new).unwrap();
        assert!(whole.params.text.pad_prompts);
        assert_eq!(
            whole.rest[0],
            ("Tiled Diffusion: Keep input size".into(), "true".into())
        );
        let python = "Tiled Diffusion: \"{'Method': 'MultiDiffusion', 'Tile tile width': 112, 'Tile tile height': 144, 'Tile Overlap': 4, 'NoiseInv': True}\"";
        assert_eq!(tiles(python), expected);
        let old = "Tiled Diffusion method: Mixture of Diffusers, Tiled Diffusion tile width: 64, Tiled Diffusion overlap: 32";
        assert_eq!(tiles(old), (TiledDiffusion::MixtureOfDiffusers, [64, 96, 32]));
        let other = read("Tiled Diffusion: {\"Method\": \"DemoFusion\", \"Window Size\": 128}").unwrap();
        assert_eq!(other.params.tiles, crate::TileParams::default());
        assert_eq!(other.rest[0].0, KEY);
        for bad in [
            "{\"Method\": 3}",
            "{}",
            "MultiDiffusion",
            "{\"Method\": \"MultiDiffusion\", \"Tile Overlap\": -1}",
        ] {
            let error = read(&format!("Tiled Diffusion: {bad}")).unwrap_err().to_string();
            assert!(error.starts_with("infotext: Tiled Diffusion: '"), "{error}");
        }
    }
}
