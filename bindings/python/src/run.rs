//! Runs: watched, stopped, and step by step.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use pyo3::{
    prelude::*,
    pybacked::PyBackedBytes,
    types::{PyByteArray, PyDict},
};
use sdrs::{GenerateParams, Given, Picture, PreviewMethod, Progress, RunState};

use crate::{
    array::take,
    error::{argument, detached, internal, not_forked, panic_message, raised},
    image::Image,
};

/// Stops a run from any thread.
#[pyclass(frozen, module = "sdrs._sdrs")]
pub(crate) struct CancelToken {
    inner: sdrs::CancelToken,
}

#[pymethods]
impl CancelToken {
    #[new]
    fn new() -> Self {
        Self {
            inner: sdrs::CancelToken::new(),
        }
    }

    fn cancel(&self) {
        self.inner.cancel();
    }

    #[getter]
    fn cancelled(&self) -> bool {
        self.inner.is_cancelled()
    }
}

/// Pixels with width and height.
type Pixels = (Py<PyByteArray>, u32, u32);

/// A step as the package takes it: picture, pictures, step, steps, sigma, preview.
type Step = (usize, usize, usize, usize, f64, Option<Pixels>);

fn step(py: Python<'_>, p: &Progress) -> Step {
    let preview = p.preview.as_ref();
    let preview = preview.map(|p| (PyByteArray::new(py, &p.rgb).unbind(), p.width, p.height));
    (p.image, p.images, p.step, p.steps, p.sigma, preview)
}

/// The functions that a run calls in Python: with every step, and with each picture that is done, as its index and the picture.
#[derive(Default)]
pub(crate) struct Callbacks {
    pub step: Option<Py<PyAny>>,
    pub image: Option<Py<PyAny>>,
}

/// The request for a run: its parameters and previews.
pub(crate) struct Request {
    pub params: GenerateParams,
    pub given: Given,
    pub previews: Option<(PreviewMethod, usize)>,
    pub inputs: Inputs,
    pub kept: Kept,
}

/// What is written of a run meanwhile, and what it goes on from.
#[derive(Default)]
pub(crate) struct Kept {
    /// A folder, and the number of steps between two states.
    pub states: Option<(PathBuf, usize)>,
    pub trace: Option<PathBuf>,
    pub resumed: Option<RunState>,
}

impl Kept {
    /// Takes it out of the package's dictionary of arguments.
    pub fn take(py: Python<'_>, given: &Bound<'_, PyDict>) -> PyResult<Self> {
        let path = |name| -> PyResult<Option<PathBuf>> {
            taken(given, name)?
                .map(|value| argument(name, &value))
                .transpose()
        };
        let every = taken(given, "save_states_every")?;
        let every = every
            .map(|value| argument("save_states_every", &value))
            .transpose()?;
        let resumed = path("resume")?.map(|path| detached(py, || RunState::open(path)));
        Ok(Self {
            states: path("save_states")?.map(|folder| (folder, every.unwrap_or(1))),
            trace: path("trace")?,
            resumed: resumed.transpose()?,
        })
    }
}

/// An argument, taken out of a dictionary; none if it is None.
fn taken<'py>(given: &Bound<'py, PyDict>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    let value = given.get_item(name)?;
    if value.is_some() {
        given.del_item(name)?;
    }
    Ok(value.filter(|value| !value.is_none()))
}

/// What a run begins at, or draws after.
#[derive(Default)]
pub(crate) struct Inputs {
    pub image: Option<Picture>,
    pub mask: Option<Picture>,
    pub depth: Option<Picture>,
    pub latents: Option<sdrs::Array>,
}

/// A picture as the package gives it: a path, or rows of pixels with width, height and channels.
#[derive(FromPyObject)]
enum GivenPicture {
    Path(String),
    Pixels(PyBackedBytes, u32, u32, u32),
}

impl GivenPicture {
    fn picture(self) -> sdrs::Result<Picture> {
        match self {
            Self::Path(path) => Picture::open(path),
            Self::Pixels(values, width, height, 1) => Picture::from_gray(width, height, &values),
            Self::Pixels(values, width, height, 3) => Picture::from_rgb(width, height, &values),
            Self::Pixels(values, width, height, _) => Picture::from_rgba(width, height, values.to_vec()),
        }
    }
}

impl Inputs {
    /// Takes them out of the package's dictionary of arguments.
    pub fn take(py: Python<'_>, given: &Bound<'_, PyDict>) -> PyResult<Self> {
        let picture = |name| -> PyResult<Option<Picture>> {
            let Some(value) = taken(given, name)? else {
                return Ok(None);
            };
            let picture: GivenPicture = argument(name, &value)?;
            detached(py, || picture.picture()).map(Some)
        };
        let latents = match taken(given, "image_latents")? {
            Some(value) => {
                let (bytes, shape): (PyBackedBytes, Vec<usize>) = argument("image_latents", &value)?;
                let mut array = sdrs::Array::default();
                (array.values, array.shape) = (take(&bytes), shape);
                Some(array)
            }
            None => None,
        };
        Ok(Self {
            image: picture("image")?,
            mask: picture("mask")?,
            depth: picture("depth")?,
            latents,
        })
    }
}

impl Request {
    /// The same on a pipeline.
    pub fn run<'a>(self, pipeline: &'a sdrs::Pipeline, token: &sdrs::CancelToken) -> sdrs::Request<'a> {
        let mut run = pipeline.txt2img("");
        if let Some(state) = self.kept.resumed {
            run = run.resume(state);
        }
        if let Some((folder, every)) = self.kept.states {
            run = run.save_states(folder, every);
        }
        if let Some(path) = self.kept.trace {
            run = run.trace(path);
        }
        let run = run.params_and_given(self.params, self.given).cancel_token(token);
        let Inputs {
            image,
            mask,
            depth,
            latents,
        } = self.inputs;
        let run = run.image(image).mask(mask).depth(depth).image_latents(latents);
        match self.previews {
            Some((method, every)) => run.previews(method, every),
            None => run,
        }
    }
}

pub(crate) fn token(given: &Bound<'_, PyAny>) -> PyResult<sdrs::CancelToken> {
    let given: Option<Bound<'_, CancelToken>> = argument("cancel", given)?;
    Ok(given.map(|token| token.get().inner.clone()).unwrap_or_default())
}

/// Runs, and gives what `end` makes of the run: pictures or latents.
pub(crate) fn watched<T: Send>(
    py: Python<'_>,
    pipeline: &sdrs::Pipeline,
    request: Request,
    callbacks: Callbacks,
    cancel: &Bound<'_, PyAny>,
    end: impl FnOnce(sdrs::Request<'_>) -> sdrs::Result<T> + Send,
) -> PyResult<T> {
    let token = token(cancel)?;
    let stopped: Mutex<Option<PyErr>> = Mutex::new(None);
    // Python's signal handlers run here, so that Ctrl-C ends a run within a step; what they or a callback raise ends it too.
    let call = |call: &dyn Fn(Python<'_>) -> PyResult<()>| {
        let outcome = Python::attach(|py| py.check_signals().and_then(|()| call(py)));
        if let Err(error) = outcome {
            let mut stopped = stopped.lock().unwrap_or_else(PoisonError::into_inner);
            stopped.get_or_insert(error);
            token.cancel();
        }
    };
    let watch = |progress: Progress| {
        call(&|py| match &callbacks.step {
            Some(callback) => callback.call1(py, step(py, &progress)).map(drop),
            None => Ok(()),
        });
    };
    let show = callbacks.image.as_ref().map(|callback| {
        |index: usize, image: &sdrs::Image| {
            call(&|py| {
                let image = Image::from(image.clone());
                callback.call1(py, (index, image)).map(drop)
            });
        }
    });
    let outcome = detached(py, || {
        let run = request.run(pipeline, &token).on_progress(watch);
        end(match show {
            Some(show) => run.on_image(show),
            None => run,
        })
    });
    match stopped.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => outcome,
    }
}

/// Starts to draw in a thread of its own.
pub(crate) fn start(
    pipeline: Arc<sdrs::Pipeline>,
    request: Request,
    cancel: &Bound<'_, PyAny>,
) -> PyResult<Run> {
    not_forked()?;
    let token = token(cancel)?;
    // The run is one step ahead of its events: a loop that ends has not let much be computed in vain.
    let (sender, receiver) = sync_channel(1);
    let cancel = token.clone();
    let work = move || draw(&pipeline, request, &cancel, &sender);
    let thread = std::thread::Builder::new().name("sdrs".into()).spawn(work);
    let thread = thread.map_err(|e| internal(&e.to_string()))?;
    Ok(Run {
        token,
        messages: Mutex::new(Some(receiver)),
        thread: Mutex::new(Some(thread)),
    })
}

enum Message {
    Step(Progress),
    Image(usize, Box<sdrs::Image>),
    Done(Vec<sdrs::Image>),
    Failed(sdrs::Error),
    Panicked(String),
}

/// The thread of a run. It touches nothing of the interpreter, which may be gone before it.
fn draw(
    pipeline: &sdrs::Pipeline,
    request: Request,
    token: &sdrs::CancelToken,
    sender: &SyncSender<Message>,
) {
    let tell = |message| {
        // Nobody looks any more.
        if sender.send(message).is_err() {
            token.cancel();
        }
    };
    let run = request.run(pipeline, token);
    let run = run.on_progress(|progress| tell(Message::Step(progress)));
    let run = run.on_image(|index, image| tell(Message::Image(index, image.clone().into())));
    let outcome = catch_unwind(AssertUnwindSafe(|| run.run()));
    let last = match outcome {
        Ok(Ok(output)) => Message::Done(output.images),
        Ok(Err(error)) => Message::Failed(error),
        Err(payload) => Message::Panicked(panic_message(&*payload)),
    };
    // As above.
    let _ = sender.send(last);
}

/// A run under way in its own thread. Dropping it cancels.
#[pyclass(frozen, module = "sdrs._sdrs")]
pub(crate) struct Run {
    token: sdrs::CancelToken,
    messages: Mutex<Option<Receiver<Message>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Run {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

#[derive(IntoPyObject)]
enum Next {
    Step(Step),
    Image((usize, Image)),
    Images(Vec<Image>),
}

#[pymethods]
impl Run {
    /// The next step or picture that is done, at the end all pictures, then None.
    fn next(&self, py: Python<'_>) -> PyResult<Option<Next>> {
        loop {
            let message = py.detach(|| {
                let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
                let messages = messages.as_ref().ok_or(RecvTimeoutError::Disconnected)?;
                messages.recv_timeout(Duration::from_millis(100))
            });
            match message {
                Ok(Message::Step(progress)) => return Ok(Some(Next::Step(step(py, &progress)))),
                Ok(Message::Image(index, image)) => {
                    return Ok(Some(Next::Image((index, Image::from(*image)))));
                }
                Ok(Message::Done(images)) => return Ok(Some(Next::Images(Image::list(images)))),
                Ok(Message::Failed(error)) => return Err(raised(&error)),
                Ok(Message::Panicked(message)) => return Err(internal(&message)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                // Ctrl-C while waiting.
                Err(RecvTimeoutError::Timeout) => py.check_signals().inspect_err(|_| self.token.cancel())?,
            }
        }
    }

    /// Asks the run to stop.
    fn cancel(&self) {
        self.token.cancel();
    }

    /// Asks the run to stop, and waits until it has.
    fn close(&self, py: Python<'_>) {
        self.token.cancel();
        py.detach(|| {
            // The thread may wait to send.
            drop(
                self.messages
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(),
            );
            let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            // It catches its own panics.
            thread.map(JoinHandle::join)
        });
    }
}
