/* Written for the header beside it: every structure, a picture, an error. */
#include "sdrs.h"

#include <stdio.h>
#include <string.h>

#define CHECK(condition)                                                                                      \
    do {                                                                                                      \
        if (!(condition)) {                                                                                   \
            fprintf(stderr, "%d: not so: %s (%s)\n", __LINE__, #condition, sdrs_last_error_message());         \
            return 1;                                                                                         \
        }                                                                                                     \
    } while (0)

static int32_t count(const sdrs_progress *progress, void *user_data) {
    *(size_t *)user_data += progress->step;
    return 0;
}

int main(void) {
    /* Numbers that callers have compiled in. */
    CHECK(sdrs_abi_version() == 0);
    CHECK(strcmp(sdrs_sampler_name(7), "Euler") == 0 && strcmp(sdrs_sampler_name(30), "SA-Solver") == 0);
    CHECK(strcmp(sdrs_emphasis_name(2), "Ignore") == 0 && strcmp(sdrs_prompt_dialect_name(1), "comfy") == 0);
    CHECK(strcmp(sdrs_time_rule_name(1), "before 1.6") == 0 && strcmp(sdrs_clip_skip_rule_name(1), "diffusers") == 0);
    CHECK(strcmp(sdrs_schedule_name(2), "Karras") == 0 && strcmp(sdrs_schedule_name(17), "Trailing") == 0);

    /* Guards around each structure: the library may not write beyond what this header has. */
    struct {
        sdrs_generate_params params;
        unsigned char after_params[64];
        sdrs_run_options options;
        unsigned char after_options[64];
        sdrs_image image;
        unsigned char after_image[64];
        sdrs_pipeline_info info;
        unsigned char after_info[64];
        sdrs_stepper_options stepper;
        unsigned char after_stepper[64];
        sdrs_request request;
        unsigned char after_request[64];
        sdrs_noise_options noise;
        unsigned char after_noise[64];
    } all;
    memset(&all, 0x5a, sizeof all);
    CHECK(sdrs_generate_params_init(&all.params, sizeof all.params) == SDRS_OK);
    CHECK(sdrs_run_options_init(&all.options, sizeof all.options) == SDRS_OK);
    CHECK(sdrs_image_init(&all.image, sizeof all.image) == SDRS_OK);
    CHECK(sdrs_pipeline_info_init(&all.info, sizeof all.info) == SDRS_OK);
    CHECK(sdrs_stepper_options_init(&all.stepper, sizeof all.stepper) == SDRS_OK);
    CHECK(sdrs_request_init(&all.request, sizeof all.request) == SDRS_OK);
    CHECK(sdrs_noise_options_init(&all.noise, sizeof all.noise) == SDRS_OK);

    CHECK(all.params.clip_skip == 1 && all.params.comma_backtrack == 20 && all.params.pad_prompts == 0);
    CHECK(all.params.rng == SDRS_RNG_CPU);
    sdrs_builder *builder = NULL;
    sdrs_pipeline *pipeline = NULL;
    sdrs_images *images = NULL;
    size_t told = 0;
    CHECK(sdrs_builder_new(&builder) == SDRS_OK && sdrs_builder_demo(builder) == SDRS_OK);
    CHECK(sdrs_builder_device(builder, "cpu") == SDRS_OK);
    CHECK(sdrs_builder_build(builder, &pipeline) == SDRS_OK);
    CHECK(sdrs_pipeline_get_info(pipeline, &all.info) == SDRS_OK && all.info.latent_channels > 0);

    all.params.prompt = "a red circle";
    all.params.steps = 3;
    all.params.width = 32;
    all.params.height = 48;
    all.params.seed = 5;
    all.params.sampler = SDRS_SAMPLER_EULER_ANCESTRAL;
    all.options.on_progress = count;
    all.options.user_data = &told;
    CHECK(sdrs_txt2img(pipeline, &all.params, &all.options, &images) == SDRS_OK && told == 1 + 2 + 3);
    CHECK(sdrs_images_get(images, 0, &all.image) == SDRS_OK);
    CHECK(all.image.width == 32 && all.image.height == 48 && all.image.seed == 5);
    sdrs_images_free(images);
    all.params.clip_skip = 1;
    all.params.clip_skip_rule = SDRS_CLIP_SKIP_RULE_DIFFUSERS;
    all.params.prompt_dialect = SDRS_PROMPT_DIALECT_COMFY;
    all.params.emphasis = SDRS_EMPHASIS_NONE;
    all.params.time_rule = SDRS_TIME_RULE_BEFORE_16;
    all.params.comma_backtrack = 0;
    all.params.pad_prompts = 1;
    CHECK(sdrs_txt2img(pipeline, &all.params, NULL, &images) == SDRS_OK);
    CHECK(sdrs_images_get(images, 0, &all.image) == SDRS_OK);
    CHECK(strstr(all.image.infotext, "Clip skip: 2, Emphasis: None, Old prompt editing timelines: True, Pad conds: True"));
    sdrs_images_free(images);
    all.params.clip_skip_rule = SDRS_CLIP_SKIP_RULE_WEBUI;
    all.params.clip_skip = 0;
    CHECK(sdrs_txt2img(pipeline, &all.params, NULL, &images) == SDRS_ERROR_INVALID_PARAMETER);

    float noise[16];
    sdrs_stepper *stepper = NULL;
    sdrs_noise *source = NULL;
    all.noise.channels = 1;
    all.noise.height = all.noise.width = 4;
    CHECK(sdrs_noise_new(&all.noise, &source) == SDRS_OK && sdrs_noise_first(source, noise, 16) == SDRS_OK);
    all.stepper.steps = 4;
    CHECK(sdrs_stepper_new(pipeline, &all.stepper, noise, 16, &stepper) == SDRS_OK);
    CHECK(sdrs_stepper_request(stepper, &all.request) == SDRS_OK);
    CHECK(all.request.kind == SDRS_REQUEST_DENOISE && all.request.length == 16);

    const unsigned char *guards[] = {all.after_params, all.after_options, all.after_image, all.after_info,
                                     all.after_stepper, all.after_request, all.after_noise};
    for (size_t i = 0; i < sizeof guards / sizeof *guards; i++) {
        for (size_t j = 0; j < 64; j++) {
            CHECK(guards[i][j] == 0x5a);
        }
    }
    sdrs_stepper_free(stepper);
    sdrs_noise_free(source);
    sdrs_pipeline_free(pipeline);
    sdrs_builder_free(builder);
    return 0;
}
