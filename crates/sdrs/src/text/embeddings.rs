//! Textual inversions that prompts may name.

use std::sync::Arc;

use sd_core::{
    config::Part,
    embedding::{self, Embedding},
    prompt::EmbeddingNames,
};

use crate::{
    Error, Result,
    lora::Loras,
    model::{Model, Source},
};

/// Textual inversions by number, and of each its vectors for each text encoder.
#[derive(Default, Clone)]
pub(crate) struct Embeddings {
    pub names: EmbeddingNames,
    pub vectors: Vec<Vec<Vec<f32>>>,
    /// The files of a folder that are not among them, each with the reason.
    pub skipped: Vec<String>,
}

impl Embeddings {
    /// Reads files, and folders of them. In a folder, files that can't be used are passed over.
    pub fn open(sources: &[Source], model: &Model) -> Result<Self> {
        let mut all = Self::default();
        for source in sources {
            match source {
                Source::Path(path) if path.is_dir() => {
                    let found = embedding::from_folder(path)?;
                    if found.embeddings.is_empty() && found.unreadable.is_empty() {
                        let place = path.display();
                        all.skipped
                            .push(format!("{place}: there is no embedding in this folder"));
                    }
                    let unreadable = found.unreadable.iter().map(ToString::to_string);
                    let mut skipped: Vec<String> = unreadable.collect();
                    for embedding in &found.embeddings {
                        skipped.extend(all.add(embedding, model).err().map(|error| error.to_string()));
                    }
                    all.skipped.extend(skipped);
                }
                Source::Path(path) => all.add(&Embedding::open(path)?, model)?,
                Source::Bytes(name, bytes) => {
                    all.add(&Embedding::from_bytes(name, name, bytes.clone())?, model)?;
                }
            }
        }
        Ok(all)
    }

    /// These embeddings, and those that LoRAs bring along. Of two with one name these count, then those of the first LoRA (WebUI).
    pub fn with_bundled(self: &Arc<Self>, loras: &Loras, model: &Model) -> Result<Arc<Self>> {
        let mut all = self.clone();
        for (lora, embeddings) in loras.embeddings() {
            for embedding in embeddings {
                if all.names.contains(&embedding.name) {
                    continue;
                }
                let all = Arc::make_mut(&mut all);
                match all.add(embedding, model) {
                    Err(error) if lora.strengths().allow_unmatched => all.skipped.push(error.to_string()),
                    added => added?,
                }
            }
        }
        Ok(all)
    }

    fn add(&mut self, embedding: &Embedding, model: &Model) -> Result<()> {
        let path = || embedding.origin.clone();
        let refuse = |reason: String| Err(Error::InvalidFile { path: path(), reason });
        let places = model.chunk_length();
        let encoders = || {
            let stack = model.text_encoders.iter();
            stack.map(|encoder| (encoder.part, encoder.network.config().hidden_size))
        };
        let joined = |widths: &mut dyn Iterator<Item = usize>| -> String {
            let widths: Vec<String> = widths.map(|width| width.to_string()).collect();
            widths.join(" and ")
        };
        let vectors =
            encoders().map(|(part, width)| Some(embedding.for_encoder(part, width)?.values.clone()));
        let vectors = vectors.collect::<Option<Vec<Vec<f32>>>>();
        // SDXL's refiner has the second of SDXL's encoders, and takes what is for that one.
        let refines = encoders().all(|(part, _)| part == Part::TextEncoder2);
        let Some(vectors) = vectors.filter(|all| refines || embedding.parts.len() == all.len()) else {
            return refuse(format!(
                "its vectors have {} values, and this model's text encoder{} {}: it is for another kind of model",
                joined(&mut embedding.parts.iter().map(|part| part.width)),
                if encoders().count() == 1 { " has" } else { "s have" },
                joined(&mut encoders().map(|(_, width)| width)),
            ));
        };
        if embedding.vectors() > places {
            return refuse(format!(
                "its {} vectors don't fit into the {places} places of the text encoder's input",
                embedding.vectors()
            ));
        }
        if self.names.contains(&embedding.name) {
            let name = &embedding.name;
            let reason = format!("{}: there is another embedding named '{name}' already", path());
            return Err(Error::parameter("embedding", reason));
        }
        self.names.add(
            &embedding.name,
            embedding.vectors(),
            &model.text_encoder().tokenizer,
        )?;
        self.vectors.push(vectors);
        Ok(())
    }

    /// The names, in the order of the vectors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        (0..self.vectors.len()).filter_map(|i| self.names.name(i))
    }
}
