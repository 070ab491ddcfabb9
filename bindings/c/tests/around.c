/* What surrounds runs: weights read through a callback, the log, threads, previews, latents, LoRAs and a VAE for a loaded pipeline. */
#include "check.h"

static void place(char *path, size_t size, const char *folder, const char *name) {
    CHECK(snprintf(path, size, "%s/%s", folder, name) < (int)size);
}

struct held {
    FILE *file;
    uint64_t next;
    size_t calls, fail_at;
};

static int32_t read_held(void *user_data, uint64_t offset, uint8_t *buffer, size_t length) {
    struct held *held = user_data;
    CHECK(offset == held->next && length > 0);
    held->next += length;
    if (++held->calls == held->fail_at) {
        return -1;
    }
    return fseek(held->file, (long)offset, SEEK_SET) != 0 || fread(buffer, 1, length, held->file) != length;
}

struct lines {
    char text[8000];
    size_t infos, warnings;
};

static void note(sdrs_log_level level, const char *message, void *user_data) {
    struct lines *lines = user_data;
    lines->infos += level == SDRS_LOG_LEVEL_INFO;
    lines->warnings += level == SDRS_LOG_LEVEL_WARNING;
    size_t used = strlen(lines->text);
    snprintf(lines->text + used, sizeof lines->text - used, "%s\n", message);
}

/* A single file through the callback gives the pictures that it gives from disk, with any number of threads. */
static void weights_held_elsewhere(const char *folder) {
    char path[1000];
    place(path, sizeof path, folder, "../../../target/goldens/tiny-sd1-ldm.safetensors");
    sdrs_builder *builder = NULL;
    sdrs_pipeline *plain = NULL, *pipeline = NULL;
    OK(sdrs_builder_new(&builder));
    OK(sdrs_builder_device(builder, "cpu"));
    OK(sdrs_builder_dtype(builder, SDRS_DTYPE_F32));
    OK(sdrs_builder_checkpoint(builder, path));
    OK(sdrs_builder_build(builder, &plain));

    struct held held = {.file = fopen(path, "rb")};
    CHECK(held.file != NULL && fseek(held.file, 0, SEEK_END) == 0);
    uint64_t size = (uint64_t)ftell(held.file);
    OK(sdrs_builder_checkpoint_read(builder, "elsewhere.safetensors", size, read_held, &held));
    CHECK(held.calls > 0 && held.next == size);
    struct lines lines = {.infos = 0};
    OK(sdrs_builder_on_log(builder, note, &lines));
    OK(sdrs_builder_threads(builder, 3));
    OK(sdrs_builder_memory_limit(builder, 1000));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "memory_limit: ", sdrs_builder_build(builder, &pipeline));
    OK(sdrs_builder_memory_limit(builder, UINT64_C(1) << 40));
    OK(sdrs_builder_build(builder, &pipeline));
    CHECK(strstr(lines.text, "opened elsewhere.safetensors: one file") != NULL);
    CHECK(strstr(lines.text, "loaded the U-Net: ") != NULL && lines.infos > 3 && lines.warnings == 0);

    sdrs_generate_params params = quick_params();
    sdrs_images *a = draw(plain, &params), *b = draw(pipeline, &params);
    sdrs_image first = image_of(a, 0), second = image_of(b, 0);
    CHECK(same_picture(&first, &second));
    CHECK(strstr(lines.text, "sampled picture 1 of 1: ") != NULL);
    sdrs_images_free(a);
    sdrs_images_free(b);

    /* A reader that fails leaves the builder as it was; a wrong size makes a damaged file, not a crash. */
    sdrs_pipeline *none = NULL;
    held = (struct held){.file = held.file, .fail_at = 1};
    FAILS(SDRS_ERROR_IO, "cannot read x: its callback failed for",
          sdrs_builder_checkpoint_read(builder, "x", size, read_held, &held));
    sdrs_pipeline_free(pipeline);
    OK(sdrs_builder_build(builder, &pipeline));
    held = (struct held){.file = held.file};
    OK(sdrs_builder_checkpoint_read(builder, "short", size / 2, read_held, &held));
    CHECK(sdrs_builder_build(builder, &none) == SDRS_ERROR_INVALID_FILE && none == NULL);
    held = (struct held){.file = held.file};
    FAILS(SDRS_ERROR_IO, "long", sdrs_builder_checkpoint_read(builder, "long", size + 1, read_held, &held));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "there is no memory for 18446744073709551615 bytes",
          sdrs_builder_checkpoint_read(builder, "endless", UINT64_MAX, read_held, &held));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "read: is NULL", sdrs_builder_checkpoint_read(builder, "x", 1, NULL, NULL));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "name: is NULL", sdrs_builder_checkpoint_read(builder, NULL, 1, read_held, &held));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "builder: is NULL", sdrs_builder_checkpoint_read(NULL, "x", 1, read_held, &held));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "builder: is NULL", sdrs_builder_on_log(NULL, note, NULL));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "builder: is NULL", sdrs_builder_threads(NULL, 1));
    OK(sdrs_builder_demo(builder));
    OK(sdrs_builder_threads(builder, 5000));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "threads: must be 1 to 1024, not 5000", sdrs_builder_build(builder, &none));
    fclose(held.file);
    sdrs_pipeline_free(pipeline);
    sdrs_pipeline_free(plain);
    sdrs_builder_free(builder);
}

struct shown {
    size_t calls, previews;
    uint32_t width, height;
    uint8_t last[3 * 48 * 32];
};

static int32_t show(const sdrs_progress *progress, void *user_data) {
    struct shown *shown = user_data;
    shown->calls++;
    CHECK((progress->preview != NULL) == (progress->preview_width > 0));
    if (progress->preview != NULL) {
        shown->previews++;
        shown->width = progress->preview_width;
        shown->height = progress->preview_height;
        size_t row = 3 * (size_t)progress->preview_width;
        CHECK(progress->preview_stride >= row && row * progress->preview_height <= sizeof shown->last);
        for (size_t y = 0; y < progress->preview_height; y++) {
            memcpy(shown->last + y * row, progress->preview + y * progress->preview_stride, row);
        }
    }
    return 0;
}

static void previews(const sdrs_pipeline *pipeline) {
    sdrs_generate_params params = quick_params();
    params.steps = 4;
    sdrs_images *plain = draw(pipeline, &params), *images = NULL;
    sdrs_image expected = image_of(plain, 0);
    sdrs_run_options options;
    OK(sdrs_run_options_init(&options, sizeof options));
    CHECK(options.preview == SDRS_PREVIEW_NONE && options.preview_every == 0);
    static struct shown shown;
    options.on_progress = show;
    options.user_data = &shown;
    const struct {
        sdrs_preview method;
        uint32_t every, width;
        size_t previews;
    } cases[] = {
        {SDRS_PREVIEW_NONE, 1, 0, 0},
        {SDRS_PREVIEW_APPROXIMATE, 2, 6, 2},
        {SDRS_PREVIEW_FULL, 0, 48, 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memset(&shown, 0, sizeof shown);
        options.preview = cases[i].method;
        options.preview_every = cases[i].every;
        OK(sdrs_txt2img(pipeline, &params, &options, &images));
        sdrs_image got = image_of(images, 0);
        CHECK(same_picture(&got, &expected));
        CHECK(shown.calls == 4 && shown.previews == cases[i].previews && shown.width == cases[i].width);
        sdrs_images_free(images);
    }
    /* The last step's denoised latent is what is decoded. */
    CHECK(shown.height == 32 && memcmp(shown.last, expected.rgb, 3 * 48) == 0);
    options.preview = (sdrs_preview)9;
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "preview: 9 is none", sdrs_txt2img(pipeline, &params, &options, &images));
    sdrs_images_free(plain);
}

static void latents_of_a_run(const sdrs_pipeline *pipeline) {
    sdrs_generate_params params = quick_params();
    params.batch_size = 2;
    uint64_t seeds[2] = {0, 0};
    sdrs_tensor *latents = NULL, *decoded = NULL, *none = NULL;
    OK(sdrs_txt2img_latents(pipeline, &params, NULL, &latents, seeds));
    const float *values = NULL, *pixels = NULL;
    const size_t *shape = NULL;
    size_t rank = 0;
    OK(sdrs_tensor_get(latents, &values, &shape, &rank));
    CHECK(rank == 4 && shape[0] == 2 && shape[1] == 4 && shape[2] == 4 && shape[3] == 6);
    CHECK(seeds[0] == 7 && seeds[1] == 8);
    OK(sdrs_vae_decode(pipeline, values, shape, &decoded));
    OK(sdrs_tensor_get(decoded, &pixels, NULL, NULL));
    sdrs_images *images = draw(pipeline, &params);
    sdrs_image image = image_of(images, 0);
    for (size_t x = 0; x < 48; x++) {
        double red = (pixels[x] + 1.0) / 2.0 * 255.0;
        red = red < 0.0 ? 0.0 : red > 255.0 ? 255.0 : red;
        CHECK(fabs(red - image.rgb[3 * x]) <= 1.001);
    }
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "pipeline: is NULL", sdrs_txt2img_latents(NULL, &params, NULL, &none, NULL));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "params: is NULL", sdrs_txt2img_latents(pipeline, NULL, NULL, &none, NULL));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "latents: is NULL", sdrs_txt2img_latents(pipeline, &params, NULL, NULL, NULL));
    sdrs_images_free(images);
    sdrs_tensor_free(decoded);
    sdrs_tensor_free(latents);

    sdrs_tensor *literal = NULL, *plain = NULL;
    OK(sdrs_encode_text(pipeline, "a (red:1.3) ring", SDRS_NUL_TERMINATED, 1, &literal));
    OK(sdrs_encode_prompt(pipeline, "a \\(red:1.3\\) ring", SDRS_NUL_TERMINATED, 1, &plain));
    const float *a = NULL, *b = NULL;
    OK(sdrs_tensor_get(literal, &a, &shape, &rank));
    OK(sdrs_tensor_get(plain, &b, NULL, NULL));
    CHECK(rank == 2 && sdrs_tensor_size(literal) == sdrs_tensor_size(plain));
    CHECK(memcmp(a, b, sdrs_tensor_size(literal) * sizeof *a) == 0);
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "text: is NULL", sdrs_encode_text(pipeline, NULL, SDRS_NUL_TERMINATED, 1, &none));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "clip_skip: must be", sdrs_encode_text(pipeline, "a", 1, 0, &none));
    sdrs_tensor_free(literal);
    sdrs_tensor_free(plain);
}

static void siblings(const sdrs_pipeline *pipeline, const char *folder) {
    char lora[1000], vae[1000];
    place(lora, sizeof lora, folder, "../outlines.safetensors");
    place(vae, sizeof vae, folder, "../vae-washed.safetensors");
    const char *loras[] = {lora};
    const double weights[] = {0.75}, text_encoder[] = {0.5};
    sdrs_pipeline *styled = NULL, *plain = NULL, *washed = NULL, *none = NULL;
    OK(sdrs_pipeline_with_loras(pipeline, loras, weights, text_encoder, 1, &styled));
    double weight = 0.0, on_text = 0.0;
    CHECK(strcmp(sdrs_pipeline_lora(styled, 0, &weight, &on_text), lora) == 0 && weight == 0.75 && on_text == 0.5);
    CHECK(sdrs_pipeline_lora(styled, 1, &weight, NULL) == NULL && sdrs_pipeline_lora(pipeline, 0, NULL, NULL) == NULL);
    OK(sdrs_pipeline_with_loras(styled, NULL, NULL, NULL, 0, &plain));
    OK(sdrs_pipeline_with_vae(pipeline, vae, &washed));

    sdrs_generate_params params = quick_params();
    sdrs_images *drawn[] = {draw(pipeline, &params), draw(styled, &params), draw(plain, &params), draw(washed, &params)};
    sdrs_image images[4];
    for (size_t i = 0; i < 4; i++) {
        images[i] = image_of(drawn[i], 0);
    }
    CHECK(!same_picture(&images[0], &images[1]) && same_picture(&images[0], &images[2]));
    CHECK(!same_picture(&images[0], &images[3]) && strstr(images[1].infotext, "Lora hashes: ") != NULL);
    for (size_t i = 0; i < 4; i++) {
        sdrs_images_free(drawn[i]);
    }
    const char *bad[] = {NULL};
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "loras: is NULL", sdrs_pipeline_with_loras(pipeline, bad, NULL, NULL, 1, &none));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "loras: is NULL", sdrs_pipeline_with_loras(pipeline, NULL, NULL, NULL, 1, &none));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "other: is NULL", sdrs_pipeline_with_loras(pipeline, loras, NULL, NULL, 1, NULL));
    bad[0] = "none.safetensors";
    FAILS(SDRS_ERROR_IO, "none.safetensors", sdrs_pipeline_with_loras(pipeline, bad, NULL, NULL, 1, &none));
    FAILS(SDRS_ERROR_IO, "none", sdrs_pipeline_with_vae(pipeline, "none", &none));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "vae: is NULL", sdrs_pipeline_with_vae(pipeline, NULL, &none));
    CHECK(none == NULL && sdrs_pipeline_lora(NULL, 0, NULL, NULL) == NULL);
    sdrs_pipeline_free(washed);
    sdrs_pipeline_free(styled);
    /* What it shared with the styled one is still there. */
    sdrs_images_free(draw(plain, &params));
    sdrs_pipeline_free(plain);
}

/* What was saved, LoRA and all, draws what the pipeline does. */
static void saved(const char *folder, const char *work) {
    char lora[1000], file[1000], saved_folder[1000];
    place(lora, sizeof lora, folder, "../outlines.safetensors");
    place(file, sizeof file, work, "saved.safetensors");
    place(saved_folder, sizeof saved_folder, work, "saved");
    const char *loras[] = {lora}, *paths[] = {file, saved_folder};
    sdrs_pipeline *base = NULL, *styled = NULL;
    sdrs_builder *all = NULL;
    /* In f32 altogether: weights that a LoRA changes would be rounded to the 16 bits of their file. */
    OK(sdrs_builder_new(&all));
    OK(sdrs_builder_device(all, "cpu"));
    OK(sdrs_builder_dtype(all, SDRS_DTYPE_F32));
    OK(sdrs_builder_weight_dtype(all, SDRS_WEIGHT_DTYPE_F32));
    OK(sdrs_builder_checkpoint(all, folder));
    OK(sdrs_builder_build(all, &base));
    sdrs_builder_free(all);
    OK(sdrs_pipeline_with_loras(base, loras, NULL, NULL, 1, &styled));
    sdrs_pipeline_free(base);
    sdrs_generate_params params = quick_params();
    sdrs_images *drawn = draw(styled, &params);
    sdrs_image expected = image_of(drawn, 0);
    OK(sdrs_pipeline_save_file(styled, file, SDRS_DTYPE_F32));
    OK(sdrs_pipeline_save_folder(styled, saved_folder, SDRS_DTYPE_F32));
    for (size_t i = 0; i < 2; i++) {
        sdrs_builder *builder = NULL;
        sdrs_pipeline *again = NULL;
        OK(sdrs_builder_new(&builder));
        OK(sdrs_builder_device(builder, "cpu"));
        OK(sdrs_builder_dtype(builder, SDRS_DTYPE_F32));
        OK(sdrs_builder_checkpoint(builder, paths[i]));
        OK(sdrs_builder_build(builder, &again));
        sdrs_images *images = draw(again, &params);
        sdrs_image image = image_of(images, 0);
        CHECK(same_picture(&image, &expected));
        sdrs_images_free(images);
        sdrs_pipeline_free(again);
        sdrs_builder_free(builder);
    }
    FAILS(SDRS_ERROR_IO, "saved", sdrs_pipeline_save_folder(styled, saved_folder, SDRS_DTYPE_F32));
    FAILS(SDRS_ERROR_IO, "none", sdrs_pipeline_save_file(styled, "none/none.safetensors", SDRS_DTYPE_F16));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "dtype: is AUTO", sdrs_pipeline_save_file(styled, file, SDRS_DTYPE_AUTO));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "dtype: 9 is none", sdrs_pipeline_save_folder(styled, file, (sdrs_dtype)9));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "path: is NULL", sdrs_pipeline_save_file(styled, NULL, SDRS_DTYPE_F16));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "pipeline: is NULL", sdrs_pipeline_save_folder(NULL, file, SDRS_DTYPE_F16));
    sdrs_images_free(drawn);
    sdrs_pipeline_free(styled);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    weights_held_elsewhere(argv[1]);
    sdrs_pipeline *pipeline = demo_pipeline();
    previews(pipeline);
    latents_of_a_run(pipeline);
    siblings(pipeline, argv[1]);
    saved(argv[1], argv[2]);
    sdrs_pipeline_free(pipeline);
    return 0;
}
