//! `<lora:..>` tags of prompts: the LoRAs that they mean, with their weights.

use std::ops::Range;

use sd_core::prompt::{LoraTag, Prompt};
use sd_lora::BlockWeights;

use super::{Lora, LoraFolders, LoraSchedule, Loras, schedule::moment};
use crate::{Error, Result};

/// The tags for LoRAs in a prompt, and where they stand.
pub(crate) fn lora_tags(prompt: &Prompt) -> Result<Vec<(LoraTag, Range<usize>)>> {
    let read = prompt
        .tags
        .iter()
        .filter_map(|tag| Some((tag.lora()?, tag.span.clone())));
    read.map(|(lora, span)| match lora {
        Ok(lora) => Ok((lora, span)),
        Err(reason) => {
            let reason = format!("{reason}, in its <lora:..> tag at byte {}", span.start);
            Err(Error::parameter("prompt", reason))
        }
    })
    .collect()
}

/// A LoRA with the settings of a tag; settings that the tag leaves open stay.
fn with_tag(lora: Lora, tag: &LoraTag) -> Result<Lora> {
    let refuse =
        |reason: String| Error::parameter("prompt", format!("its tag for the LoRA '{}': {reason}", tag.name));
    let mut lora = lora.text_encoder(tag.text_encoder).unet(tag.unet);
    if let Some(ranks) = tag.dynamic_rank {
        lora = lora.ranks(ranks as usize);
    }
    if let Some(blocks) = &tag.blocks {
        let blocks = BlockWeights::parse(blocks).map_err(|error| match error {
            sd_lora::Error::Strength(reason) => refuse(reason),
            error => error.into(),
        })?;
        lora = lora.blocks(blocks);
    }
    match tagged_schedule(tag).map_err(refuse)? {
        // Its factors are the weights.
        Some(schedule) if !tag.course.is_empty() => Ok(lora.unet(1.0).schedule(schedule)),
        Some(schedule) => Ok(lora.schedule(schedule)),
        None => Ok(lora),
    }
}

fn tagged_schedule(tag: &LoraTag) -> std::result::Result<Option<LoraSchedule>, String> {
    let (start, stop) = (tag.start, tag.stop);
    if tag.course.is_empty() && start.is_none() && stop.is_none() {
        return Ok(None);
    }
    let steps = [start, stop].iter().flatten().any(|when| *when > 1.0);
    let when =
        |given: Option<f64>, default: f64| given.map_or(Ok(default.into()), |when| moment(when, steps));
    let schedule = LoraSchedule::from_pairs(&tag.course, true)?.within(when(start, 0.0)?, when(stop, 1.0)?);
    schedule.check()?;
    Ok(Some(schedule))
}

impl Loras {
    /// These LoRAs and the LoRAs that tags ask for: a tag for one that is here already gives it other weights.
    pub fn tagged(&self, tags: &[(LoraTag, Range<usize>)], folders: &LoraFolders) -> Result<Vec<Lora>> {
        let mut loras: Vec<Lora> = self.iter().cloned().collect();
        let mut named = vec![false; loras.len()];
        for (tag, _) in tags {
            let own = (0..named.len()).find(|&i| !named[i] && loras[i].name() == tag.name);
            match own {
                Some(i) => {
                    named[i] = true;
                    loras[i] = with_tag(loras[i].clone(), tag)?;
                }
                None => loras.push(with_tag(self.find(&tag.name, folders)?, tag)?),
            }
        }
        Ok(loras)
    }

    /// The LoRA of a name: one of these, or a file in the folders.
    pub fn find(&self, name: &str, folders: &LoraFolders) -> Result<Lora> {
        if let Some(own) = self.iter().find(|lora| lora.name() == name) {
            return Ok(own.clone());
        }
        if let Some(path) = folders.find(name)? {
            return Ok(Lora::file(path).named(name));
        }
        let advice = match folders.near(name)?.as_slice() {
            [] => "add its file or folder to the pipeline, or take the tag out".to_owned(),
            near => format!("the names most like it are: {}", near.join(", ")),
        };
        let reason = format!("it asks for the LoRA '{name}', which was not found; {advice}");
        Err(Error::parameter("prompt", reason))
    }

    /// Refuses tags of LoRAs that are not here with these weights: a single call of a network can't change its weights.
    pub fn check_tags(&self, tags: &[(LoraTag, Range<usize>)]) -> Result<()> {
        for (tag, _) in tags {
            let same = self.iter().filter(|lora| lora.name() == tag.name);
            let mut meant = false;
            for lora in same {
                meant |= with_tag(lora.clone(), tag)? == *lora;
            }
            if meant {
                continue;
            }
            let reason = format!(
                "it asks for the LoRA '{}' at {} and {}, which this pipeline does not have; make one that has it (with_loras), or take \
                 the tag out",
                tag.name, tag.text_encoder, tag.unet
            );
            return Err(Error::parameter("prompt", reason));
        }
        Ok(())
    }
}
