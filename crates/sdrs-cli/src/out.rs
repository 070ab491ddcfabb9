//! All that the command says and writes. Nothing here panics: streams may be closed or full, files may vanish.

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf, is_separator},
    process::exit,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use indicatif::{ProgressBar, ProgressStyle, WeakProgressBar};
use sdrs::{CancelToken, GenerateParams, Image, LogLevel, PictureFormat, Preview, SaveOptions};

use crate::Failure;

/// Writes to standard output.
pub fn print(text: &str) -> Result<(), Failure> {
    bytes(text.as_bytes()).map_err(Failure::Stdout)
}

/// Writes a file's bytes to standard output.
pub fn binary(data: &[u8]) -> Result<(), Failure> {
    bytes(data).map_err(Failure::Stdout)
}

/// Whether an output is standard output, which must be no terminal then.
pub fn is_stdout(output: &Path) -> Result<bool, Failure> {
    let named = STDOUT.iter().any(|name| output == Path::new(name));
    match named && io::stdout().is_terminal() {
        true => Err(Failure::Usage(
            "--output: standard output is a terminal, which can't show a picture; redirect it, or name a file".into(),
        )),
        false => Ok(named),
    }
}

fn bytes(bytes: &[u8]) -> io::Result<()> {
    above_bar(|| {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    })
}

/// The bar that is shown, if one is.
static BAR: Mutex<Option<WeakProgressBar>> = Mutex::new(None);

fn shown_bar() -> Option<ProgressBar> {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner);
    bar.as_ref().and_then(WeakProgressBar::upgrade)
}

/// A bar on standard error, where a person looks; lines that are said meanwhile stand above it.
pub fn bar(length: u64, style: ProgressStyle) -> ProgressBar {
    let bar = ProgressBar::new(length).with_style(style);
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.downgrade());
    bar
}

/// Writes lines where the bar stands.
fn above_bar<T>(write: impl FnOnce() -> T) -> T {
    match shown_bar() {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Says something on standard error, where nobody has to listen.
pub fn note(text: impl std::fmt::Display) {
    let _ = above_bar(|| writeln!(io::stderr(), "{text}"));
}

/// A text from a file as a terminal can show it: without control characters, and not endless.
pub fn shown(text: &str) -> String {
    const MAX: usize = 1000;
    let seen = |c: char| if c.is_control() { ' ' } else { c };
    let more = text.chars().nth(MAX).map(|_| "...");
    text.chars()
        .take(MAX)
        .map(seen)
        .chain(more.unwrap_or_default().chars())
        .collect()
}

static VERBOSE: AtomicBool = AtomicBool::new(false);

/// Tells all of a pipeline's log from now on.
pub fn be_verbose() {
    VERBOSE.store(true, Ordering::Relaxed);
}

/// Whether all of the log is told.
pub fn is_verbose() -> bool {
    VERBOSE.load(Ordering::Relaxed)
}

/// Says what people should know of a pipeline's log, or all of it.
pub fn log(level: LogLevel, line: &str) {
    if level != LogLevel::Info || is_verbose() {
        note(line);
    }
}

/// A token that an interrupt uses. The second one ends the process at once: a step may take long.
pub fn interruptible() -> CancelToken {
    let cancel = CancelToken::new();
    let token = cancel.clone();
    // Without the handler an interrupt simply ends the process: worse, but no reason to refuse.
    let _ = ctrlc::set_handler(move || {
        if token.is_cancelled() {
            exit(130);
        }
        token.cancel();
        note("interrupted: ends after this step; interrupt again to end at once");
    });
    cancel
}

/// How a picture is written; a quality that it has no use for is told.
pub fn options(quality: Option<u8>, output: &Path) -> SaveOptions {
    let options = SaveOptions::default();
    let Some(quality) = quality else {
        return options;
    };
    if PictureFormat::of_path(output).is_ok_and(|format| format != PictureFormat::Jpeg) {
        note(format_args!(
            "quality is not used: {} is no JPEG",
            output.display()
        ));
    }
    options.quality(quality)
}

/// The destination of pictures.
pub enum Pictures {
    /// Names are made from this one; its ending is the format.
    Files(PathBuf, SaveOptions),
    Stdout,
}

/// Other names of the process's own standard output.
const STDOUT: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// More pictures than a run makes.
const MOST: usize = 1000;

impl Pictures {
    /// Finds out before any work whether everything could be written that these settings ask for.
    pub fn checked(
        output: &Path,
        params: &GenerateParams,
        preview_every: Option<usize>,
        options: SaveOptions,
    ) -> Result<Self, Failure> {
        let usage = |message: &str| Err(Failure::Usage(message.into()));
        if is_stdout(output)? {
            return match () {
                () if params.size.batch_size > 1 => usage(
                    "--output: standard output takes one picture, not several; name a file, or leave --batch-size at 1",
                ),
                () if preview_every.is_some() => {
                    usage("--preview-every: previews are files of their own; name one with --output")
                }
                () => Ok(Self::Stdout),
            };
        }
        let last = output.as_os_str().as_encoded_bytes().last();
        if output.file_name().is_none() || last.is_some_and(|&byte| is_separator(byte.into())) {
            // A number behind it would make a name of it.
            Image::check_path(output)?;
        }
        let count = params.size.batch_size.min(MOST);
        for image in 0..count {
            let number = (count > 1).then_some(image + 1);
            Image::check_path(numbered(output, number, None))?;
            if let Some(every) = preview_every {
                Image::check_path(numbered(output, number, Some(every)))?;
            }
        }
        Ok(Self::Files(output.to_owned(), options))
    }

    /// Writes what there is of a picture after a step.
    pub fn preview(&self, preview: &Preview, number: Option<usize>, step: usize) -> sdrs::Result<()> {
        match self {
            Self::Files(path, _) => preview.save(numbered(path, number, Some(step))),
            Self::Stdout => Ok(()),
        }
    }

    /// Writes a picture and prints its place. A picture that can't be written there is written elsewhere; the error then names that place.
    pub fn save(&self, image: &Image, number: Option<usize>) -> Result<(), Failure> {
        let about = format!("({}x{}, seed {})", image.width, image.height, image.seed);
        let options = match self {
            Self::Files(_, options) => options.clone(),
            Self::Stdout => SaveOptions::default(),
        };
        let (error, name, folders) = match self {
            Self::Stdout => match image.png().map(|png| bytes(&png))? {
                Ok(()) => {
                    note(format_args!("standard output {about}"));
                    return Ok(());
                }
                Err(error) => (
                    format!("cannot write standard output: {error}"),
                    PathBuf::from("out.png"),
                    Vec::new(),
                ),
            },
            Self::Files(path, _) => {
                let path = numbered(path, number, None);
                match image.save_with(&path, &options) {
                    Ok(()) => return print(&format!("{} {about}\n", path.display())),
                    Err(error) => {
                        let folder = path.parent().unwrap_or(Path::new(""));
                        let name = PathBuf::from(path.file_name().unwrap_or_default());
                        (error.to_string(), name, vec![folder.to_owned()])
                    }
                }
            }
        };
        let folders = folders.into_iter().chain([std::env::temp_dir()]);
        let format = PictureFormat::of_path(&name)?;
        // An infotext may be too long for a format: then the picture is written as the one that takes any.
        let (bytes, name) = match image.encode(format, &options) {
            Ok(bytes) => (bytes, name),
            Err(_) => (image.png()?, name.with_extension("png")),
        };
        let place = rescue(&bytes, &name, folders);
        match place {
            Ok(place) => {
                let place = place.display();
                if let Self::Files(..) = self {
                    // The picture is there, reported or not.
                    let _ = print(&format!("{place} {about}\n"));
                }
                Err(Failure::Write(format!(
                    "{error}; the picture is in {place} instead"
                )))
            }
            Err(other) => Err(Failure::Write(format!("{error}; nor elsewhere: {other}"))),
        }
    }
}

/// Writes a picture to the first of these folders that takes it, under a name that nothing has.
fn rescue(picture: &[u8], name: &Path, folders: impl Iterator<Item = PathBuf>) -> io::Result<PathBuf> {
    let mut last = io::Error::other("there is no folder left");
    for folder in folders {
        for n in 1..=MOST {
            let name = numbered_as(name, &[("rescued", (n > 1).then_some(n))]);
            let path = folder.join(name);
            match write_new(&path, picture) {
                Ok(()) => return Ok(path),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => {
                    last = e;
                    break;
                }
            }
        }
    }
    Err(last)
}

/// Others may write to a temporary folder as well: nothing that is there is opened, and nobody else may look into what is made.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .inspect_err(|_| {
            // Half a picture helps nobody.
            let _ = std::fs::remove_file(path);
        })
}

/// `out.png` to `out-1.png`, `out-step-5.png` or `out-1-step-5.png`.
fn numbered(path: &Path, number: Option<usize>, step: Option<usize>) -> PathBuf {
    let number = number.map(|number| ("", Some(number)));
    let step = step.map(|step| ("step", Some(step)));
    let marks: Vec<_> = number.into_iter().chain(step).collect();
    numbered_as(path, &marks)
}

/// A path with words and numbers behind its stem.
fn numbered_as(path: &Path, marks: &[(&str, Option<usize>)]) -> PathBuf {
    if marks.is_empty() {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    for (word, number) in marks {
        if !word.is_empty() {
            name.push(format!("-{word}"));
        }
        if let Some(number) = number {
            name.push(format!("-{number}"));
        }
    }
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_numbered() {
        let path = |path, number, step| numbered(Path::new(path), number, step);
        assert_eq!(path("a/b.c.png", Some(2), None), Path::new("a/b.c-2.png"));
        assert_eq!(path("b", Some(1), Some(5)), Path::new("b-1-step-5"));
        assert_eq!(path("b.png", None, Some(5)), Path::new("b-step-5.png"));
        assert_eq!(path("b.png", None, None), Path::new("b.png"));
        // As it was given, and not as its parts would be joined.
        assert_eq!(path("b/", None, None).as_os_str(), "b/");
    }

    #[test]
    fn rescued_pictures_replace_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let save = |bytes: &[u8]| {
            let folders = [at("none"), folder.path().to_owned()];
            rescue(bytes, Path::new("out.png"), folders.into_iter())
        };
        assert_eq!(save(b"first").unwrap(), at("out-rescued.png"));
        assert_eq!(save(b"second").unwrap(), at("out-rescued-2.png"));
        assert_eq!(std::fs::read(at("out-rescued.png")).unwrap(), b"first");
        assert!(rescue(b"x", Path::new("out.png"), [at("none")].into_iter()).is_err());
    }
}
