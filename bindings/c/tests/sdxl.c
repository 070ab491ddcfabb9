/* SDXL by hand: pooled texts, sizes and the U-Net's vector give what sdrs_txt2img_latents gives. */
#include "folder.h"

enum { W = 48, H = 32, WIDTH = 2048 };
static const double CFG_SCALE = 6.0;
static const char *const PROMPT = "a red circle above a blue square", *const NEGATIVE = "blurry";

/* The small random SDXL of the reference values, from the folders that have its parts. */
static sdrs_pipeline *tiny(const char *demo) {
    static const char *const parts[][2] = {
        {"tiny-sd1", "text_encoder/config.json"},
        {"tiny-sd1", "text_encoder/model.safetensors"},
        {"tiny-sd1", "vae/config.json"},
        {"tiny-sd1", "vae/diffusion_pytorch_model.safetensors"},
        {"tiny-sdxl", "scheduler/scheduler_config.json"},
        {"tiny-sdxl", "text_encoder_2/config.json"},
        {"tiny-sdxl", "text_encoder_2/model.safetensors"},
        {"tiny-sdxl", "unet/config.json"},
        {"tiny-sdxl", "unet/diffusion_pytorch_model.safetensors"},
    };
    sdrs_builder *builder = NULL;
    OK(sdrs_builder_new(&builder));
    OK(sdrs_builder_device(builder, "cpu"));
    OK(sdrs_builder_dtype(builder, SDRS_DTYPE_F32));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char folder[1000];
        size_t size = 0;
        snprintf(folder, sizeof folder, "%s/../../../goldens/%s", demo, parts[i][0]);
        unsigned char *bytes = read_file(folder, parts[i][1], &size);
        OK(sdrs_builder_checkpoint_file(builder, "sdxl", parts[i][1], bytes, size));
        free(bytes);
    }
    sdrs_pipeline *pipeline = NULL;
    OK(sdrs_builder_build(builder, &pipeline));
    /* A refiner without a text encoder. */
    char refiner[1000];
    snprintf(refiner, sizeof refiner, "%s/../../../goldens/tiny-refiner", demo);
    sdrs_pipeline *none = NULL;
    OK(sdrs_builder_refiner(builder, refiner));
    FAILS(SDRS_ERROR_INVALID_FILE, "it lacks a text encoder", sdrs_builder_build(builder, &none));
    CHECK(none == NULL);
    sdrs_builder_free(builder);
    return pipeline;
}

/* The same values, but for rounding. */
static int close(const float *a, const float *b, size_t n) {
    double off = 0.0, size = 0.0;
    for (size_t i = 0; i < n; i++) {
        off += pow((double)a[i] - b[i], 2.0);
        size += pow((double)b[i], 2.0);
    }
    return off <= 1e-10 * size;
}

/* A text's context and vector. */
static void condition(const sdrs_pipeline *pipeline, const char *text, sdrs_tensor **context, float *added) {
    static const double told[6] = {H, W, 0, 0, H, W};
    sdrs_tensor *pooled = NULL, *plain = NULL, *sizes = NULL;
    const float *values = NULL, *same = NULL;
    OK(sdrs_encode_prompt(pipeline, text, SDRS_NUL_TERMINATED, 1, context));
    OK(sdrs_pooled_prompt(pipeline, text, SDRS_NUL_TERMINATED, &pooled));
    OK(sdrs_pooled_text(pipeline, text, SDRS_NUL_TERMINATED, &plain));
    OK(sdrs_tensor_get(pooled, &values, NULL, NULL));
    OK(sdrs_tensor_get(plain, &same, NULL, NULL));
    size_t width = sdrs_tensor_size(pooled);
    CHECK(sdrs_tensor_size(plain) == width && close(values, same, width));
    memcpy(added, values, width * sizeof *added);
    OK(sdrs_size_vector(pipeline, told, 6, &sizes));
    OK(sdrs_tensor_get(sizes, &values, NULL, NULL));
    CHECK(width + sdrs_tensor_size(sizes) <= WIDTH);
    memcpy(added + width, values, sdrs_tensor_size(sizes) * sizeof *added);
    sdrs_tensor_free(pooled);
    sdrs_tensor_free(plain);
    sdrs_tensor_free(sizes);
}

static void by_hand(const sdrs_pipeline *pipeline, const sdrs_pipeline_info *info) {
    sdrs_generate_params params = quick_params();
    params.prompt = PROMPT;
    params.negative_prompt = NEGATIVE;
    params.sampler = SDRS_SAMPLER_EULER;
    params.cfg_scale = CFG_SCALE;
    sdrs_tensor *expected = NULL;
    OK(sdrs_txt2img_latents(pipeline, &params, NULL, &expected, NULL));

    sdrs_tensor *contexts[2] = {NULL, NULL};
    const float *context[2] = {NULL, NULL};
    float added[2][WIDTH];
    size_t context_shape[3] = {1, info->context_length, info->context_width};
    for (int i = 0; i < 2; i++) {
        condition(pipeline, i == 0 ? PROMPT : NEGATIVE, &contexts[i], added[i]);
        OK(sdrs_tensor_get(contexts[i], &context[i], NULL, NULL));
    }
    size_t shape[4] = {1, info->latent_channels, H / info->downscale, W / info->downscale};
    size_t n = shape[1] * shape[2] * shape[3];
    float buffer[1024], input[1024];
    CHECK(n <= 1024);

    sdrs_noise_options noise_options;
    sdrs_noise *noise = NULL;
    OK(sdrs_noise_options_init(&noise_options, sizeof noise_options));
    noise_options.seed = (uint64_t)params.seed;
    noise_options.channels = (uint32_t)shape[1];
    noise_options.height = (uint32_t)shape[2];
    noise_options.width = (uint32_t)shape[3];
    OK(sdrs_noise_new(&noise_options, &noise));
    OK(sdrs_noise_first(noise, buffer, n));
    sdrs_stepper_options options;
    sdrs_stepper *stepper = NULL;
    OK(sdrs_stepper_options_init(&options, sizeof options));
    options.sampler = SDRS_SAMPLER_EULER;
    options.steps = params.steps;
    OK(sdrs_stepper_new(pipeline, &options, buffer, n, &stepper));
    sdrs_request request;
    OK(sdrs_request_init(&request, sizeof request));
    for (;;) {
        OK(sdrs_stepper_request(stepper, &request));
        if (request.kind == SDRS_REQUEST_DONE) {
            break;
        }
        CHECK(request.kind == SDRS_REQUEST_DENOISE);
        for (size_t i = 0; i < n; i++) {
            input[i] = (float)(request.c_in * request.x[i]);
        }
        for (int k = 1; k >= 0; k--) {
            double weight = k == 0 ? CFG_SCALE : 1.0 - CFG_SCALE;
            sdrs_tensor *prediction = NULL;
            const float *out = NULL;
            OK(sdrs_unet_with_vector(pipeline, input, shape, &request.timestep, context[k], context_shape, added[k],
                                     &prediction));
            OK(sdrs_tensor_get(prediction, &out, NULL, NULL));
            for (size_t i = 0; i < n; i++) {
                double denoised = request.c_skip * request.x[i] + request.c_out * out[i];
                buffer[i] = (float)(weight * denoised + (k == 0 ? buffer[i] : 0.0));
            }
            sdrs_tensor_free(prediction);
        }
        OK(sdrs_stepper_provide_denoised(stepper, buffer, NULL, n));
    }
    const float *latents = NULL;
    OK(sdrs_tensor_get(expected, &latents, NULL, NULL));
    CHECK(sdrs_tensor_size(expected) == n && close(request.x, latents, n));

    sdrs_tensor *none = NULL;
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "added: this model's U-Net takes a vector",
          sdrs_unet(pipeline, input, shape, &request.timestep, context[0], context_shape, &none));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "sizes: must be 6 numbers", sdrs_size_vector(pipeline, NULL, 0, &none));
    CHECK(none == NULL);
    sdrs_stepper_free(stepper);
    sdrs_noise_free(noise);
    sdrs_tensor_free(contexts[0]);
    sdrs_tensor_free(contexts[1]);
    sdrs_tensor_free(expected);
}

/* Each encoder's states, and its half of the context. */
static void encoders(const sdrs_pipeline *pipeline, const sdrs_pipeline_info *info) {
    static const uint32_t ids[3] = {49406, 320, 49407};
    const uint32_t widths[2] = {info->text_width, info->text_width_2};
    CHECK(widths[0] + widths[1] == info->context_width && widths[1] > 0);
    for (uint32_t encoder = 0; encoder < 2; encoder++) {
        sdrs_tensor *states = NULL, *context = NULL;
        const float *all = NULL, *one = NULL;
        const size_t *shape = NULL;
        OK(sdrs_text_hidden_states_with(pipeline, encoder, ids, 3, &states));
        OK(sdrs_encode_ids_with(pipeline, encoder, ids, 3, 1, &context));
        OK(sdrs_tensor_get(states, &all, &shape, NULL));
        OK(sdrs_tensor_get(context, &one, NULL, NULL));
        size_t n = 3 * (size_t)widths[encoder];
        CHECK(shape[1] == 3 && shape[2] == widths[encoder] && sdrs_tensor_size(context) == n);
        /* The last but one. */
        CHECK(memcmp(all + (shape[0] - 2) * n, one, n * sizeof *one) == 0);
        sdrs_tensor_free(states);
        sdrs_tensor_free(context);
    }
    sdrs_tensor *none = NULL;
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "encoder: must be 0 to 1", sdrs_encode_ids_with(pipeline, 2, ids, 3, 1, &none));
    CHECK(none == NULL);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    sdrs_pipeline *pipeline = tiny(argv[1]);
    sdrs_pipeline_info info;
    OK(sdrs_pipeline_info_init(&info, sizeof info));
    OK(sdrs_pipeline_get_info(pipeline, &info));
    CHECK(info.refiner_name == NULL && info.pooled_width == 24 && info.added_width == 24 + 6 * 256);
    by_hand(pipeline, &info);
    encoders(pipeline, &info);
    sdrs_pipeline_free(pipeline);
    return 0;
}
