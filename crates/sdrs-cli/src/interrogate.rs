use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use indicatif::{ProgressBar, ProgressStyle};
use sdrs::{CancelToken, CaptionParams, InterrogateMode, Interrogation, Interrogator, Phrases};

use crate::{
    Failure,
    out::{bar, interruptible, log, note, print},
    parts::dtype,
    pictures::{of_folder, read},
};

#[derive(clap::Args)]
pub struct Args {
    /// Pictures, or folders of pictures: the text of each picture in a folder is written to a file beside it, with the ending .txt.
    #[arg(required = true, value_name = "PICTURE|FOLDER")]
    pictures: Vec<PathBuf>,
    /// The way to the text: caption, classic, fast, negative, best, webui.
    #[arg(long, value_name = "MODE", default_value = "best")]
    mode: String,
    /// CLIP: a folder of transformers' or open_clip's, OpenAI's .pt, or an open_clip checkpoint [default, where no --blip is given either:
    /// the demo's, which are compiled in and know the demo's world].
    #[arg(long, value_name = "PATH")]
    clip: Option<PathBuf>,
    /// The activation of a CLIP whose files don't say it: quick_gelu or gelu.
    #[arg(long, value_name = "NAME", requires = "clip")]
    clip_activation: Option<String>,
    /// Another tokenizer for CLIP.
    #[arg(long, value_name = "PATH", requires = "clip")]
    clip_tokenizer: Option<PathBuf>,
    /// BLIP: a folder of transformers', or the authors' .pth of a captioner.
    #[arg(long, value_name = "PATH")]
    blip: Option<PathBuf>,
    /// BERT's vocabulary for BLIP [default: vocab.txt or tokenizer.json beside it].
    #[arg(long, value_name = "PATH", requires = "blip")]
    vocabulary: Option<PathBuf>,
    /// A folder of phrases, one list a .txt file, one phrase a line [default: lists that come with sdrs].
    #[arg(long, value_name = "FOLDER")]
    phrases: Option<PathBuf>,
    /// A folder that keeps the phrases' vectors.
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// A caption to begin with, in place of BLIP's.
    #[arg(long, value_name = "TEXT")]
    caption: Option<String>,
    /// The words that a caption begins with, which are not part of it.
    #[arg(long, value_name = "TEXT")]
    caption_prompt: Option<String>,
    /// Tokens that a caption has at least, those before it included.
    #[arg(long, value_name = "N")]
    min_length: Option<usize>,
    /// Tokens that a caption has at most, counted alike.
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// Texts that are followed at a time on the way to a caption.
    #[arg(long, value_name = "N")]
    beams: Option<usize>,
    /// Phrases that a chain has at least.
    #[arg(long, value_name = "N")]
    min_flavors: Option<usize>,
    /// Phrases that are added at most.
    #[arg(long, value_name = "N")]
    max_flavors: Option<usize>,
    /// Phrases of each list that the mode webui knows, from the first on; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 1500)]
    limit: usize,
    /// Let the mode webui write each phrase with its probability.
    #[arg(long)]
    ranks: bool,
    /// Keep known faults of the original programs, for their texts.
    #[arg(long)]
    original: bool,
    /// Print a JSON object for each picture, on a line of its own: its path, text, caption, and the phrases with their scores.
    #[arg(long)]
    json: bool,
    /// Write texts of a folder's pictures over those that are there.
    #[arg(long)]
    overwrite: bool,
    /// The device to compute on: auto, cpu, cuda:0, vulkan:0.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
    /// Compute type: f32, bf16 or f16 [default: f32 on the CPU, f16 on a GPU].
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,
    /// Threads that the CPU computes with [default: one for each core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// A picture, and where its text goes if it is from a folder.
struct Work {
    picture: PathBuf,
    text: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let mode = InterrogateMode::from_name(&args.mode).ok_or_else(|| {
        let names = InterrogateMode::ALL.map(InterrogateMode::name).join(", ");
        Failure::Usage(format!("--mode: '{}' is not one of {names}", args.mode))
    })?;
    let work = args.work()?;
    let interrogator = args.interrogator()?;
    let cancel = interruptible();
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}").expect("the template is valid");
    let bar = bar(0, style);
    // One bad picture of a folder doesn't end the work on others.
    let (mut failed, mut done) = (None, 0);
    for Work { picture, text } in &work {
        let outcome = args.interrogated(&interrogator, mode, picture, &cancel, &bar);
        let found = match (outcome, text) {
            (Ok(found), _) => found,
            (Err(Failure::Sdrs(error)), Some(_)) if error.code() != sdrs::ErrorCode::Cancelled => {
                note(format_args!("{}: {error}", picture.display()));
                failed.get_or_insert(error);
                continue;
            }
            (Err(failure), _) => return Err(failure),
        };
        done += 1;
        if let Some(path) = text {
            found.save(path)?;
        }
        args.told(picture, text.as_deref(), &found, work.len())?;
    }
    bar.finish_and_clear();
    match failed {
        Some(error) if done == 0 => Err(error.into()),
        Some(error) => {
            note(format_args!("{done} of {} pictures have a text", work.len()));
            Err(error.into())
        }
        None => Ok(()),
    }
}

impl Args {
    fn interrogator(&self) -> Result<Interrogator, Failure> {
        let mut builder = Interrogator::builder().device(&self.device).on_log(log);
        #[cfg(feature = "demo")]
        if self.clip.is_none() && self.blip.is_none() {
            builder = builder.demo();
        }
        if let Some(path) = &self.clip {
            builder = builder.clip(path);
        }
        if let Some(name) = &self.clip_activation {
            builder = builder.clip_activation(name);
        }
        if let Some(path) = &self.clip_tokenizer {
            builder = builder.clip_tokenizer(path);
        }
        if let Some(path) = &self.blip {
            builder = builder.blip(path);
        }
        if let Some(path) = &self.vocabulary {
            builder = builder.vocabulary(path);
        }
        if let Some(folder) = &self.phrases {
            builder = builder.phrases(Phrases::open(folder)?);
        }
        if let Some(folder) = &self.cache {
            builder = builder.cache(folder);
        }
        if let Some(name) = &self.dtype {
            builder = builder.dtype(dtype(name)?);
        }
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        Ok(builder.build()?)
    }

    /// All pictures, those of folders in the order of their names.
    fn work(&self) -> Result<Vec<Work>, Failure> {
        let (mut work, mut texts) = (Vec::new(), HashMap::<PathBuf, PathBuf>::new());
        for path in &self.pictures {
            if !path.is_dir() {
                work.push(Work {
                    picture: path.clone(),
                    text: None,
                });
                continue;
            }
            for picture in of_folder(path)? {
                let text = picture.with_extension("txt");
                match texts.get(&text) {
                    Some(other) if *other != picture => note(format_args!(
                        "{}: {} is of {} already; give this picture another name",
                        picture.display(),
                        text.display(),
                        other.display()
                    )),
                    Some(_) => {}
                    None if text.exists() && !self.overwrite => note(format_args!(
                        "{}: is there already; --overwrite writes over it",
                        text.display()
                    )),
                    None => {
                        texts.insert(text.clone(), picture.clone());
                        work.push(Work {
                            picture,
                            text: Some(text),
                        });
                    }
                }
            }
        }
        Ok(work)
    }

    fn interrogated(
        &self,
        interrogator: &Interrogator,
        mode: InterrogateMode,
        path: &Path,
        cancel: &CancelToken,
        bar: &ProgressBar,
    ) -> Result<Interrogation, Failure> {
        let picture = read(path)?;
        let mut captions = CaptionParams::default();
        captions.prompt.clone_from(&self.caption_prompt);
        captions.min_length = self.min_length;
        captions.max_length = self.max_length;
        captions.beams = self.beams;
        let mut request = interrogator
            .interrogate(&picture)
            .mode(mode)
            .caption_params(captions)
            .limit(self.limit)
            .ranks(self.ranks)
            .original(self.original)
            .cancel_token(cancel);
        if let Some(caption) = &self.caption {
            request = request.caption(caption);
        }
        if let Some(count) = self.min_flavors {
            request = request.min_flavors(count);
        }
        if let Some(count) = self.max_flavors {
            request = request.max_flavors(count);
        }
        Ok(request
            .on_progress(|progress| {
                bar.set_message(progress.stage.name());
                bar.set_length(progress.total as u64);
                bar.set_position(progress.done as u64);
            })
            .run()?)
    }

    /// Prints what was found.
    fn told(
        &self,
        picture: &Path,
        text: Option<&Path>,
        found: &Interrogation,
        pictures: usize,
    ) -> Result<(), Failure> {
        if self.json {
            let mut object = serde_json::json!(found);
            object["picture"] = picture.display().to_string().into();
            return print(&format!("{object}\n"));
        }
        match (text, pictures) {
            (Some(text), _) => print(&format!("{}: {}\n", text.display(), found.text)),
            (None, 1) => print(&format!("{}\n", found.text)),
            (None, _) => print(&format!("{}: {}\n", picture.display(), found.text)),
        }
    }
}
