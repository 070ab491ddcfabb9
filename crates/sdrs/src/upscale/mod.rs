//! Enlarging pictures: by a network of the ESRGAN family, or by a filter.

mod names;
mod network;
mod tiles;

use std::path::{Path, PathBuf};

use sd_core::{Dtype, models};

pub(crate) use self::names::means;
use self::network::{LEAST_TILE, Network};
use crate::{
    CancelToken, Error, Picture, Resample, Result,
    model::{Machine, machine_setters},
};

/// Pixels of a square's side that a network sees at a time, if nothing else is said.
const TILE: usize = 256;

/// A larger square than any that fits in memory.
const MOST_TILE: usize = 8192;

/// How often a network's own factor is applied at most (WebUI).
const MOST_PASSES: usize = 3;

/// Enlarges pictures. It holds nothing of a run, and threads may share it.
///
/// ```no_run
/// # fn main() -> Result<(), sdrs::Error> {
/// let upscaler = sdrs::Upscaler::open("4x-UltraSharp.pth")?;
/// let picture = sdrs::Picture::open("small.png")?;
/// upscaler.upscale(&picture).scale(2.0).run()?.save("large.png", &Default::default(), None)?;
/// # Ok(())
/// # }
/// ```
pub struct Upscaler {
    name: String,
    method: Method,
}

enum Method {
    Filter(Resample),
    Network(Box<Network>),
}

impl Upscaler {
    /// A network from a file, on the device and in the type that builders choose by themselves: ESRGAN's and Real-ESRGAN's RRDBNet, with
    /// old or new names, and the compact SRVGGNet; safetensors or what PyTorch saves.
    ///
    /// # Errors
    /// Those of [`UpscalerBuilder::build`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder(path.as_ref()).build()
    }

    /// A network from a file, with settings.
    pub fn builder(path: impl Into<PathBuf>) -> UpscalerBuilder {
        UpscalerBuilder {
            path: path.into(),
            machine: Machine::default(),
        }
    }

    /// A filter by its name, in any case: "Lanczos", "Bicubic", "Bilinear", "Nearest", "Box", "Hamming", or the WebUI's "None", which is
    /// Lanczos where a size is asked for.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the names that there are.
    pub fn from_name(name: &str) -> Result<Self> {
        let wanted = name.trim();
        if wanted.eq_ignore_ascii_case("none") {
            return Ok(Self::filter("None", Resample::Lanczos));
        }
        let named = |filter: &Resample| filter.name().eq_ignore_ascii_case(wanted);
        match Resample::ALL.into_iter().find(named) {
            Some(filter) => Ok(Self::filter(title(filter), filter)),
            None => {
                let names = Resample::ALL.map(title).join(", ");
                Err(Error::UnknownName(format!(
                    "there is no upscaler '{name}'; there are None, {names}, and networks by their files' paths"
                )))
            }
        }
    }

    fn filter(name: &str, filter: Resample) -> Self {
        Self {
            name: name.to_owned(),
            method: Method::Filter(filter),
        }
    }

    /// The name: the filter's, or that of the network's file without its ending.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Pixels of a side that a network makes of one; `None` of a filter.
    pub fn factor(&self) -> Option<usize> {
        match &self.method {
            Method::Filter(_) => None,
            Method::Network(network) => Some(network.factor()),
        }
    }

    /// A description of the network, such as "RRDBNet x4, 23 blocks of width 64", or the filter's name.
    pub fn describe(&self) -> String {
        match &self.method {
            Method::Filter(_) => self.name.clone(),
            Method::Network(network) => network.network.structure().describe(),
        }
    }

    /// Begins to enlarge a picture: to four times its side or to the network's factor, if nothing else is said.
    pub fn upscale<'a>(&'a self, picture: &'a Picture) -> Upscale<'a> {
        Upscale {
            upscaler: self,
            picture,
            target: Wanted::Own,
            tile: TILE,
            cancel: CancelToken::new(),
            progress: None,
        }
    }
}

fn title(filter: Resample) -> &'static str {
    match filter {
        Resample::Nearest => "Nearest",
        Resample::Bilinear => "Bilinear",
        Resample::Bicubic => "Bicubic",
        Resample::Lanczos => "Lanczos",
        Resample::Box => "Box",
        Resample::Hamming => "Hamming",
    }
}

/// A description of an upscaler's network: its file, device and type.
#[must_use = "a builder does nothing until `build`"]
pub struct UpscalerBuilder {
    path: PathBuf,
    machine: Machine,
}

impl UpscalerBuilder {
    machine_setters!();

    /// Reads and checks the network, then loads it.
    ///
    /// # Errors
    /// [`Error::Core`] if the file or the device can't be used, or the file holds no such network; [`Error::InvalidParameter`] for a number of
    /// threads out of its range.
    pub fn build(self) -> Result<Upscaler> {
        let (target, runtime) = self.machine.of_small(None)?;
        let network = runtime.compute(|| Ok(models::Upscaler::open(&self.path, &target)?))?;
        let name = self.path.file_stem().unwrap_or(self.path.as_os_str());
        Ok(Upscaler {
            name: name.to_string_lossy().into_owned(),
            method: Method::Network(Box::new(Network {
                network,
                target,
                runtime,
            })),
        })
    }
}

/// How large a picture is to become.
#[derive(Clone, Copy)]
enum Wanted {
    /// By the network's own factor.
    Own,
    Scale(f64),
    Size([u32; 2]),
}

/// The state of an enlargement after a square is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpscaleProgress {
    /// Squares that are done.
    pub tile: usize,
    /// Squares of all passes.
    pub tiles: usize,
}

/// A picture that is to be enlarged.
#[must_use = "a request does nothing until `run`"]
pub struct Upscale<'a> {
    upscaler: &'a Upscaler,
    picture: &'a Picture,
    target: Wanted,
    tile: usize,
    cancel: CancelToken,
    progress: Option<Box<dyn FnMut(UpscaleProgress) + 'a>>,
}

impl<'a> Upscale<'a> {
    /// Pixels of a side for each of the picture's, over 0; sides are rounded to whole pixels.
    pub fn scale(mut self, scale: f64) -> Self {
        self.target = Wanted::Scale(scale);
        self
    }

    /// The size itself, in pixels. A picture of other proportions is stretched.
    pub fn size(mut self, width: u32, height: u32) -> Self {
        self.target = Wanted::Size([width, height]);
        self
    }

    /// Pixels of the side of a square that the network sees at a time, 128 to 8192, or 0 for the whole picture at once; 256 if nothing is said.
    /// Larger squares take more memory, and less time. Neighbours share 32 pixels, over the middle of which one result turns into the other.
    pub fn tile(mut self, pixels: usize) -> Self {
        self.tile = pixels;
        self
    }

    /// A token that stops the run when its clone is asked to.
    pub fn cancel_token(mut self, token: &CancelToken) -> Self {
        self.cancel = token.clone();
        self
    }

    /// A function that is called after each square, in this thread.
    pub fn on_progress(mut self, callback: impl FnMut(UpscaleProgress) + 'a) -> Self {
        self.progress = Some(Box::new(callback));
        self
    }

    /// Enlarges the picture.
    ///
    /// A network's own factor is applied until the picture is large enough, three times at most, then Lanczos brings it to the size (the WebUI's
    /// way); a picture that gets smaller sees the filter alone. Networks see red, green and blue, whatever alpha is; alpha itself goes
    /// through Lanczos.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if the size, the scale or the tile is out of its range, [`Error::Cancelled`], [`Error::NotFinite`] if the
    /// network gives no numbers.
    pub fn run(mut self) -> Result<Picture> {
        if self.tile != 0 && !(LEAST_TILE..=MOST_TILE).contains(&self.tile) {
            let reason = format!(
                "{}: a square's side has {LEAST_TILE} to {MOST_TILE} pixels, or 0 for the whole picture",
                self.tile
            );
            return Err(Error::parameter("tile", reason));
        }
        let [width, height] = self.wanted()?;
        // Whether it may be that large is known before any work.
        Picture::check_size(width, height)?;
        match &self.upscaler.method {
            Method::Filter(filter) => {
                let (upscaler, picture) = (*filter, self.picture);
                self.look()?;
                picture.resize(width, height, upscaler)
            }
            Method::Network(network) => {
                let made = self.passes(network, [width, height])?;
                made.resize(width, height, Resample::Lanczos)
            }
        }
    }

    /// The size that is asked for.
    fn wanted(&self) -> Result<[u32; 2]> {
        let own = [self.picture.width(), self.picture.height()];
        let scale = match self.target {
            Wanted::Size(size) => return Ok(size),
            Wanted::Own => self.upscaler.factor().unwrap_or(4) as f64,
            Wanted::Scale(scale) => scale,
        };
        if !(scale > 0.0 && scale <= 65_535.0) {
            let reason = format!(
                "{scale}: it must be over 0 and 65535 at most, such as 2 for twice the width and height"
            );
            return Err(Error::parameter("scale", reason));
        }
        Ok(own.map(|side| ((f64::from(side) * scale).round() as u32).max(1)))
    }

    fn look(&self) -> Result<()> {
        match self.cancel.is_cancelled() {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }

    /// The sizes that the network makes, one after another.
    fn sizes(&self, network: &Network, [width, height]: [u32; 2]) -> Result<Vec<[u32; 2]>> {
        let own = [self.picture.width(), self.picture.height()];
        let factor = network.factor() as u32;
        let smaller = width < own[0] && height < own[1];
        let mut sizes = vec![own];
        for pass in 0..MOST_PASSES {
            let [w, h] = sizes[pass];
            let enough = w >= width && h >= height;
            // Even one that is large enough goes through it once, unless it is to become smaller.
            if smaller || (enough && pass > 0) || (factor == 1 && pass > 0) {
                break;
            }
            let (w, h) = (w.saturating_mul(factor), h.saturating_mul(factor));
            Picture::check_size(w, h)?;
            sizes.push([w, h]);
        }
        Ok(sizes)
    }

    fn passes(&mut self, network: &Network, wanted: [u32; 2]) -> Result<Picture> {
        let sizes = self.sizes(network, wanted)?;
        let grids = sizes[..sizes.len() - 1].iter();
        let tiles = grids
            .map(|[w, h]| network.grid([*w as usize, *h as usize], self.tile).squares())
            .sum();
        let mut rgb = self.picture.rgb();
        let mut done = 0;
        for size in &sizes[..sizes.len() - 1] {
            self.look()?;
            let _release = network.runtime.run();
            let mut after = || {
                done += 1;
                if let Some(progress) = &mut self.progress {
                    progress(UpscaleProgress { tile: done, tiles });
                }
                match self.cancel.is_cancelled() {
                    true => Err(Error::Cancelled),
                    false => Ok(()),
                }
            };
            rgb = network.enlarge(&rgb, size.map(|side| side as usize), self.tile, &mut after)?;
        }
        let [width, height] = sizes[sizes.len() - 1];
        let made = Picture::from_rgb(width, height, &rgb)?;
        match self.picture.opaque() {
            true => Ok(made),
            false => made.with_alpha(&self.picture.alpha().resize(width, height, Resample::Lanczos)?),
        }
    }
}

#[cfg(test)]
mod tests;
