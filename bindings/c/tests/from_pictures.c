/* Runs that begin at pictures, and second passes. */
#include "check.h"

static sdrs_picture picture_of(const uint8_t *pixels, uint32_t width, uint32_t height, uint32_t channels) {
    sdrs_picture picture;
    OK(sdrs_picture_init(&picture, sizeof picture));
    picture.pixels = pixels;
    picture.width = width;
    picture.height = height;
    picture.channels = channels;
    return picture;
}

static sdrs_images *from(const sdrs_pipeline *pipeline, const sdrs_generate_params *params, const sdrs_inputs *inputs) {
    sdrs_images *images = NULL;
    OK(sdrs_img2img(pipeline, params, inputs, NULL, &images));
    return images;
}

/* A picture is kept where the mask does not cover it, to the bit, and changes elsewhere. */
static void a_masked_picture(const sdrs_pipeline *pipeline, sdrs_generate_params params, const char *out) {
    sdrs_images *drawn = draw(pipeline, &params);
    sdrs_image first = image_of(drawn, 0);
    OK(sdrs_images_save_png(drawn, 0, out));
    sdrs_picture_file *file = NULL;
    OK(sdrs_picture_open(out, &file));
    sdrs_picture read;
    OK(sdrs_picture_init(&read, sizeof read));
    OK(sdrs_picture_file_get(file, &read));
    CHECK(read.width == first.width && read.height == first.height && read.channels == 4);
    remove(out);

    static uint8_t mask[96 * 100];
    const size_t stride = 100;
    for (size_t y = 0; y < 96; y++) {
        for (size_t x = 0; x < 96; x++) {
            mask[y * stride + x] = x >= 64 ? 255 : 0;
        }
    }
    sdrs_picture image = picture_of(first.rgb, first.width, first.height, 3);
    sdrs_picture covered = picture_of(mask, 96, 96, 1);
    covered.stride = stride;
    sdrs_inputs inputs;
    OK(sdrs_inputs_init(&inputs, sizeof inputs));
    inputs.image = &image;
    inputs.mask = &covered;
    params.seed = 5;
    params.strength = 0.9;
    params.mask_blur = 0;
    sdrs_images *masked = from(pipeline, &params, &inputs);
    sdrs_image second = image_of(masked, 0);
    size_t changed = 0;
    for (size_t y = 0; y < 96; y++) {
        const uint8_t *a = first.rgb + y * first.stride, *b = second.rgb + y * second.stride;
        CHECK(memcmp(a, b, 3 * 64) == 0);
        changed += memcmp(a + 3 * 64, b + 3 * 64, 3 * 32) != 0;
    }
    CHECK(changed > 50 && strstr(second.infotext, "Denoising strength: 0.9") != NULL);

    /* The file's picture is the same one; its alpha is opaque. */
    inputs.image = &read;
    sdrs_images *again = from(pipeline, &params, &inputs);
    CHECK(memcmp(image_of(again, 0).rgb, second.rgb, second.stride * second.height) == 0);
    sdrs_images_free(again);
    sdrs_images_free(masked);
    sdrs_images_free(drawn);
    sdrs_picture_file_free(file);
}

static void a_second_pass(const sdrs_pipeline *pipeline, sdrs_generate_params params) {
    params.hires_scale = 1.5;
    params.hires_steps = 2;
    params.hires_upscaler = "Latent (nearest-exact)";
    sdrs_images *images = draw(pipeline, &params);
    sdrs_image image = image_of(images, 0);
    CHECK(image.width == 144 && image.height == 144);
    CHECK(strstr(image.infotext, "Hires upscale: 1.5, Hires steps: 2") != NULL);
    sdrs_images_free(images);
    params.hires_upscaler = "Magic";
    images = NULL;
    CHECK(sdrs_txt2img(pipeline, &params, NULL, &images) == SDRS_ERROR_UNKNOWN_NAME && images == NULL);
}

/* A run goes on from a saved step to the same pixels, or branches; tiles and traces are options of any run. */
static void saved_steps(const sdrs_pipeline *pipeline, sdrs_generate_params params, const char *folder) {
    char states[1000], path[1100], trace[1100];
    snprintf(states, sizeof states, "%s/states", folder);
    snprintf(path, sizeof path, "%s/picture-1-step-00004.safetensors", states);
    snprintf(trace, sizeof trace, "%s/trace.jsonl", folder);
    sdrs_run_options options;
    OK(sdrs_run_options_init(&options, sizeof options));
    options.states_folder = states;
    options.states_every = 4;
    options.trace = trace;
    params.tiled_diffusion = SDRS_TILED_DIFFUSION_MIXTURE_OF_DIFFUSERS;
    params.tile_width = params.tile_height = 16;
    params.tile_overlap = 4;
    params.width = params.height = 192;
    sdrs_images *whole = NULL;
    OK(sdrs_txt2img(pipeline, &params, &options, &whole));
    CHECK(strstr(image_of(whole, 0).infotext, "Tiled Diffusion: {\"Method\": \"Mixture of Diffusers\"") != NULL);
    sdrs_run_state *state = NULL;
    OK(sdrs_run_state_open(path, &state));
    CHECK(sdrs_run_state_step(state) == 4);
    sdrs_generate_params kept;
    OK(sdrs_generate_params_init(&kept, sizeof kept));
    OK(sdrs_run_state_params(state, &kept));
    CHECK(strcmp(kept.prompt, params.prompt) == 0 && kept.steps == params.steps && kept.seed == 1 && kept.width == 192);
    sdrs_image first = image_of(whole, 0);
    const sdrs_generate_params *same[] = {NULL, &kept};
    for (size_t i = 0; i < 2; i++) {
        sdrs_images *again = NULL;
        OK(sdrs_resume(pipeline, state, same[i], NULL, &again));
        CHECK(memcmp(image_of(again, 0).rgb, first.rgb, first.stride * first.height) == 0);
        sdrs_images_free(again);
    }
    kept.cfg_scale = 2;
    sdrs_images *branch = NULL;
    OK(sdrs_resume(pipeline, state, &kept, NULL, &branch));
    CHECK(memcmp(image_of(branch, 0).rgb, first.rgb, first.stride * first.height) != 0);
    sdrs_images_free(branch);
    branch = NULL;
    kept.steps = 9;
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "steps: was 6", sdrs_resume(pipeline, state, &kept, NULL, &branch));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "state: is NULL", sdrs_resume(pipeline, NULL, NULL, NULL, &branch));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "images: is NULL", sdrs_resume(pipeline, state, NULL, NULL, NULL));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "state: is NULL", sdrs_run_state_params(NULL, &kept));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "path: is NULL", sdrs_run_state_open(NULL, &state));
    CHECK(branch == NULL && sdrs_run_state_step(NULL) == 0);
    sdrs_run_state *none = NULL;
    FAILS(SDRS_ERROR_IO, "no-such", sdrs_run_state_open("/no-such", &none));
    FAILS(SDRS_ERROR_INVALID_FILE, "trace.jsonl", sdrs_run_state_open(trace, &none));
    CHECK(none == NULL);
    sdrs_run_state_free(state);
    sdrs_run_state_free(NULL);
    sdrs_images_free(whole);
    remove(trace);
    remove(path);
    snprintf(path, sizeof path, "%s/picture-1-step-00006.safetensors", states);
    remove(path);
    remove(states);
}

static void misuse(const sdrs_pipeline *pipeline, const sdrs_generate_params *params) {
    static const uint8_t pixels[16 * 16 * 3];
    sdrs_images *images = NULL;
    sdrs_inputs inputs;
    OK(sdrs_inputs_init(&inputs, sizeof inputs));
    CHECK(sdrs_img2img(pipeline, params, NULL, NULL, &images) == SDRS_ERROR_INVALID_PARAMETER);
    sdrs_picture image = picture_of(pixels, 16, 16, 2);
    inputs.image = &image;
    CHECK(sdrs_img2img(pipeline, params, &inputs, NULL, &images) == SDRS_ERROR_INVALID_PARAMETER);
    CHECK(strstr(sdrs_last_error_message(), "has 2 channels") != NULL);
    image = picture_of(NULL, 16, 16, 3);
    CHECK(sdrs_img2img(pipeline, params, &inputs, NULL, &images) == SDRS_ERROR_INVALID_PARAMETER);
    image = picture_of(pixels, 0, 16, 3);
    CHECK(sdrs_img2img(pipeline, params, &inputs, NULL, &images) == SDRS_ERROR_INVALID_PARAMETER);
    image = picture_of(pixels, 0xffffffffu, 0xffffffffu, 3);
    CHECK(sdrs_img2img(pipeline, params, &inputs, NULL, &images) == SDRS_ERROR_INVALID_PARAMETER);
    image = picture_of(pixels, 16, 16, 3);
    image.stride = 47;
    CHECK(sdrs_img2img(pipeline, params, &inputs, NULL, &images) == SDRS_ERROR_INVALID_PARAMETER);
    inputs.image = NULL;
    const float one = 0.0f;
    inputs.latents = &one;
    CHECK(sdrs_img2img(pipeline, params, &inputs, NULL, &images) == SDRS_ERROR_INVALID_PARAMETER);
    CHECK(strstr(sdrs_last_error_message(), "latents_shape") != NULL && images == NULL);
    sdrs_picture_file *file = NULL;
    CHECK(sdrs_picture_open("/no/such.png", &file) == SDRS_ERROR_IO && file == NULL);
    sdrs_picture_file_free(NULL);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    char out[1000];
    snprintf(out, sizeof out, "%s/from_pictures.png", argv[2]);
    sdrs_pipeline *pipeline = demo_pipeline();
    sdrs_generate_params params;
    OK(sdrs_generate_params_init(&params, sizeof params));
    params.prompt = "a red circle above a blue square";
    params.steps = 6;
    params.seed = 1;
    a_masked_picture(pipeline, params, out);
    a_second_pass(pipeline, params);
    saved_steps(pipeline, params, argv[2]);
    misuse(pipeline, &params);
    sdrs_pipeline_free(pipeline);
    return 0;
}
