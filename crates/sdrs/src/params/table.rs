//! The table of settings: every scalar that decides a picture, described once.

/// Hands the rows to a macro, group by group. A row is
///
/// ```text
/// /// Its doc comment, which help texts show as well.
/// name: Type = default, range, pair in infotexts[, recommended];
/// ```
///
/// A name is the same in Rust, C, Python and the command. `range` is a [`Range`](super::setting::Range), the pair a
/// [`Pair`](super::setting::Pair), and `recommended` marks a setting that a checkpoint may recommend.
macro_rules! table {
    ($rows:ident) => {
        $rows! {
            /// The prompts, and the rules for reading them.
            text: TextParams {
                /// The prompt: a description of the picture.
                prompt: String = String::new(), Any, Unwritten;
                /// The negative prompt: a description of things that the picture should not show.
                negative_prompt: String = String::new(), Any, Unwritten;
                /// The layer of the text encoder that is used, from the end: 1 is the last. The final norm follows in any case.
                clip_skip: usize = 1, Layer, Changed("Clip skip"), recommended;
                /// The rule by which `clip_skip` counts: "webui", or "diffusers", where 0 is the last layer.
                clip_skip_rule: ClipSkipRule = ClipSkipRule::default(), Any, Unwritten;
                /// The dialect of the prompt language: "webui" or "comfy".
                prompt_dialect: PromptDialect = PromptOptions::default().dialect, Any, Changed("Prompt dialect");
                /// The rule by which weights in prompts act: "original", "no norm", "ignore" or "none".
                emphasis: Emphasis = PromptOptions::default().emphasis, Any, Changed("Emphasis");
                /// The numbers of prompt edits that are fractions of the steps: those with a point ("current"), or those under 1
                /// ("before-1.6", as in older versions of the WebUI).
                time_rule: TimeRule = PromptOptions::default().time_rule, Any, Changed("Old prompt editing timelines");
                /// The number of tokens that the last comma may lie back for a long prompt to be cut after it, instead of after 75 tokens;
                /// 0 never cuts there.
                comma_backtrack: usize = PromptOptions::default().comma_backtrack, Any, Unwritten;
                /// Whether prompts are tokenized as they are, like by transformers' fast tokenizer. Else they are repaired first as ftfy
                /// does it, like in the WebUI: typographic quotes, ligatures, full-width letters, HTML's entities, texts in wrong
                /// encodings. Most texts are alike to both; ComfyUI's dialect always takes them as they are.
                text_as_is: bool = PromptOptions::default().text_as_is, Any, Changed("Text as is");
                /// Whether the shorter of both prompts is padded with the empty one, where they are of different length. Else each has its
                /// own call of the U-Net; pictures differ slightly.
                pad_prompts: bool = false, Any, Changed("Pad conds");
            }
            /// The size and the number of pictures.
            size: SizeParams {
                /// Width in pixels, a multiple of 8; not given, it is the size that the model was trained on.
                width: Option<u32> = None, Side, Unwritten;
                /// Height in pixels, likewise.
                height: Option<u32> = None, Side, Unwritten;
                /// Number of pictures, 1 to 1,000, with consecutive seeds.
                batch_size: usize = 1, Whole(1, 1000), Unwritten;
            }
            /// The random numbers of a picture.
            noise: NoiseParams {
                /// Seed of the first picture, 0 to 2^64-1; -1 draws one at random. The others of a batch follow it by one each, and 0
                /// follows the last. PyTorch's CPU noise (the default of `rng`) is that of a seed's low 32 bits.
                seed: i128 = -1, Seed, Always("Seed");
                /// Seed of the noise that the first noise is mixed with, and -1 draws one at random. Range and batches are as for `seed`.
                variation_seed: i128 = -1, Seed, Changed("Variation seed");
                /// The share of the variation seed's noise in the first noise, 0 to 1. Above 0 all pictures of a batch share `seed`.
                variation_strength: f64 = 0.0, Share, Changed("Variation seed strength");
                /// Width in pixels of the picture whose noise is kept, with the same seed, in the middle of this one's (the WebUI's seed
                /// resize); not given, or with `seed_resize_height` 0 or not given, all noise is that of this size.
                seed_resize_width: Option<u32> = None, Whole(0, MAX_SIDE as usize), Unwritten;
                /// Height in pixels of that picture.
                seed_resize_height: Option<u32> = None, Whole(0, MAX_SIDE as usize), Unwritten;
                /// The source of the noise: "cpu" or "nv", PyTorch's generators on a CPU and on CUDA. Noise is the same on every device.
                rng: Rng = Rng::default(), Any, Always("RNG");
                /// Eta noise seed delta: if not 0, noise after the first draw comes from the seed plus this, modulo 2^64.
                ensd: i64 = 0, Any, ChangedIf("ENSD", |params| params.sampling.sampler.uses_ensd());
            }
            /// The steps from noise to a picture.
            sampling: SamplingParams {
                /// Sampling steps, 1 to 10,000.
                steps: usize = 20, Whole(1, MAX_STEPS), Always("Steps"), recommended;
                /// The sampler, such as "Euler", "Euler a", "DDIM"; may carry its schedule: "DPM++ 2M Karras".
                sampler: Sampler = Sampler::DpmPp2m, Any, Always("Sampler"), recommended;
                /// The noise schedule, such as "uniform" or "karras"; "automatic" is the one that suits the sampler. With another sampler
                /// than the recommended one, a recommended schedule is not taken.
                schedule: Schedule = Schedule::Automatic, Any, Always("Schedule type"), recommended;
                /// The amount of fresh noise that replaces old, 0 or more; not given, it is the sampler's own (1 for ancestral ones, 0 for
                /// DDIM).
                eta: Option<f64> = None, Any, Changed("Eta");
                /// The smallest noise level of a schedule before the last, which is 0; 0 is the model's own. Uniform and Align Your Steps don't
                /// heed it.
                sigma_min: f64 = 0.0, Level, Changed("Schedule min sigma");
                /// The largest noise level of a schedule, likewise.
                sigma_max: f64 = 0.0, Level, Changed("Schedule max sigma");
                /// The exponent of the schedules Karras and Polyexponential; 0 is their own, 7 and 1.
                rho: f64 = 0.0, Level, Changed("Schedule rho");
                /// The first parameter of the distribution whose quantiles are the schedule Beta, 0.01 to 100.
                beta_alpha: f64 = 0.6, Within(0.01, 100.0), Changed("Beta schedule alpha");
                /// The second parameter of that distribution, likewise.
                beta_beta: f64 = 0.6, Within(0.01, 100.0), Changed("Beta schedule beta");
                /// Whether the last noise level but one is left out with every sampler, as it is with DPM2.
                discard_penultimate_sigma: bool = false, Any, Changed("Discard penultimate sigma");
                /// The amount of noise that Euler, Heun and DPM2 add at each step before they take it away, 0 or more (Karras et al. 2022,
                /// arXiv:2206.00364, algorithm 2).
                s_churn: f64 = 0.0, Level, Changed("Sigma churn");
                /// The noise level from which on they do.
                s_tmin: f64 = 0.0, Level, Changed("Sigma tmin");
                /// The noise level up to which they do; 0 is any.
                s_tmax: f64 = 0.0, Level, Changed("Sigma tmax");
                /// The factor on all noise that a sampler adds, 0 or more.
                s_noise: f64 = 1.0, Level, Changed("Sigma noise");
                /// Whether the first noise has the deviation that the model was trained with at the largest noise level, as in Stability's own
                /// program: slightly more than that level.
                sgm_noise_multiplier: bool = false, Any, Changed("SGM noise multiplier");
                /// Whether the model's noise levels are rounded as in 16 bits, as the WebUI had them up to 1.7 on models in half precision.
                half_alphas: bool = false, Any, Changed("Downcast alphas_cumprod");
                /// Whether the model's noise levels are stretched until nothing is left of the picture at the largest (Lin et al. 2023,
                /// arXiv:2305.08891), also where the checkpoint doesn't ask for it.
                zero_terminal_snr: bool = false, Any, Changed("Noise Schedule");
                /// The share of the way from noise to the picture, 0 to 1, after which the pipeline's refiner takes over, if it has one; 1 is
                /// never. The way is counted in timesteps of the model (WebUI 1.9, diffusers' `denoising_end`).
                refiner_switch_at: f64 = 0.8, Share, Refined("Refiner switch at");
                /// Whether that share is counted in sampling steps, as by older versions of the WebUI.
                refiner_by_steps: bool = false, Any, Refined("Refiner switch by sampling steps");
            }
            /// The strength of guidance by the prompts, and the steps at which it acts.
            guidance: GuidanceParams {
                /// Strength of guidance by the prompts, -1000 to 1000; 1 is none, and halves the work. It is classifier-free guidance (Ho and
                /// Salimans 2022, arXiv:2207.12598).
                cfg_scale: f64 = 7.0, Within(-1000.0, 1000.0), Always("CFG scale"), recommended;
                /// Negative guidance minimum sigma: below this noise level every second call of the U-Net goes without the negative prompt,
                /// which halves it. 0 is never; samplers over timesteps (DDIM, PLMS, UniPC) compare their timestep (WebUI).
                ngms: f64 = 0.0, Level, Changed("NGMS");
                /// Whether every call goes without the negative prompt below `ngms`, not every second.
                ngms_all_steps: bool = false, Any, ChangedIf("NGMS all steps", |params| params.guidance.ngms > 0.0);
                /// The share of the steps, 0 to 1, at the beginning of which the negative prompt is left out.
                skip_early_cfg: f64 = 0.0, Share, Changed("Skip Early CFG");
                /// The noise level, 0 or more, at which and below which the negative prompt is left out. It is the lower end of a guidance
                /// interval (Kynkäänniemi et al. 2024, arXiv:2404.07724).
                guidance_sigma_min: f64 = 0.0, Level, Changed("Guidance sigma min");
                /// The noise level above which the negative prompt is left out. It is the interval's upper end; not given, there is none.
                guidance_sigma_max: Option<f64> = None, Level, Changed("Guidance sigma max");
                /// The similarity, 0 to 1, of the denoised latents for the prompt and for the negative prompt from which on the remaining steps
                /// go without the negative prompt. It is the cosine of the angle between them; 0.99 is usual, 0 is never (adaptive guidance,
                /// Castillo et al. 2023, arXiv:2312.12487).
                adaptive_guidance: f64 = 0.0, Share, Changed("Adaptive guidance");
                /// The share, 0 to 1, by which the guided output of the network gets the deviation of the one for the prompt alone, against
                /// overexposure at large scales (Lin et al. 2023, arXiv:2305.08891; diffusers' `guidance_rescale`).
                guidance_rescale: f64 = 0.0, Share, Changed("Guidance rescale");
                /// The smaller scale whose range of values the guided latent is brought into (mcmonkey's dynamic thresholding, "CFG scale
                /// fix"); not given, it keeps its own.
                mimic_scale: Option<f64> = None, Within(-1000.0, 1000.0), Changed("Mimic scale");
                /// The percentile of the values, 0 to 100, that are in range before; those beyond are clamped.
                threshold_percentile: f64 = 100.0, Within(0.0, 100.0), ChangedIf("Threshold percentile", |params| params.guidance.mimic_scale.is_some());
                /// The smaller scale, 0 to 1000, that guidance keeps to where it drives a value further the way that it leans to by itself; 2 to 7
                /// are usual, and not given, it keeps to `cfg_scale` everywhere (Extraltodeus' Skimmed CFG).
                skimming_scale: Option<f64> = None, Within(0.0, 1000.0), Changed("Skimming CFG");
                /// Whether the negative prompt's part keeps to 0 there, and not to `skimming_scale`.
                full_skim_negative: bool = false, Any, ChangedIf("Full skim negative", |params| params.guidance.skimming_scale.is_some());
                /// Whether values are skimmed as well whose guided latent lies on the other side of 0 than its way from the noisy one.
                disable_flipping_filter: bool = false, Any, ChangedIf("Disable flipping filter", |params| params.guidance.skimming_scale.is_some());
                /// The factor on the part of guidance that is parallel to the prediction, -10 to 10: less than 1 keeps colours from
                /// saturating, the paper has 0 (adaptive projected guidance, Sadat et al. 2024, arXiv:2410.02416).
                apg_eta: f64 = 1.0, Within(-10.0, 10.0), Changed("APG eta");
                /// The longest step from uncond to cond, by its norm, in adaptive projected guidance; 0 is any.
                apg_norm_threshold: f64 = 0.0, Within(0.0, 1000.0), Changed("APG norm threshold");
                /// The factor on the steps of the calls before, -1 to 1, in adaptive projected guidance; the paper has -0.5.
                apg_momentum: f64 = 0.0, Within(-1.0, 1.0), Changed("APG momentum");
                /// Whether the output for the negative prompt is scaled to come nearest to the prompt's (CFG-Zero*, Fan et al. 2025,
                /// arXiv:2503.18886).
                cfg_zero_star: bool = false, Any, Changed("CFG-Zero star");
                /// The factor, 0 to 100, on the part of the negative prompt that is perpendicular to the prompt: it alone is taken away then,
                /// and a call computes the empty prompt too (Perp-Neg, Armandpour et al. 2023, arXiv:2304.04968). 0 is plain guidance.
                perp_neg_scale: f64 = 0.0, Within(0.0, 100.0), Changed("Perp-Neg scale");
                /// Strength of guidance away from what the network gives where each pixel sees itself alone in some layers, -100 to 100; 3 is
                /// usual, 0 is none, and one more evaluation for each prompt is saved (perturbed attention guidance, Ahn et al. 2024,
                /// arXiv:2403.17377).
                pag_scale: f64 = 0.0, Within(-100.0, 100.0), Changed("PerturbedAttentionGuidance_scale");
                /// Strength of guidance away from what the network gives with blurred queries in some layers, -100 to 100; 3 is usual, 0 is none
                /// (smoothed energy guidance, Hong 2024, arXiv:2408.00760).
                seg_scale: f64 = 0.0, Within(-100.0, 100.0), Changed("SEG scale");
                /// The deviation of that blur in pixels of the layer, 0 or more; not given, queries are the mean of all.
                seg_sigma: Option<f64> = None, Level, ChangedIf("SEG sigma", |params| params.guidance.seg_scale != 0.0);
                /// The layers of those two: beginnings of diffusers' names, separated by commas, such as "mid, up_blocks.1.attentions.0".
                perturbed_layers: String = String::from("mid"), Any, ChangedIf("Perturbed layers", |params| params.perturbs());
                /// Strength of guidance away from what the network makes of a latent that is blurred where the middle's attention looks most,
                /// -100 to 100; 0.75 is usual, 0 is none (self-attention guidance, Hong et al. 2022, arXiv:2210.00939).
                sag_scale: f64 = 0.0, Within(-100.0, 100.0), Changed("sag_scale");
                /// The deviation of that blur in pixels of the latent, 0 or more.
                sag_blur_sigma: f64 = 1.0, Level, ChangedIf("sag_blur_sigma", |params| params.guidance.sag_scale != 0.0);
                /// The attention, 1 is the mean, beyond which a pixel is blurred.
                sag_threshold: f64 = 1.0, Within(0.0, 1000.0), ChangedIf("sag_threshold", |params| params.guidance.sag_scale != 0.0);
            }
            /// Changes to what the networks compute.
            network: NetworkParams {
                /// The factor on half of what comes from below at the smallest resolution of the U-Net's way up, 0 to 10; with all four factors
                /// at 1 nothing is changed (FreeU, Si et al. 2023, arXiv:2309.11497).
                freeu_b1: f64 = 1.0, Within(0.0, 10.0), Changed("freeu_b1");
                /// The same at the next resolution.
                freeu_b2: f64 = 1.0, Within(0.0, 10.0), Changed("freeu_b2");
                /// The factor on the lowest frequencies of the skips at the smallest resolution, 0 to 10.
                freeu_s1: f64 = 1.0, Within(0.0, 10.0), Changed("freeu_s1");
                /// The same at the next resolution.
                freeu_s2: f64 = 1.0, Within(0.0, 10.0), Changed("freeu_s2");
                /// The version of FreeU: 1 as in diffusers, or 2 as in ComfyUI and Forge, where factors go with the pixel.
                freeu_version: usize = 2, Whole(1, 2), ChangedIf("freeu_version", |params| params.free_u().is_some());
                /// Whether the left and the right edge of the picture fit together, so that copies side by side have no seam: all convolutions see
                /// what is at the opposite edge (circular padding). With `tile_y` it is the WebUI's "Tiling".
                tile_x: bool = false, Any, Changed("Tile X");
                /// Whether its upper and lower edge fit together.
                tile_y: bool = false, Any, Changed("Tile Y");
            }
            /// Tiles of large pictures that the U-Net sees one by one, so that its memory is a tile's.
            tiles: TileParams {
                /// The way in which tiles become one picture at every call of the U-Net: "none", where it sees the whole, "multidiffusion" (their
                /// mean, Bar-Tal et al. 2023, arXiv:2302.08113), or "mixture of diffusers" (with Gaussian weights, Barbero Jimenez 2023,
                /// arXiv:2302.02412).
                tiled_diffusion: TiledDiffusion = TiledDiffusion::default(), Any, Unwritten;
                /// Width of a tile in latents, 16 to 1,024: an eighth of its pixels.
                tile_width: usize = 96, Whole(16, 1024), Unwritten;
                /// Height of a tile in latents, likewise.
                tile_height: usize = 96, Whole(16, 1024), Unwritten;
                /// Latents that neighbouring tiles share at least, 0 to 1,024; no more than the smaller side of a tile less 4.
                tile_overlap: usize = 48, Whole(0, 1024), Unwritten;
            }
            /// A picture that a run begins at, and the part of it that is drawn anew.
            image: ImageParams {
                /// The share of the schedule that is run over a picture, or in a hires pass, 0 to 1: 0 keeps the picture, 1 draws another;
                /// not given, it is 0.75 for a picture, and 0.7 for a hires pass.
                strength: Option<f64> = None, Share, Changed("Denoising strength");
                /// The rule by which `strength` counts steps: "webui" runs `strength * steps` of them and one more, "exact" as many as `steps`
                /// says (the WebUI's option; ComfyUI), "diffusers" `strength * steps`. A hires pass always runs exactly its steps.
                strength_rule: StrengthRule = StrengthRule::default(), Any, Changed("Strength rule");
                /// The way in which a picture of another size is fitted: "stretch", "crop", "fill" (edges are repeated), or "latent" (its
                /// latents are stretched).
                resize_mode: ResizeMode = ResizeMode::default(), Any, Changed("Resize mode");
                /// A factor of the first noise over a picture, 0 to 1.5.
                noise_multiplier: f64 = 1.0, Within(0.0, 1.5), Changed("Noise multiplier");
                /// Noise beyond that of the first noise level, 0 to 1: more details, over a picture and in a hires pass.
                extra_noise: f64 = 0.0, Share, Changed("Extra noise");
                /// Strength of guidance by the picture, 0 to 100, of models that edit one by instruction (InstructPix2Pix); 1 is none, and no model
                /// else heeds it.
                image_cfg_scale: f64 = 1.5, Within(0.0, 100.0), Changed("Image CFG scale");
                /// Whether a picture's latents are drawn from the Gaussian that the VAE encodes it to, with the seed's first noise, as in
                /// diffusers. Else they are its mean.
                posterior_sample: bool = false, Any, Changed("Posterior sample");
                /// Whether the result gets the colours of the picture that it began at: histograms in LAB, then its own lightness (the WebUI's
                /// "Apply color correction").
                color_correction: bool = false, Any, Changed("Color correction");
                /// The radius in pixels, 0 to 256, over which the edge of a mask is blurred.
                mask_blur: usize = 4, Whole(0, 256), Changed("Mask blur");
                /// Whether what the mask does not cover is drawn anew.
                mask_inverted: bool = false, Any, Changed("Mask mode");
                /// Whether the mask's greys say for how much of the run each pixel is drawn anew (differential diffusion, Levin and Fried 2023,
                /// arXiv:2306.00950). Else each latent is masked or not.
                soft_mask: bool = false, Any, Changed("Soft mask");
                /// The start of the masked part: "original", "fill" (colours around it), "latent noise" or "latent nothing".
                masked_content: MaskedContent = MaskedContent::default(), Any, Changed("Masked content");
                /// Whether only the masked part is drawn, at the whole size, and put back into the picture.
                only_masked: bool = false, Any, Changed("Inpaint area");
                /// The pixels around the masked part that are drawn with it, 0 to 4,096.
                only_masked_padding: usize = 32, Whole(0, 4096), ChangedIf("Masked area padding", |params| params.image.only_masked);
            }
            /// A second pass at a larger size (the WebUI's hires fix).
            hires: HiresParams {
                /// The factor from the first pass's size to the second's, 1 to 16; not given, there is no second pass unless a size is.
                hires_scale: Option<f64> = None, Within(1.0, 16.0), Changed("Hires upscale");
                /// Width of the second pass in pixels, in place of `hires_scale`. Where only one side is given, the other follows; where both
                /// are, what doesn't fit is cut off.
                hires_width: Option<u32> = None, Side, Unwritten;
                /// Height of the second pass in pixels, likewise.
                hires_height: Option<u32> = None, Side, Unwritten;
                /// Steps of the second pass; 0 is as many as in the first.
                hires_steps: usize = 0, Whole(0, MAX_STEPS), Changed("Hires steps");
                /// The upscaler between the passes: "Latent" and its kinds ("Latent (antialiased)", "Latent (bicubic)", "Latent (bicubic
                /// antialiased)", "Latent (nearest)", "Latent (nearest-exact)"), or on the picture "Lanczos", "Nearest" or a network that the
                /// pipeline was given, by its file's name without the ending.
                hires_upscaler: String = "Latent".into(), Any, Changed("Hires upscaler");
                /// The sampler of the second pass; not given, it is the first's.
                hires_sampler: Option<Sampler> = None, Any, Changed("Hires sampler");
                /// The schedule of the second pass; not given, it is the first's.
                hires_schedule: Option<Schedule> = None, Any, Changed("Hires schedule type");
                /// `cfg_scale` of the second pass; not given, it is the first's.
                hires_cfg_scale: Option<f64> = None, Within(-1000.0, 1000.0), Changed("Hires CFG Scale");
                /// `token_merging` of the second pass; not given, it is the first's.
                hires_token_merging: Option<f64> = None, Share, Changed("Token merging ratio hr");
                /// The prompt of the second pass; empty, it is the first's.
                hires_prompt: String = String::new(), Any, Changed("Hires prompt");
                /// The negative prompt of the second pass; empty, it is the first's.
                hires_negative_prompt: String = String::new(), Any, Changed("Hires negative prompt");
            }
            /// The conditions besides the text, for SDXL and its refiner (Podell et al. 2023, arXiv:2307.01952). Other models don't have them.
            conditioning: ConditioningParams {
                /// The width in pixels that SDXL is told the picture had before it was scaled; not given, it is the picture's. A small one
                /// means a blurred picture.
                original_width: Option<u32> = None, Whole(1, MAX_CONDITION), Changed("Original width");
                /// The height, likewise.
                original_height: Option<u32> = None, Whole(1, MAX_CONDITION), Changed("Original height");
                /// The pixels that SDXL is told were cut off at the top; 0 puts the subject in the middle.
                crop_top: u32 = 0, Whole(0, MAX_CONDITION), Changed("Crop top");
                /// The pixels that were cut off at the left, likewise.
                crop_left: u32 = 0, Whole(0, MAX_CONDITION), Changed("Crop left");
                /// The width in pixels that SDXL is told the picture is to have; not given, it is the picture's.
                target_width: Option<u32> = None, Whole(1, MAX_CONDITION), Changed("Target width");
                /// The height, likewise.
                target_height: Option<u32> = None, Whole(1, MAX_CONDITION), Changed("Target height");
                /// The score of beauty, 0 to 10, that SDXL's refiner is told of the prompt's picture.
                aesthetic_score: f64 = 6.0, Within(0.0, 10.0), Changed("Aesthetic score");
                /// The score that it is told of the negative prompt's.
                negative_aesthetic_score: f64 = 2.5, Within(0.0, 10.0), Changed("Negative aesthetic score");
                /// The meaning of an empty negative prompt to SDXL: "webui", where it is zeros in place of an encoded text; "diffusers",
                /// where it is zeros unless it is given, and never to the refiner; or "comfy", where it is encoded.
                empty_negative_rule: EmptyNegativeRule = EmptyNegativeRule::default(), Any, Changed("Empty negative prompt");
            }
            /// Shortcuts: they make a run faster, and change its picture, if only by rounding.
            speed: SpeedParams {
                /// The share of the pixels, 0 to 1, that self-attention merges with others: faster for large pictures, and coarser. It acts
                /// at the resolution of the latents (token merging, Bolya and Hoffman 2023, arXiv:2303.17604), and no more than three
                /// quarters can be merged.
                token_merging: f64 = 0.0, Share, Changed("Token merging ratio");
                /// Whether attention to the text sees merged pixels too (tomesd's `merge_crossattn`).
                token_merging_cross_attention: bool = false, Any, ChangedIf("Token merging cross-attention", |params| params.speed.token_merging > 0.0);
                /// Whether the feed-forward networks behind attention see merged pixels too (tomesd's `merge_mlp`): less work, and coarser
                /// still.
                token_merging_mlp: bool = false, Any, ChangedIf("Token merging MLP", |params| params.speed.token_merging > 0.0);
                /// The number of steps from one call of the whole U-Net to the next; the calls in between compute its outermost layers
                /// alone, on features of the last whole one (DeepCache, Ma et al. 2023, arXiv:2312.00858). 1 is the whole U-Net at every
                /// step.
                deep_cache_interval: usize = 1, Whole(1, MAX_STEPS), Changed("DeepCache interval");
                /// The layers that are computed in between: those up to this branch from the way down to the way up, 0 is the outermost.
                deep_cache_branch: usize = 0, Branch, ChangedIf("DeepCache branch", |params| params.speed.deep_cache_interval > 1);
                /// The change, 0 to 1, of what the U-Net's first block gives since the last whole call, below which the rest is left out, and
                /// that call's output serves again; 0.15 is usual, 0 is never. Not with DeepCache (first-block caching, after TeaCache, Liu et al.
                /// 2024, arXiv:2411.19108).
                first_block_cache: f64 = 0.0, Share, Changed("First block cache");
                /// The number of a batch's pictures that go through the U-Net together, up to 1,000; 0 is as many as fit up to eight on a GPU,
                /// and one on the CPU. With 1 a picture is exactly what a single run gives, with more it differs by the type's rounding.
                batch_per_call: usize = 0, Whole(0, 1000), Unwritten;
            }
        }
    };
}
pub(crate) use table;
