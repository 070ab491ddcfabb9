//! One measurement, in a process of its own: so that its memory, its compiling and its failure are its own.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use burn_tensor::{DType, Tensor, TensorData};
use sd_core::{
    Device, Dtype,
    checkpoint::Checkpoint,
    config::Part,
    models::{UNet, UnetInput, Vae, timestep_embedding},
    weights::{Loaded, Target},
};
use serde_json::{Value, json};

/// What is measured.
pub struct Case {
    /// A diffusers folder.
    pub folder: PathBuf,
    pub device: String,
    pub dtype: Dtype,
    /// The side of pictures in pixels.
    pub side: usize,
    /// Pictures of a run.
    pub batches: Vec<usize>,
    /// Steps of a picture.
    pub steps: usize,
    /// Calls that are timed.
    pub repeat: usize,
}

/// Tokens of a text.
const TOKENS: usize = 77;

/// The timestep of the call.
const TIMESTEP: f64 = 500.0;

/// Width of the sinusoids of one of the sizes that SDXL is told.
const SIZE_WIDTH: usize = 256;

/// Numbers about as large as latents. The peers' script has the same.
pub fn numbers(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 7919) % 2003) as f32 / 1000.0 - 1.0)
        .collect()
}

/// The file of a network's output in f32.
fn reference(folder: &Path, part: &str, side: usize) -> PathBuf {
    folder.join(format!("reference-{part}-{side}.f32"))
}

impl Case {
    fn target(&self) -> Result<Target, Box<dyn Error>> {
        Ok(Target::new(Device::from_name(&self.device)?, self.dtype))
    }

    /// Writes what both networks give on the CPU in f32, for others to compare with, if it isn't there.
    pub fn write_references(&self) -> Result<(), Box<dyn Error>> {
        let target = Target::new(Device::from_name("cpu")?, Dtype::F32);
        let checkpoint = Checkpoint::open(&self.folder)?;
        for part in ["unet", "vae"] {
            let path = reference(&self.folder, part, self.side);
            if path.exists() {
                continue;
            }
            let output = match part {
                "unet" => self.unet(&checkpoint, &target)?()?,
                _ => self.vae(&checkpoint, &target)?()?,
            };
            let bytes: Vec<u8> = output.iter().flat_map(|value| value.to_le_bytes()).collect();
            fs::write(path, bytes)?;
        }
        Ok(())
    }

    /// A call of the U-Net for one picture, with both halves of guidance, as a run has it: keys and values of texts are there.
    fn unet(&self, checkpoint: &Checkpoint, target: &Target) -> Result<Call, Box<dyn Error>> {
        let configs = checkpoint.configs();
        let config = configs.unet.clone();
        let unet = Loaded::<UNet>::load(&config, checkpoint.weights(Part::Unet).clone(), target)?;
        let side = self.side / configs.vae.downscale();
        let channels = config.in_channels;
        let latents = tensor(target, numbers(channels * side * side), [1, channels, side, side]);
        let width = config.cross_attention_dim;
        let context = tensor(target, numbers(2 * TOKENS * width), [2, TOKENS, width]);
        let added = config.added_width.map(|width| {
            // A pooled text, and six sizes.
            let sizes = timestep_embedding(&[self.side as f64; 6], SIZE_WIDTH, &config);
            let pooled = width - sizes.len();
            let text = numbers(2 * pooled);
            let rows: Vec<f32> = text
                .chunks(pooled)
                .flat_map(|text| [text, &sizes[..]].concat())
                .collect();
            tensor(target, rows, [2, width])
        });
        let cache = unet.cross_attention_cache(context)?;
        Ok(Box::new(move || {
            let input = UnetInput {
                added: added.clone(),
                ..UnetInput::new(latents.clone(), &[TIMESTEP], &cache)
            };
            values(unet.forward(&input)?)
        }))
    }

    /// A decoding of one picture.
    fn vae(&self, checkpoint: &Checkpoint, target: &Target) -> Result<Call, Box<dyn Error>> {
        let config = checkpoint.configs().vae.clone();
        let vae = Loaded::<Vae>::load(&config, checkpoint.weights(Part::Vae).clone(), target)?;
        let (side, channels) = (self.side / config.downscale(), config.latent_channels);
        let latents = tensor(target, numbers(channels * side * side), [1, channels, side, side]);
        Ok(Box::new(move || values(vae.decode(latents.clone())?)))
    }

    /// Times a network, and prints a line.
    pub fn network(&self, part: &str) -> Result<(), Box<dyn Error>> {
        let target = self.target()?;
        let checkpoint = Checkpoint::open(&self.folder)?;
        let began = Instant::now();
        let call = match part {
            "unet" => self.unet(&checkpoint, &target)?,
            _ => self.vae(&checkpoint, &target)?,
        };
        sync(&target)?;
        let load = began.elapsed().as_secs_f64();
        let began = Instant::now();
        let output = call()?;
        let first = began.elapsed().as_secs_f64();
        for _ in 0..2 {
            call()?;
        }
        let mut seconds = (0..self.repeat)
            .map(|_| {
                let began = Instant::now();
                call()?;
                Ok(began.elapsed().as_secs_f64())
            })
            .collect::<Result<Vec<f64>, Box<dyn Error>>>()?;
        seconds.sort_by(f64::total_cmp);
        self.tell(json!({
            "what": part,
            "load_s": load,
            "first_s": first,
            "median_ms": 1e3 * seconds[seconds.len() / 2],
            "best_ms": 1e3 * seconds[0],
            "error": self.error(part, &output),
            "memory_gb": reserved(&target),
        }));
        Ok(())
    }

    /// Times whole pictures, text to pixels, and prints a line for each number of them at once.
    pub fn pictures(&self) -> Result<(), Box<dyn Error>> {
        let target = self.target()?;
        let pipeline = sdrs::Pipeline::builder()
            .checkpoint(&self.folder)
            .device(&self.device)
            .dtype(self.dtype)
            .build()?;
        for &batch in &self.batches {
            let run = || {
                let began = Instant::now();
                let run = pipeline.txt2img("a lighthouse on a cliff, at dusk").seed(1);
                let side = self.side as u32;
                let run = run.sampler(sdrs::Sampler::Euler).steps(self.steps);
                run.width(side)
                    .height(side)
                    .batch_size(batch)
                    .batch_per_call(batch)
                    .run()?;
                Ok::<f64, sdrs::Error>(began.elapsed().as_secs_f64())
            };
            let first = run()?;
            let seconds = run()?.min(run()?);
            self.tell(json!({
                "what": format!("pictures of {batch}"),
                "first_s": first,
                "pictures_per_s": batch as f64 / seconds,
                "memory_gb": reserved(&target),
            }));
        }
        Ok(())
    }

    fn tell(&self, mut line: Value) {
        line["program"] = json!("sdrs");
        line["dtype"] = json!(self.dtype.name());
        line["side"] = json!(self.side);
        println!("{line}");
    }

    /// The relative error against f32 on the CPU, if that was computed.
    fn error(&self, part: &str, output: &[f32]) -> Option<f64> {
        let bytes = fs::read(reference(&self.folder, part, self.side)).ok()?;
        let wanted = bytes.as_chunks::<4>().0.iter().map(|it| f32::from_le_bytes(*it));
        let (mut difference, mut size) = (0.0, 0.0);
        for (got, wanted) in output.iter().zip(wanted) {
            difference += f64::from(got - wanted).powi(2);
            size += f64::from(wanted).powi(2);
        }
        Some((difference / size).sqrt())
    }
}

/// A network's call, which waits for its output.
type Call = Box<dyn Fn() -> Result<Vec<f32>, Box<dyn Error>>>;

fn tensor<const D: usize>(target: &Target, values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), (target.device.burn(), DType::F32))
}

fn values<const D: usize>(x: Tensor<D>) -> Result<Vec<f32>, Box<dyn Error>> {
    let data = x.cast(DType::F32).into_data();
    data.try_to_vec::<f32>()
        .map_err(|error| format!("the device's result: {error:?}").into())
}

fn sync(target: &Target) -> Result<(), Box<dyn Error>> {
    let synced = target.device.burn().sync();
    synced.map_err(|error| format!("the device: {error:?}").into())
}

/// Gigabytes that the device's allocator holds, which it doesn't give back meanwhile: the peak.
fn reserved(target: &Target) -> Option<f64> {
    let usage = target.device.burn().memory_pool_usage()?;
    Some(usage.bytes_reserved as f64 / 1e9)
}
