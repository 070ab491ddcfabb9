//! Drawing, from noise or from pictures.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
};

use indicatif::{ProgressBar, ProgressStyle};
use sdrs::{GenerateParams, Given, Picture, Pipeline, PreviewMethod, Request, RunState};

use crate::{
    Failure,
    deal::deal,
    drawing::Drawing,
    out::{Pictures, bar, interruptible, is_verbose, note, options},
    pictures::{of_folder, read},
    plan,
};

#[derive(clap::Args)]
pub struct Txt2img {
    /// The prompt: a description of the picture.
    #[arg(required_unless_present = "from_infotext")]
    prompt: Option<String>,
    #[command(flatten)]
    pub common: Common,
}

#[derive(clap::Args)]
pub struct Img2img {
    /// The picture to begin at: PNG, JPEG, WebP, BMP or GIF. Of a folder all of its pictures are taken, and OUT is a folder too.
    image: PathBuf,
    /// The prompt: a description of the picture.
    #[arg(required_unless_present = "from_infotext")]
    prompt: Option<String>,
    /// A picture of the same size: only what is white in it, or opaque if it has transparency, is drawn anew.
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,
    /// Draw beyond the picture's edges: pixels to the left, above, to the right and below, such as 64,0,64,0.
    #[arg(
        long,
        value_name = "L,T,R,B",
        value_delimiter = ',',
        num_args = 1,
        conflicts_with = "mask"
    )]
    outpaint: Option<Vec<u32>>,
    #[command(flatten)]
    pub common: Common,
}

#[derive(clap::Args)]
pub struct Common {
    #[command(flatten)]
    pub drawing: Drawing,
    /// Tell how long each operation took on the CPU.
    #[arg(long)]
    profile: bool,
    /// A tiny autoencoder (TAESD) that makes the previews: diffusers' AutoencoderTiny, or the original's decoder.
    #[arg(long, value_name = "PATH", requires = "preview_every")]
    taesd: Option<PathBuf>,
    /// Write what there is of the picture after every N steps: OUT-step-N.png, the size of the latent, or of the picture with --taesd.
    #[arg(long, value_name = "N")]
    preview_every: Option<usize>,
    /// Write the state of the run into this folder after steps: picture-1-step-00012.safetensors and so on, from which `sdrs resume` goes on.
    #[arg(long, value_name = "FOLDER")]
    save_states: Option<PathBuf>,
    /// After how many steps each; the last of a pass is written in any case.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "save_states")]
    save_states_every: usize,
    /// Record what each stage of the run computes, for `sdrs trace compare`: a file of JSON lines.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// The picture to write: a PNG, JPEG or WebP by its ending, or - for a PNG on standard output; of a batch, OUT-1.png, OUT-2.png and so on.
    #[arg(short, long, value_name = "OUT.png", default_value = "out.png")]
    output: PathBuf,
    /// The quality of a JPEG, 1 to 100 [default: 80].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: Option<u8>,
}

/// Draws from noise.
pub fn txt2img(args: Txt2img) -> Result<(), Failure> {
    args.common.draw(args.prompt.as_deref(), None, None)
}

/// Draws from a picture, or from each of a folder.
pub fn img2img(args: Img2img) -> Result<(), Failure> {
    let mut mask = args.mask.as_deref().map(read).transpose()?;
    let mut image = match args.image.is_dir() {
        true => Image::Folder(of_folder(&args.image)?),
        false => Image::One(read(&args.image)?),
    };
    if let Some(margins) = args.outpaint {
        let (Image::One(picture), &[left, top, right, bottom]) = (&image, margins.as_slice()) else {
            let reason = "--outpaint: takes four numbers, and is for one picture, not for a folder";
            return Err(Failure::Usage(reason.into()));
        };
        let (wide, canvas) = picture.outpaint([left, top, right, bottom])?;
        (image, mask) = (Image::One(wide), Some(canvas));
    }
    args.common.draw(args.prompt.as_deref(), Some(image), mask)
}

/// The picture to begin at, or several with their names.
enum Image {
    One(Picture),
    Folder(Vec<PathBuf>),
}

impl Common {
    fn draw(&self, prompt: Option<&str>, image: Option<Image>, mask: Option<Picture>) -> Result<(), Failure> {
        let (params, given) = self.drawing.params(prompt)?;
        let options = options(self.quality, &self.output);
        let depth = self.drawing.depth()?;
        let mut jobs: Vec<(Pictures, Option<PathBuf>)> = Vec::new();
        match &image {
            Some(Image::Folder(paths)) => {
                if self.output.extension().is_some() {
                    let reason = "--output: of a folder of pictures comes a folder; give its name";
                    return Err(Failure::Usage(reason.into()));
                }
                let folder = |e| Failure::Write(format!("{}: {e}", self.output.display()));
                std::fs::create_dir_all(&self.output).map_err(folder)?;
                for path in paths {
                    let name = Path::new(path.file_name().unwrap_or_default());
                    let stem = name.with_extension("png");
                    // Of a.png and a.jpg come a.png and a.jpg.png.
                    let alone = paths
                        .iter()
                        .filter(|other| other.with_extension("") == path.with_extension(""));
                    let name = match alone.count() > 1 && name != stem {
                        true => PathBuf::from(format!("{}.png", name.display())),
                        false => stem,
                    };
                    let to = Pictures::checked(
                        &self.output.join(name),
                        &params,
                        self.preview_every,
                        options.clone(),
                    )?;
                    jobs.push((to, Some(path.clone())));
                }
            }
            _ => jobs.push((
                Pictures::checked(&self.output, &params, self.preview_every, options.clone())?,
                None,
            )),
        }
        let cancel = interruptible();

        let pipeline = self.pipeline()?;
        let devices = pipeline.device().split(',').count();
        // A batch with a picture for each device is dealt out by itself. States and traces of several runs at once have one place.
        let alone = jobs.len() == 1 || params.size.batch_size >= devices;
        let pipelines = match alone || self.save_states.is_some() || self.trace.is_some() {
            true => vec![pipeline],
            false => pipeline.apart(),
        };
        let whole = (pipelines.len() > 1).then(|| bar(jobs.len() as u64, pictures_style()));
        let drawn = deal(&pipelines, &jobs, |pipeline, (pictures, path)| {
            let start = match (&image, path) {
                (Some(Image::One(picture)), _) => Some(picture.clone()),
                (_, Some(path)) => Some(read(path)?),
                _ => None,
            };
            let request = pipeline
                .txt2img("")
                .params_and_given(params.clone(), given.clone())
                .cancel_token(&cancel);
            let request = request.image(start).mask(mask.clone()).depth(depth.clone());
            let bar = match whole {
                Some(_) => ProgressBar::hidden(),
                None => steps_bar(&params),
            };
            let drawn = run_under(&bar, pipeline, self.watched(request), (&params, &given), pictures);
            if let Some(whole) = &whole {
                whole.inc(1);
            }
            drawn.map_err(|failure| match path {
                Some(path) => failure.of(path),
                None => failure,
            })
        });
        if let Some(whole) = whole {
            whole.finish_and_clear();
        }
        drawn?;
        self.account(&pipelines[0]);
        Ok(())
    }

    fn pipeline(&self) -> Result<Pipeline, Failure> {
        let mut builder = self.drawing.builder()?.profile(self.profile);
        if let Some(path) = &self.taesd {
            builder = builder.taesd(path);
        }
        Ok(builder.build()?)
    }

    /// A request with what is to be shown, saved and recorded of its run.
    fn watched<'a>(&self, mut request: Request<'a>) -> Request<'a> {
        if let Some(every) = self.preview_every {
            let method = match &self.taesd {
                Some(_) => PreviewMethod::Taesd,
                None => PreviewMethod::Approximate,
            };
            request = request.previews(method, every);
        }
        if let Some(folder) = &self.save_states {
            request = request.save_states(folder, self.save_states_every);
        }
        if let Some(path) = &self.trace {
            request = request.trace(path);
        }
        request
    }

    fn account(&self, pipeline: &Pipeline) {
        if self.profile {
            note(crate::profile::table(&pipeline.profile()).trim_end());
        }
    }

    /// Goes on from a state, with these settings.
    pub fn resume(&self, state: RunState, params: &GenerateParams, given: &Given) -> Result<(), Failure> {
        let options = options(self.quality, &self.output);
        let pictures = Pictures::checked(&self.output, params, self.preview_every, options)?;
        let cancel = interruptible();
        let pipeline = self.pipeline()?;
        let request = pipeline.txt2img("").resume(state);
        let request = request
            .params_and_given(params.clone(), given.clone())
            .cancel_token(&cancel);
        run(&pipeline, self.watched(request), params, given, &pictures)?;
        self.account(&pipeline);
        Ok(())
    }
}

/// Runs one request, with a bar, and writes each of its pictures when it is done.
pub fn run(
    pipeline: &Pipeline,
    request: Request<'_>,
    params: &GenerateParams,
    given: &Given,
    pictures: &Pictures,
) -> Result<(), Failure> {
    run_under(&steps_bar(params), pipeline, request, (params, given), pictures)
}

/// The bar of a run's steps.
fn steps_bar(params: &GenerateParams) -> ProgressBar {
    let steps = params.sampling.steps.saturating_mul(params.size.batch_size);
    bar(steps as u64, style())
}

/// The same with a bar of the caller's, which goes in the end.
fn run_under(
    bar: &ProgressBar,
    pipeline: &Pipeline,
    request: Request<'_>,
    (params, given): (&GenerateParams, &Given),
    pictures: &Pictures,
) -> Result<(), Failure> {
    let taken = pipeline.recommended().settle(given, &mut params.clone());
    // Told when the run has begun: an error speaks for itself. The log tells it, too.
    let mut taken = Some(taken).filter(|taken| !taken.is_empty() && !is_verbose());
    // So does one of the plan: the run has it too.
    if let Some(told) = request.memory_plan().ok().and_then(|plan| plan::too_much(&plan)) {
        note(told);
    }
    let count = params.size.batch_size;
    let (failed, mut shows) = (RefCell::new(Vec::new()), true);
    // Of each picture: they may be drawn one after another, or together.
    let mut done = Vec::new();
    let outcome = request
        .on_progress(|progress| {
            if let Some(taken) = taken.take() {
                note(format_args!("as the model recommends: {taken}"));
            }
            // A sampler may take another number of steps than was asked for.
            done.resize(progress.images.max(done.len()), 0);
            done[progress.image] = progress.step;
            let all: usize = done.iter().sum();
            bar.set_length((progress.steps * progress.images).max(all) as u64);
            bar.set_position(all as u64);
            if let Some(preview) = progress.preview.as_ref().filter(|_| shows) {
                let number = (progress.images > 1).then_some(progress.image + 1);
                // The picture is worth more: the run goes on without previews.
                if let Err(error) = pictures.preview(preview, number, progress.step) {
                    shows = false;
                    let told = Failure::Write(format!("{error}; no more previews"));
                    failed.borrow_mut().push(told);
                }
            }
        })
        .on_image(|image, drawn| {
            let written = pictures.save(drawn, (count > 1).then_some(image + 1));
            failed.borrow_mut().extend(written.err());
        })
        .run();
    bar.finish_and_clear();
    match outcome {
        Ok(_) => worst(failed.into_inner()),
        Err(error) => {
            tell(failed.into_inner());
            Err(error.into())
        }
    }
}

/// Reports failures that others come after.
fn tell(failed: Vec<Failure>) {
    for message in failed.into_iter().filter_map(|failure| failure.report().1) {
        note(format_args!("error: {message}"));
    }
}

/// The failure to end with, once all pictures are written; each other failure is reported here.
fn worst(mut failed: Vec<Failure>) -> Result<(), Failure> {
    // That a reader has gone matters least.
    failed.sort_by_key(|failure| matches!(failure, Failure::Write(_)));
    failed.dedup_by(|a, b| matches!((a, b), (Failure::Stdout(_), Failure::Stdout(_))));
    let Some(last) = failed.pop() else {
        return Ok(());
    };
    tell(failed);
    Err(last)
}

fn pictures_style() -> ProgressStyle {
    let template = "{bar:40} {pos}/{len} pictures, {eta} left";
    ProgressStyle::with_template(template).expect("the template is valid")
}

fn style() -> ProgressStyle {
    let template = "{bar:40} {pos}/{len} steps, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    style.with_key(
        "per_sec",
        |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{:.2} it/s", state.per_sec());
        },
    )
}
