//! LoRAs of a prompt's tags by their hashes, as the WebUI does it where it reads a picture's settings.

use std::path::Path;

use sd_core::{
    checkpoint::Kind,
    weights::{TensorFile, adapter_hash},
};

use super::Files;
use crate::GenerateParams;

/// Fewer digits say too little.
const FEWEST: usize = 8;

/// Names in tags the files that have the hashes: one that was renamed since is found. `list` is "name: hash, name: hash".
pub(super) fn by_hash(list: &str, files: &Files, params: &mut GenerateParams, missing: &mut Vec<String>) {
    for (name, hash) in list.split(", ").filter_map(|pair| pair.rsplit_once(": ")) {
        let hash = hash.trim().to_lowercase();
        let tagged = texts(params)
            .into_iter()
            .any(|text| renamed(text, name, name).is_some());
        if hash.len() < FEWEST || !tagged {
            continue;
        }
        let fits = |path: &Path| {
            let file = TensorFile::open(path);
            file.is_ok_and(|file| adapter_hash(&file).starts_with(&hash))
        };
        let by_name = files.named(name);
        if by_name.is_some_and(|path| fits(path)) {
            continue;
        }
        // Tags find the first file of a name.
        let stem = |path: &Path| {
            let stem = path.file_stem()?.to_str()?.to_owned();
            (files.named(&stem)? == path).then_some(stem)
        };
        let lora = |path: &Path| crate::inspect(path).is_ok_and(|seen| seen.kind == Kind::Lora);
        let found = files
            .files
            .iter()
            .filter(|path| lora(path))
            .find(|path| fits(path));
        match (found.and_then(|path| stem(path)), by_name) {
            (Some(stem), _) => {
                for text in texts(params) {
                    if let Some(new) = renamed(text, name, &stem) {
                        *text = new;
                    }
                }
            }
            (None, Some(path)) => missing.push(format!(
                "{} is another LoRA than the one with the hash {hash}",
                path.display()
            )),
            // The run says that there is none of this name.
            (None, None) => {}
        }
    }
}

/// The texts with tags.
fn texts(params: &mut GenerateParams) -> [&mut String; 4] {
    [
        &mut params.text.prompt,
        &mut params.text.negative_prompt,
        &mut params.hires.hires_prompt,
        &mut params.hires.hires_negative_prompt,
    ]
}

/// The text with another name in its tags of this one; `None` if it has no such tag.
fn renamed(text: &str, name: &str, new: &str) -> Option<String> {
    let mut out: Option<String> = None;
    for kind in ["lora", "lyco"] {
        for end in [':', '>'] {
            let now = out.as_deref().unwrap_or(text);
            let tag = format!("<{kind}:{name}{end}");
            if now.contains(&tag) {
                out = Some(now.replace(&tag, &format!("<{kind}:{new}{end}")));
            }
        }
    }
    out
}
