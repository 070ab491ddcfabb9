/* What callers do wrong: an error each time, never a crash, and nothing written. */
#include "check.h"

#define BAD(words, call) FAILS(SDRS_ERROR_INVALID_PARAMETER, words, call)

static sdrs_pipeline *pipeline;

static void nulls(void) {
    /* Everything that frees takes NULL. */
    sdrs_builder_free(NULL);
    sdrs_pipeline_free(NULL);
    sdrs_images_free(NULL);
    sdrs_cancel_token_free(NULL);
    sdrs_tensor_free(NULL);
    sdrs_stepper_free(NULL);
    sdrs_noise_free(NULL);
    sdrs_string_free(NULL);
    /* So does everything that answers without a status. */
    CHECK(sdrs_images_count(NULL) == 0 && sdrs_tensor_size(NULL) == 0);
    CHECK(sdrs_cancel_token_is_cancelled(NULL) == 0);
    CHECK(sdrs_pipeline_embedding(NULL, 0) == NULL && sdrs_pipeline_skipped_embedding(NULL, 0) == NULL);

    sdrs_builder *builder = NULL;
    OK(sdrs_builder_new(&builder));
    BAD("builder: is NULL", sdrs_builder_new(NULL));
    BAD("builder: is NULL", sdrs_builder_checkpoint(NULL, "x"));
    BAD("checkpoint: is NULL", sdrs_builder_checkpoint(builder, NULL));
    BAD("builder: is NULL", sdrs_builder_checkpoint_bytes(NULL, "x", (const uint8_t *)"x", 1));
    BAD("name: is NULL", sdrs_builder_checkpoint_bytes(builder, NULL, (const uint8_t *)"x", 1));
    BAD("data: is NULL", sdrs_builder_checkpoint_bytes(builder, "x", NULL, 1));
    BAD("builder: is NULL", sdrs_builder_checkpoint_file(NULL, "x", "y", (const uint8_t *)"x", 1));
    BAD("name: is NULL", sdrs_builder_checkpoint_file(builder, NULL, "y", (const uint8_t *)"x", 1));
    BAD("file: is NULL", sdrs_builder_checkpoint_file(builder, "x", NULL, (const uint8_t *)"x", 1));
    BAD("data: is NULL", sdrs_builder_checkpoint_file(builder, "x", "y", NULL, 1));
    BAD("builder: is NULL", sdrs_builder_demo(NULL));
    BAD("builder: is NULL", sdrs_builder_config(NULL, "x"));
    BAD("config: is NULL", sdrs_builder_config(builder, NULL));
    BAD("builder: is NULL", sdrs_builder_vae(NULL, "x"));
    BAD("vae: is NULL", sdrs_builder_vae(builder, NULL));
    BAD("builder: is NULL", sdrs_builder_tokenizer(NULL, "x"));
    BAD("tokenizer: is NULL", sdrs_builder_tokenizer(builder, NULL));
    BAD("builder: is NULL", sdrs_builder_text_encoder(NULL, "x"));
    BAD("text_encoder: is NULL", sdrs_builder_text_encoder(builder, NULL));
    BAD("builder: is NULL", sdrs_builder_text_encoder_2(NULL, "x"));
    BAD("text_encoder_2: is NULL", sdrs_builder_text_encoder_2(builder, NULL));
    BAD("builder: is NULL", sdrs_builder_unet(NULL, "x"));
    BAD("unet: is NULL", sdrs_builder_unet(builder, NULL));
    BAD("builder: is NULL", sdrs_builder_refiner(NULL, "x"));
    BAD("refiner: is NULL", sdrs_builder_refiner(builder, NULL));
    BAD("builder: is NULL", sdrs_builder_predictions(NULL, "x"));
    BAD("table: is NULL", sdrs_builder_predictions(builder, NULL));
    BAD("builder: is NULL", sdrs_builder_allow_unexpected(NULL));
    BAD("builder: is NULL", sdrs_builder_lora(NULL, "x", 1.0));
    BAD("lora: is NULL", sdrs_builder_lora(builder, NULL, 1.0));
    BAD("builder: has no LoRA yet", sdrs_builder_lora_blocks(builder, "0,0,0,0,0,0,0,0,0,0,0,0"));
    BAD("builder: has no LoRA yet", sdrs_builder_lora_allow_unmatched(builder));
    BAD("block weights are 17 or 26", sdrs_builder_lora_blocks(builder, "1,2,3"));
    BAD("blocks: is NULL", sdrs_builder_lora_blocks(builder, NULL));
    BAD("builder: is NULL", sdrs_builder_embedding(NULL, "x"));
    BAD("embedding: is NULL", sdrs_builder_embedding(builder, NULL));
    BAD("builder: is NULL", sdrs_builder_embedding_bytes(NULL, "x", (const uint8_t *)"x", 1));
    BAD("name: is NULL", sdrs_builder_embedding_bytes(builder, NULL, (const uint8_t *)"x", 1));
    BAD("data: is NULL", sdrs_builder_embedding_bytes(builder, "x", NULL, 1));
    BAD("builder: is NULL", sdrs_builder_device(NULL, "cpu"));
    BAD("device: is NULL", sdrs_builder_device(builder, NULL));
    BAD("builder: is NULL", sdrs_builder_dtype(NULL, SDRS_DTYPE_F32));
    BAD("builder: is NULL", sdrs_builder_prediction(NULL, SDRS_PREDICTION_V));
    sdrs_pipeline *none = NULL;
    BAD("builder: is NULL", sdrs_builder_build(NULL, &none));
    BAD("pipeline: is NULL", sdrs_builder_build(builder, NULL));
    sdrs_builder_free(builder);

    sdrs_pipeline_info info;
    BAD("info: is NULL", sdrs_pipeline_info_init(NULL, sizeof info));
    OK(sdrs_pipeline_info_init(&info, sizeof info));
    BAD("pipeline: is NULL", sdrs_pipeline_get_info(NULL, &info));
    BAD("info: is NULL", sdrs_pipeline_get_info(pipeline, NULL));

    sdrs_generate_params params = quick_params();
    sdrs_memory_plan plan;
    uint64_t bytes = 0;
    BAD("plan: is NULL", sdrs_memory_plan_init(NULL, sizeof plan));
    BAD("struct_size can't be 8", sdrs_memory_plan_init(&plan, 8));
    OK(sdrs_memory_plan_init(&plan, sizeof plan));
    BAD("pipeline: is NULL", sdrs_pipeline_memory_plan(NULL, &params, NULL, 1, &plan));
    BAD("params: is NULL", sdrs_pipeline_memory_plan(pipeline, NULL, NULL, 1, &plan));
    BAD("plan: is NULL", sdrs_pipeline_memory_plan(pipeline, &params, NULL, 1, NULL));
    BAD("pipeline: is NULL", sdrs_pipeline_memory_of_loras(NULL, NULL, 0, &bytes));
    BAD("loras: is NULL", sdrs_pipeline_memory_of_loras(pipeline, NULL, 1, &bytes));
    BAD("bytes: is NULL", sdrs_pipeline_memory_of_loras(pipeline, NULL, 0, NULL));
    BAD("pipeline: is NULL", sdrs_pipeline_memory_of_vae(NULL, "x", &bytes));
    BAD("vae: is NULL", sdrs_pipeline_memory_of_vae(pipeline, NULL, &bytes));
    BAD("bytes: is NULL", sdrs_pipeline_memory_of_vae(pipeline, "x", NULL));
    sdrs_images *images = NULL;
    BAD("params: is NULL", sdrs_generate_params_init(NULL, sizeof params));
    BAD("options: is NULL", sdrs_run_options_init(NULL, sizeof(sdrs_run_options)));
    BAD("pipeline: is NULL", sdrs_txt2img(NULL, &params, NULL, &images));
    BAD("params: is NULL", sdrs_txt2img(pipeline, NULL, NULL, &images));
    BAD("images: is NULL", sdrs_txt2img(pipeline, &params, NULL, NULL));
    params.prompt = NULL;
    params.prompt_length = 3;
    BAD("prompt: is NULL", sdrs_txt2img(pipeline, &params, NULL, &images));
    BAD("token: is NULL", sdrs_cancel_token_new(NULL));
    BAD("token: is NULL", sdrs_cancel_token_cancel(NULL));

    params = quick_params();
    params.steps = 1;
    params.prompt = NULL; /* An empty prompt. */
    images = draw(pipeline, &params);
    sdrs_image image;
    const uint8_t *data = NULL;
    size_t size = 0;
    BAD("image: is NULL", sdrs_image_init(NULL, sizeof image));
    OK(sdrs_image_init(&image, sizeof image));
    BAD("images: is NULL", sdrs_images_get(NULL, 0, &image));
    BAD("image: is NULL", sdrs_images_get(images, 0, NULL));
    BAD("images: is NULL", sdrs_images_png(NULL, 0, &data, &size));
    BAD("data: is NULL", sdrs_images_png(images, 0, NULL, &size));
    BAD("size: is NULL", sdrs_images_png(images, 0, &data, NULL));
    BAD("images: is NULL", sdrs_images_save_png(NULL, 0, "x"));
    BAD("path: is NULL", sdrs_images_save_png(images, 0, NULL));
    BAD("images: is NULL", sdrs_images_save(NULL, 0, "x", 0));
    BAD("path: is NULL", sdrs_images_save(images, 0, NULL, 0));
    BAD("quality", sdrs_images_save(images, 0, "x.jpg", 101));
    BAD("written as PNG, JPEG or WebP", sdrs_images_save(images, 0, "x.gif", 0));
    BAD("index: 1 is none", sdrs_images_get(images, 1, &image));
    BAD("index", sdrs_images_png(images, SIZE_MAX, &data, &size));
    BAD("index", sdrs_images_save_png(images, SIZE_MAX, "x"));
    CHECK(data == NULL && size == 0);
    sdrs_images_free(images);

    sdrs_sampler sampler = 0;
    sdrs_schedule schedule = 0;
    sdrs_dtype dtype = 0;
    BAD("name: is NULL", sdrs_sampler_from_name(NULL, &sampler, &schedule));
    BAD("sampler: is NULL", sdrs_sampler_from_name("Euler", NULL, &schedule));
    OK(sdrs_sampler_from_name("Euler", &sampler, NULL));
    BAD("name: is NULL", sdrs_schedule_from_name(NULL, &schedule));
    BAD("schedule: is NULL", sdrs_schedule_from_name("Karras", NULL));
    BAD("name: is NULL", sdrs_dtype_from_name(NULL, &dtype));
    BAD("dtype: is NULL", sdrs_dtype_from_name("f32", NULL));
    CHECK(sdrs_sampler_name(-1) == NULL && sdrs_schedule_name(INT32_MAX) == NULL);
    CHECK(sdrs_dtype_name(INT32_MIN) == NULL && sdrs_status_name(-1) == NULL);

    char *json = NULL;
    BAD("path: is NULL", sdrs_inspect(NULL, &json));
    BAD("json: is NULL", sdrs_inspect("x", NULL));
    BAD("json: is NULL", sdrs_devices(NULL));
    BAD("path: is NULL", sdrs_model_hash(NULL, &json));
    BAD("sha256: is NULL", sdrs_model_hash("x", NULL));
    CHECK(json == NULL);
}

static void prompts(void) {
    sdrs_generate_params params = quick_params();
    char *json = NULL;
    BAD("params: is NULL", sdrs_plan_prompts(NULL, NULL, &json));
    BAD("json: is NULL", sdrs_plan_prompts(NULL, &params, NULL));
    BAD("json: is NULL", sdrs_plan_prompts(pipeline, &params, NULL));
    int32_t number = 5;
    BAD("name: is NULL", sdrs_emphasis_from_name(NULL, &number));
    BAD("emphasis: is NULL", sdrs_emphasis_from_name("None", NULL));
    BAD("name: is NULL", sdrs_prompt_dialect_from_name(NULL, &number));
    BAD("prompt_dialect: is NULL", sdrs_prompt_dialect_from_name("comfy", NULL));
    BAD("name: is NULL", sdrs_time_rule_from_name(NULL, &number));
    BAD("time_rule: is NULL", sdrs_time_rule_from_name("current", NULL));
    BAD("name: is NULL", sdrs_clip_skip_rule_from_name(NULL, &number));
    BAD("clip_skip_rule: is NULL", sdrs_clip_skip_rule_from_name("webui", NULL));
    BAD("name: is NULL", sdrs_empty_negative_rule_from_name(NULL, &number));
    BAD("empty_negative_rule: is NULL", sdrs_empty_negative_rule_from_name("comfy", NULL));
    CHECK(number == 5 && sdrs_empty_negative_rule_name(3) == NULL);
    CHECK(sdrs_emphasis_name(4) == NULL && sdrs_prompt_dialect_name(-1) == NULL);
    CHECK(sdrs_time_rule_name(INT32_MAX) == NULL && sdrs_clip_skip_rule_name(INT32_MIN) == NULL);

    /* Numbers that are none, for a run and for a plan. */
    sdrs_images *images = NULL;
    params.emphasis = 4;
    BAD("emphasis: 4 is none: they are 0 to 3", sdrs_txt2img(pipeline, &params, NULL, &images));
    BAD("emphasis: 4 is none", sdrs_plan_prompts(NULL, &params, &json));
    params = quick_params();
    params.prompt_dialect = -1;
    BAD("prompt_dialect: -1 is none", sdrs_txt2img(pipeline, &params, NULL, &images));
    params = quick_params();
    params.time_rule = INT32_MAX;
    BAD("time_rule: 2147483647 is none", sdrs_txt2img(pipeline, &params, NULL, &images));
    params = quick_params();
    params.refiner_switch_at = 1.5;
    BAD("refiner_switch_at: must be 0 to 1", sdrs_txt2img(pipeline, &params, NULL, &images));
    params = quick_params();
    params.empty_negative_rule = 3;
    BAD("empty_negative_rule: 3 is none", sdrs_txt2img(pipeline, &params, NULL, &images));
    params = quick_params();
    params.clip_skip_rule = 2;
    BAD("clip_skip_rule: 2 is none", sdrs_plan_prompts(pipeline, &params, &json));
    params.clip_skip_rule = SDRS_CLIP_SKIP_RULE_DIFFUSERS;
    params.clip_skip = UINT32_MAX - 1;
    BAD("clip_skip: must be", sdrs_txt2img(pipeline, &params, NULL, &images));
    CHECK(images == NULL && json == NULL);
    /* Any distance is one, any number but 0 is true, and broken prompts are text. */
    params = quick_params();
    params.steps = 1;
    params.comma_backtrack = UINT32_MAX;
    params.pad_prompts = INT32_MIN;
    params.prompt = "((((a:1.5 [red:[blue:-1e999], \\ BREAK BREAK (x:nan) ]] <lora <:> AND :3 AND";
    sdrs_images_free(draw(pipeline, &params));
    OK(sdrs_plan_prompts(NULL, &params, &json));
    sdrs_string_free(json);
}

static void low_level_nulls(void) {
    sdrs_pipeline_info info;
    OK(sdrs_pipeline_info_init(&info, sizeof info));
    OK(sdrs_pipeline_get_info(pipeline, &info));
    float floats[1024] = {0};
    double doubles[1] = {0};
    uint32_t ids[2] = {0, 0};
    size_t count = 0, four[4] = {1, info.latent_channels, 4, 4}, three[3] = {1, 1, info.context_width};
    CHECK(16 * info.latent_channels <= 1024 && info.context_width <= 1024);
    sdrs_tensor *tensor = NULL;
    const float *data = NULL;
    BAD("pipeline: is NULL", sdrs_tokenize(NULL, "a", 1, ids, 2, &count));
    BAD("text: is NULL", sdrs_tokenize(pipeline, NULL, 1, ids, 2, &count));
    BAD("ids: is NULL", sdrs_tokenize(pipeline, "a", 1, NULL, 2, &count));
    BAD("count: is NULL", sdrs_tokenize(pipeline, "a", 1, ids, 2, NULL));
    BAD("pipeline: is NULL", sdrs_encode_prompt(NULL, "a", 1, 1, &tensor));
    BAD("prompt: is NULL", sdrs_encode_prompt(pipeline, NULL, SDRS_NUL_TERMINATED, 1, &tensor));
    BAD("context: is NULL", sdrs_encode_prompt(pipeline, "a", 1, 1, NULL));
    BAD("clip_skip", sdrs_encode_prompt(pipeline, "a", 1, 0, &tensor));
    BAD("pipeline: is NULL", sdrs_text_hidden_states(NULL, ids, 2, &tensor));
    BAD("ids: is NULL", sdrs_text_hidden_states(pipeline, NULL, 2, &tensor));
    BAD("ids: must be 1 to", sdrs_text_hidden_states(pipeline, NULL, 0, &tensor));
    BAD("states: is NULL", sdrs_text_hidden_states(pipeline, ids, 2, NULL));
    BAD("pipeline: is NULL", sdrs_encode_ids(NULL, ids, 2, 1, &tensor));
    BAD("ids: is NULL", sdrs_encode_ids(pipeline, NULL, 2, 1, &tensor));
    BAD("ids: must be 1 to", sdrs_encode_ids(pipeline, NULL, 0, 1, &tensor));
    BAD("clip_skip: must be 1 to", sdrs_encode_ids(pipeline, ids, 2, 0, &tensor));
    BAD("context: is NULL", sdrs_encode_ids(pipeline, ids, 2, 1, NULL));
    BAD("pipeline: is NULL", sdrs_unet(NULL, floats, four, doubles, floats, three, &tensor));
    BAD("latents: is NULL", sdrs_unet(pipeline, NULL, four, doubles, floats, three, &tensor));
    BAD("latents_shape: is NULL", sdrs_unet(pipeline, floats, NULL, doubles, floats, three, &tensor));
    BAD("timesteps: is NULL", sdrs_unet(pipeline, floats, four, NULL, floats, three, &tensor));
    BAD("context: is NULL", sdrs_unet(pipeline, floats, four, doubles, NULL, three, &tensor));
    BAD("context_shape: is NULL", sdrs_unet(pipeline, floats, four, doubles, floats, NULL, &tensor));
    BAD("prediction: is NULL", sdrs_unet(pipeline, floats, four, doubles, floats, three, NULL));
    /* A model of one text encoder, whose U-Net takes no vector. */
    BAD("pipeline: is NULL", sdrs_unet_with_vector(NULL, floats, four, doubles, floats, three, floats, &tensor));
    BAD("prediction: is NULL", sdrs_unet_with_vector(pipeline, floats, four, doubles, floats, three, floats, NULL));
    BAD("pipeline: is NULL", sdrs_unet_guided(NULL, floats, four, doubles, floats, three, NULL, 8, &tensor));
    BAD("prediction: is NULL", sdrs_unet_guided(pipeline, floats, four, doubles, floats, three, NULL, 8, NULL));
    BAD("cfg_scale", sdrs_unet_guided(pipeline, floats, four, doubles, floats, three, NULL, 8, &tensor));
    BAD("added: this model's U-Net takes no vector",
        sdrs_unet_with_vector(pipeline, floats, four, doubles, floats, three, floats, &tensor));
    BAD("pipeline: is NULL", sdrs_pooled_prompt(NULL, "a", 1, &tensor));
    BAD("prompt: is NULL", sdrs_pooled_prompt(pipeline, NULL, 1, &tensor));
    BAD("pooled: is NULL", sdrs_pooled_prompt(pipeline, "a", 1, NULL));
    BAD("prompt: no text encoder", sdrs_pooled_prompt(pipeline, "a", 1, &tensor));
    BAD("text: is NULL", sdrs_pooled_text(pipeline, NULL, 1, &tensor));
    BAD("text: no text encoder", sdrs_pooled_text(pipeline, "a", 1, &tensor));
    BAD("pipeline: is NULL", sdrs_size_vector(NULL, doubles, 1, &tensor));
    BAD("sizes: is NULL", sdrs_size_vector(pipeline, NULL, 1, &tensor));
    BAD("vector: is NULL", sdrs_size_vector(pipeline, doubles, 1, NULL));
    BAD("sizes: this model's U-Net takes no sizes", sdrs_size_vector(pipeline, doubles, 1, &tensor));
    BAD("encoder: must be 0", sdrs_encode_ids_with(pipeline, 1, ids, 2, 1, &tensor));
    BAD("context: is NULL", sdrs_encode_ids_with(pipeline, 0, ids, 2, 1, NULL));
    BAD("encoder: must be 0", sdrs_text_hidden_states_with(pipeline, UINT32_MAX, ids, 2, &tensor));
    BAD("states: is NULL", sdrs_text_hidden_states_with(pipeline, 0, ids, 2, NULL));
    BAD("pipeline: is NULL", sdrs_vae_encode(NULL, floats, four, &tensor, NULL));
    BAD("images: is NULL", sdrs_vae_encode(pipeline, NULL, four, &tensor, NULL));
    BAD("shape: is NULL", sdrs_vae_encode(pipeline, floats, NULL, &tensor, NULL));
    BAD("mean: is NULL", sdrs_vae_encode(pipeline, floats, four, NULL, NULL));
    BAD("pipeline: is NULL", sdrs_vae_decode(NULL, floats, four, &tensor));
    BAD("latents: is NULL", sdrs_vae_decode(pipeline, NULL, four, &tensor));
    BAD("shape: is NULL", sdrs_vae_decode(pipeline, floats, NULL, &tensor));
    BAD("images: is NULL", sdrs_vae_decode(pipeline, floats, four, NULL));
    BAD("tensor: is NULL", sdrs_tensor_get(NULL, &data, NULL, NULL));
    /* Shapes that are wrong, or too large for any memory. */
    size_t huge[4] = {SIZE_MAX, SIZE_MAX, 2, 2}, large[4] = {1, 4, SIZE_MAX / 4, 4}, none[4] = {0, 4, 4, 4};
    BAD("latents: the shape", sdrs_vae_decode(pipeline, floats, huge, &tensor));
    BAD("latents: ", sdrs_vae_decode(pipeline, floats, large, &tensor));
    BAD("latents: the shape", sdrs_vae_decode(pipeline, floats, none, &tensor));
    size_t odd[4] = {1, 3, info.downscale + 1, info.downscale};
    BAD("images: must have the shape", sdrs_vae_encode(pipeline, floats, odd, &tensor, NULL));
    size_t wide[3] = {1, 1, info.context_width + 1};
    BAD("context: must have the shape", sdrs_unet(pipeline, floats, four, doubles, floats, wide, &tensor));
    doubles[0] = NAN;
    BAD("timesteps: NaN", sdrs_unet(pipeline, floats, four, doubles, floats, three, &tensor));
    /* A buffer that is not aligned. */
    const float *askew = (const float *)(const void *)((const char *)floats + 1);
    BAD("latents: is not aligned", sdrs_vae_decode(pipeline, askew, four, &tensor));
    CHECK(tensor == NULL);

    double sigmas[4];
    BAD("count: is NULL", sdrs_schedule_sigmas(NULL, SDRS_SCHEDULE_KARRAS, 3, sigmas, 4, NULL));
    BAD("sigmas: is NULL", sdrs_schedule_sigmas(NULL, SDRS_SCHEDULE_KARRAS, 3, NULL, 4, &count));
    BAD("schedule: 99 is none", sdrs_schedule_sigmas(NULL, 99, 3, sigmas, 4, &count));
    BAD("steps", sdrs_schedule_sigmas(NULL, SDRS_SCHEDULE_KARRAS, 0, sigmas, 4, &count));
    BAD("steps", sdrs_schedule_sigmas(NULL, SDRS_SCHEDULE_KARRAS, UINT32_MAX, sigmas, 4, &count));

    sdrs_stepper_options options;
    sdrs_stepper *stepper = NULL;
    sdrs_request request;
    BAD("options: is NULL", sdrs_stepper_options_init(NULL, sizeof options));
    OK(sdrs_stepper_options_init(&options, sizeof options));
    BAD("options: is NULL", sdrs_stepper_new(NULL, NULL, floats, 64, &stepper));
    BAD("noise: is NULL", sdrs_stepper_new(NULL, &options, NULL, 64, &stepper));
    BAD("noise: has no values", sdrs_stepper_new(NULL, &options, NULL, 0, &stepper));
    BAD("stepper: is NULL", sdrs_stepper_new(NULL, &options, floats, 64, NULL));
    options.sampler = -1;
    BAD("sampler: -1 is none", sdrs_stepper_new(NULL, &options, floats, 64, &stepper));
    options.sampler = SDRS_SAMPLER_EULER;
    options.eta = -1.0;
    BAD("eta", sdrs_stepper_new(NULL, &options, floats, 64, &stepper));
    options.eta = NAN;
    OK(sdrs_stepper_new(NULL, &options, floats, 64, &stepper));
    BAD("request: is NULL", sdrs_request_init(NULL, sizeof request));
    OK(sdrs_request_init(&request, sizeof request));
    BAD("stepper: is NULL", sdrs_stepper_request(NULL, &request));
    BAD("request: is NULL", sdrs_stepper_request(stepper, NULL));
    BAD("stepper: is NULL", sdrs_stepper_sigmas(NULL, sigmas, 4, &count));
    BAD("stepper: is NULL", sdrs_stepper_provide_denoised(NULL, floats, NULL, 64));
    BAD("denoised: is NULL", sdrs_stepper_provide_denoised(stepper, NULL, NULL, 64));
    BAD("stepper: ", sdrs_stepper_provide_denoised(stepper, floats, NULL, 63));
    BAD("asked for a denoised latent", sdrs_stepper_provide_noise(stepper, floats, 64));
    BAD("stepper: is NULL", sdrs_stepper_provide_noise(NULL, floats, 64));

    sdrs_noise_options noise_options;
    sdrs_noise *noise = NULL;
    BAD("options: is NULL", sdrs_noise_options_init(NULL, sizeof noise_options));
    OK(sdrs_noise_options_init(&noise_options, sizeof noise_options));
    BAD("shape", sdrs_noise_new(&noise_options, &noise));
    noise_options.height = noise_options.width = UINT32_MAX;
    BAD("shape", sdrs_noise_new(&noise_options, &noise));
    noise_options.height = noise_options.width = 4;
    noise_options.rng = 7;
    BAD("rng: 7 is none", sdrs_noise_new(&noise_options, &noise));
    noise_options.rng = SDRS_RNG_NV;
    BAD("options: is NULL", sdrs_noise_new(NULL, &noise));
    BAD("noise: is NULL", sdrs_noise_new(&noise_options, NULL));
    OK(sdrs_noise_new(&noise_options, &noise));
    BAD("noise: is NULL", sdrs_noise_first(NULL, floats, 64));
    BAD("values: is NULL", sdrs_noise_first(noise, NULL, 64));
    BAD("values: must have room for 64", sdrs_noise_first(noise, floats, SIZE_MAX));
    BAD("noise: is NULL", sdrs_noise_next(NULL, NULL, floats, 64));
    BAD("values: must have room for 64", sdrs_noise_next(noise, NULL, floats, 63));
    BAD("stepper: does not ask for noise", sdrs_noise_next(noise, stepper, floats, 64));
    sdrs_noise_free(noise);
    sdrs_stepper_free(stepper);
}

static void struct_sizes(void) {
    static const size_t sizes[] = {0, 1, 8, 5000, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        sdrs_generate_params params;
        sdrs_run_options options;
        BAD("struct_size can't be", sdrs_generate_params_init(&params, sizes[i]));
        params = quick_params();
        OK(sdrs_run_options_init(&options, sizeof options));
        sdrs_images *images = NULL;
        params.struct_size = sizes[i];
        BAD("call sdrs_generate_params_init first", sdrs_txt2img(pipeline, &params, NULL, &images));
        params.struct_size = sizeof params;
        options.struct_size = sizes[i];
        BAD("call sdrs_run_options_init first", sdrs_txt2img(pipeline, &params, &options, &images));
        sdrs_pipeline_info info = {.struct_size = sizes[i]};
        BAD("call sdrs_pipeline_info_init first", sdrs_pipeline_get_info(pipeline, &info));
        CHECK(images == NULL);
    }
    /* A program built against a later header, whose structure is larger: fine as long as it sets nothing new. */
    struct {
        sdrs_generate_params params;
        char later[16];
    } newer;
    memset(&newer, 0xff, sizeof newer);
    OK(sdrs_generate_params_init(&newer.params, sizeof newer));
    CHECK(newer.params.struct_size == sizeof newer && newer.later[0] == 0 && newer.later[15] == 0);
    newer.params.steps = 1;
    newer.params.width = newer.params.height = 16;
    sdrs_images_free(draw(pipeline, &newer.params));
    newer.later[3] = 1;
    sdrs_images *images = NULL;
    BAD("is set, which this older library", sdrs_txt2img(pipeline, &newer.params, NULL, &images));
}

static void texts(void) {
    size_t count = 0;
    BAD("text: is not UTF-8: byte 2", sdrs_tokenize(pipeline, "ab\xff", SDRS_NUL_TERMINATED, NULL, 0, &count));
    sdrs_builder *builder = NULL;
    OK(sdrs_builder_new(&builder));
    BAD("checkpoint: is not UTF-8", sdrs_builder_checkpoint(builder, "x\xc3("));
    sdrs_builder_free(builder);
    /* A length bounds a text without an end. */
    char endless[3] = {'r', 'e', 'd'};
    OK(sdrs_tokenize(pipeline, endless, sizeof endless, NULL, 0, &count));
    CHECK(count == 1);
    sdrs_generate_params params = quick_params();
    params.prompt = endless;
    params.prompt_length = sizeof endless;
    params.steps = 1;
    sdrs_images *images = draw(pipeline, &params);
    CHECK(strncmp(image_of(images, 0).infotext, "red\n", 4) == 0);
    sdrs_images_free(images);
    images = NULL;
    /* Zero bytes within a length, and control characters, are text like any other. */
    params.prompt = "a\0b\x01";
    params.prompt_length = 4;
    images = draw(pipeline, &params);
    sdrs_image image = image_of(images, 0);
    CHECK(image.infotext_length > 4 && memcmp(image.infotext, params.prompt, 4) == 0);
    sdrs_images_free(images);
    /* Huge texts are refused or read, as the model allows. */
    size_t length = 1 << 20;
    char *huge = malloc(length);
    CHECK(huge != NULL);
    memset(huge, 'a', length);
    images = NULL;
    params.prompt = huge;
    params.prompt_length = length;
    sdrs_status status = sdrs_txt2img(pipeline, &params, NULL, &images);
    CHECK(status == SDRS_OK || status == SDRS_ERROR_INVALID_PARAMETER);
    sdrs_images_free(images);
    free(huge);
}

/* One kind of handle for another: their tags differ. */
static void wrong_handles(void) {
    sdrs_cancel_token *token = NULL;
    OK(sdrs_cancel_token_new(&token));
    sdrs_pipeline *wrong = (sdrs_pipeline *)(void *)token;
    sdrs_generate_params params = quick_params();
    sdrs_images *images = NULL;
    BAD("pipeline: is no such object", sdrs_txt2img(wrong, &params, NULL, &images));
    sdrs_pipeline_free(wrong); /* Does nothing. */
    BAD("pipeline: is not aligned", sdrs_txt2img((sdrs_pipeline *)(void *)((char *)token + 1), &params, NULL, &images));
    OK(sdrs_cancel_token_cancel(token));
    sdrs_cancel_token_free(token);
}

static void huge_parameters(void) {
    sdrs_images *images = NULL;
    sdrs_generate_params params = quick_params();
    params.width = params.height = UINT32_MAX;
    BAD("width: must be", sdrs_txt2img(pipeline, &params, NULL, &images));
    params = quick_params();
    params.batch_size = UINT32_MAX;
    BAD("batch_size: must be", sdrs_txt2img(pipeline, &params, NULL, &images));
    params = quick_params();
    params.steps = UINT32_MAX - 1;
    BAD("steps: must be", sdrs_txt2img(pipeline, &params, NULL, &images));
    params = quick_params();
    params.seed = INT64_MIN;
    BAD("seed: must be", sdrs_txt2img(pipeline, &params, NULL, &images));
    params = quick_params();
    params.cfg_scale = INFINITY;
    BAD("cfg_scale: must be", sdrs_txt2img(pipeline, &params, NULL, &images));
    params = quick_params();
    params.clip_skip = UINT32_MAX - 1;
    BAD("clip_skip: must be", sdrs_txt2img(pipeline, &params, NULL, &images));
    CHECK(images == NULL);
}

int main(void) {
    pipeline = demo_pipeline();
    nulls();
    low_level_nulls();
    struct_sizes();
    texts();
    prompts();
    wrong_handles();
    huge_parameters();
    sdrs_pipeline_free(pipeline);
    return 0;
}
