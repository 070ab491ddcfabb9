/* Every status on purpose; loading from memory and from files. The arguments: models/demo/base, and a folder for files. */
#include "folder.h"

static sdrs_pipeline *pipeline;
static sdrs_images *const UNTOUCHED = (sdrs_images *)8;

/* The U-Net's last weight becomes a number that is none. */
static int spoil(const char *name, unsigned char *bytes, size_t size) {
    if (strcmp(name, "unet/diffusion_pytorch_model.safetensors") == 0) {
        memset(bytes + size - 64, 0xff, 64);
    }
    return 1;
}

static int damage(const char *name, unsigned char *bytes, size_t size) {
    if (strcmp(name, "vae/diffusion_pytorch_model.safetensors") == 0) {
        memset(bytes, 0xff, size < 8 ? size : 8);
    }
    return 1;
}

/* A configuration that the weights don't have. */
static int fewer_layers(const char *name, unsigned char *bytes, size_t size) {
    static const char field[] = "\"layers_per_block\": 1";
    for (size_t i = 0; strcmp(name, "unet/config.json") == 0 && i + sizeof field <= size; i++) {
        if (memcmp(bytes + i, field, sizeof field - 1) == 0) {
            bytes[i + sizeof field - 2] = '2';
        }
    }
    return 1;
}

static int without_vae_config(const char *name, unsigned char *bytes, size_t size) {
    (void)bytes, (void)size;
    return strcmp(name, "vae/config.json") != 0;
}

static void from_memory_and_files(const char *folder) {
    sdrs_generate_params params = quick_params();
    sdrs_images *expected = draw(pipeline, &params);
    sdrs_image a = image_of(expected, 0);

    sdrs_builder *builder = memory_builder(folder, NULL);
    sdrs_pipeline *memory = NULL;
    OK(sdrs_builder_build(builder, &memory));
    sdrs_images *images = draw(memory, &params);
    sdrs_image b = image_of(images, 0);
    CHECK(same_picture(&a, &b) && strstr(b.infotext, "Model: memory") != NULL);
    sdrs_images_free(images);
    sdrs_pipeline_free(memory);

    /* The same builder again, now for the folder itself. */
    OK(sdrs_builder_checkpoint(builder, folder));
    OK(sdrs_builder_dtype(builder, SDRS_DTYPE_F32));
    OK(sdrs_builder_vae(builder, folder));
    sdrs_pipeline *files = NULL;
    OK(sdrs_builder_build(builder, &files));
    images = draw(files, &params);
    b = image_of(images, 0);
    CHECK(same_picture(&a, &b));
    sdrs_images_free(images);
    sdrs_pipeline_free(files);
    sdrs_builder_free(builder);
    sdrs_images_free(expected);
}

static sdrs_images *build_and_draw(const sdrs_builder *builder) {
    sdrs_pipeline *built = NULL;
    OK(sdrs_builder_build(builder, &built));
    sdrs_generate_params params = quick_params();
    sdrs_images *images = draw(built, &params);
    sdrs_pipeline_free(built);
    return images;
}

/* 1 if both draw the same; frees the second pictures. */
static int as_before(const sdrs_images *images, sdrs_images *others) {
    sdrs_image a = image_of(images, 0), b = image_of(others, 0);
    int same = same_picture(&a, &b);
    sdrs_images_free(others);
    return same;
}

/* What else a builder takes, on the tiny random model of the reference values. */
static void everything_of_a_builder(const char *folder) {
    char tiny[1000], lora[1100], file[1100];
    snprintf(tiny, sizeof tiny, "%s/../../../goldens/tiny-sd1", folder);
    snprintf(lora, sizeof lora, "%s/lora/lora.safetensors", tiny);
    snprintf(file, sizeof file, "%s/../../../target/goldens/tiny-sd1-ldm.safetensors", folder);
    sdrs_builder *builder = NULL;
    OK(sdrs_builder_new(&builder));
    OK(sdrs_builder_device(builder, "cpu"));
    OK(sdrs_builder_dtype(builder, SDRS_DTYPE_F32));
    OK(sdrs_builder_checkpoint(builder, tiny));
    sdrs_images *plain = build_and_draw(builder);
    /* A single file, with the configurations of the folder, and as bytes that carry them. */
    OK(sdrs_builder_checkpoint(builder, file));
    OK(sdrs_builder_config(builder, tiny));
    CHECK(as_before(plain, build_and_draw(builder)));
    size_t size = 0;
    unsigned char *bytes = read_file(tiny, "../../target/goldens/tiny-sd1-ldm.safetensors", &size);
    OK(sdrs_builder_checkpoint_bytes(builder, "bytes", bytes, size));
    free(bytes);
    CHECK(as_before(plain, build_and_draw(builder)));
    /* Type and prediction change the picture, and can be taken back. */
    OK(sdrs_builder_dtype(builder, SDRS_DTYPE_BF16));
    CHECK(!as_before(plain, build_and_draw(builder)));
    OK(sdrs_builder_dtype(builder, SDRS_DTYPE_AUTO));
    OK(sdrs_builder_dtype(builder, SDRS_DTYPE_F32));
    OK(sdrs_builder_prediction(builder, SDRS_PREDICTION_V));
    CHECK(!as_before(plain, build_and_draw(builder)));
    OK(sdrs_builder_prediction(builder, SDRS_PREDICTION_AUTO));
    /* A LoRA of weight 0 is none. */
    OK(sdrs_builder_lora(builder, lora, 0.0));
    CHECK(as_before(plain, build_and_draw(builder)));
    OK(sdrs_builder_lora(builder, lora, 1.0));
    CHECK(!as_before(plain, build_and_draw(builder)));
    sdrs_pipeline *none = NULL;
    OK(sdrs_builder_lora(builder, file, 1.0));
    FAILS(SDRS_ERROR_INVALID_FILE, "not a LoRA or another adapter", sdrs_builder_build(builder, &none));
    CHECK(none == NULL);
    sdrs_images_free(plain);
    sdrs_builder_free(builder);
}

static void invalid_parameter(void) {
    sdrs_images *images = UNTOUCHED;
    sdrs_generate_params params = quick_params();
    params.width = 50;
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "width: must be a multiple of",
          sdrs_txt2img(pipeline, &params, NULL, &images));
    params = quick_params();
    params.sampler = 1000;
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "sampler: 1000 is none", sdrs_txt2img(pipeline, &params, NULL, &images));
    sdrs_builder *builder = NULL;
    sdrs_pipeline *none = NULL;
    OK(sdrs_builder_new(&builder));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "checkpoint: none was given", sdrs_builder_build(builder, &none));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "dtype: 17 is none", sdrs_builder_dtype(builder, 17));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "quantization: 3 is none", sdrs_builder_quantization(builder, 3));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "weight_dtype: 5 is none", sdrs_builder_weight_dtype(builder, 5));
    OK(sdrs_builder_weight_dtype(builder, SDRS_WEIGHT_DTYPE_F16));
    OK(sdrs_builder_keep_text_encoders(builder, 0));
    OK(sdrs_builder_keep_text_encoders(builder, 1));
    CHECK(none == NULL && images == UNTOUCHED);
    sdrs_builder_free(builder);
}

static void unknown_name(void) {
    sdrs_sampler sampler = 5;
    FAILS(SDRS_ERROR_UNKNOWN_NAME, "did you mean \"Euler\"", sdrs_sampler_from_name("Eulr", &sampler, NULL));
    CHECK(sampler == 5);
    sdrs_weight_dtype weight_dtype = 7;
    FAILS(SDRS_ERROR_UNKNOWN_NAME, "f8", sdrs_weight_dtype_from_name("int4", &weight_dtype));
    CHECK(weight_dtype == 7);
    OK(sdrs_weight_dtype_from_name("fp8", &weight_dtype));
    CHECK(weight_dtype == SDRS_WEIGHT_DTYPE_F8 && strcmp(sdrs_weight_dtype_name(weight_dtype), "f8") == 0);
    CHECK(sdrs_weight_dtype_name(-1) == NULL);
    sdrs_quantization quantization = 7;
    FAILS(SDRS_ERROR_UNKNOWN_NAME, "int8", sdrs_quantization_from_name("int4", &quantization));
    CHECK(quantization == 7);
    OK(sdrs_quantization_from_name("int8", &quantization));
    CHECK(quantization == SDRS_QUANTIZATION_INT8 && strcmp(sdrs_quantization_name(quantization), "int8") == 0);
    OK(sdrs_quantization_from_name("auto", &quantization));
    CHECK(quantization == SDRS_QUANTIZATION_AUTO && sdrs_quantization_name(3) == NULL);
    sdrs_dtype dtype = 2;
    FAILS(SDRS_ERROR_UNKNOWN_NAME, "f16", sdrs_dtype_from_name("f8", &dtype));
    sdrs_builder *builder = NULL;
    sdrs_pipeline *none = NULL;
    OK(sdrs_builder_new(&builder));
    OK(sdrs_builder_demo(builder));
    OK(sdrs_builder_device(builder, "tpu"));
    FAILS(SDRS_ERROR_UNKNOWN_NAME, "tpu", sdrs_builder_build(builder, &none));
    sdrs_builder_free(builder);
}

static void io(const char *scratch) {
    char path[1000];
    snprintf(path, sizeof path, "%s/none/x.png", scratch);
    char *json = NULL;
    FAILS(SDRS_ERROR_IO, "none/x.png", sdrs_inspect(path, &json));
    sdrs_generate_params params = quick_params();
    sdrs_images *images = draw(pipeline, &params);
    FAILS(SDRS_ERROR_IO, "none/x.png", sdrs_images_save_png(images, 0, path));
    sdrs_images_free(images);
}

static void invalid_file(const char *folder) {
    sdrs_builder *builder = memory_builder(folder, damage);
    sdrs_pipeline *none = NULL;
    FAILS(SDRS_ERROR_INVALID_FILE, "vae/", sdrs_builder_build(builder, &none));
    OK(sdrs_builder_checkpoint_bytes(builder, "three bytes", (const uint8_t *)"abc", 3));
    FAILS(SDRS_ERROR_INVALID_FILE, "three bytes", sdrs_builder_build(builder, &none));
    sdrs_builder_free(builder);
    char unet[1000];
    snprintf(unet, sizeof unet, "%s/unet/diffusion_pytorch_model.safetensors", folder);
    OK(sdrs_builder_new(&builder));
    OK(sdrs_builder_demo(builder));
    OK(sdrs_builder_vae(builder, unet));
    FAILS(SDRS_ERROR_INVALID_FILE, "is a U-Net alone, not a VAE", sdrs_builder_build(builder, &none));
    sdrs_builder_free(builder);
    /* A part that is missing can be given. */
    builder = memory_builder(folder, without_vae_config);
    FAILS(SDRS_ERROR_INVALID_FILE, "it lacks a VAE", sdrs_builder_build(builder, &none));
    OK(sdrs_builder_vae(builder, folder));
    OK(sdrs_builder_text_encoder(builder, folder));
    OK(sdrs_builder_unet(builder, folder));
    sdrs_pipeline *whole = NULL;
    OK(sdrs_builder_build(builder, &whole));
    sdrs_pipeline_free(whole);
    sdrs_builder_free(builder);
}

static void invalid_weights(const char *folder) {
    sdrs_builder *builder = memory_builder(folder, fewer_layers);
    sdrs_pipeline *none = NULL;
    OK(sdrs_builder_allow_unexpected(builder));
    FAILS(SDRS_ERROR_INVALID_WEIGHTS, "the weights don't fit", sdrs_builder_build(builder, &none));
    sdrs_builder_free(builder);
}

static void cancelled(void) {
    sdrs_run_options options;
    sdrs_cancel_token *token = NULL;
    sdrs_images *images = UNTOUCHED;
    sdrs_generate_params params = quick_params();
    OK(sdrs_run_options_init(&options, sizeof options));
    OK(sdrs_cancel_token_new(&token));
    OK(sdrs_cancel_token_cancel(token));
    options.cancel = token;
    FAILS(SDRS_ERROR_CANCELLED, "cancelled", sdrs_txt2img(pipeline, &params, &options, &images));
    CHECK(images == UNTOUCHED);
    sdrs_cancel_token_free(token);
}

static void not_finite(const char *folder) {
    sdrs_builder *builder = memory_builder(folder, spoil);
    sdrs_pipeline *spoilt = NULL;
    OK(sdrs_builder_build(builder, &spoilt));
    sdrs_generate_params params = quick_params();
    sdrs_images *images = UNTOUCHED;
    FAILS(SDRS_ERROR_NOT_FINITE, "not finite", sdrs_txt2img(spoilt, &params, NULL, &images));
    CHECK(images == UNTOUCHED);
    sdrs_pipeline_free(spoilt);
    sdrs_builder_free(builder);
}

static void internal(void) {
    FAILS(SDRS_ERROR_INTERNAL, "sdrs_debug_panic was called", sdrs_debug_panic());
    sdrs_generate_params params = quick_params();
    sdrs_images_free(draw(pipeline, &params));
}

static void inspect(const char *folder, const char *scratch) {
    char *json = NULL;
    OK(sdrs_inspect(folder, &json));
    CHECK(json[0] == '{' && strstr(json, "\"kind\":\"checkpoint\"") != NULL);
    sdrs_string_free(json);
    /* FIPS 180-2, appendix B.1. */
    char path[1000], *sha256 = NULL;
    snprintf(path, sizeof path, "%s/abc", scratch);
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && fputs("abc", file) >= 0 && fclose(file) == 0);
    OK(sdrs_model_hash(path, &sha256));
    CHECK(strcmp(sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") == 0);
    sdrs_string_free(sha256);
    sha256 = NULL;
    FAILS(SDRS_ERROR_INVALID_FILE, "is a folder", sdrs_model_hash(folder, &sha256));
    snprintf(path, sizeof path, "%s/none/x", scratch);
    FAILS(SDRS_ERROR_IO, "none/x", sdrs_model_hash(path, &sha256));
    CHECK(sha256 == NULL);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    pipeline = demo_pipeline();
    from_memory_and_files(argv[1]);
    everything_of_a_builder(argv[1]);
    invalid_parameter();
    unknown_name();
    io(argv[2]);
    invalid_file(argv[1]);
    invalid_weights(argv[1]);
    cancelled();
    not_finite(argv[1]);
    internal();
    inspect(argv[1], argv[2]);
    static const char *const names[] = {"SDRS_OK", "SDRS_ERROR_INVALID_PARAMETER", "SDRS_ERROR_UNKNOWN_NAME",
                                        "SDRS_ERROR_IO", "SDRS_ERROR_INVALID_FILE", "SDRS_ERROR_INVALID_WEIGHTS",
                                        "SDRS_ERROR_CANCELLED", "SDRS_ERROR_NOT_FINITE", "SDRS_ERROR_INTERNAL",
                                        "SDRS_ERROR_OUT_OF_MEMORY"};
    for (int32_t i = 0; i < 10; i++) {
        CHECK(strcmp(sdrs_status_name(i), names[i]) == 0);
    }
    CHECK(sdrs_status_name(10) == NULL);
    sdrs_pipeline_free(pipeline);
    return 0;
}
