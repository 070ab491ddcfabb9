//! Draw Things: JSON in the `exif:UserComment` of XMP.

use serde_json::{Map, Value};

use super::{Foreign, SAMPLER, float, number, words};

/// The comment in XMP.
pub(super) fn comment(xmp: &str) -> Option<String> {
    let from = xmp.find("<exif:UserComment")?;
    let rest = &xmp[from..];
    let rest = &rest[..rest.find("</exif:UserComment>")?];
    let item = &rest[rest.find("<rdf:li")?..];
    let (_, inner) = item.split_once('>')?;
    let (text, _) = inner.split_once("</rdf:li>")?;
    Some(unescaped(text.trim()))
}

/// XML's entities undone.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out += &rest[..at];
        rest = &rest[at..];
        // None is longer.
        let end = rest.bytes().take(12).position(|byte| byte == b';');
        let entity = &rest[..end.unwrap_or(0)];
        let code = entity
            .strip_prefix("&#")
            .and_then(|code| match code.strip_prefix('x') {
                Some(code) => u32::from_str_radix(code, 16).ok(),
                None => code.parse().ok(),
            });
        let c = match entity {
            "&quot" => Some('"'),
            "&amp" => Some('&'),
            "&lt" => Some('<'),
            "&gt" => Some('>'),
            "&apos" => Some('\''),
            _ => code.and_then(char::from_u32),
        };
        match c {
            Some(c) => {
                out.push(c);
                rest = &rest[entity.len() + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

pub(super) fn translate(json: &Map<String, Value>) -> Foreign {
    let mut found = Foreign::new("Draw Things");
    let get = |key: &str| json.get(key);
    found.prompt = words(get("c")).unwrap_or_default();
    found.negative_prompt = words(get("uc")).unwrap_or_default();
    found.set("steps", number(get("steps")));
    found.sampler(SAMPLER, words(get("sampler")), None);
    found.set("cfg_scale", number(get("scale")));
    found.set("seed", number(get("seed")));
    let size = words(get("size")).unwrap_or_default();
    if let Some((width, height)) = size.split_once('x') {
        found.size(Some(width.into()), Some(height.into()));
    }
    let strength = float(get("strength")).filter(|strength| *strength < 1.0);
    found.set("strength", strength.map(|strength| strength.to_string()));
    found.file("Model", words(get("model")));
    for lora in get("lora").and_then(Value::as_array).into_iter().flatten() {
        if let (Some(name), Some(weight)) = (words(lora.get("model")), float(lora.get("weight"))) {
            found.lora(&name, &[weight]);
        }
    }
    if let Some(mode) = words(get("seed_mode")) {
        found.left.push(format!("seed mode {mode}"));
    }
    found
}
