/* Written for the header beside it: what it has beyond the one before. */
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

struct seen {
    size_t previews, lines;
};

static int32_t show(const sdrs_progress *progress, void *user_data) {
    struct seen *seen = user_data;
    if (progress->preview != NULL && progress->preview_stride >= 3 * (size_t)progress->preview_width) {
        seen->previews += progress->preview_height;
    }
    return 0;
}

static void note(sdrs_log_level level, const char *message, void *user_data) {
    struct seen *seen = user_data;
    seen->lines += level == SDRS_LOG_LEVEL_INFO && message != NULL;
}

int main(int argc, char **argv) {
    CHECK(argc == 3 && sdrs_abi_version() == SDRS_ABI_VERSION);
    char path[1000];
    snprintf(path, sizeof path, "%s/../outlines.safetensors", argv[1]);

    /* Guards around each structure: the library may not write beyond what this header has. */
    struct {
        sdrs_generate_params params;
        unsigned char after_params[64];
        sdrs_run_options options;
        unsigned char after_options[64];
        sdrs_lora lora;
        unsigned char after_lora[64];
    } all;
    memset(&all, 0x5a, sizeof all);
    CHECK(sdrs_generate_params_init(&all.params, sizeof all.params) == SDRS_OK);
    CHECK(sdrs_run_options_init(&all.options, sizeof all.options) == SDRS_OK);
    CHECK(sdrs_lora_init(&all.lora, sizeof all.lora) == SDRS_OK);
    CHECK(all.lora.weight == 1.0 && all.lora.ranks == 0 && all.lora.allow_unmatched == 0 && all.lora.data == NULL);
    CHECK(all.options.preview == SDRS_PREVIEW_NONE && SDRS_PREVIEW_FULL == 2 && SDRS_LOG_LEVEL_WARNING == 1);

    struct seen seen = {0, 0};
    sdrs_builder *builder = NULL;
    sdrs_pipeline *pipeline = NULL, *plain = NULL, *washed = NULL, *again = NULL;
    CHECK(sdrs_builder_new(&builder) == SDRS_OK && sdrs_builder_demo(builder) == SDRS_OK);
    CHECK(sdrs_builder_device(builder, "cpu") == SDRS_OK && sdrs_builder_threads(builder, 2) == SDRS_OK);
    CHECK(sdrs_builder_on_log(builder, note, &seen) == SDRS_OK);
    all.lora.path = path;
    all.lora.weight = 0.75;
    all.lora.text_encoder_weight = 0.25;
    all.lora.schedule = "hold 1@0,0.5@2";
    all.lora.blocks = "unet.mid_block.*=0.5";
    all.lora.ranks = 2;
    CHECK(sdrs_builder_add_lora(builder, &all.lora) == SDRS_OK);
    snprintf(path, sizeof path, "%s/..", argv[1]);
    CHECK(sdrs_builder_lora_dir(builder, path) == SDRS_OK);
    snprintf(path, sizeof path, "%s/../outlines.safetensors", argv[1]);
    CHECK(sdrs_builder_build(builder, &pipeline) == SDRS_OK && seen.lines > 0);
    double weight = 0.0, on_text = 0.0;
    CHECK(strcmp(sdrs_pipeline_lora(pipeline, 0, &weight, &on_text), path) == 0 && weight == 0.75 && on_text == 0.25);
    const sdrs_lora *loras[] = {&all.lora};
    const char *paths[] = {path};
    CHECK(sdrs_pipeline_with_lora_list(pipeline, loras, 0, &plain) == SDRS_OK);
    CHECK(sdrs_pipeline_with_lora_list(plain, loras, 1, &again) == SDRS_OK);
    sdrs_pipeline_free(again);
    CHECK(sdrs_pipeline_with_loras(plain, paths, NULL, NULL, 1, &again) == SDRS_OK);
    snprintf(path, sizeof path, "%s/../vae-washed.safetensors", argv[1]);
    CHECK(sdrs_pipeline_with_vae(plain, path, &washed) == SDRS_OK);

    all.params.prompt = "a red circle";
    all.params.steps = 3;
    all.params.width = 32;
    all.params.height = 48;
    all.options.on_progress = show;
    all.options.user_data = &seen;
    all.options.preview = SDRS_PREVIEW_FULL;
    all.options.preview_every = 2;
    sdrs_tensor *latents = NULL;
    sdrs_images *images = NULL;
    uint64_t seed = 0;
    CHECK(sdrs_txt2img(pipeline, &all.params, &all.options, &images) == SDRS_OK && seen.previews == 48);
    CHECK(sdrs_txt2img_latents(washed, &all.params, &all.options, &latents, &seed) == SDRS_OK && seen.previews == 96);

    const unsigned char *guards[] = {all.after_params, all.after_options, all.after_lora};
    for (size_t i = 0; i < sizeof guards / sizeof *guards; i++) {
        for (size_t j = 0; j < 64; j++) {
            CHECK(guards[i][j] == 0x5a);
        }
    }
    sdrs_tensor_free(latents);
    sdrs_images_free(images);
    sdrs_pipeline_free(again);
    sdrs_pipeline_free(washed);
    sdrs_pipeline_free(plain);
    sdrs_pipeline_free(pipeline);
    sdrs_builder_free(builder);
    return 0;
}
