//! Going on from a saved step.

use std::path::PathBuf;

use sdrs::RunState;

use crate::{Failure, draw::Common};

#[derive(clap::Args)]
pub struct Args {
    /// The state, as --save-states wrote it. Settings that decide only what is to come may be changed by options: guidance, the prompts, a later
    /// pass, LoRAs; those that decided what is behind may not.
    state: PathBuf,
    /// Another prompt for the steps to come.
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    if args.common.drawing.from_infotext.is_some() {
        let reason = "--from-infotext: a state has its settings; give others by their options";
        return Err(Failure::Usage(reason.into()));
    }
    let state = RunState::open(&args.state)?;
    let (mut params, mut given) = (state.params().clone(), state.given());
    if let Some(prompt) = &args.prompt {
        params.text.prompt.clone_from(prompt);
    }
    let settings = &args.common.drawing.settings;
    settings.apply(&mut params, &mut given)?;
    args.common.resume(state, &params, &given)
}
