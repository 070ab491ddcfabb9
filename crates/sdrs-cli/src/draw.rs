//! Drawing, from noise or from pictures.

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use sdrs::{
    GenerateParams, Given, Picture, Pipeline, PipelineBuilder, PreviewMethod, Quantization, Request,
    RunState, SaveOptions, WeightDtype,
};

use crate::{
    Failure,
    out::{Pictures, interruptible, note, warn},
    parts::{Parts, dtype},
    settings::Settings,
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

/// What is drawn, and by which pipeline.
#[derive(clap::Args)]
pub struct Drawing {
    /// Settings of a picture, from a PNG, JPEG or WebP with its infotext or from a text file with one; what else is given here wins.
    #[arg(long, value_name = "FILE")]
    pub from_infotext: Option<PathBuf>,
    /// The checkpoint: a diffusers folder or a single file, such as .safetensors, .ckpt or .gguf [default: the demo model that
    /// is compiled in].
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    #[command(flatten)]
    parts: Parts,
    /// A second checkpoint that takes over on the way from noise to the picture, such as SDXL's refiner: a file or a folder. It needs no
    /// VAE.
    #[arg(long, value_name = "PATH")]
    refiner: Option<PathBuf>,
    /// A folder whose LoRAs the prompt may name: <lora:NAME:WEIGHT>. May be given several times.
    #[arg(long, value_name = "FOLDER")]
    lora_dir: Vec<PathBuf>,
    /// A textual inversion, found in prompts by its file's name: .pt, .bin, .safetensors or PNG, or a folder of them. May be given
    /// several times.
    #[arg(long, value_name = "PATH")]
    embedding: Vec<PathBuf>,
    /// A network that enlarges pictures (ESRGAN, Real-ESRGAN or compact, .pth or .safetensors), for --hires-upscaler, which names it by its
    /// file's name without the ending. May be given several times.
    #[arg(long, value_name = "PATH")]
    upscaler: Vec<PathBuf>,
    #[command(flatten)]
    pub settings: Settings<true>,
    /// The depth of the picture, bright is near: for models that draw after it.
    #[arg(long, value_name = "FILE")]
    depth: Option<PathBuf>,
    /// The device to compute on: auto, cpu, cuda:0, vulkan:0.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
    /// Type of arithmetic: f32, bf16 or f16 [default: bf16 on a CPU that multiplies it, else f32; f16 on a GPU].
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,
    /// Type that weights are kept in on the CPU: auto (as the file has them), f32, bf16, f16 or f8. Only f8 changes pictures of files in 16
    /// bits or fewer noticeably.
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    weight_dtype: String,
    /// Let text encoders go once a run's texts are encoded, and load them again for new ones: less memory, the same picture.
    #[arg(long)]
    drop_text_encoders: bool,
    /// Compute the U-Net's large layers in whole numbers: none, int8, or auto for int8 where it is faster, on the CPU. Half the memory of 16
    /// bits, nearly the same picture, and less time on processors with AVX2.
    #[arg(long, value_name = "KIND", default_value = "none")]
    quantization: String,
    /// Threads that the CPU computes with [default: one for each core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// The most memory that the process may take, such as 3GB, on the CPU in f32 or bf16; a model or picture that can't fit is refused at
    /// once.
    #[arg(long, value_name = "SIZE")]
    memory_limit: Option<String>,
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
    /// The quality of a JPEG, 1 to 100.
    #[arg(long, value_name = "N", default_value_t = 80, value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
}

/// Draws from noise.
pub fn txt2img(args: Txt2img) -> Result<(), Failure> {
    args.common.draw(args.prompt.as_deref(), None, None)
}

/// Draws from a picture, or from each of a folder.
pub fn img2img(args: Img2img) -> Result<(), Failure> {
    let mut mask = args.mask.as_deref().map(read).transpose()?;
    let mut image = match args.image.is_dir() {
        true => Image::Folder(pictures_of(&args.image)?),
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

/// Reads a picture, and says what it did to it.
pub fn read(path: &Path) -> Result<Picture, Failure> {
    let picture = Picture::open(path)?;
    for remark in picture.notes() {
        note(format_args!("{}: {remark}", path.display()));
    }
    Ok(picture)
}

/// Endings of the pictures that can be read.
const ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "bmp", "gif"];

/// The pictures of a folder, by name.
fn pictures_of(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let fail = |e| Failure::Write(format!("{}: {e}", folder.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let ending = path
            .extension()
            .and_then(|ending| ending.to_str())
            .unwrap_or_default();
        if ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending)) {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(Failure::Usage(format!(
            "{}: no picture is in this folder",
            folder.display()
        )));
    }
    found.sort();
    Ok(found)
}

impl Common {
    fn draw(&self, prompt: Option<&str>, image: Option<Image>, mask: Option<Picture>) -> Result<(), Failure> {
        let (params, given) = self.drawing.params(prompt)?;
        let options = SaveOptions::default().quality(self.quality);
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
        for (pictures, path) in jobs {
            let start = match (&image, path) {
                (Some(Image::One(picture)), _) => Some(picture.clone()),
                (_, Some(path)) => Some(read(&path)?),
                _ => None,
            };
            let mut request = pipeline
                .txt2img("")
                .params_and_given(params.clone(), given.clone())
                .cancel_token(&cancel);
            request = request.image(start).mask(mask.clone()).depth(depth.clone());
            run(&pipeline, self.watched(request), &params, &given, &pictures)?;
        }
        self.account(&pipeline);
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
        let options = SaveOptions::default().quality(self.quality);
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

/// Runs one request, with a bar, and writes its pictures.
pub fn run(
    pipeline: &Pipeline,
    request: Request<'_>,
    params: &GenerateParams,
    given: &Given,
    pictures: &Pictures,
) -> Result<(), Failure> {
    let taken = pipeline.recommended().settle(given, &mut params.clone());
    // Told when the run has begun: an error speaks for itself.
    let mut taken = Some(taken).filter(|taken| !taken.is_empty());
    let steps = params.sampling.steps.saturating_mul(params.size.batch_size);
    let bar = ProgressBar::new(steps as u64).with_style(style());
    let mut failed = Vec::new();
    // Of each picture: they may be drawn one after another, or together.
    let mut done = vec![0; params.size.batch_size];
    let output = request
        .on_progress(|progress| {
            if let Some(taken) = taken.take() {
                bar.suspend(|| note(format_args!("as the model recommends: {taken}")));
            }
            // A sampler may take another number of steps than was asked for.
            done.resize(progress.images.max(done.len()), 0);
            done[progress.image] = progress.step;
            let all: usize = done.iter().sum();
            bar.set_length((progress.steps * progress.images).max(all) as u64);
            bar.set_position(all as u64);
            if let (Some(preview), []) = (&progress.preview, failed.as_slice()) {
                let number = (progress.images > 1).then_some(progress.image + 1);
                // The picture is worth more: the run goes on without previews.
                let written = pictures.preview(preview, number, progress.step);
                failed.extend(
                    written
                        .err()
                        .map(|error| Failure::Write(format!("{error}; no more previews"))),
                );
            }
        })
        .run()?;
    bar.finish_and_clear();
    let count = output.images.len();
    for (i, image) in output.images.iter().enumerate() {
        failed.extend(pictures.save(image, (count > 1).then_some(i + 1)).err());
    }
    worst(failed)
}

/// The failure to end with, once all pictures are written; each other failure is reported here.
fn worst(mut failed: Vec<Failure>) -> Result<(), Failure> {
    // That a reader has gone matters least.
    failed.sort_by_key(|failure| matches!(failure, Failure::Write(_)));
    failed.dedup_by(|a, b| matches!((a, b), (Failure::Stdout(_), Failure::Stdout(_))));
    let Some(last) = failed.pop() else {
        return Ok(());
    };
    for message in failed.into_iter().filter_map(|failure| failure.report().1) {
        note(format_args!("error: {message}"));
    }
    Err(last)
}

impl Drawing {
    /// The parameters, and which of them are given.
    pub fn params(&self, prompt: Option<&str>) -> Result<(GenerateParams, Given), Failure> {
        let (mut params, mut given) = match &self.from_infotext {
            Some(path) => (from_infotext(path, self.refiner.is_some())?, Given::all()),
            None => (GenerateParams::default(), Given::default()),
        };
        if let Some(prompt) = prompt {
            params.text.prompt = prompt.into();
        }
        self.settings.apply(&mut params, &mut given)?;
        Ok((params, given))
    }

    /// The most memory that the process may take, in bytes.
    pub fn memory_limit(&self) -> Result<Option<u64>, Failure> {
        Ok(self.memory_limit.as_deref().map(sdrs::parse_memory).transpose()?)
    }

    /// The depth of the picture, if it was given.
    pub fn depth(&self) -> Result<Option<Picture>, Failure> {
        self.depth.as_deref().map(read).transpose()
    }

    /// The pipeline that it is drawn with.
    pub fn builder(&self) -> Result<PipelineBuilder, Failure> {
        let mut builder = Pipeline::builder().device(&self.device).on_log(warn);
        builder = match &self.model {
            Some(path) => builder.checkpoint(path),
            #[cfg(feature = "demo")]
            None => builder.demo(),
            #[cfg(not(feature = "demo"))]
            None => {
                return Err(Failure::Usage(
                    "no demo model is compiled in; give a checkpoint with --model".into(),
                ));
            }
        };
        builder = self.parts.apply(builder);
        if let Some(path) = &self.refiner {
            builder = builder.refiner(path);
        }
        for folder in &self.lora_dir {
            builder = builder.lora_dir(folder);
        }
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        if let Some(bytes) = self.memory_limit()? {
            builder = builder.memory_limit(bytes);
        }
        for path in &self.embedding {
            builder = builder.embedding(path);
        }
        for path in &self.upscaler {
            builder = builder.upscaler(path);
        }
        if let Some(name) = &self.dtype {
            builder = builder.dtype(dtype(name)?);
        }
        let weights = WeightDtype::from_name(&self.weight_dtype).ok_or_else(|| {
            let (given, known) = (&self.weight_dtype, "auto, f32, bf16, f16, f8");
            Failure::Usage(format!("--weight-dtype: '{given}' is not one of {known}"))
        })?;
        builder = builder
            .weight_dtype(weights)
            .keep_text_encoders(!self.drop_text_encoders);
        let quantization = Quantization::from_name(&self.quantization).ok_or_else(|| {
            Failure::Usage(format!(
                "--quantization: '{}' is not one of none, int8, auto",
                self.quantization
            ))
        })?;
        Ok(builder.quantization(quantization))
    }
}

/// The settings of a PNG or of a text file. Settings that get lost are reported.
fn from_infotext(path: &Path, refined: bool) -> Result<GenerateParams, Failure> {
    let text = sdrs::infotext::of_file(path)?;
    let read = sdrs::infotext::parse(&text)?;
    if let Some(name) = read.refiner.as_ref().filter(|_| !refined) {
        note(format_args!("not used: Refiner: {name}; give it with --refiner"));
    }
    for remark in &read.notes {
        note(format_args!("infotext: {remark}"));
    }
    for (key, value) in read.rest.iter().filter(|(key, _)| key != "Version") {
        note(format_args!("not used: {key}: {value}"));
    }
    Ok(read.params)
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
