/*
 * sdrs: Stable Diffusion inference as a library.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 * Made by cbindgen from bindings/c of sdrs (`cargo xtask header`): change it there.
 *
 *     sdrs_builder *builder = NULL;
 *     sdrs_pipeline *pipeline = NULL;
 *     sdrs_images *images = NULL;
 *     sdrs_generate_params params;
 *
 *     sdrs_generate_params_init(&params, sizeof params);
 *     params.prompt = "a red circle above a blue square";
 *     if (sdrs_builder_new(&builder) || sdrs_builder_checkpoint(builder, "model.safetensors")
 *         || sdrs_builder_build(builder, &pipeline) || sdrs_txt2img(pipeline, &params, NULL, &images)
 *         || sdrs_images_save_png(images, 0, "out.png"))
 *         fprintf(stderr, "%s\n", sdrs_last_error_message());
 *     sdrs_images_free(images);
 *     sdrs_pipeline_free(pipeline);
 *     sdrs_builder_free(builder);
 *
 * Errors. A function that can fail returns a status: 0 is SDRS_OK. If it fails, nothing has been written through its pointers, and
 * sdrs_last_error_message tells this thread why. Functions that return something else can't fail; given NULL, they return 0 or NULL.
 * Where a function's description lists statuses, SDRS_ERROR_INVALID_PARAMETER (for arguments) and SDRS_ERROR_INTERNAL may come besides.
 * The library never ends the process, prints nothing, installs no signal handler and changes no environment. Only where memory runs out
 * does the process end, as Rust's allocator does.
 *
 * Ownership. What a function gives through a pointer to a pointer is the caller's, to be freed by the function named after it; freeing
 * NULL does nothing. Freeing twice, or using what was freed, is a fault of the caller's that the library notices only sometimes. What is
 * given as `const` (texts, pixels, values) is the library's, valid as long as is said. What the caller passes is copied where it is needed
 * after the call.
 *
 * Threads. An sdrs_pipeline, sdrs_cancel_token, sdrs_images or sdrs_tensor may be used by any number of threads at once; freeing one
 * needs that no other thread uses it. An sdrs_builder, sdrs_stepper or sdrs_noise is one thread's at a time. There is no state of the
 * process: pipelines don't know of each other.
 *
 * Pointers. Each must be NULL or valid for what the function does with it; NULL is an error (SDRS_ERROR_INVALID_PARAMETER) unless the
 * function allows it. Texts and paths are UTF-8 and end in a zero byte unless a length is given. Buffers are row-major and aligned for
 * their type.
 *
 * Structures that begin with `struct_size` may get more fields in later versions. Prepare them with their init function: then programs
 * keep working with later libraries without being compiled anew. Fields that a program doesn't know have their defaults.
 */

#ifndef SDRS_H
#define SDRS_H

#include <stddef.h>
#include <stdint.h>

/** The version that this header is of; `sdrs_version` tells the library's. */
#define SDRS_VERSION "0.1.0"
#define SDRS_VERSION_MAJOR 0
#define SDRS_VERSION_MINOR 1
#define SDRS_VERSION_PATCH 0

/** For a text's length: the text ends at its first zero byte. */
#define SDRS_NUL_TERMINATED SIZE_MAX

/**
 * The version of the binary interface that this header describes; `sdrs_abi_version` returns the library's. Programs built against one
 * run with any library of the same number.
 */
#define SDRS_ABI_VERSION 0



/**
 * In a run's parameters, for numbers that a model may recommend: take what it recommends, else the WebUI's default.
 */
#define SDRS_NOT_SET 4294967295

/**
 * The outcome of a call. The numbers never change.
 */
enum sdrs_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The call succeeded.
     */
    SDRS_OK = 0,
    /**
     * An argument or parameter can't be used: out of its range, NULL, text that is not UTF-8, a wrong `struct_size`, a buffer of the
     * wrong size. Nothing has been computed.
     */
    SDRS_ERROR_INVALID_PARAMETER = 1,
    /**
     * A name (of a sampler, a schedule, a device) is unknown.
     */
    SDRS_ERROR_UNKNOWN_NAME = 2,
    /**
     * A file can't be opened, read or written.
     */
    SDRS_ERROR_IO = 3,
    /**
     * A file is damaged, or not what it should be.
     */
    SDRS_ERROR_INVALID_FILE = 4,
    /**
     * Weights or configurations don't fit a model.
     */
    SDRS_ERROR_INVALID_WEIGHTS = 5,
    /**
     * The run was cancelled.
     */
    SDRS_ERROR_CANCELLED = 6,
    /**
     * The computation gave something that is not a number.
     */
    SDRS_ERROR_NOT_FINITE = 7,
    /**
     * A fault of the library. The pipeline stays usable.
     */
    SDRS_ERROR_INTERNAL = 8,
    /**
     * A device has less memory than is needed. The pipeline stays usable.
     */
    SDRS_ERROR_OUT_OF_MEMORY = 9,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_status sdrs_status;
#else
typedef int32_t sdrs_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A sampler: the algorithm that takes a latent from noise to a picture.
 */
enum sdrs_sampler
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * In a run's parameters: what the model recommends, else `SDRS_SAMPLER_DPMPP_2M`. No sampler elsewhere.
     */
    SDRS_SAMPLER_NOT_SET = -1,
    /**
     * "DPM++ 2M": DPM-Solver++(2M) (Lu et al. 2022).
     */
    SDRS_SAMPLER_DPMPP_2M = 0,
    /**
     * "DPM++ SDE": DPM-Solver++ for the SDE, single step of order 2.
     */
    SDRS_SAMPLER_DPMPP_SDE = 1,
    /**
     * "DPM++ 2M SDE": DPM-Solver++(2M) for the SDE, midpoint form.
     */
    SDRS_SAMPLER_DPMPP_2M_SDE = 2,
    /**
     * "DPM++ 2M SDE Heun": DPM-Solver++(2M) for the SDE, Heun form.
     */
    SDRS_SAMPLER_DPMPP_2M_SDE_HEUN = 3,
    /**
     * "DPM++ 2S a": DPM-Solver++(2S) with ancestral noise.
     */
    SDRS_SAMPLER_DPMPP_2S_ANCESTRAL = 4,
    /**
     * "DPM++ 3M SDE": DPM-Solver++(3M) for the SDE.
     */
    SDRS_SAMPLER_DPMPP_3M_SDE = 5,
    /**
     * "Euler a": Euler steps to below the next sigma, then fresh noise up to it.
     */
    SDRS_SAMPLER_EULER_ANCESTRAL = 6,
    /**
     * "Euler": Euler's method on the probability flow (Karras et al. 2022), with optional churn.
     */
    SDRS_SAMPLER_EULER = 7,
    /**
     * "LMS": Linear multistep of order 4 in sigma.
     */
    SDRS_SAMPLER_LMS = 8,
    /**
     * "Heun": Heun's method (Karras et al. 2022), with optional churn.
     */
    SDRS_SAMPLER_HEUN = 9,
    /**
     * "DPM2": DPM-Solver-2 in sigma, with optional churn.
     */
    SDRS_SAMPLER_DPM_2 = 10,
    /**
     * "DPM2 a": DPM-Solver-2 with ancestral noise.
     */
    SDRS_SAMPLER_DPM_2_ANCESTRAL = 11,
    /**
     * "DPM fast": DPM-Solver-fast: a fixed number of calls in steps of order 3.
     */
    SDRS_SAMPLER_DPM_FAST = 12,
    /**
     * "DPM adaptive": DPM-Solver with adaptive steps: the number of calls is known only at the end.
     */
    SDRS_SAMPLER_DPM_ADAPTIVE = 13,
    /**
     * "Restart": Heun with a stretch run again from fresh noise (Xu et al. 2023).
     */
    SDRS_SAMPLER_RESTART = 14,
    /**
     * "LCM": Latent consistency sampling (Luo et al. 2023).
     */
    SDRS_SAMPLER_LCM = 15,
    /**
     * "DDIM": Denoising diffusion implicit models (Song et al. 2020).
     */
    SDRS_SAMPLER_DDIM = 16,
    /**
     * "DDIM CFG++": DDIM that renoises with the unconditional prediction (Chung et al. 2024).
     */
    SDRS_SAMPLER_DDIM_CFG_PP = 17,
    /**
     * "PLMS": Pseudo linear multistep (Liu et al. 2022).
     */
    SDRS_SAMPLER_PLMS = 18,
    /**
     * "UniPC": UniPC with B(h) = h (Zhao et al. 2023).
     */
    SDRS_SAMPLER_UNI_PC = 19,
    /**
     * "UniPC bh2": UniPC with B(h) = e^h - 1.
     */
    SDRS_SAMPLER_UNI_PC_BH2 = 20,
    /**
     * "HeunPP2": Heun++: slopes of three sigmas.
     */
    SDRS_SAMPLER_HEUNPP2 = 21,
    /**
     * "IPNDM": Improved pseudo numerical methods, coefficients of even steps (Zhang & Chen 2022).
     */
    SDRS_SAMPLER_IPNDM = 22,
    /**
     * "IPNDM_V": The same with coefficients of uneven steps.
     */
    SDRS_SAMPLER_IPNDM_V = 23,
    /**
     * "DEIS": Diffusion exponential integrator (Zhang & Chen 2022).
     */
    SDRS_SAMPLER_DEIS = 24,
    /**
     * "DDPM": The diffusion's own posterior (Ho et al. 2020).
     */
    SDRS_SAMPLER_DDPM = 25,
    /**
     * "TCD": Trajectory consistency sampling (Zheng et al. 2024).
     */
    SDRS_SAMPLER_TCD = 26,
    /**
     * "Euler CFG++": Euler with CFG++.
     */
    SDRS_SAMPLER_EULER_CFG_PP = 27,
    /**
     * "Euler a CFG++": Euler a with CFG++.
     */
    SDRS_SAMPLER_EULER_ANCESTRAL_CFG_PP = 28,
    /**
     * "Res Multistep": Refined exponential solver, second-order multistep (Zhang et al. 2023).
     */
    SDRS_SAMPLER_RES_MULTISTEP = 29,
    /**
     * "SA-Solver": Stochastic Adams (Xue et al. 2023).
     */
    SDRS_SAMPLER_SA_SOLVER = 30,
    /**
     * "DPM++ 2M CFG++": DPM++ 2M with CFG++.
     */
    SDRS_SAMPLER_DPMPP_2M_CFG_PP = 31,
    /**
     * "Res Multistep CFG++": Res Multistep with CFG++.
     */
    SDRS_SAMPLER_RES_MULTISTEP_CFG_PP = 32,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_sampler sdrs_sampler;
#else
typedef int32_t sdrs_sampler;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A noise schedule: the rule that makes falling noise levels (sigmas) from a number of steps.
 */
enum sdrs_schedule
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * In a run's parameters: what the model recommends with its sampler, else `SDRS_SCHEDULE_AUTOMATIC`. No schedule elsewhere.
     */
    SDRS_SCHEDULE_NOT_SET = -1,
    /**
     * "Automatic": what suits the sampler.
     */
    SDRS_SCHEDULE_AUTOMATIC = 0,
    /**
     * "Uniform": Evenly spaced timesteps from the last to the first, then 0 (k-diffusion's `get_sigmas`; ComfyUI's "normal").
     */
    SDRS_SCHEDULE_UNIFORM = 1,
    /**
     * "Karras": Evenly spaced in `sigma^(1/rho)`, rho 7, then 0 (Karras et al. 2022, arXiv:2206.00364, eq. 5).
     */
    SDRS_SCHEDULE_KARRAS = 2,
    /**
     * "Exponential": Evenly spaced in `ln(sigma)`, then 0.
     */
    SDRS_SCHEDULE_EXPONENTIAL = 3,
    /**
     * "Polyexponential": A power `rho` of the way in `ln(sigma)`, then 0 (k-diffusion).
     */
    SDRS_SCHEDULE_POLYEXPONENTIAL = 4,
    /**
     * "SGM Uniform": Evenly spaced timesteps without the last one, then 0 (Stability's generative-models).
     */
    SDRS_SCHEDULE_SGM_UNIFORM = 5,
    /**
     * "Simple": Evenly picked from the table of sigmas, from its end, then 0.
     */
    SDRS_SCHEDULE_SIMPLE = 6,
    /**
     * "Normal": The WebUI's "Normal": as Uniform, but between the chosen smallest and largest sigma.
     */
    SDRS_SCHEDULE_NORMAL = 7,
    /**
     * "DDIM": Every `1000/n`-th sigma from the second on, then 0: not always `n` steps.
     */
    SDRS_SCHEDULE_DDIM = 8,
    /**
     * "KL Optimal": Evenly spaced in `atan(sigma)` (Sabour et al. 2024): the WebUI ends above 0, ComfyUI at 0.
     */
    SDRS_SCHEDULE_KL_OPTIMAL = 9,
    /**
     * "Align Your Steps": Align Your Steps (Sabour et al. 2024): a table of 11, interpolated; the WebUI adds a 0, ComfyUI replaces the last by it.
     */
    SDRS_SCHEDULE_ALIGN_YOUR_STEPS = 10,
    /**
     * "Align Your Steps 32": Align Your Steps, a table of 32, interpolated, then 0 (Forge).
     */
    SDRS_SCHEDULE_ALIGN_YOUR_STEPS_32 = 11,
    /**
     * "Align Your Steps GITS": Geometry-inspired time scheduling: a table of 11, interpolated, then 0 (Forge).
     */
    SDRS_SCHEDULE_ALIGN_YOUR_STEPS_GITS = 12,
    /**
     * "Beta": Quantiles of a beta distribution (Lee et al. 2024): over sigma in the WebUI, over timesteps in ComfyUI (where duplicates are dropped, so that there may be fewer than `n` steps).
     */
    SDRS_SCHEDULE_BETA = 13,
    /**
     * "Turbo": Whole timesteps down from the last, for distilled models (Forge); ComfyUI's takes the first of ten.
     */
    SDRS_SCHEDULE_TURBO = 14,
    /**
     * "Linear Quadratic": Half linear, half quadratic (Genmo; ComfyUI).
     */
    SDRS_SCHEDULE_LINEAR_QUADRATIC = 15,
    /**
     * "Leading": diffusers' "leading" spacing: every `train/n`-th timestep plus 1, from the end, then 0.
     */
    SDRS_SCHEDULE_LEADING = 16,
    /**
     * "Trailing": diffusers' "trailing" spacing: every `train/n`-th timestep down from the very last, then 0.
     */
    SDRS_SCHEDULE_TRAILING = 17,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_schedule sdrs_schedule;
#else
typedef int32_t sdrs_schedule;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A type to compute in.
 */
enum sdrs_dtype
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * On a CPU bfloat16 if it multiplies that (AMX, AVX512-BF16, ARM's bf16), else float32; float16 on a GPU.
     */
    SDRS_DTYPE_AUTO = 0,
    /**
     * IEEE single precision.
     */
    SDRS_DTYPE_F32 = 1,
    /**
     * bfloat16: single precision's range, 8 bits of mantissa.
     */
    SDRS_DTYPE_BF16 = 2,
    /**
     * IEEE half precision; on a CPU float32 with weights kept in float16.
     */
    SDRS_DTYPE_F16 = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_dtype sdrs_dtype;
#else
typedef int32_t sdrs_dtype;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The numbers that the U-Net's large layers compute in.
 */
enum sdrs_quantization
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * In the type of everything else.
     */
    SDRS_QUANTIZATION_NONE = 0,
    /**
     * In whole numbers of eight bits, with a scale for each output and for each row or picture of inputs.
     */
    SDRS_QUANTIZATION_INT8 = 1,
    /**
     * In whole numbers where that is faster, else in the type of everything else.
     */
    SDRS_QUANTIZATION_AUTO = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_quantization sdrs_quantization;
#else
typedef int32_t sdrs_quantization;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The prediction type of a U-Net.
 */
enum sdrs_prediction
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The checkpoint's prediction type.
     */
    SDRS_PREDICTION_AUTO = 0,
    /**
     * The noise.
     */
    SDRS_PREDICTION_EPSILON = 1,
    /**
     * The velocity `alpha * noise - sigma * x0`.
     */
    SDRS_PREDICTION_V = 2,
    /**
     * The clean latent.
     */
    SDRS_PREDICTION_SAMPLE = 3,
    /**
     * The preconditioned output of Karras et al. 2022, as Playground v2.5 has it.
     */
    SDRS_PREDICTION_EDM_V = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_prediction sdrs_prediction;
#else
typedef int32_t sdrs_prediction;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The source of random numbers, the same on every device.
 */
enum sdrs_rng
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * PyTorch's CPU generator: the WebUI's "CPU", ComfyUI's noise.
     */
    SDRS_RNG_CPU = 0,
    /**
     * PyTorch's CUDA generator: the WebUI's "NV".
     */
    SDRS_RNG_NV = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_rng sdrs_rng;
#else
typedef int32_t sdrs_rng;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The kind of a stepper's next request.
 */
enum sdrs_request_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Nothing: `x` is the result.
     */
    SDRS_REQUEST_DONE = 0,
    /**
     * The denoised latent of `x`: answer with `sdrs_stepper_provide_denoised`.
     */
    SDRS_REQUEST_DENOISE = 1,
    /**
     * Noise of unit variance, of the latent's size: answer with `sdrs_stepper_provide_noise`.
     */
    SDRS_REQUEST_NOISE = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_request_kind sdrs_request_kind;
#else
typedef int32_t sdrs_request_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The rule by which weights in prompts act. ComfyUI's dialect has its own way and takes no notice.
 */
enum sdrs_emphasis
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * "Original": multiplies the text encoder's output, then gives all of it the mean that it had.
     */
    SDRS_EMPHASIS_ORIGINAL = 0,
    /**
     * "No norm": multiplies only.
     */
    SDRS_EMPHASIS_NO_NORM = 1,
    /**
     * "Ignore": reads brackets and weights, and doesn't use them.
     */
    SDRS_EMPHASIS_IGNORE = 2,
    /**
     * "None": brackets are text, and so is BREAK.
     */
    SDRS_EMPHASIS_NONE = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_emphasis sdrs_emphasis;
#else
typedef int32_t sdrs_emphasis;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The dialect of the prompt language.
 */
enum sdrs_prompt_dialect
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * "webui": the AUTOMATIC1111 WebUI's.
     */
    SDRS_PROMPT_DIALECT_WEBUI = 0,
    /**
     * "comfy": ComfyUI's: weights that interpolate from the empty prompt; tags, AND, edits and alternations are text.
     */
    SDRS_PROMPT_DIALECT_COMFY = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_prompt_dialect sdrs_prompt_dialect;
#else
typedef int32_t sdrs_prompt_dialect;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The numbers of prompt edits that are fractions of the steps.
 */
enum sdrs_time_rule
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * "current": those with a point.
     */
    SDRS_TIME_RULE_CURRENT = 0,
    /**
     * "before 1.6": those under 1, as before version 1.6 of the WebUI.
     */
    SDRS_TIME_RULE_BEFORE_16 = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_time_rule sdrs_time_rule;
#else
typedef int32_t sdrs_time_rule;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The rule by which layers of the text encoder are counted, from the end.
 */
enum sdrs_clip_skip_rule
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * "webui": 1 is the last layer, 2 the one before it.
     */
    SDRS_CLIP_SKIP_RULE_WEBUI = 0,
    /**
     * "diffusers": 0 is the last layer, 1 the one before it.
     */
    SDRS_CLIP_SKIP_RULE_DIFFUSERS = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_clip_skip_rule sdrs_clip_skip_rule;
#else
typedef int32_t sdrs_clip_skip_rule;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The meaning of an empty negative prompt to SDXL.
 */
enum sdrs_empty_negative_rule
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * "webui": zeros in place of an encoded text.
     */
    SDRS_EMPTY_NEGATIVE_RULE_WEBUI = 0,
    /**
     * "diffusers": zeros where none is given (NULL), an encoded text where an empty one is; the refiner always has the text.
     */
    SDRS_EMPTY_NEGATIVE_RULE_DIFFUSERS = 1,
    /**
     * "comfy": an encoded text.
     */
    SDRS_EMPTY_NEGATIVE_RULE_COMFY = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_empty_negative_rule sdrs_empty_negative_rule;
#else
typedef int32_t sdrs_empty_negative_rule;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Whether a run shows what there is of the picture, and how it is made.
 */
enum sdrs_preview
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * No previews.
     */
    SDRS_PREVIEW_NONE = 0,
    /**
     * A pixel for each value of the latent's side, its colour a linear function of the latent: microseconds. The function is fitted to
     * the pipeline's autoencoder when a run first asks for it.
     */
    SDRS_PREVIEW_APPROXIMATE = 1,
    /**
     * The autoencoder decodes: the picture as it would be, at the price of a last step.
     */
    SDRS_PREVIEW_FULL = 2,
    /**
     * The tiny autoencoder decodes that `sdrs_builder_taesd` named: nearly the same, in a small part of the time.
     */
    SDRS_PREVIEW_TAESD = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_preview sdrs_preview;
#else
typedef int32_t sdrs_preview;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The importance of a line of the log.
 */
enum sdrs_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * A step that was done, and the time it took.
     */
    SDRS_LOG_LEVEL_INFO = 0,
    /**
     * Something was passed over, or is not as whoever asked for it may expect, such as slower.
     */
    SDRS_LOG_LEVEL_WARNING = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_log_level sdrs_log_level;
#else
typedef int32_t sdrs_log_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The rule by which `strength` makes steps.
 */
enum sdrs_strength_rule
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * "webui": `strength * steps` steps and one more.
     */
    SDRS_STRENGTH_RULE_WEBUI = 0,
    /**
     * "exact": as many as `steps` says, of a longer schedule.
     */
    SDRS_STRENGTH_RULE_EXACT = 1,
    /**
     * "diffusers": `strength * steps` steps.
     */
    SDRS_STRENGTH_RULE_DIFFUSERS = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_strength_rule sdrs_strength_rule;
#else
typedef int32_t sdrs_strength_rule;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The way in which a picture of another size is fitted.
 */
enum sdrs_resize_mode
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * "stretch": stretched or squeezed.
     */
    SDRS_RESIZE_MODE_STRETCH = 0,
    /**
     * "crop": enlarged until it covers everything; what juts out is cut off.
     */
    SDRS_RESIZE_MODE_CROP = 1,
    /**
     * "fill": made to fit in; its edges are repeated around it.
     */
    SDRS_RESIZE_MODE_FILL = 2,
    /**
     * "latent": encoded as it is; its latents are stretched or squeezed.
     */
    SDRS_RESIZE_MODE_LATENT = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_resize_mode sdrs_resize_mode;
#else
typedef int32_t sdrs_resize_mode;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The start of the masked part of a picture.
 */
enum sdrs_masked_content
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * "original": the picture as it is.
     */
    SDRS_MASKED_CONTENT_ORIGINAL = 0,
    /**
     * "fill": colours from around it.
     */
    SDRS_MASKED_CONTENT_FILL = 1,
    /**
     * "latent noise": latents of noise.
     */
    SDRS_MASKED_CONTENT_LATENT_NOISE = 2,
    /**
     * "latent nothing": latents of zeros.
     */
    SDRS_MASKED_CONTENT_LATENT_NOTHING = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_masked_content sdrs_masked_content;
#else
typedef int32_t sdrs_masked_content;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The way in which tiles of latents become one at a call of the U-Net.
 */
enum sdrs_tiled_diffusion
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * "none": the U-Net sees the whole.
     */
    SDRS_TILED_DIFFUSION_NONE = 0,
    /**
     * "multidiffusion": the mean of all tiles (Bar-Tal et al. 2023).
     */
    SDRS_TILED_DIFFUSION_MULTIDIFFUSION = 1,
    /**
     * "mixture of diffusers": their mean with Gaussian weights (Barbero Jimenez 2023).
     */
    SDRS_TILED_DIFFUSION_MIXTURE_OF_DIFFUSERS = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_tiled_diffusion sdrs_tiled_diffusion;
#else
typedef int32_t sdrs_tiled_diffusion;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The way from a picture to a text.
 */
enum sdrs_interrogate_mode
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * "best": phrases are chained to the caption; the best of all modes' texts by CLIP.
     */
    SDRS_INTERROGATE_MODE_BEST = 0,
    /**
     * "caption": BLIP's caption alone.
     */
    SDRS_INTERROGATE_MODE_CAPTION = 1,
    /**
     * "classic": the caption, then the medium, artist, site, movement and flavors that fit best.
     */
    SDRS_INTERROGATE_MODE_CLASSIC = 2,
    /**
     * "fast": the caption, then the phrases of all lists that fit best.
     */
    SDRS_INTERROGATE_MODE_FAST = 3,
    /**
     * "negative": a negative prompt of what fits least.
     */
    SDRS_INTERROGATE_MODE_NEGATIVE = 4,
    /**
     * "webui": the WebUI's: the caption, then the best phrases of each list.
     */
    SDRS_INTERROGATE_MODE_WEBUI = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_interrogate_mode sdrs_interrogate_mode;
#else
typedef int32_t sdrs_interrogate_mode;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A stage of an interrogation.
 */
enum sdrs_interrogate_stage
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Words of the caption.
     */
    SDRS_INTERROGATE_STAGE_CAPTION = 0,
    /**
     * Vectors of phrases, which are made once.
     */
    SDRS_INTERROGATE_STAGE_PHRASES = 1,
    /**
     * Phrases that are chained to a prompt.
     */
    SDRS_INTERROGATE_STAGE_CHAIN = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_interrogate_stage sdrs_interrogate_stage;
#else
typedef int32_t sdrs_interrogate_stage;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The type that a pipeline keeps its weights in on a CPU, where they may be narrower than the arithmetic: they are widened while they
 * are used. What a file has in fewer bits than asked for stays so, but for F32.
 */
enum sdrs_weight_dtype
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * As the file has them, in 16 bits, in 8, or in GGUF's blocks Q8_0 and Q4_0; other blocks are rounded to 16 bits.
     */
    SDRS_WEIGHT_DTYPE_AUTO = 0,
    /**
     * The arithmetic's own type.
     */
    SDRS_WEIGHT_DTYPE_F32 = 1,
    /**
     * bfloat16.
     */
    SDRS_WEIGHT_DTYPE_BF16 = 2,
    /**
     * IEEE half precision.
     */
    SDRS_WEIGHT_DTYPE_F16 = 3,
    /**
     * 8-bit floats of 4 exponent bits with a scale for each tensor, in U-Net and text encoders. Pictures change.
     */
    SDRS_WEIGHT_DTYPE_F8 = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sdrs_weight_dtype sdrs_weight_dtype;
#else
typedef int32_t sdrs_weight_dtype;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Describes a pipeline: which weights, where, in which type.
 */
typedef struct sdrs_builder sdrs_builder;

/**
 * Stops runs from anywhere: any thread may use one at any time.
 */
typedef struct sdrs_cancel_token sdrs_cancel_token;

/**
 * The pictures of a run. Threads may share it.
 */
typedef struct sdrs_images sdrs_images;

/**
 * Says what is in pictures. Threads may share it.
 */
typedef struct sdrs_interrogator sdrs_interrogator;

/**
 * The noise of one picture, drawn on the host: the same on every device.
 */
typedef struct sdrs_noise sdrs_noise;

/**
 * A picture that was read from a file. Threads may share it.
 */
typedef struct sdrs_picture_file sdrs_picture_file;

/**
 * A loaded checkpoint, ready to draw. It holds nothing of a run: any number of threads may use one at the same time.
 */
typedef struct sdrs_pipeline sdrs_pipeline;

/**
 * A picture under way, after one of its steps, as a run with `states_folder` wrote it. Threads may share it.
 */
typedef struct sdrs_run_state sdrs_run_state;

/**
 * A sampler under way. It asks for denoised latents and for noise, and combines them.
 */
typedef struct sdrs_stepper sdrs_stepper;

/**
 * An array of floats with its shape, row-major. Threads may share it.
 */
typedef struct sdrs_tensor sdrs_tensor;

/**
 * An upscaler. Threads may share it.
 */
typedef struct sdrs_upscaler sdrs_upscaler;

/**
 * Told each line of a pipeline's log. `message` is UTF-8, ends in a zero byte and is valid during the call. It is called in the thread that
 * builds or runs: in several at once, if these are. The callback must return: no exception and no `longjmp` may leave it.
 */
typedef void (*sdrs_log_fn)(sdrs_log_level level, const char *message, void *user_data);

/**
 * Reads `length` bytes from `offset` on to `buffer`: all of them, or it fails by returning something else than 0. The callback must
 * return: no exception and no `longjmp` may leave it.
 */
typedef int32_t (*sdrs_read_fn)(void *user_data, uint64_t offset, uint8_t *buffer, size_t length);

/**
 * One picture. What it points to is the library's, and valid as long as its `sdrs_images`.
 */
typedef struct {
    /**
     * Size of this structure, set by `sdrs_image_init`.
     */
    size_t struct_size;
    /**
     * Red, green, blue, a byte each, row by row from the top.
     */
    const uint8_t *rgb;
    /**
     * Bytes from one row to the next.
     */
    size_t stride;
    /**
     * Pixels of a row.
     */
    uint32_t width;
    /**
     * Rows.
     */
    uint32_t height;
    /**
     * The seed that gives this picture alone.
     */
    uint64_t seed;
    /**
     * The settings in the WebUI's text form, UTF-8, with a zero byte at its end.
     */
    const char *infotext;
    /**
     * Bytes of `infotext`, without the zero byte.
     */
    size_t infotext_length;
} sdrs_image;

/**
 * Pixels in the caller's memory: a byte for each channel, row by row from the top.
 */
typedef struct {
    /**
     * Size of this structure, set by `sdrs_picture_init`.
     */
    size_t struct_size;
    /**
     * The first row.
     */
    const uint8_t *pixels;
    /**
     * Bytes from one row to the next; 0 (the default) if there is nothing between them.
     */
    size_t stride;
    /**
     * Pixels of a row.
     */
    uint32_t width;
    /**
     * Rows.
     */
    uint32_t height;
    /**
     * Bytes of a pixel: 1 is grey, 3 (the default) red, green and blue, 4 alpha besides, which is not multiplied in.
     */
    uint32_t channels;
} sdrs_picture;

/**
 * The pictures and latents that a run begins at, or draws after. Each may be NULL.
 */
typedef struct {
    /**
     * Size of this structure, set by `sdrs_inputs_init`.
     */
    size_t struct_size;
    /**
     * The picture to begin at, and not noise. If `width` and `height` are 0, its size counts, as far as latents allow.
     */
    const sdrs_picture *image;
    /**
     * A picture of the same size: only what is white in it, or opaque where it has transparency, is drawn anew; all else stays to the bit.
     */
    const sdrs_picture *mask;
    /**
     * The depth of the picture, bright is near: for models that draw after it, and for no others.
     */
    const sdrs_picture *depth;
    /**
     * Latents of the U-Net in the place of `image`, `[1, latent_channels, h, w]`.
     */
    const float *latents;
    /**
     * Their shape.
     */
    size_t latents_shape[4];
} sdrs_inputs;

/**
 * The models and phrases of an interrogator. `sdrs_interrogator_options_init` sets the defaults; `clip`, `blip` or both must be set.
 */
typedef struct {
    /**
     * Size of this structure, set by `sdrs_interrogator_options_init`.
     */
    size_t struct_size;
    /**
     * CLIP: a folder of transformers' (`CLIPModel`) or open_clip's, OpenAI's `.pt`, or an open_clip checkpoint of a ViT; NULL for none.
     */
    const char *clip;
    /**
     * The activation of a CLIP whose files don't say it, "quick_gelu" or "gelu"; NULL (the default) for what its kind usually has.
     */
    const char *clip_activation;
    /**
     * Another tokenizer for CLIP; NULL (the default) for its folder's, or OpenAI's.
     */
    const char *clip_tokenizer;
    /**
     * BLIP: a folder of transformers' (`BlipForConditionalGeneration`), or the authors' `.pth` of a captioner; NULL for none.
     */
    const char *blip;
    /**
     * BERT's vocabulary for BLIP; NULL (the default) looks for `vocab.txt` and `tokenizer.json` beside it.
     */
    const char *vocabulary;
    /**
     * A folder of phrases, a list in each `.txt`, one phrase a line; NULL (the default) for the library's own.
     */
    const char *phrases;
    /**
     * A folder that keeps the phrases' vectors; NULL (the default) for none.
     */
    const char *cache;
    /**
     * The device, as `sdrs_builder_device` takes it; NULL (the default) for "auto".
     */
    const char *device;
    /**
     * The compute type; `SDRS_DTYPE_AUTO` (the default) is f32 on the CPU and f16 on a GPU.
     */
    sdrs_dtype dtype;
    /**
     * Threads, as `sdrs_builder_threads` takes them; 0 (the default) for those of the process.
     */
    uint32_t threads;
    /**
     * 1 for the demo's models and phrases, which are compiled in and know coloured shapes alone: `clip` and `blip` are then NULL. 0 is the
     * default.
     */
    int32_t demo;
} sdrs_interrogator_options;

/**
 * Settings of an interrogation. `sdrs_interrogate_params_init` sets the defaults.
 */
typedef struct {
    /**
     * Size of this structure, set by `sdrs_interrogate_params_init`.
     */
    size_t struct_size;
    /**
     * The way.
     */
    sdrs_interrogate_mode mode;
    /**
     * Phrases that a chain has at least, 0 to 1000; `SDRS_NOT_SET` (the default) is 8.
     */
    uint32_t min_flavors;
    /**
     * Phrases that are added at most, 0 to 1000; `SDRS_NOT_SET` (the default) is 3 in the classic mode, 32 in others.
     */
    uint32_t max_flavors;
    /**
     * Phrases of each list that the WebUI's mode knows, from the first on; 0 for all; 1500 by default.
     */
    uint32_t limit;
    /**
     * Whether the WebUI's mode writes each phrase with its probability: 1, or 0 (the default).
     */
    int32_t ranks;
    /**
     * Whether known faults of the original programs are kept, for their texts: 1, or 0 (the default).
     */
    int32_t original;
    /**
     * A caption to begin with, in place of BLIP's; NULL (the default) for BLIP's.
     */
    const char *caption;
    /**
     * The words that a caption begins with, which are not part of it; NULL (the default) for the mode's.
     */
    const char *caption_prompt;
    /**
     * Tokens that a caption has at least, those before it included; 0 (the default) for the mode's number.
     */
    uint32_t min_length;
    /**
     * Tokens that a caption has at most, counted alike; 0 (the default) for the mode's number.
     */
    uint32_t max_length;
    /**
     * Texts that are followed at a time on the way to a caption, 1 to 64; 0 (the default) is 1.
     */
    uint32_t beams;
} sdrs_interrogate_params;

/**
 * Called now and then during an interrogation, in the calling thread: what is being done, how much of it, of how much. 0 goes on; anything
 * else cancels. The callback must return: no exception and no `longjmp` may leave it.
 */
typedef int32_t (*sdrs_interrogate_fn)(sdrs_interrogate_stage stage,
                                       size_t done,
                                       size_t count,
                                       void *user_data);

/**
 * A LoRA or an adapter of another kind: a file with its weights. `sdrs_lora_init` sets the defaults, which are those of
 * `sdrs_builder_lora`; only `path` must be set.
 */
typedef struct {
    /**
     * Size of this structure, set by `sdrs_lora_init`.
     */
    size_t struct_size;
    /**
     * Its file, or a folder that PEFT saved; with `data` a name that stands for it in errors.
     */
    const char *path;
    /**
     * Such a file's bytes instead of a path, copied; NULL (the default) reads the file.
     */
    const uint8_t *data;
    /**
     * Bytes of `data`.
     */
    size_t data_size;
    /**
     * The name in prompts and infotexts; NULL (the default) is its file's name without extension.
     */
    const char *name;
    /**
     * The weight on the U-Net: 1 (the default) is as trained, 0 is no effect, negative the opposite; -1000 to 1000.
     */
    double weight;
    /**
     * The weight on the text encoder; NAN (the default) is as on the U-Net.
     */
    double text_encoder_weight;
    /**
     * Factors for blocks, with which both weights are multiplied, as `sdrs_builder_lora_blocks` takes them; NULL (the default) for none.
     */
    const char *blocks;
    /**
     * Factors for a run's steps, with which the weight on the U-Net is multiplied: "0.5-1" acts in the second half of the steps, "5-10" in
     * steps 5 to 9, counted from 0; "0@0,1@0.5" rises evenly from 0 at the first step to 1 in the middle; "hold 1@0,0.4@0.3" has each factor
     * until the next one's moment. Moments are fractions of the steps if none is over 1. NULL (the default) is 1 at all steps. Where
     * factors change within a run, its time has that of `sdrs_pipeline_with_loras` besides.
     */
    const char *schedule;
    /**
     * Of its ranks only the first so many (`dyn=` in the WebUI); 0 (the default) is all.
     */
    uint32_t ranks;
    /**
     * Whether modules without a place in the model are passed over, and reported in the log: 1, or 0 (the default): they are an error.
     */
    int32_t allow_unmatched;
} sdrs_lora;

/**
 * The most of the CPU's memory that a run needs, in bytes: an estimate from the model's files and configuration. A GPU's own memory, other
 * pipelines, networks that enlarge pictures, and the pictures themselves are not counted.
 */
typedef struct {
    /**
     * Size of this structure, set by `sdrs_memory_plan_init`.
     */
    size_t struct_size;
    /**
     * The weights of all networks, with the LoRAs that the pipeline was given.
     */
    uint64_t weights;
    /**
     * The part of these that is text encoders'.
     */
    uint64_t text_encoders;
    /**
     * The part of these that is the U-Net's, and the refiner's.
     */
    uint64_t unet;
    /**
     * The part of these that is the autoencoder's.
     */
    uint64_t vae;
    /**
     * The layers that the LoRAs of the run's prompts change, which lie beside the pipeline's own, and those that follow a schedule once more.
     */
    uint64_t loras;
    /**
     * The part of these that is text encoders'.
     */
    uint64_t lora_text_encoders;
    /**
     * The memory that encoding a picture has in use at once; 0 where the run encodes none.
     */
    uint64_t encoding;
    /**
     * The memory that a call of the U-Net has in use at once, both halves of guidance together.
     */
    uint64_t denoising;
    /**
     * The memory that decoding a picture has in use at once.
     */
    uint64_t decoding;
    /**
     * The program itself, vocabularies, and pages of files that are being read.
     */
    uint64_t other;
    /**
     * The number of such runs at once on one pipeline. Weights are there once; the figures above are a single run's.
     */
    uint64_t runs;
    /**
     * The least that the runs get by with: for one it is the smallest `sdrs_builder_memory_limit` that allows it.
     */
    uint64_t least;
    /**
     * The most that they take without a limit.
     */
    uint64_t most;
} sdrs_memory_plan;

/**
 * Everything that decides a picture, besides the weights. `sdrs_generate_params_init` sets the WebUI's defaults, and leaves open the
 * settings that a model may recommend: there the pipeline's recommendation counts, if its checkpoint has one (see `sdrs_pipeline_info`),
 * and else the default in brackets. The pipeline's log says which value was taken.
 */
typedef struct {
    /**
     * Size of this structure, set by `sdrs_generate_params_init`.
     */
    size_t struct_size;
    /**
     * The prompt, a description of the picture, in UTF-8 and the language of `prompt_dialect`; NULL is empty.
     */
    const char *prompt;
    /**
     * Bytes of `prompt`; `SDRS_NUL_TERMINATED` (the default) if it ends in a zero byte.
     */
    size_t prompt_length;
    /**
     * The negative prompt, a description of things that the picture should not show; NULL is empty.
     */
    const char *negative_prompt;
    /**
     * Bytes of `negative_prompt`, likewise.
     */
    size_t negative_prompt_length;
    /**
     * Width in pixels, a multiple of the model's `downscale` (8 for Stable Diffusion); 0 is the width that the model was trained on.
     */
    uint32_t width;
    /**
     * Height in pixels, likewise.
     */
    uint32_t height;
    /**
     * Sampling steps, 1 to 10,000; `SDRS_NOT_SET` (the default) is what the model recommends (20).
     */
    uint32_t steps;
    /**
     * Number of pictures, 1 to 1,000 (1). A batch gives exactly what single runs with its seeds give.
     */
    uint32_t batch_size;
    /**
     * The sampler; `SDRS_SAMPLER_NOT_SET` (the default) is what the model recommends (`SDRS_SAMPLER_DPMPP_2M`).
     */
    sdrs_sampler sampler;
    /**
     * The noise schedule; `SDRS_SCHEDULE_NOT_SET` (the default) is what the model recommends, if the sampler isn't set either
     * (`SDRS_SCHEDULE_AUTOMATIC`: what suits the sampler).
     */
    sdrs_schedule schedule;
    /**
     * Strength of classifier-free guidance, 1 is none; NAN (the default) is what the model recommends (7).
     */
    double cfg_scale;
    /**
     * Seed of the first picture; the others of a batch follow it by one each, and 0 follows 2^64-1. -1 (the default) draws one at
     * random. For seeds from 2^63 on set `unsigned_seeds`.
     */
    int64_t seed;
    /**
     * Seed of the noise that the first noise is mixed with; -1 (the default) draws one at random.
     */
    int64_t variation_seed;
    /**
     * The share of that noise in the first noise, 0 (the default) to 1. Above 0 all pictures of a batch share `seed`.
     */
    double variation_strength;
    /**
     * The amount of fresh noise that replaces old; NAN (the default) is the sampler's own.
     */
    double eta;
    /**
     * Eta noise seed delta (0): if not 0, noise after the first draw comes from the seed plus this, modulo 2^64.
     */
    int64_t ensd;
    /**
     * The layer of the text encoder that is used, from the end: 1 is the last, or by diffusers' `clip_skip_rule` the one before it;
     * `SDRS_NOT_SET` (the default) is what the model recommends, if the rule is the WebUI's (1). The final norm follows in any case.
     */
    uint32_t clip_skip;
    /**
     * The rule by which `clip_skip` counts (`SDRS_CLIP_SKIP_RULE_WEBUI`).
     */
    sdrs_clip_skip_rule clip_skip_rule;
    /**
     * The dialect of the prompt language (`SDRS_PROMPT_DIALECT_WEBUI`).
     */
    sdrs_prompt_dialect prompt_dialect;
    /**
     * The rule by which weights in prompts act (`SDRS_EMPHASIS_ORIGINAL`).
     */
    sdrs_emphasis emphasis;
    /**
     * The numbers of prompt edits that are fractions of the steps (`SDRS_TIME_RULE_CURRENT`).
     */
    sdrs_time_rule time_rule;
    /**
     * The number of tokens that the last comma may lie back for a long prompt to be cut after it, instead of after 75 tokens (20); 0 never
     * cuts there.
     */
    uint32_t comma_backtrack;
    /**
     * Whether the shorter of both prompts is padded with the empty one, where they are of different length: 1, or 0 (the default): each
     * has its own call of the U-Net. Pictures differ slightly.
     */
    int32_t pad_prompts;
    /**
     * The source of the noise (`SDRS_RNG_CPU`).
     */
    sdrs_rng rng;
    /**
     * Negative guidance minimum sigma: below this noise level every second call of the U-Net goes without the negative prompt; 0 (the
     * default) is never. Samplers over timesteps (DDIM, PLMS, UniPC) compare their timestep.
     */
    double ngms;
    /**
     * The share of the steps, 0 (the default) to 1, at the beginning of which the negative prompt is left out.
     */
    double skip_early_cfg;
    /**
     * The noise level, 0 (the default) or more, at which and below which the negative prompt is left out.
     */
    double guidance_sigma_min;
    /**
     * The noise level above which the negative prompt is left out; NAN (the default) is without end.
     */
    double guidance_sigma_max;
    /**
     * The share of the pixels, 0 (the default) to 1, that self-attention merges with others: faster for large pictures, and coarser.
     */
    double token_merging;
    /**
     * Whether `ngms` acts in every call, not every second: 1, or 0 (the default).
     */
    int32_t ngms_all_steps;
    /**
     * The number of steps from one call of the whole U-Net to the next; the calls in between compute its outermost layers alone. 1 (the
     * default) is the whole U-Net at every step.
     */
    uint32_t deep_cache_interval;
    /**
     * The layers that are computed in between: those up to this branch from the way down to the way up; 0 (the default) is the outermost.
     */
    uint32_t deep_cache_branch;
    /**
     * Whether `seed` and `variation_seed` are the bits of unsigned numbers: 1, as in `params.seed = (int64_t)image.seed`, so that there
     * are all seeds up to 2^64-1 and no random one; or 0 (the default).
     */
    int32_t unsigned_seeds;
    /**
     * Whether prompts are tokenized as they are, like by transformers' fast tokenizer: 1, or 0 (the default): they are repaired first as
     * ftfy does it, like by the WebUI (typographic quotes, ligatures, full-width letters, HTML's entities, texts in wrong encodings).
     */
    int32_t text_as_is;
    /**
     * The share of the schedule that is run over a picture, or in a hires pass, 0 to 1; NAN (the default) is 0.75 for a picture, and 0.7 for
     * a hires pass.
     */
    double strength;
    /**
     * A factor of the first noise over a picture, 0 to 1.5 (1).
     */
    double noise_multiplier;
    /**
     * Noise beyond that of the first noise level, 0 (the default) to 1: more details, over a picture and in a hires pass.
     */
    double extra_noise;
    /**
     * The rule by which `strength` counts steps (`SDRS_STRENGTH_RULE_WEBUI`). A hires pass always runs exactly its steps.
     */
    sdrs_strength_rule strength_rule;
    /**
     * The way in which a picture of another size is fitted (`SDRS_RESIZE_MODE_STRETCH`).
     */
    sdrs_resize_mode resize_mode;
    /**
     * Whether a picture's latents are drawn from the Gaussian that the VAE encodes it to, as in diffusers: 1, or 0 (the default): they are
     * its mean.
     */
    int32_t posterior_sample;
    /**
     * The radius in pixels, 0 to 256, over which the edge of a mask is blurred (4).
     */
    uint32_t mask_blur;
    /**
     * Whether what the mask does not cover is drawn anew: 1, or 0 (the default).
     */
    int32_t mask_inverted;
    /**
     * Whether the mask's greys say for how much of the run each pixel is drawn anew (differential diffusion): 1, or 0 (the default): each
     * latent is masked or not.
     */
    int32_t soft_mask;
    /**
     * The start of the masked part (`SDRS_MASKED_CONTENT_ORIGINAL`).
     */
    sdrs_masked_content masked_content;
    /**
     * Whether only the masked part is drawn, at the whole size, and put back into the picture: 1, or 0 (the default).
     */
    int32_t only_masked;
    /**
     * The pixels around the masked part that are drawn with it, 0 to 4,096 (32).
     */
    uint32_t only_masked_padding;
    /**
     * Steps of a hires pass; 0 (the default) is as many as in the first.
     */
    uint32_t hires_steps;
    /**
     * The factor from the first pass's size to that of a second one (hires fix), 1 to 16; NAN (the default) is no second pass, unless a
     * size is given.
     */
    double hires_scale;
    /**
     * `cfg_scale` of the hires pass; NAN (the default) is the first's.
     */
    double hires_cfg_scale;
    /**
     * Width of the hires pass in pixels, in place of `hires_scale`; 0 (the default) follows from the height.
     */
    uint32_t hires_width;
    /**
     * Height of the hires pass in pixels, likewise.
     */
    uint32_t hires_height;
    /**
     * The sampler of the hires pass; `SDRS_SAMPLER_NOT_SET` (the default) is the first's.
     */
    sdrs_sampler hires_sampler;
    /**
     * The schedule of the hires pass; `SDRS_SCHEDULE_NOT_SET` (the default) is the first's.
     */
    sdrs_schedule hires_schedule;
    /**
     * The upscaler between the passes, by the WebUI's name, such as "Latent (bicubic)" or "Lanczos"; NULL (the default) is "Latent". This
     * and the next two end in a zero byte.
     */
    const char *hires_upscaler;
    /**
     * The prompt of the hires pass; NULL (the default) or empty, it is the first's.
     */
    const char *hires_prompt;
    /**
     * The negative prompt of the hires pass, likewise.
     */
    const char *hires_negative_prompt;
    /**
     * Width in pixels of the picture whose noise is kept, with the same seed, in the middle of this one's; with 0 (the default) here or
     * in `seed_resize_height` all noise is that of this size.
     */
    uint32_t seed_resize_width;
    /**
     * Height in pixels of that picture.
     */
    uint32_t seed_resize_height;
    /**
     * The share, 0 (the default) to 1, by which the guided output of the network gets the deviation of the one for the prompt alone.
     */
    double guidance_rescale;
    /**
     * The smaller scale whose range of values the guided latent is brought into; NAN (the default) leaves it its own.
     */
    double mimic_scale;
    /**
     * The percentile of the values, 0 to 100 (the default), that are in range before `mimic_scale` acts; those beyond are clamped.
     */
    double threshold_percentile;
    /**
     * The factor on the part of guidance that is parallel to the prediction, -10 to 10 (1); the paper on adaptive projected guidance has 0.
     */
    double apg_eta;
    /**
     * The longest step from uncond to cond, by its norm, in adaptive projected guidance; 0 (the default) is any.
     */
    double apg_norm_threshold;
    /**
     * The factor on the steps of the calls before, -1 to 1 (0), in adaptive projected guidance.
     */
    double apg_momentum;
    /**
     * The factor, 0 (the default, plain guidance) to 100, on the part of the negative prompt that is perpendicular to the prompt: it
     * alone is taken away then, and a call computes the empty prompt too.
     */
    double perp_neg_scale;
    /**
     * Whether the output for the negative prompt is scaled to come nearest to the prompt's (CFG-Zero*): 1, or 0 (the default).
     */
    int32_t cfg_zero_star;
    /**
     * The version of FreeU (2): 1 as in diffusers, or 2 as in ComfyUI, where factors go with the pixel.
     */
    uint32_t freeu_version;
    /**
     * Strength of perturbed attention guidance, -100 to 100; 0 (the default) is none.
     */
    double pag_scale;
    /**
     * Strength of smoothed energy guidance, -100 to 100; 0 (the default) is none.
     */
    double seg_scale;
    /**
     * The deviation of its blur in pixels of the layer; NAN (the default) is the mean of all.
     */
    double seg_sigma;
    /**
     * The layers of those two: beginnings of diffusers' names, separated by commas, ended by a zero byte; NULL (the default) is "mid".
     */
    const char *perturbed_layers;
    /**
     * Strength of self-attention guidance, -100 to 100; 0 (the default) is none.
     */
    double sag_scale;
    /**
     * The deviation of its blur in pixels of the latent (1).
     */
    double sag_blur_sigma;
    /**
     * The attention, 1 (the default) is the mean, beyond which a pixel is blurred.
     */
    double sag_threshold;
    /**
     * The factor of FreeU on half of what comes from below at the smallest resolution of the U-Net's way up, 0 to 10; with all four factors
     * at 1 (the default) nothing is changed.
     */
    double freeu_b1;
    /**
     * The same at the next resolution.
     */
    double freeu_b2;
    /**
     * The factor of FreeU on the lowest frequencies of the skips at the smallest resolution, 0 to 10.
     */
    double freeu_s1;
    /**
     * The same at the next resolution.
     */
    double freeu_s2;
    /**
     * Whether the left and the right edge of the picture fit together, so that copies side by side have no seam: 1, or 0 (the default).
     */
    int32_t tile_x;
    /**
     * Whether its upper and lower edge fit together, likewise.
     */
    int32_t tile_y;
    /**
     * The width in pixels that SDXL is told the picture had before it was scaled; 0 (the default) is the picture's. A small one means a
     * blurred picture. This and the next fields are for SDXL and its refiner; with other models the log says that they are not used.
     */
    uint32_t original_width;
    /**
     * The height, likewise.
     */
    uint32_t original_height;
    /**
     * The pixels that SDXL is told were cut off at the top (0).
     */
    uint32_t crop_top;
    /**
     * The pixels that were cut off at the left (0).
     */
    uint32_t crop_left;
    /**
     * The width in pixels that SDXL is told the picture is to have; 0 (the default) is the picture's.
     */
    uint32_t target_width;
    /**
     * The height, likewise.
     */
    uint32_t target_height;
    /**
     * The meaning of an empty negative prompt to SDXL (`SDRS_EMPTY_NEGATIVE_RULE_WEBUI`).
     */
    sdrs_empty_negative_rule empty_negative_rule;
    /**
     * The score of beauty, 0 to 10, that SDXL's refiner is told of the prompt's picture (6).
     */
    double aesthetic_score;
    /**
     * The score that it is told of the negative prompt's (2.5).
     */
    double negative_aesthetic_score;
    /**
     * The share of the way from noise to the picture, 0 to 1, after which the pipeline's refiner takes over, if it has one (0.8); 1 is
     * never. The way is counted in timesteps of the model.
     */
    double refiner_switch_at;
    /**
     * Whether that share is counted in sampling steps: 1, or 0 (the default).
     */
    int32_t refiner_by_steps;
    /**
     * Strength of guidance by the picture, 0 to 100 (1.5), of models that edit one by instruction (InstructPix2Pix).
     */
    double image_cfg_scale;
    /**
     * Whether the result gets the colours of the picture that it began at (the WebUI's "Apply color correction"): 1, or 0 (the default).
     */
    int32_t color_correction;
    /**
     * The way in which tiles become one picture at every call of the U-Net (`SDRS_TILED_DIFFUSION_NONE`: it sees the whole).
     */
    sdrs_tiled_diffusion tiled_diffusion;
    /**
     * Width of a tile in latents, 16 to 1,024 (96).
     */
    uint32_t tile_width;
    /**
     * Height of a tile in latents, likewise.
     */
    uint32_t tile_height;
    /**
     * Latents that neighbouring tiles share at least (48).
     */
    uint32_t tile_overlap;
    /**
     * The smaller scale, 0 to 1000, that guidance keeps to where it drives a value further the way that it leans to by itself (Skimmed CFG);
     * NAN (the default) is none.
     */
    double skimming_scale;
    /**
     * Whether the negative prompt's part keeps to 0 there: 1, or 0 (the default).
     */
    int32_t full_skim_negative;
    /**
     * Whether values are skimmed as well whose guided latent lies on the other side of 0 than its way from the noisy one: 1, or 0 (the
     * default).
     */
    int32_t disable_flipping_filter;
    /**
     * The similarity, 0 (the default) to 1, of the denoised latents for the prompt and for the negative prompt from which on the remaining
     * steps go without the negative prompt: the cosine of the angle between them. 0.99 is usual, 0 is never.
     */
    double adaptive_guidance;
    /**
     * Whether attention to the text sees merged pixels too: 1, or 0 (the default).
     */
    int32_t token_merging_cross_attention;
    /**
     * Whether the feed-forward networks behind attention see merged pixels too: 1, or 0 (the default).
     */
    int32_t token_merging_mlp;
    /**
     * The change, 0 to 1, of what the U-Net's first block gives since the last whole call, below which the rest is left out, and that call's
     * output serves again. 0.15 is usual, 0 (the default) is never. Not with DeepCache.
     */
    double first_block_cache;
    /**
     * The number of a batch's pictures that go through the U-Net together, up to 1,000; 0 (the default) is as many as fit up to eight on a GPU,
     * and one on the CPU. With 1 a picture is exactly what a single run gives, with more it differs by the type's rounding.
     */
    uint32_t batch_per_call;
    /**
     * The smallest noise level of a schedule before the last, which is 0; 0 (the default) is the model's own. Uniform and Align Your Steps
     * don't heed it.
     */
    double sigma_min;
    /**
     * The largest noise level of a schedule, likewise.
     */
    double sigma_max;
    /**
     * The exponent of the schedules Karras and Polyexponential; 0 (the default) is their own, 7 and 1.
     */
    double rho;
    /**
     * The first parameter of the distribution whose quantiles are the schedule Beta, 0.01 to 100 (0.6).
     */
    double beta_alpha;
    /**
     * The second parameter of that distribution, likewise.
     */
    double beta_beta;
    /**
     * The amount of noise that Euler, Heun and DPM2 add at each step before they take it away, 0 (the default) or more.
     */
    double s_churn;
    /**
     * The noise level from which on they do (0).
     */
    double s_tmin;
    /**
     * The noise level up to which they do; 0 (the default) is any.
     */
    double s_tmax;
    /**
     * The factor on all noise that a sampler adds, 0 or more (1).
     */
    double s_noise;
    /**
     * `token_merging` of the second pass; NAN (the default) is the first's.
     */
    double hires_token_merging;
    /**
     * Whether the last noise level but one is left out with every sampler, as it is with DPM2: 1, or 0 (the default).
     */
    int32_t discard_penultimate_sigma;
    /**
     * Whether the first noise has the deviation that the model was trained with at the largest noise level: 1, or 0 (the default).
     */
    int32_t sgm_noise_multiplier;
    /**
     * Whether the model's noise levels are rounded as in 16 bits, as the WebUI had them up to 1.7: 1, or 0 (the default).
     */
    int32_t half_alphas;
    /**
     * Whether the model's noise levels are stretched until nothing is left of the picture at the largest: 1, or 0 (the default).
     */
    int32_t zero_terminal_snr;
} sdrs_generate_params;

/**
 * The choice of a noise: seeds, size and source.
 */
typedef struct {
    /**
     * Size of this structure, set by `sdrs_noise_options_init`.
     */
    size_t struct_size;
    /**
     * The seed (0).
     */
    uint64_t seed;
    /**
     * Seed of the noise that the first noise is mixed with (0).
     */
    uint64_t variation_seed;
    /**
     * The share of that noise in the first noise, 0 (the default) to 1.
     */
    double variation_strength;
    /**
     * Eta noise seed delta (0).
     */
    int64_t ensd;
    /**
     * Channels of the latent (4).
     */
    uint32_t channels;
    /**
     * Rows of the latent: the picture's height by the model's `downscale`. Must be set.
     */
    uint32_t height;
    /**
     * Columns of the latent. Must be set.
     */
    uint32_t width;
    /**
     * The source of random numbers (`SDRS_RNG_CPU`).
     */
    sdrs_rng rng;
} sdrs_noise_options;

/**
 * The properties of a pipeline, and the sizes of its arrays.
 */
typedef struct {
    /**
     * Size of this structure, set by `sdrs_pipeline_info_init`.
     */
    size_t struct_size;
    /**
     * The checkpoint's name: its file's or folder's, without extension. Valid as long as the pipeline.
     */
    const char *name;
    /**
     * The device that it computes on, "auto" resolved; of several all their names with commas between them. Valid as long as the pipeline.
     */
    const char *device;
    /**
     * The type that it computes in.
     */
    sdrs_dtype dtype;
    /**
     * The prediction type of the U-Net.
     */
    sdrs_prediction prediction;
    /**
     * Width in pixels of the pictures that it was trained on.
     */
    uint32_t default_width;
    /**
     * Height in pixels of the pictures that it was trained on.
     */
    uint32_t default_height;
    /**
     * Channels of a latent.
     */
    uint32_t latent_channels;
    /**
     * Pixels of a side for each value of a latent's side.
     */
    uint32_t downscale;
    /**
     * Tokens that one chunk of the context has, start and end token included.
     */
    uint32_t context_length;
    /**
     * Values of the context for each token.
     */
    uint32_t context_width;
    /**
     * The largest `clip_skip`: layers of the text encoder, for SDXL one less than the smaller one has.
     */
    uint32_t text_layers;
    /**
     * Number of tokens that the text encoder knows.
     */
    uint32_t vocabulary;
    /**
     * Timesteps that it was trained on.
     */
    uint32_t train_steps;
    /**
     * 0, for now.
     */
    uint32_t reserved;
    /**
     * The smallest noise level of the table.
     */
    double sigma_min;
    /**
     * The largest noise level of the table.
     */
    double sigma_max;
    /**
     * The strength of guidance that the checkpoint recommends; NAN if none.
     */
    double recommended_cfg_scale;
    /**
     * The sampling steps that it recommends; `SDRS_NOT_SET` if none.
     */
    uint32_t recommended_steps;
    /**
     * The text encoder's layer that it recommends, from the end, 1 the last; `SDRS_NOT_SET` if none.
     */
    uint32_t recommended_clip_skip;
    /**
     * The sampler that it recommends; `SDRS_SAMPLER_NOT_SET` if none.
     */
    sdrs_sampler recommended_sampler;
    /**
     * The schedule that it recommends with that; `SDRS_SCHEDULE_NOT_SET` if none.
     */
    sdrs_schedule recommended_schedule;
    /**
     * The factor from the autoencoder's own latents to those of the U-Net: 0.18215 for SD1 and SD2.
     */
    double scaling_factor;
    /**
     * The part of `context_width` that the first text encoder makes: all of it where there is one.
     */
    uint32_t text_width;
    /**
     * The part that a second text encoder makes; 0 without one.
     */
    uint32_t text_width_2;
    /**
     * Values of a pooled text; 0 where no text encoder gives one.
     */
    uint32_t pooled_width;
    /**
     * Values of the vector that the U-Net takes beside the timestep (`sdrs_unet_with_vector`); 0 where it takes none.
     */
    uint32_t added_width;
    /**
     * The refiner's name, NULL without one. Valid as long as the pipeline.
     */
    const char *refiner_name;
    /**
     * Channels that the U-Net takes: `latent_channels`, and those behind them of inpainting, depth and editing models.
     */
    uint32_t unet_channels;
    /**
     * The type that weights are kept in.
     */
    sdrs_weight_dtype weight_dtype;
} sdrs_pipeline_info;

/**
 * The state of a run, for a progress callback. Later versions may add fields behind these.
 */
typedef struct {
    /**
     * Size of this structure in the library.
     */
    size_t struct_size;
    /**
     * The index of the picture in its batch, from 0.
     */
    size_t image;
    /**
     * Pictures in the batch.
     */
    size_t images;
    /**
     * Steps of this picture that are done, in all passes.
     */
    size_t step;
    /**
     * Steps of each picture in all passes; 0 if known only at the end (DPM adaptive).
     */
    size_t steps;
    /**
     * The noise level that the step began at.
     */
    double sigma;
    /**
     * The picture as far as it is known: red, green, blue, a byte each, row by row from the top, valid during the call. NULL unless
     * this step's was asked for.
     */
    const uint8_t *preview;
    /**
     * Bytes from one row of the preview to the next.
     */
    size_t preview_stride;
    /**
     * Pixels of a row of the preview.
     */
    uint32_t preview_width;
    /**
     * Rows of the preview.
     */
    uint32_t preview_height;
} sdrs_progress;

/**
 * Called after each step, in the thread of the run. 0 goes on; anything else cancels the run, and the token that the run was given.
 * `progress` is valid during the call. The callback may call the library, also to start another run. It must return: no exception and
 * no `longjmp` may leave it.
 */
typedef int32_t (*sdrs_progress_fn)(const sdrs_progress *progress, void *user_data);

/**
 * Called with each picture of a batch as soon as it is done, in the thread of the run: what is cancelled or fails later can't take it
 * away. `index` is its place in the batch, from 0. `image` has this picture alone, as its first; it is the library's, and valid
 * during the call. 0 goes on; anything else cancels the run, and the token that the run was given. The callback may call the library. It
 * must return: no exception and no `longjmp` may leave it.
 */
typedef int32_t (*sdrs_image_fn)(size_t index, const sdrs_images *image, void *user_data);

/**
 * The options to watch and stop a run.
 */
typedef struct {
    /**
     * Size of this structure, set by `sdrs_run_options_init`.
     */
    size_t struct_size;
    /**
     * Called after each step; NULL for none.
     */
    sdrs_progress_fn on_progress;
    /**
     * Given to the callbacks as it is.
     */
    void *user_data;
    /**
     * Stops the run; NULL for none.
     */
    const sdrs_cancel_token *cancel;
    /**
     * Whether `on_progress` is shown previews (`SDRS_PREVIEW_NONE`). They don't change the result.
     */
    sdrs_preview preview;
    /**
     * After how many steps each; 0 (the default) and 1 are after every step.
     */
    uint32_t preview_every;
    /**
     * After how many steps a state is written to `states_folder`; 0 (the default) and 1 are after every step. The last of a pass is written
     * in any case.
     */
    uint32_t states_every;
    /**
     * The folder that states are written into, `picture-1-step-00012.safetensors` and so on, from which `sdrs_resume` goes on; NULL (the
     * default) for none.
     */
    const char *states_folder;
    /**
     * A file that records what each stage of the run computes, as JSON lines, for `sdrs trace compare`; NULL (the default) for none.
     */
    const char *trace;
    /**
     * Called with each picture as soon as it is done, and not where latents are asked for; NULL (the default) for none.
     */
    sdrs_image_fn on_image;
} sdrs_run_options;

/**
 * The sampler, schedule and steps of a stepper.
 */
typedef struct {
    /**
     * Size of this structure, set by `sdrs_stepper_options_init`.
     */
    size_t struct_size;
    /**
     * The amount of fresh noise that replaces old; NAN (the default) is the sampler's own.
     */
    double eta;
    /**
     * The sampler (`SDRS_SAMPLER_DPMPP_2M`).
     */
    sdrs_sampler sampler;
    /**
     * The noise schedule (`SDRS_SCHEDULE_AUTOMATIC`).
     */
    sdrs_schedule schedule;
    /**
     * Steps, 1 to 10,000 (20).
     */
    uint32_t steps;
    /**
     * 0, for now.
     */
    uint32_t reserved;
} sdrs_stepper_options;

/**
 * The next request of a stepper, with the values to answer it.
 *
 * The denoised latent is `c_skip * x + c_out * unet(c_in * x, timestep)`, once for the prompt (cond) and once for the negative prompt
 * (uncond), guided: `uncond + cfg_scale * (cond - uncond)`.
 */
typedef struct {
    /**
     * Size of this structure, set by `sdrs_request_init`.
     */
    size_t struct_size;
    /**
     * DENOISE and DONE: the latent. The library's, and valid until the stepper is given something or freed. NULL for NOISE.
     */
    const float *x;
    /**
     * The number of values of `x`.
     */
    size_t length;
    /**
     * The step, from 0.
     */
    size_t step;
    /**
     * DENOISE: the number of this call of the network, from 0.
     */
    size_t call;
    /**
     * DENOISE: the noise level of `x`.
     */
    double sigma;
    /**
     * DENOISE: the timestep for the network, not always whole.
     */
    double timestep;
    /**
     * DENOISE: the factor of the network's input.
     */
    double c_in;
    /**
     * DENOISE: the factor of `x` in the denoised latent.
     */
    double c_skip;
    /**
     * DENOISE: the factor of the network's output in the denoised latent.
     */
    double c_out;
    /**
     * NOISE: the first noise level of the interval that the noise is for.
     */
    double sigma_from;
    /**
     * NOISE: the last noise level of that interval.
     */
    double sigma_to;
    /**
     * The kind of the request.
     */
    sdrs_request_kind kind;
    /**
     * DENOISE: 1 if the sampler also needs the latent by the negative prompt alone, else 0.
     */
    int32_t needs_uncond;
} sdrs_request;

/**
 * Called after each square that a network is done with, in the calling thread: how many are done, of how many. 0 goes on; anything else
 * cancels. The callback must return: no exception and no `longjmp` may leave it.
 */
typedef int32_t (*sdrs_upscale_fn)(size_t done, size_t count, void *user_data);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The library's version, such as "0.1.0". Never NULL, valid for ever.
 */
const char *sdrs_version(void);

/**
 * The library's `SDRS_ABI_VERSION`.
 */
uint32_t sdrs_abi_version(void);

/**
 * Starts to describe a pipeline.
 */
sdrs_status sdrs_builder_new(sdrs_builder **builder);

/**
 * Frees a builder; NULL is fine. Pipelines that it built stay.
 */
void sdrs_builder_free(sdrs_builder *builder);

/**
 * The checkpoint: a single file (safetensors, what PyTorch saves, GGUF), or a folder as diffusers writes it. Nothing in a pickle is run.
 * Files are opened when the pipeline is built.
 */
sdrs_status sdrs_builder_checkpoint(sdrs_builder *builder,
                                    const char *checkpoint);

/**
 * The checkpoint as the bytes of a single file. They are copied: the caller may free them afterwards. `name` stands for the file in errors
 * and infotexts.
 */
sdrs_status sdrs_builder_checkpoint_bytes(sdrs_builder *builder,
                                          const char *name,
                                          const uint8_t *data,
                                          size_t size);

/**
 * Adds a file to a checkpoint that is a diffusers folder in memory: `file` is its path in the folder, such as "unet/config.json". The
 * bytes are copied. `name` stands for the folder in errors and infotexts; another name begins another folder.
 */
sdrs_status sdrs_builder_checkpoint_file(sdrs_builder *builder,
                                         const char *name,
                                         const char *file,
                                         const uint8_t *data,
                                         size_t size);

/**
 * The small model that is compiled in, trained for this project on pictures of coloured shapes.
 *
 * `sdrs_builder_build` then fails with `SDRS_ERROR_INVALID_PARAMETER` if this library was built without it.
 */
sdrs_status sdrs_builder_demo(sdrs_builder *builder);

/**
 * A diffusers folder whose `config.json` files describe a single-file checkpoint of an unusual shape. No weights are read from there.
 */
sdrs_status sdrs_builder_config(sdrs_builder *builder,
                                const char *config);

/**
 * Another autoencoder than the checkpoint's, which may lack one: a file with a VAE in it, or a diffusers folder.
 */
sdrs_status sdrs_builder_vae(sdrs_builder *builder,
                             const char *vae);

/**
 * Another tokenizer than the checkpoint's: its folder (with `tokenizer.json`, or with `vocab.json` and `merges.txt`), a diffusers folder, or
 * a `tokenizer.json`. A single file hardly ever carries one, and CLIP's own is taken where it doesn't.
 */
sdrs_status sdrs_builder_tokenizer(sdrs_builder *builder,
                                   const char *tokenizer);

/**
 * Another text encoder than the checkpoint's, which may lack one, from the same kinds of files as a VAE. If a tokenizer comes with it, that
 * is taken too.
 */
sdrs_status sdrs_builder_text_encoder(sdrs_builder *builder,
                                      const char *text_encoder);

/**
 * Another second text encoder than the checkpoint's, for SDXL, as `sdrs_builder_text_encoder` takes another first one.
 */
sdrs_status sdrs_builder_text_encoder_2(sdrs_builder *builder,
                                        const char *text_encoder_2);

/**
 * Another U-Net than the checkpoint's, which may lack one, from the same kinds of files as a VAE. If its source says what it predicts, that
 * counts.
 */
sdrs_status sdrs_builder_unet(sdrs_builder *builder,
                              const char *unet);

/**
 * Passes over tensors that belong to no part and aren't known to be unneeded, and reports them in the log. They are an error otherwise,
 * since they may mean that the model is of another kind than it seems.
 */
sdrs_status sdrs_builder_allow_unexpected(sdrs_builder *builder);

/**
 * Adds a LoRA or another adapter of any usual kind. `weight` is the weight on the networks: 1 is as trained, 0 is no effect. A `<lora:..>`
 * tag in a prompt names one that was added, by its file's name without extension, and gives it another weight for that run.
 */
sdrs_status sdrs_builder_lora(sdrs_builder *builder,
                              const char *lora,
                              double weight);

/**
 * Factors for the blocks of the LoRA that was added last, with which its weight is multiplied: 17 or 26 numbers with commas for SD1 and
 * SD2, 12 or 20 for SDXL, as the WebUI's block-weight extension lists them, the first for the text encoder; or the name of one of its own
 * lists, such as "OUTALL"; or factors by patterns of layers, "unet.*=0,unet.mid_block.*=0.5", of which the last that matches counts.
 *
 * Fails with `SDRS_ERROR_INVALID_PARAMETER` if there is no LoRA, or for another number of factors.
 */
sdrs_status sdrs_builder_lora_blocks(sdrs_builder *builder,
                                     const char *blocks);

/**
 * Lets modules of the LoRA that was added last have no place in the model: they are passed over, and reported in the log. Otherwise they
 * are an error.
 *
 * Fails with `SDRS_ERROR_INVALID_PARAMETER` if there is no LoRA.
 */
sdrs_status sdrs_builder_lora_allow_unmatched(sdrs_builder *builder);

/**
 * Adds textual inversions: a file (`.pt`, `.bin`, `.safetensors`, or a PNG picture that carries one), or a folder of them. In both prompts a
 * file's name without extension stands for its vectors. Files of a folder that can't be used are passed over
 * (`sdrs_pipeline_skipped_embedding`); of two with one name the first counts. Files are read when the pipeline is built, which fails with
 * `SDRS_ERROR_INVALID_PARAMETER` for a file that is for another kind of model, or whose name is taken.
 */
sdrs_status sdrs_builder_embedding(sdrs_builder *builder,
                                   const char *embedding);

/**
 * Adds a network that enlarges pictures (ESRGAN, Real-ESRGAN, compact ones) for `hires_upscaler`, which names it by its file's name
 * without the ending. It is read when the pipeline is built.
 */
sdrs_status sdrs_builder_upscaler(sdrs_builder *builder,
                                  const char *upscaler);

/**
 * Adds a textual inversion as the bytes of such a file. They are copied. `name` is what prompts call it; only a picture that carries a name
 * of its own keeps that.
 */
sdrs_status sdrs_builder_embedding_bytes(sdrs_builder *builder,
                                         const char *name,
                                         const uint8_t *data,
                                         size_t size);

/**
 * The device: "auto" (the default: a GPU if there is one), "cpu", "cuda:0", "vulkan:0". `sdrs_available_device` lists the kinds that this
 * library was built with. Or several with commas between them, "cuda:0,cuda:1", or "cuda:all" and "vulkan:all": each has a copy of all
 * networks, and the pictures of a batch are dealt out; all else is done by the first. An unknown one is noticed when the pipeline is built.
 */
sdrs_status sdrs_builder_device(sdrs_builder *builder,
                                const char *device);

/**
 * Sets the type of arithmetic. F16 on a CPU is F32 with weights kept in F16.
 */
sdrs_status sdrs_builder_dtype(sdrs_builder *builder, sdrs_dtype dtype);

/**
 * Sets the type that weights are kept in on the CPU, AUTO by default: as their files have them. They are widened while they are used.
 * Building fails with SDRS_ERROR_INVALID_PARAMETER on a GPU, unless it is AUTO.
 */
sdrs_status sdrs_builder_weight_dtype(sdrs_builder *builder,
                                      sdrs_weight_dtype weight_dtype);

/**
 * Sets whether text encoders stay in memory when a run's texts are encoded, which they do by default. If `keep` is 0 they are loaded when
 * a text is new, and let go before the first step. Pictures don't depend on it.
 */
sdrs_status sdrs_builder_keep_text_encoders(sdrs_builder *builder,
                                            int32_t keep);

/**
 * Sets the numbers that the U-Net's large layers compute in, on the CPU with f32 or bf16 around them. INT8 takes half the memory of 16
 * bits, and less time where the processor multiplies bytes, but pictures change. Building fails with SDRS_ERROR_INVALID_PARAMETER where it isn't possible.
 */
sdrs_status sdrs_builder_quantization(sdrs_builder *builder,
                                      sdrs_quantization quantization);

/**
 * Sets the prediction type of the U-Net, where the checkpoint doesn't say it or says it wrongly.
 */
sdrs_status sdrs_builder_prediction(sdrs_builder *builder, sdrs_prediction prediction);

/**
 * A JSON file with the prediction types of checkpoints that don't say theirs: from the SHA-256 of a file, or its first ten digits, to
 * "epsilon", "v_prediction" or "sample". The file that holds the U-Net is hashed, which takes seconds.
 */
sdrs_status sdrs_builder_predictions(sdrs_builder *builder,
                                     const char *table);

/**
 * Reads and checks everything, then loads it. The builder stays as it is, and may build again.
 *
 * Fails with `SDRS_ERROR_INVALID_PARAMETER` if there is no checkpoint or an embedding doesn't fit, `SDRS_ERROR_UNKNOWN_NAME` for an unknown
 * device, `SDRS_ERROR_IO`, `SDRS_ERROR_INVALID_FILE`, `SDRS_ERROR_INVALID_WEIGHTS`.
 */
sdrs_status sdrs_builder_build(const sdrs_builder *builder,
                               sdrs_pipeline **pipeline);

/**
 * The most memory that the process may take to load a pipeline and draw with it, in bytes, for the CPU in f32 and bf16; 0 (the default) is
 * no limit. What can't fit is refused before anything is loaded, or drawn, with SDRS_ERROR_INVALID_PARAMETER and a message that says
 * what is needed. Pictures don't depend on it.
 */
sdrs_status sdrs_builder_memory_limit(sdrs_builder *builder,
                                      uint64_t bytes);

/**
 * A second checkpoint that takes over on the way from noise to the picture, SDXL's refiner for one: at `refiner_switch_at` of a run's
 * parameters. It encodes the prompts by itself, has no LoRAs, and needs no autoencoder; its latents must be those of the checkpoint.
 */
sdrs_status sdrs_builder_refiner(sdrs_builder *builder,
                                 const char *refiner);

/**
 * The log of pipelines that are built from now on: what was opened and loaded, what was passed over, how long parts of a run took. NULL
 * for none. `user_data` is given to the callback as it is, and must be valid as long as such a pipeline, or one that
 * was made of it. Where several devices draw, each calls it in a thread of its own. Nothing is ever printed.
 */
sdrs_status sdrs_builder_on_log(sdrs_builder *builder,
                                sdrs_log_fn on_log,
                                void *user_data);

/**
 * Sets the number of threads that the CPU computes with, 1 to 1024, for each pipeline alone; 0 (the default) is one for each core, shared
 * by all. Pictures don't depend on it. Callbacks are called in the thread of the run in any case.
 */
sdrs_status sdrs_builder_threads(sdrs_builder *builder,
                                 uint32_t threads);

/**
 * Sets the tiny autoencoder (TAESD) that makes previews of `SDRS_PREVIEW_TAESD`: diffusers' `AutoencoderTiny` as a single file, or the
 * original's decoder, as `.safetensors` or `.pth`. It takes no part in pictures.
 */
sdrs_status sdrs_builder_taesd(sdrs_builder *builder,
                               const char *path);

/**
 * The checkpoint as a single file of `size` bytes that the caller holds: `read` is called for one piece after the other, in this call
 * alone, and the library keeps what it read. `name` stands for the file in errors and infotexts.
 *
 * Fails with `SDRS_ERROR_IO` if `read` does, `SDRS_ERROR_INVALID_PARAMETER` if there is no memory for so much.
 */
sdrs_status sdrs_builder_checkpoint_read(sdrs_builder *builder,
                                         const char *name,
                                         uint64_t size,
                                         sdrs_read_fn read,
                                         void *user_data);

/**
 * The message of the last call of this thread that failed, with all causes, in English: for people, not for programs. Never NULL; empty if
 * nothing failed yet. Valid until the next failing call of this thread.
 */
const char *sdrs_last_error_message(void);

/**
 * Fails with `SDRS_ERROR_INTERNAL`, as a fault of the library would: for testing how a program takes it.
 */
sdrs_status sdrs_debug_panic(void);

/**
 * Prepares `image` for `sdrs_images_get`; `struct_size` is `sizeof(sdrs_image)`.
 */
sdrs_status sdrs_image_init(sdrs_image *image, size_t struct_size);

/**
 * The number of pictures; 0 for NULL.
 */
size_t sdrs_images_count(const sdrs_images *images);

/**
 * A picture, counted from 0 in the order of the seeds.
 */
sdrs_status sdrs_images_get(const sdrs_images *images, size_t index, sdrs_image *image);

/**
 * A picture as a PNG file's bytes, with the infotext in its `parameters` chunk. They are the library's, and valid as long as `images`.
 */
sdrs_status sdrs_images_png(const sdrs_images *images,
                            size_t index,
                            const uint8_t **data,
                            size_t *size);

/**
 * Writes a picture to a PNG file, with the infotext in its `parameters` chunk. An existing file is replaced only by a whole new one,
 * with its permissions; what is no regular file is written into.
 *
 * Fails with `SDRS_ERROR_IO`, or with `SDRS_ERROR_INVALID_PARAMETER` if the name ends as another format's.
 */
sdrs_status sdrs_images_save_png(const sdrs_images *images,
                                 size_t index,
                                 const char *path);

/**
 * Writes a picture to a PNG, JPEG or WebP file, by the ending of `path`, with the infotext in it; WebP is lossless. `quality` is that of a
 * JPEG, 1 to 100, or 0 for 80. An existing file is replaced only by a whole new one, with its permissions.
 *
 * Fails with `SDRS_ERROR_IO`, or with `SDRS_ERROR_INVALID_PARAMETER` if the name ends as another format's or `quality` is out of its range.
 */
sdrs_status sdrs_images_save(const sdrs_images *images,
                             size_t index,
                             const char *path,
                             uint32_t quality);

/**
 * Frees pictures with all that was had of them; NULL is fine.
 */
void sdrs_images_free(sdrs_images *images);

/**
 * Prepares a picture; `struct_size` is `sizeof(sdrs_picture)`.
 */
sdrs_status sdrs_picture_init(sdrs_picture *picture, size_t struct_size);

/**
 * Reads a PNG, JPEG, WebP, BMP or GIF file, turned as its EXIF data say, in sRGB: of 16 bits the upper 8, of an animation the first frame.
 *
 * Fails with `SDRS_ERROR_IO` and `SDRS_ERROR_INVALID_FILE`.
 */
sdrs_status sdrs_picture_open(const char *path_to,
                              sdrs_picture_file **file);

/**
 * The pixels of a picture that was read: four channels, the library's, valid as long as `file`.
 */
sdrs_status sdrs_picture_file_get(const sdrs_picture_file *file, sdrs_picture *picture);

/**
 * Frees a picture that was read; NULL is fine.
 */
void sdrs_picture_file_free(sdrs_picture_file *file);

/**
 * Sets all to none; `struct_size` is `sizeof(sdrs_inputs)`.
 */
sdrs_status sdrs_inputs_init(sdrs_inputs *inputs, size_t struct_size);

/**
 * Describes a file of weights or a diffusers folder (kind, family, purpose, parts, types, prediction type with the reason), reading
 * nothing but headers, as JSON. Free the text with `sdrs_string_free`.
 *
 * Fails with `SDRS_ERROR_IO`, `SDRS_ERROR_INVALID_FILE`.
 */
sdrs_status sdrs_inspect(const char *path,
                         char **json);

/**
 * Lists the devices of this machine that the library can compute on, as a JSON array: `name` (as `sdrs_builder_device` takes it),
 * `title`, `class`, `memory` and `free_memory` in bytes (null where nobody tells), `dtypes`, `default_dtype`, and `is_default`, which is true
 * for the one that "auto" takes. Each GPU is opened, which takes up to a second. Free the text with `sdrs_string_free`.
 */
sdrs_status sdrs_devices(char **json);

/**
 * Reads a whole file and gives its SHA-256 as 64 hexadecimal digits; the first ten of them are the WebUI's "model hash". It takes seconds
 * for a checkpoint. Free the text with `sdrs_string_free`.
 *
 * Fails with `SDRS_ERROR_IO`, `SDRS_ERROR_INVALID_FILE` if it is no regular file.
 */
sdrs_status sdrs_model_hash(const char *path,
                            char **sha256);

/**
 * Frees a text that the library gave to be freed; NULL is fine.
 */
void sdrs_string_free(char *text);

/**
 * Sets the defaults; `struct_size` is `sizeof(sdrs_interrogator_options)`.
 */
sdrs_status sdrs_interrogator_options_init(sdrs_interrogator_options *options, size_t struct_size);

/**
 * Opens, checks and loads the models. The options are copied.
 *
 * Fails with `SDRS_ERROR_INVALID_PARAMETER`, `SDRS_ERROR_UNKNOWN_NAME`, `SDRS_ERROR_IO`, `SDRS_ERROR_INVALID_FILE`,
 * `SDRS_ERROR_INVALID_WEIGHTS`.
 */
sdrs_status sdrs_interrogator_new(const sdrs_interrogator_options *options,
                                  sdrs_interrogator **interrogator);

/**
 * Frees an interrogator; NULL is fine.
 */
void sdrs_interrogator_free(sdrs_interrogator *interrogator);

/**
 * Sets the defaults; `struct_size` is `sizeof(sdrs_interrogate_params)`.
 */
sdrs_status sdrs_interrogate_params_init(sdrs_interrogate_params *params, size_t struct_size);

/**
 * Finds a text for a picture, whose `pixels` are as `sdrs_upscale` takes them. `params`, `cancel`, `on_progress` and `user_data` may be NULL.
 * `json` gets an object that the caller frees with `sdrs_string_free`: "text", "caption" (null in the negative mode), and "ranks", a list
 * of phrases, each with "category", "phrase" and "score".
 *
 * Fails with `SDRS_ERROR_INVALID_PARAMETER` before any work, also if the mode needs a model that isn't there; `SDRS_ERROR_CANCELLED`,
 * `SDRS_ERROR_NOT_FINITE`, `SDRS_ERROR_IO` if vectors can't be kept.
 */
sdrs_status sdrs_interrogate(const sdrs_interrogator *interrogator,
                             const uint8_t *pixels,
                             uint32_t width,
                             uint32_t height,
                             uint32_t channels,
                             const sdrs_interrogate_params *params,
                             const sdrs_cancel_token *cancel,
                             sdrs_interrogate_fn on_progress,
                             void *user_data,
                             char **json);

/**
 * A picture's vector by CLIP, of length 1: the product of two pictures' vectors, or of a picture's and a text's, is their cosine. Writes at
 * most `capacity` values to `vector`, and to `count` how many there are; `vector` may be NULL if `capacity` is 0. `pixels` are as
 * `sdrs_upscale` takes them.
 *
 * Fails with `SDRS_ERROR_INVALID_PARAMETER` if there is no CLIP, `SDRS_ERROR_NOT_FINITE`.
 */
sdrs_status sdrs_embed_picture(const sdrs_interrogator *interrogator,
                               const uint8_t *pixels,
                               uint32_t width,
                               uint32_t height,
                               uint32_t channels,
                               float *vector,
                               size_t capacity,
                               size_t *count);

/**
 * The same of a text, which is cut at CLIP's 77 tokens. `length` is the text's in bytes, or `SDRS_NUL_TERMINATED`.
 */
sdrs_status sdrs_embed_text(const sdrs_interrogator *interrogator,
                            const char *text,
                            size_t length,
                            float *vector,
                            size_t capacity,
                            size_t *count);

/**
 * How much people like a picture, 1 to 10 about, by its vector of `count` values: `path` is the file of LAION's linear head or of the
 * improved aesthetic predictor, both for CLIP ViT-L/14, as `.pth` or `.safetensors`.
 *
 * Fails with `SDRS_ERROR_IO`, `SDRS_ERROR_INVALID_FILE`, `SDRS_ERROR_INVALID_PARAMETER` if it is for vectors of another width.
 */
sdrs_status sdrs_rate_vector(const char *path,
                             const float *vector,
                             size_t count,
                             float *rating);

/**
 * Sets the defaults; `struct_size` is `sizeof(sdrs_lora)`.
 */
sdrs_status sdrs_lora_init(sdrs_lora *lora, size_t struct_size);

/**
 * Adds a LoRA or another adapter with all that may be said of it.
 *
 * Fails with `SDRS_ERROR_INVALID_PARAMETER` for blocks or a schedule that can't be read.
 */
sdrs_status sdrs_builder_add_lora(sdrs_builder *builder, const sdrs_lora *lora);

/**
 * A folder whose LoRAs prompts may name, `<lora:name:weight>`, subfolders included: by file name without extension, or by the name in a
 * file's metadata. They act in the runs whose prompt names them. May be given several times. Folders are looked at again for each run.
 */
sdrs_status sdrs_builder_lora_dir(sdrs_builder *builder,
                                  const char *folder);

/**
 * Makes the pipeline that `sdrs_pipeline_with_loras` makes, of LoRAs with all their settings: `loras` has `count` pointers to structures,
 * and may be NULL if `count` is 0.
 *
 * Fails as `sdrs_builder_add_lora` and `sdrs_builder_build` do for LoRAs.
 */
sdrs_status sdrs_pipeline_with_lora_list(const sdrs_pipeline *pipeline,
                                         const sdrs_lora *const *loras,
                                         size_t count,
                                         sdrs_pipeline **other);

/**
 * The values and the shape of a tensor. `data` and `shape` are the library's, and valid as long as the tensor; `shape` has `rank` numbers.
 * `shape` and `rank` may be NULL.
 */
sdrs_status sdrs_tensor_get(const sdrs_tensor *tensor,
                            const float **data,
                            const size_t **shape,
                            size_t *rank);

/**
 * The number of values of a tensor; 0 for NULL.
 */
size_t sdrs_tensor_size(const sdrs_tensor *tensor);

/**
 * Frees a tensor; NULL is fine.
 */
void sdrs_tensor_free(sdrs_tensor *tensor);

/**
 * The part of SDXL's vector beside the timestep that stands behind the pooled text: 256 sinusoids of each of `count` numbers, cosines
 * first. SDXL has 6 numbers, in pixels: original height and width, the crop's top and left edge, target height and width; its refiner 5:
 * the aesthetic score stands in place of the target size.
 *
 * Fails with `SDRS_ERROR_INVALID_PARAMETER` if the model has another number of them, or none.
 */
sdrs_status sdrs_size_vector(const sdrs_pipeline *pipeline,
                             const double *sizes,
                             size_t count,
                             sdrs_tensor **vector);

/**
 * One evaluation of the U-Net: its raw prediction, `[batch, latent_channels, h, w]`.
 *
 * `latents` is `[batch, unet_channels, h, w]`, scaled as the network wants it (`c_in` of `sdrs_request`), and behind its
 * `latent_channels` what an inpainting, depth or editing model takes besides, which isn't scaled; `latents_shape` has those 4 numbers; `timesteps` has `batch` numbers, fractions allowed; `context` is `[batch, tokens, context_width]`,
 * with any number of tokens, `context_shape` those 3. Prompts of different length need a call each. SDXL's U-Net takes a vector besides:
 * `sdrs_unet_with_vector`.
 */
sdrs_status sdrs_unet(const sdrs_pipeline *pipeline,
                      const float *latents,
                      const size_t *latents_shape,
                      const double *timesteps,
                      const float *context,
                      const size_t *context_shape,
                      sdrs_tensor **prediction);

/**
 * The same with the vector that SDXL's U-Net takes beside the timestep: `added` is `[batch, added_width]`, a pooled text
 * (`sdrs_pooled_prompt`) with sizes behind it (`sdrs_size_vector`) in each row; NULL for a model whose `added_width` is 0.
 */
sdrs_status sdrs_unet_with_vector(const sdrs_pipeline *pipeline,
                                  const float *latents,
                                  const size_t *latents_shape,
                                  const double *timesteps,
                                  const float *context,
                                  const size_t *context_shape,
                                  const float *added,
                                  sdrs_tensor **prediction);

/**
 * The same of a model that the scale of guidance is an input of (a latent consistency model): one call with `cfg_scale`, on all rows, is
 * what two calls are with other models. `added` may be NULL as above.
 */
sdrs_status sdrs_unet_guided(const sdrs_pipeline *pipeline,
                             const float *latents,
                             const size_t *latents_shape,
                             const double *timesteps,
                             const float *context,
                             const size_t *context_shape,
                             const float *added,
                             double cfg_scale,
                             sdrs_tensor **prediction);

/**
 * Encodes pictures, `[batch, 3, height, width]` with values -1 to 1 (`byte / 127.5 - 1`; values far beyond are refused), to latents
 * `[batch, latent_channels, h, w]` as the U-Net has them: `mean + std * noise`. Both are the autoencoder's own times the
 * `scaling_factor` of `sdrs_pipeline_info`: in diffusers, `vae.encode(images).latent_dist.mean * vae.config.scaling_factor`. `shape` has
 * the pictures' 4 numbers. `std` may be NULL.
 */
sdrs_status sdrs_vae_encode(const sdrs_pipeline *pipeline,
                            const float *images,
                            const size_t *shape,
                            sdrs_tensor **mean,
                            sdrs_tensor **std);

/**
 * Decodes latents as the U-Net has them, `[batch, latent_channels, h, w]`, to pictures `[batch, 3, downscale h, downscale w]` with values
 * -1 to 1, or a little beyond. The autoencoder is given them divided by the `scaling_factor` of `sdrs_pipeline_info`: in diffusers,
 * `vae.decode(latents / vae.config.scaling_factor)`. `shape` has the latents' 4 numbers.
 */
sdrs_status sdrs_vae_decode(const sdrs_pipeline *pipeline,
                            const float *latents,
                            const size_t *shape,
                            sdrs_tensor **images);

/**
 * Prepares `plan` for `sdrs_pipeline_memory_plan`; `struct_size` is `sizeof(sdrs_memory_plan)`.
 */
sdrs_status sdrs_memory_plan_init(sdrs_memory_plan *plan, size_t struct_size);

/**
 * Writes the memory that a run with `params` takes, begun at `inputs`, which may be NULL; nothing is drawn. `runs` is the number of such runs
 * at once on the pipeline; 0 and 1 are one.
 *
 * Fails with `SDRS_ERROR_INVALID_PARAMETER` if a value is out of its range or a LoRA that a prompt names is not found, and as
 * `sdrs_builder_build` does for LoRAs.
 */
sdrs_status sdrs_pipeline_memory_plan(const sdrs_pipeline *pipeline,
                                      const sdrs_generate_params *params,
                                      const sdrs_inputs *inputs,
                                      uint32_t runs,
                                      sdrs_memory_plan *plan);

/**
 * Writes the bytes that a pipeline made by `sdrs_pipeline_with_lora_list`, with the same arguments, takes beside `pipeline`: those of the
 * layers that its LoRAs or the pipeline's change.
 *
 * Fails as `sdrs_pipeline_with_lora_list` does.
 */
sdrs_status sdrs_pipeline_memory_of_loras(const sdrs_pipeline *pipeline,
                                          const sdrs_lora *const *loras,
                                          size_t count,
                                          uint64_t *bytes);

/**
 * Writes the bytes that a pipeline made by `sdrs_pipeline_with_vae` takes beside `pipeline`: those of the autoencoder.
 *
 * Fails as `sdrs_pipeline_with_vae` does.
 */
sdrs_status sdrs_pipeline_memory_of_vae(const sdrs_pipeline *pipeline,
                                        const char *vae,
                                        uint64_t *bytes);

/**
 * The sampler of a name, in the WebUI's, ComfyUI's or diffusers' spelling, in any case. The name may carry its schedule, as in "DPM++ 2M
 * Karras": then `schedule` gets that, else `SDRS_SCHEDULE_AUTOMATIC`. `schedule` may be NULL.
 *
 * Fails with `SDRS_ERROR_UNKNOWN_NAME`; the message has the nearest known name.
 */
sdrs_status sdrs_sampler_from_name(const char *name,
                                   sdrs_sampler *sampler,
                                   sdrs_schedule *schedule);

/**
 * The WebUI's name of a sampler, such as "Euler a"; NULL if it is none. Valid for ever.
 */
const char *sdrs_sampler_name(sdrs_sampler sampler);

/**
 * The schedule of a name, in any spelling.
 *
 * Fails with `SDRS_ERROR_UNKNOWN_NAME`; the message has the nearest known name.
 */
sdrs_status sdrs_schedule_from_name(const char *name, sdrs_schedule *schedule);

/**
 * The WebUI's name of a schedule, such as "Karras"; NULL if it is none. Valid for ever.
 */
const char *sdrs_schedule_name(sdrs_schedule schedule);

/**
 * The type of a name: "f32", "bf16", "f16", also as "float32", "fp16" and so on; "auto".
 *
 * Fails with `SDRS_ERROR_UNKNOWN_NAME`.
 */
sdrs_status sdrs_dtype_from_name(const char *name, sdrs_dtype *dtype);

/**
 * The name of a type: "auto", "f32", "bf16", "f16"; NULL if it is none. Valid for ever.
 */
const char *sdrs_dtype_name(sdrs_dtype dtype);

/**
 * The type for weights of a name: "auto", "f32", "bf16", "f16", "f8", and other spellings of these.
 *
 * Fails with `SDRS_ERROR_UNKNOWN_NAME`.
 */
sdrs_status sdrs_weight_dtype_from_name(const char *name, sdrs_weight_dtype *weight_dtype);

/**
 * The name of a type for weights: "auto", "f32", "bf16", "f16", "f8"; NULL if it is none. Valid for ever.
 */
const char *sdrs_weight_dtype_name(sdrs_weight_dtype weight_dtype);

/**
 * The quantization of a name: "none", "int8", "auto".
 *
 * Fails with `SDRS_ERROR_UNKNOWN_NAME`.
 */
sdrs_status sdrs_quantization_from_name(const char *name, sdrs_quantization *quantization);

/**
 * The name of a quantization: "none", "int8", "auto"; NULL if it is none. Valid for ever.
 */
const char *sdrs_quantization_name(sdrs_quantization quantization);

/**
 * The header's name of a status, such as "SDRS_ERROR_IO"; NULL if it is none. Valid for ever.
 */
const char *sdrs_status_name(int32_t status);

/**
 * A kind of device that this library was built with, counted from 0: "cpu", "cuda", "vulkan". NULL past the last. Valid for ever.
 */
const char *sdrs_available_device(size_t index);

/**
 * Sets the defaults; `struct_size` is `sizeof(sdrs_noise_options)`.
 */
sdrs_status sdrs_noise_options_init(sdrs_noise_options *options, size_t struct_size);

/**
 * Makes the generators of a picture's noise.
 */
sdrs_status sdrs_noise_new(const sdrs_noise_options *options, sdrs_noise **noise);

/**
 * The first noise, which sampling begins with: draw it once, before the others. Fills `values`, which has the `length` of one latent:
 * `channels * height * width`.
 */
sdrs_status sdrs_noise_first(sdrs_noise *noise,
                             float *values,
                             size_t length);

/**
 * The next noise. With a stepper that asks for noise, it is what that sampler wants: SDE samplers take it from a Brownian tree. `stepper`
 * may be NULL: then the generator's next values.
 */
sdrs_status sdrs_noise_next(sdrs_noise *noise,
                            const sdrs_stepper *stepper,
                            float *values,
                            size_t length);

/**
 * Frees generators of noise; NULL is fine.
 */
void sdrs_noise_free(sdrs_noise *noise);

/**
 * Sets every parameter to its default; `struct_size` is `sizeof(sdrs_generate_params)`.
 */
sdrs_status sdrs_generate_params_init(sdrs_generate_params *params, size_t struct_size);

/**
 * Prepares `info` for `sdrs_pipeline_get_info`; `struct_size` is `sizeof(sdrs_pipeline_info)`.
 */
sdrs_status sdrs_pipeline_info_init(sdrs_pipeline_info *info, size_t struct_size);

/**
 * Writes the properties of a pipeline.
 */
sdrs_status sdrs_pipeline_get_info(const sdrs_pipeline *pipeline, sdrs_pipeline_info *info);

/**
 * The name of a textual inversion that prompts may use, counted from 0 in the order that they were added; NULL past the last. Valid as
 * long as the pipeline.
 */
const char *sdrs_pipeline_embedding(const sdrs_pipeline *pipeline,
                                    size_t index);

/**
 * A file of a folder of textual inversions that was passed over, with the reason, for people, counted from 0; NULL past the last. Valid as
 * long as the pipeline.
 */
const char *sdrs_pipeline_skipped_embedding(const sdrs_pipeline *pipeline,
                                            size_t index);

/**
 * Writes a pipeline as a single .safetensors file in LDM's layout, its weights as `dtype`, with its LoRAs merged into them. Its metadata
 * carries the configurations, and the tokenizer unless it is CLIP's own. A file that is there is replaced, when the new one is whole.
 *
 * Fails with `SDRS_ERROR_IO`, and with `SDRS_ERROR_INVALID_PARAMETER` for `SDRS_DTYPE_AUTO`.
 */
sdrs_status sdrs_pipeline_save_file(const sdrs_pipeline *pipeline,
                                    const char *path,
                                    sdrs_dtype dtype);

/**
 * The same as a diffusers folder. It fails if there is one with something in it.
 */
sdrs_status sdrs_pipeline_save_folder(const sdrs_pipeline *pipeline, const char *path, sdrs_dtype dtype);

/**
 * Frees a pipeline that no thread uses any more; NULL is fine. Images, tensors and steppers that came of it stay.
 */
void sdrs_pipeline_free(sdrs_pipeline *pipeline);

/**
 * The emphasis mode of a name; case, spaces, hyphens and underscores don't matter.
 *
 * Fails with `SDRS_ERROR_UNKNOWN_NAME`; the message lists the names.
 */
sdrs_status sdrs_emphasis_from_name(const char *name, sdrs_emphasis *emphasis);

/**
 * The WebUI's name of an emphasis mode, such as "No norm"; NULL if it is none. Valid for ever.
 */
const char *sdrs_emphasis_name(sdrs_emphasis emphasis);

/**
 * The prompt dialect of a name; case, spaces, hyphens and underscores don't matter.
 *
 * Fails with `SDRS_ERROR_UNKNOWN_NAME`; the message lists the names.
 */
sdrs_status sdrs_prompt_dialect_from_name(const char *name, sdrs_prompt_dialect *prompt_dialect);

/**
 * The name of a prompt dialect: "webui", "comfy"; NULL if it is none. Valid for ever.
 */
const char *sdrs_prompt_dialect_name(sdrs_prompt_dialect prompt_dialect);

/**
 * The time rule of a name; case, spaces, hyphens and underscores don't matter.
 *
 * Fails with `SDRS_ERROR_UNKNOWN_NAME`; the message lists the names.
 */
sdrs_status sdrs_time_rule_from_name(const char *name, sdrs_time_rule *time_rule);

/**
 * The name of a time rule: "current", "before 1.6"; NULL if it is none. Valid for ever.
 */
const char *sdrs_time_rule_name(sdrs_time_rule time_rule);

/**
 * The clip skip rule of a name; case, spaces, hyphens and underscores don't matter.
 *
 * Fails with `SDRS_ERROR_UNKNOWN_NAME`; the message lists the names.
 */
sdrs_status sdrs_clip_skip_rule_from_name(const char *name, sdrs_clip_skip_rule *clip_skip_rule);

/**
 * The name of a clip skip rule: "webui", "diffusers"; NULL if it is none. Valid for ever.
 */
const char *sdrs_clip_skip_rule_name(sdrs_clip_skip_rule clip_skip_rule);

/**
 * The rule for empty negative prompts of a name; case, spaces, hyphens and underscores don't matter.
 *
 * Fails with `SDRS_ERROR_UNKNOWN_NAME`; the message lists the names.
 */
sdrs_status sdrs_empty_negative_rule_from_name(const char *name,
                                               sdrs_empty_negative_rule *empty_negative_rule);

/**
 * The name of a rule for empty negative prompts: "webui", "diffusers", "comfy"; NULL if it is none. Valid for ever.
 */
const char *sdrs_empty_negative_rule_name(sdrs_empty_negative_rule empty_negative_rule);

/**
 * Tells what both prompts of `params` will be encoded as, as JSON: texts by step, chunks, tokens with their weights and places, LoRAs,
 * embeddings. Nothing is computed. `pipeline` may be NULL: then the tokenizer is that of all Stable Diffusion 1, and there are neither
 * LoRAs nor embeddings. Free the text with `sdrs_string_free`.
 *
 *     {"calls": 20, "loras": [], "unknown_tags": [{"text": "<x:y>", "span": {"start": 0, "end": 5}}],
 *      "prompt": [{"weight": 1.0, "texts": [{"calls": {"start": 0, "end": 20}, "text": "a (red:1.2) circle", "chunks": [[
 *          {"id": 320, "text": "a", "span": {"start": 0, "end": 1}, "weight": 1.0}, ...]]}]}],
 *      "negative_prompt": {"weight": 1.0, "texts": [...]}}
 *
 * Spans are in bytes of the prompt as it was given; ends are exclusive. A LoRA has "name", "text_encoder" and "unet" (its strengths),
 * "span", and whether a run would have it, "loaded"; where the tag has them also "course" (pairs of a strength on the U-Net and its moment),
 * "start", "stop" and "blocks". A token that is a vector of an embedding has that one's name as "embedding".
 *
 * Fails with `SDRS_ERROR_INVALID_PARAMETER`.
 */
sdrs_status sdrs_plan_prompts(const sdrs_pipeline *pipeline,
                              const sdrs_generate_params *params,
                              char **json);

/**
 * A token that has not been used.
 */
sdrs_status sdrs_cancel_token_new(sdrs_cancel_token **token);

/**
 * Asks the runs that hold this token to stop: each fails with `SDRS_ERROR_CANCELLED` within a step. A token stays used.
 */
sdrs_status sdrs_cancel_token_cancel(const sdrs_cancel_token *token);

/**
 * Whether the token was used: 1, or 0, also for NULL.
 */
int32_t sdrs_cancel_token_is_cancelled(const sdrs_cancel_token *token);

/**
 * Frees a token; NULL is fine. Runs that hold it go on, and can't be stopped through it any more.
 */
void sdrs_cancel_token_free(sdrs_cancel_token *token);

/**
 * Sets the options to none; `struct_size` is `sizeof(sdrs_run_options)`.
 */
sdrs_status sdrs_run_options_init(sdrs_run_options *options, size_t struct_size);

/**
 * Draws pictures from a prompt, one after the other, in the calling thread (and the library's own helpers). `options` may be NULL.
 *
 * Fails with `SDRS_ERROR_INVALID_PARAMETER` before any work, `SDRS_ERROR_CANCELLED`, `SDRS_ERROR_NOT_FINITE`.
 */
sdrs_status sdrs_txt2img(const sdrs_pipeline *pipeline,
                         const sdrs_generate_params *params,
                         const sdrs_run_options *options,
                         sdrs_images **images);

/**
 * Draws pictures from a picture, or a part of it anew: as `sdrs_txt2img`, with `inputs`.
 *
 * Fails as `sdrs_txt2img` does.
 */
sdrs_status sdrs_img2img(const sdrs_pipeline *pipeline,
                         const sdrs_generate_params *params,
                         const sdrs_inputs *inputs,
                         const sdrs_run_options *options,
                         sdrs_images **images);

/**
 * The same without decoding, as `sdrs_txt2img_latents`, with `inputs`.
 *
 * Fails as `sdrs_txt2img` does.
 */
sdrs_status sdrs_img2img_latents(const sdrs_pipeline *pipeline,
                                 const sdrs_generate_params *params,
                                 const sdrs_inputs *inputs,
                                 const sdrs_run_options *options,
                                 sdrs_tensor **latents,
                                 uint64_t *seeds);

/**
 * The same without decoding: the latents as the U-Net has them, `[batch_size, latent_channels, h, w]`, which `sdrs_vae_decode` takes.
 * `seeds` gets `batch_size` numbers, for each picture the seed that gives it alone; it may be NULL.
 *
 * Fails as `sdrs_txt2img` does.
 */
sdrs_status sdrs_txt2img_latents(const sdrs_pipeline *pipeline,
                                 const sdrs_generate_params *params,
                                 const sdrs_run_options *options,
                                 sdrs_tensor **latents,
                                 uint64_t *seeds);

/**
 * The noise levels of a schedule for a number of steps, falling, most often `steps + 1` of them with a final 0. `pipeline` may be NULL:
 * then those of every Stable Diffusion. Writes at most `capacity` of them to `sigmas`, and their number to `count`; `sigmas` may be NULL
 * if `capacity` is 0. A sampler may have its own habits: `sdrs_stepper_sigmas` gives the levels that it visits.
 */
sdrs_status sdrs_schedule_sigmas(const sdrs_pipeline *pipeline,
                                 sdrs_schedule schedule,
                                 uint32_t steps,
                                 double *sigmas,
                                 size_t capacity,
                                 size_t *count);

/**
 * Sets the defaults; `struct_size` is `sizeof(sdrs_stepper_options)`.
 */
sdrs_status sdrs_stepper_options_init(sdrs_stepper_options *options, size_t struct_size);

/**
 * Begins to sample from noise of unit variance, `length` values, which are copied and scaled as the sampler wants them. `pipeline` may be
 * NULL: then the noise levels are those of every Stable Diffusion, and the network's prediction is noise.
 */
sdrs_status sdrs_stepper_new(const sdrs_pipeline *pipeline,
                             const sdrs_stepper_options *options,
                             const float *noise,
                             size_t length,
                             sdrs_stepper **stepper);

/**
 * The noise levels that a stepper visits, falling. Writes at most `capacity` of them to `sigmas`, and to `count` how many there are.
 */
sdrs_status sdrs_stepper_sigmas(const sdrs_stepper *stepper,
                                double *sigmas,
                                size_t capacity,
                                size_t *count);

/**
 * Prepares `request` for `sdrs_stepper_request`; `struct_size` is `sizeof(sdrs_request)`.
 */
sdrs_status sdrs_request_init(sdrs_request *request, size_t struct_size);

/**
 * Writes the next request of a stepper. Asking twice changes nothing.
 */
sdrs_status sdrs_stepper_request(const sdrs_stepper *stepper, sdrs_request *request);

/**
 * Answers a request for a denoised latent, `length` values. `uncond` is what the negative prompt alone gave, needed if the request has
 * `needs_uncond`; else it may be NULL.
 */
sdrs_status sdrs_stepper_provide_denoised(sdrs_stepper *stepper,
                                          const float *denoised,
                                          const float *uncond,
                                          size_t length);

/**
 * Answers a request for noise, `length` values.
 */
sdrs_status sdrs_stepper_provide_noise(sdrs_stepper *stepper, const float *noise, size_t length);

/**
 * Frees a stepper; NULL is fine.
 */
void sdrs_stepper_free(sdrs_stepper *stepper);

/**
 * The same pipeline with these LoRAs instead of those that it has; with `count` 0, as it was without any, to the bit. Weights are made anew
 * from the checkpoint's, and all that the LoRAs don't change is shared, so the new pipeline takes memory for the layers that they do. Each
 * is freed on its own, in any order.
 *
 * `loras` has `count` paths, `weights` as many weights, 1 as trained; NULL is 1 for all. `text_encoder_weights` may have others for the
 * text encoder; NULL is the same. All may be NULL if `count` is 0.
 *
 * Fails as `sdrs_builder_build` does for LoRAs.
 */
sdrs_status sdrs_pipeline_with_loras(const sdrs_pipeline *pipeline,
                                     const char *const *loras,
                                     const double *weights,
                                     const double *text_encoder_weights,
                                     size_t count,
                                     sdrs_pipeline **other);

/**
 * The same pipeline with another autoencoder: a file with a VAE in it, or a diffusers folder. All else is shared. Each is freed on its own.
 *
 * Fails as `sdrs_builder_build` does for a VAE.
 */
sdrs_status sdrs_pipeline_with_vae(const sdrs_pipeline *pipeline,
                                   const char *vae,
                                   sdrs_pipeline **other);

/**
 * The path of a LoRA that a pipeline has, counted from 0 in the order that they were added; NULL past the last. Valid as long as the
 * pipeline. `weight` and `text_encoder_weight` receive its weights; both may be NULL.
 */
const char *sdrs_pipeline_lora(const sdrs_pipeline *pipeline,
                               size_t index,
                               double *weight,
                               double *text_encoder_weight);

/**
 * Reads a state.
 *
 * Fails with `SDRS_ERROR_IO` and `SDRS_ERROR_INVALID_FILE`.
 */
sdrs_status sdrs_run_state_open(const char *path_to, sdrs_run_state **state);

/**
 * The parameters of the picture, with its seed and size. Their texts are the library's, valid as long as `state`.
 */
sdrs_status sdrs_run_state_params(const sdrs_run_state *state,
                                  sdrs_generate_params *params);

/**
 * Steps of the picture that are done, in all passes; 0 for NULL.
 */
size_t sdrs_run_state_step(const sdrs_run_state *state);

/**
 * Frees a state; NULL is fine.
 */
void sdrs_run_state_free(sdrs_run_state *state);

/**
 * Goes on from a state: with `params` NULL to the same picture, to the bit. Parameters from `sdrs_run_state_params` may be changed where they
 * decide only what is to come (prompts, guidance, shortcuts, tiles, a later pass); pictures that the run began at come along.
 *
 * Fails as `sdrs_txt2img` does, with `SDRS_ERROR_INVALID_PARAMETER` also for parameters that decided what is behind, and for another model.
 */
sdrs_status sdrs_resume(const sdrs_pipeline *pipeline,
                        const sdrs_run_state *state,
                        const sdrs_generate_params *params,
                        const sdrs_run_options *options,
                        sdrs_images **images);

/**
 * The token ids of a text, which is repaired first as a prompt's is: no start or end token, no padding, no limit. `length` is the text's in bytes, or
 * `SDRS_NUL_TERMINATED`. Writes at most `capacity` ids to `ids`, and to `count` how many there are; `ids` may be NULL if `capacity` is 0.
 */
sdrs_status sdrs_tokenize(const sdrs_pipeline *pipeline,
                          const char *text,
                          size_t length,
                          uint32_t *ids,
                          size_t capacity,
                          size_t *count);

/**
 * The context of a prompt for the U-Net, `[tokens, context_width]`, weights, embeddings and all: what a run of one step computes of it.
 * There are `context_length` tokens for every 75 of the prompt, so contexts may differ in length. `length` is the prompt's in bytes, or
 * `SDRS_NUL_TERMINATED`; `clip_skip` is 1 for the text encoder's last layer.
 *
 * Fails with `SDRS_ERROR_INVALID_PARAMETER` for a prompt with an AND in it, which has several contexts, or with the tag of a LoRA that the
 * pipeline doesn't have.
 */
sdrs_status sdrs_encode_prompt(const sdrs_pipeline *pipeline,
                               const char *prompt,
                               size_t length,
                               uint32_t clip_skip,
                               sdrs_tensor **context);

/**
 * The context of a text in which no character has a meaning of its own, `[context_length, context_width]`, as diffusers encodes it: tokens for
 * which there is no room are dropped. Arguments are those of `sdrs_encode_prompt`.
 */
sdrs_status sdrs_encode_text(const sdrs_pipeline *pipeline,
                             const char *text,
                             size_t length,
                             uint32_t clip_skip,
                             sdrs_tensor **context);

/**
 * The pooled text of a prompt, `[pooled_width]`, by the last text encoder: of its first 75 tokens, without weights. With sizes behind it
 * (`sdrs_size_vector`) it is SDXL's vector beside the timestep. `length` is the prompt's in bytes, or `SDRS_NUL_TERMINATED`.
 *
 * Fails with `SDRS_ERROR_INVALID_PARAMETER` if the model has no pooled text, and as `sdrs_encode_prompt`.
 */
sdrs_status sdrs_pooled_prompt(const sdrs_pipeline *pipeline,
                               const char *prompt,
                               size_t length,
                               sdrs_tensor **pooled);

/**
 * The pooled text of a text in which no character has a meaning of its own, as diffusers makes it. Arguments are those of
 * `sdrs_pooled_prompt`.
 */
sdrs_status sdrs_pooled_text(const sdrs_pipeline *pipeline,
                             const char *text,
                             size_t length,
                             sdrs_tensor **pooled);

/**
 * The context of token ids as they are (start and end token included, if they are wanted), `[count, text_width]`, by the first text
 * encoder: its hidden state, from the end the one that `clip_skip` counts (1 is the last of SD1), with the final norm for SD1 and SD2. There
 * may be 1 to `context_length` ids.
 */
sdrs_status sdrs_encode_ids(const sdrs_pipeline *pipeline,
                            const uint32_t *ids,
                            size_t count,
                            uint32_t clip_skip,
                            sdrs_tensor **context);

/**
 * The same by the text encoder of this number, counted from 0: 1 is SDXL's second one.
 */
sdrs_status sdrs_encode_ids_with(const sdrs_pipeline *pipeline,
                                 uint32_t encoder,
                                 const uint32_t *ids,
                                 size_t count,
                                 uint32_t clip_skip,
                                 sdrs_tensor **context);

/**
 * Every hidden state of the first text encoder for one row of token ids (start and end token included, if they are wanted), without the
 * final norm: `[layers + 1, count, text_width]`, the embeddings first. `sdrs_encode_ids` gives them with the norm.
 */
sdrs_status sdrs_text_hidden_states(const sdrs_pipeline *pipeline,
                                    const uint32_t *ids,
                                    size_t count,
                                    sdrs_tensor **states);

/**
 * The same of the text encoder of this number, counted from 0: 1 is SDXL's second one.
 */
sdrs_status sdrs_text_hidden_states_with(const sdrs_pipeline *pipeline,
                                         uint32_t encoder,
                                         const uint32_t *ids,
                                         size_t count,
                                         sdrs_tensor **states);

/**
 * Opens an upscaler: a network's file (ESRGAN, Real-ESRGAN or its compact kind, as `.pth` or `.safetensors`), or the name of a filter
 * ("lanczos", "bicubic", "bilinear", "nearest", "box", "hamming"), if there is no such file. `device` is as `sdrs_builder_device` takes it,
 * NULL for "auto"; `threads` as `sdrs_builder_threads` takes it, 0 for those of the process. A filter needs neither.
 *
 * Fails with `SDRS_ERROR_UNKNOWN_NAME`, `SDRS_ERROR_IO`, `SDRS_ERROR_INVALID_FILE`, `SDRS_ERROR_INVALID_WEIGHTS`.
 */
sdrs_status sdrs_upscaler_open(const char *path_or_name,
                               const char *device,
                               sdrs_dtype dtype,
                               uint32_t threads,
                               sdrs_upscaler **upscaler);

/**
 * Pixels of a side that a network makes of one; 0 of a filter, and of NULL.
 */
uint32_t sdrs_upscaler_factor(const sdrs_upscaler *upscaler);

/**
 * Frees an upscaler; NULL is fine.
 */
void sdrs_upscaler_free(sdrs_upscaler *upscaler);

/**
 * Brings a picture to another size. `pixels` has `height` rows of `width` pixels of `channels` bytes: 3 for red, green and blue, 4 with
 * alpha besides, from the top and without padding; `out` gets as many channels, `out_width * out_height * channels` bytes.
 *
 * A network's own factor is applied until the picture is large enough, three times at most, then Lanczos brings it to the size; a picture
 * that gets smaller sees Lanczos alone. Alpha goes through Lanczos. `tile` is the side in pixels of the square that a network sees at a
 * time, 128 to 8192, or 0 for 256; `cancel`, `on_progress` and `user_data` may be NULL.
 *
 * Fails with `SDRS_ERROR_INVALID_PARAMETER` before any work, `SDRS_ERROR_CANCELLED`, `SDRS_ERROR_NOT_FINITE`; `out` is untouched then.
 */
sdrs_status sdrs_upscale(const sdrs_upscaler *upscaler,
                         const uint8_t *pixels,
                         uint32_t width,
                         uint32_t height,
                         uint32_t channels,
                         uint32_t out_width,
                         uint32_t out_height,
                         uint32_t tile,
                         const sdrs_cancel_token *cancel,
                         sdrs_upscale_fn on_progress,
                         void *user_data,
                         uint8_t *out);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SDRS_H */
