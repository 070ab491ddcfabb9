//! The pictures of a batch, dealt out to the devices of a pipeline.

use std::{
    sync::mpsc::{SyncSender, sync_channel},
    thread,
};

use super::{Inputs, Progress, Request, prepare::Run};
use crate::{
    CancelToken, Error, GenerateParams, Given, Image, PreviewMethod, Result, RunState, params::resolve_seed,
    picture::infotext::Seeds, run::Replica, trace::Tracer,
};

/// What becomes of the latents of a picture, which has this number in its batch.
type Make<T> = fn(&mut Request<'_>, &Run<'_>, &mut Option<Tracer>, usize, (Vec<f32>, Seeds)) -> Result<T>;

/// What all devices are asked for.
struct Asked {
    params: GenerateParams,
    given: Given,
    inputs: Inputs,
    previews: Option<(PreviewMethod, usize)>,
    /// Whether somebody looks at steps and pictures, and after how many steps at states.
    watched: bool,
    shown: bool,
    states: Option<usize>,
    /// Stops all of them.
    stop: CancelToken,
}

/// What a device tells the thread that asked.
enum Told {
    Progress(Progress),
    Image(usize, Box<Image>),
    State(Box<RunState>),
}

impl Request<'_> {
    /// What is made of each picture, in their order. Every device has an even share, one beginning where the other ends, so that a picture is
    /// drawn by the same device in each run.
    pub(super) fn each<T: Send>(mut self, make: Make<T>) -> Result<Vec<T>> {
        let devices = self.replicas.len().min(self.params.size.batch_size);
        // A state is one picture's, and a trace has one order.
        if devices <= 1 || self.resumed.is_some() || self.trace.is_some() {
            return self.share((0, 1), make);
        }
        self.prepare_states()?;
        // One for all of them.
        let noise = &mut self.params.noise;
        noise.seed = resolve_seed(noise.seed).into();
        noise.variation_seed = resolve_seed(noise.variation_seed).into();
        let (mut progress, mut on_image, mut states) = (self.progress, self.on_image, self.states);
        let asked = Asked {
            watched: progress.is_some(),
            shown: on_image.is_some(),
            states: states.as_ref().map(|(every, _)| *every),
            previews: self.previews,
            stop: self.cancel.part(),
            params: self.params,
            given: self.given,
            inputs: self.inputs,
        };
        let asked = &asked;
        thread::scope(|scope| {
            // Nobody runs ahead of whoever looks.
            let (tell, told) = sync_channel(0);
            let started = self.replicas[..devices]
                .iter()
                .enumerate()
                .map(|(place, replica)| {
                    let tell = tell.clone();
                    let draw = move || {
                        let drawn = asked.request(replica, &tell).share((place, devices), make);
                        if drawn.is_err() {
                            asked.stop.cancel();
                        }
                        drawn
                    };
                    thread::Builder::new().spawn_scoped(scope, draw).map_err(|e| {
                        asked.stop.cancel();
                        Error::Device {
                            device: replica.components.model.target.device.name().to_owned(),
                            reason: format!("no thread could be started for it: {e}"),
                        }
                    })
                });
            let started: Vec<_> = started.collect();
            drop(tell);
            let mut failed = None;
            for told in told {
                match told {
                    Told::Progress(it) => {
                        if let Some(callback) = &mut progress {
                            callback(it);
                        }
                    }
                    Told::Image(number, it) => {
                        if let Some(callback) = &mut on_image {
                            callback(number, &it);
                            // The device that drew the last has no call left to look at the token.
                            if asked.stop.is_cancelled() {
                                failed.get_or_insert(Error::Cancelled);
                            }
                        }
                    }
                    Told::State(it) => {
                        if let (Some((_, callback)), None) = (&mut states, &failed)
                            && let Err(error) = callback(*it)
                        {
                            failed = Some(error);
                            asked.stop.cancel();
                        }
                    }
                }
            }
            let mut all = Vec::new();
            for device in started {
                let drawn = device
                    .and_then(|device| device.join().unwrap_or_else(|it| std::panic::resume_unwind(it)));
                match drawn {
                    Ok(drawn) => all.extend(drawn),
                    // Those that were stopped tell nothing.
                    Err(Error::Cancelled) if failed.is_some() => {}
                    Err(error) if matches!(failed, None | Some(Error::Cancelled)) => failed = Some(error),
                    Err(_) => {}
                }
            }
            failed.map_or(Ok(all), Err)
        })
    }

    /// What is made of the pictures that fall to one device of so many.
    fn share<T>(mut self, (place, devices): (usize, usize), make: Make<T>) -> Result<Vec<T>> {
        let _memory = self.components.runtime.run();
        let mut run = self.prepare()?;
        let mut tracer = self.begin_trace(&run)?;
        let n = self.params.size.batch_size;
        let mut left = n * place / devices..n * (place + 1) / devices;
        let mut made = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let group = self.next_together(&run, left.clone());
            left.start = group.end;
            let sampled = self.sample(&mut run, &mut tracer, group.clone())?;
            for (number, drawn) in group.zip(sampled) {
                made.push(make(&mut self, &run, &mut tracer, number, drawn)?);
            }
        }
        Ok(made)
    }
}

impl Asked {
    /// A device's request, which tells what callbacks are to know.
    fn request<'a>(&'a self, replica: &'a Replica, tell: &'a SyncSender<Told>) -> Request<'a> {
        let mut request = Request::new(std::slice::from_ref(replica));
        (request.params, request.given) = (self.params.clone(), self.given.clone());
        (request.inputs, request.previews) = (self.inputs.clone(), self.previews);
        request.cancel = self.stop.clone();
        let tell = move |told| {
            // Who called is gone, by a panic of a callback.
            if tell.send(told).is_err() {
                self.stop.cancel();
            }
        };
        if self.watched {
            request = request.on_progress(move |progress| tell(Told::Progress(progress)));
        }
        if self.shown {
            request = request.on_image(move |number, image| tell(Told::Image(number, image.clone().into())));
        }
        match self.states {
            Some(every) => request.on_state(every, move |state| {
                tell(Told::State(state.into()));
                Ok(())
            }),
            None => request,
        }
    }
}
