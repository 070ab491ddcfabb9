/* Prompts: how they are read, plans, long and weighted ones, textual inversions. The arguments: models/demo/base, a folder for files. */
#include "folder.h"

#include <errno.h>
#include <sys/stat.h>

#define BAD(words, call) FAILS(SDRS_ERROR_INVALID_PARAMETER, words, call)

static sdrs_pipeline *pipeline;

static void names(void) {
    sdrs_emphasis emphasis = 9;
    OK(sdrs_emphasis_from_name("No norm", &emphasis));
    CHECK(emphasis == SDRS_EMPHASIS_NO_NORM && strcmp(sdrs_emphasis_name(SDRS_EMPHASIS_NO_NORM), "No norm") == 0);
    FAILS(SDRS_ERROR_UNKNOWN_NAME, "nonorm", sdrs_emphasis_from_name("loud", &emphasis));
    CHECK(emphasis == SDRS_EMPHASIS_NO_NORM);
    sdrs_prompt_dialect dialect = 9;
    OK(sdrs_prompt_dialect_from_name("ComfyUI", &dialect));
    CHECK(dialect == SDRS_PROMPT_DIALECT_COMFY && strcmp(sdrs_prompt_dialect_name(dialect), "comfy") == 0);
    sdrs_time_rule time_rule = 9;
    OK(sdrs_time_rule_from_name("before-1.6", &time_rule));
    CHECK(time_rule == SDRS_TIME_RULE_BEFORE_16 && strcmp(sdrs_time_rule_name(time_rule), "before 1.6") == 0);
    sdrs_clip_skip_rule rule = 9;
    OK(sdrs_clip_skip_rule_from_name("DIFFUSERS", &rule));
    CHECK(rule == SDRS_CLIP_SKIP_RULE_DIFFUSERS && strcmp(sdrs_clip_skip_rule_name(rule), "diffusers") == 0);
    FAILS(SDRS_ERROR_UNKNOWN_NAME, "webui, diffusers", sdrs_clip_skip_rule_from_name("a1111", &rule));
}

/* 1 if the plan of the parameters has the words. */
static int planned(const sdrs_pipeline *with, const sdrs_generate_params *params, const char *words) {
    char *json = NULL;
    OK(sdrs_plan_prompts(with, params, &json));
    CHECK(strncmp(json, "{\"calls\":", 9) == 0);
    int found = strstr(json, words) != NULL;
    sdrs_string_free(json);
    return found;
}

/* Tokens of the first chunk of the prompt. */
static size_t first_chunk(const sdrs_pipeline *with, const sdrs_generate_params *params) {
    char *json = NULL;
    size_t tokens = 0;
    OK(sdrs_plan_prompts(with, params, &json));
    const char *at = strstr(json, "\"chunks\":[[");
    CHECK(at != NULL);
    const char *end = strchr(at, ']');
    for (at = strstr(at, "\"id\":"); at != NULL && at < end; at = strstr(at + 1, "\"id\":")) {
        tokens++;
    }
    sdrs_string_free(json);
    return tokens;
}

static void plans(void) {
    sdrs_generate_params params = quick_params();
    const sdrs_pipeline *either[2] = {NULL, pipeline};
    for (int i = 0; i < 2; i++) {
        params.prompt = "a (red:1.25) [circle:square:0.5] <lora:none:0.5><x:y>";
        params.negative_prompt = "blue";
        params.steps = 20;
        params.sampler = SDRS_SAMPLER_DPMPP_2M;
        CHECK(planned(either[i], &params, "{\"calls\":20,"));
        CHECK(planned(either[i], &params, "\"text\":\"red\",\"span\":{\"start\":3,\"end\":6},\"weight\":1.25"));
        CHECK(planned(either[i], &params, "\"calls\":{\"start\":0,\"end\":11},\"text\":\"a (red:1.25) circle"));
        CHECK(planned(either[i], &params, "\"calls\":{\"start\":11,\"end\":20},\"text\":\"a (red:1.25) square"));
        CHECK(planned(either[i], &params, "\"name\":\"none\",\"text_encoder\":0.5,\"unet\":0.5"));
        CHECK(planned(either[i], &params, "\"loaded\":false"));
        CHECK(planned(either[i], &params, "\"unknown_tags\":[{\"text\":\"<x:y>\""));
        CHECK(planned(either[i], &params, "\"negative_prompt\":{\"weight\":1.0,\"texts\":["));
        params.sampler = SDRS_SAMPLER_HEUN;
        CHECK(planned(either[i], &params, "{\"calls\":40,"));
        params.prompt_dialect = SDRS_PROMPT_DIALECT_COMFY;
        CHECK(planned(either[i], &params, "\"loras\":[]"));
        params.prompt_dialect = SDRS_PROMPT_DIALECT_WEBUI;
        params.emphasis = SDRS_EMPHASIS_NONE;
        CHECK(!planned(either[i], &params, "\"weight\":1.25"));
        params.emphasis = SDRS_EMPHASIS_ORIGINAL;

        /* With a point it is a fraction, or before 1.6 from 1 on a step. */
        params.prompt = "[circle:square:1.0]";
        CHECK(!planned(either[i], &params, "\"text\":\"square\""));
        params.time_rule = SDRS_TIME_RULE_BEFORE_16;
        CHECK(planned(either[i], &params, "\"text\":\"square\""));
        params.time_rule = SDRS_TIME_RULE_CURRENT;

        /* A chunk ends after the comma, or where it is full. */
        char prompt[600] = "";
        for (int word = 0; word < 80; word++) {
            strcat(prompt, word == 60 ? "red, " : "red ");
        }
        params.prompt = prompt;
        CHECK(first_chunk(either[i], &params) == 62);
        params.comma_backtrack = 0;
        CHECK(first_chunk(either[i], &params) == 75);

        params = quick_params();
        params.prompt = "<lora:none:much>";
        char *json = NULL;
        BAD("'much' is no number, in its <lora:..> tag at byte 0", sdrs_plan_prompts(either[i], &params, &json));
        params.prompt = "red";
        params.steps = 0;
        BAD("steps: must be", sdrs_plan_prompts(either[i], &params, &json));
        CHECK(json == NULL);
    }
}

/* The context of a prompt has the shape [chunks * context_length, context_width]. */
static sdrs_tensor *context_of(const sdrs_pipeline *with, const char *prompt, size_t chunks, const float **values) {
    sdrs_pipeline_info info;
    sdrs_tensor *context = NULL;
    const size_t *shape = NULL;
    size_t rank = 0;
    OK(sdrs_pipeline_info_init(&info, sizeof info));
    OK(sdrs_pipeline_get_info(with, &info));
    OK(sdrs_encode_prompt(with, prompt, SDRS_NUL_TERMINATED, 1, &context));
    OK(sdrs_tensor_get(context, values, &shape, &rank));
    CHECK(rank == 2 && shape[0] == chunks * info.context_length && shape[1] == info.context_width);
    return context;
}

/* 1 if both prompts have the same context, to the last bit. */
static int same_context(const sdrs_pipeline *with, const char *a, const char *b, size_t chunks) {
    const float *values[2] = {NULL, NULL};
    sdrs_tensor *contexts[2] = {context_of(with, a, chunks, &values[0]), context_of(with, b, chunks, &values[1])};
    int same = memcmp(values[0], values[1], sdrs_tensor_size(contexts[0]) * sizeof(float)) == 0;
    sdrs_tensor_free(contexts[0]);
    sdrs_tensor_free(contexts[1]);
    return same;
}

static void contexts(void) {
    CHECK(same_context(pipeline, "a red circle", "a (red:1.0) circle", 1));
    CHECK(!same_context(pipeline, "a red circle", "a (red:1.3) circle", 1));
    CHECK(same_context(pipeline, "a ((red)) circle", "a (red:1.21) circle", 1));
    char plain[1000] = "", weighted[1000] = "";
    for (int word = 0; word < 100; word++) {
        strcat(plain, "red ");
        strcat(weighted, word == 90 ? "(red:1.4) " : "red ");
    }
    CHECK(same_context(pipeline, plain, plain, 2) && !same_context(pipeline, plain, weighted, 2));
    CHECK(same_context(pipeline, "red BREAK blue", "red BREAK\nblue", 2));
    sdrs_tensor *none = NULL;
    BAD("AND joins several prompts", sdrs_encode_prompt(pipeline, "red AND blue", SDRS_NUL_TERMINATED, 1, &none));
    BAD("asks for the LoRA 'x'", sdrs_encode_prompt(pipeline, "<lora:x:1>", SDRS_NUL_TERMINATED, 1, &none));
    CHECK(none == NULL);
}

/* 1 if both draw the same picture. The second one's infotext has the words. */
static int same_drawn(const sdrs_generate_params *a, const sdrs_generate_params *b, const char *words) {
    sdrs_images *images[2] = {draw(pipeline, a), draw(pipeline, b)};
    sdrs_image first = image_of(images[0], 0), second = image_of(images[1], 0);
    CHECK(strstr(second.infotext, words) != NULL);
    int same = same_picture(&first, &second);
    sdrs_images_free(images[0]);
    sdrs_images_free(images[1]);
    return same;
}

/* Each field reaches the picture. */
static void fields(void) {
    sdrs_generate_params base = quick_params(), other;
    base.prompt = "a (red:1.5) circle";
    other = base;
    CHECK(same_drawn(&base, &other, "Steps: 2"));
    other.emphasis = SDRS_EMPHASIS_NO_NORM;
    CHECK(!same_drawn(&base, &other, "Emphasis: No norm"));
    other.emphasis = SDRS_EMPHASIS_NONE;
    CHECK(!same_drawn(&base, &other, "Emphasis: None"));
    sdrs_generate_params plain = quick_params();
    plain.prompt = "a red circle";
    other.emphasis = SDRS_EMPHASIS_IGNORE;
    CHECK(same_drawn(&plain, &other, "Emphasis: Ignore"));
    other = base;
    other.prompt_dialect = SDRS_PROMPT_DIALECT_COMFY;
    CHECK(!same_drawn(&base, &other, "circle"));

    base.clip_skip = 2;
    other = base;
    other.clip_skip = 1;
    CHECK(!same_drawn(&base, &other, "Steps: 2"));
    other.clip_skip_rule = SDRS_CLIP_SKIP_RULE_DIFFUSERS;
    CHECK(same_drawn(&base, &other, "Clip skip: 2"));
    other.clip_skip = 0;
    base.clip_skip = 1;
    CHECK(same_drawn(&base, &other, "Steps: 2"));

    base.prompt = "a [red:blue:1.0] circle";
    base.steps = 3;
    other = base;
    other.time_rule = SDRS_TIME_RULE_BEFORE_16;
    CHECK(!same_drawn(&base, &other, "Old prompt editing timelines: True"));

    base.prompt = "a red circle BREAK a blue square";
    other = base;
    other.pad_prompts = 1;
    same_drawn(&base, &other, "Pad conds: True");

    sdrs_pipeline_info info;
    sdrs_images *images = NULL;
    OK(sdrs_pipeline_info_init(&info, sizeof info));
    OK(sdrs_pipeline_get_info(pipeline, &info));
    other = base;
    other.clip_skip = info.text_layers;
    other.clip_skip_rule = SDRS_CLIP_SKIP_RULE_DIFFUSERS;
    BAD("clip_skip: must be 0 to", sdrs_txt2img(pipeline, &other, NULL, &images));
    other = base;
    other.prompt = "a red circle <lora:none:1>";
    BAD("asks for the LoRA 'none'", sdrs_txt2img(pipeline, &other, NULL, &images));
    CHECK(images == NULL);
}

/* A safetensors file with one tensor of vectors, as trainers write it. */
static unsigned char *embedding_file(const char *dtype, size_t vectors, size_t width, const void *values,
                                     size_t bytes, size_t *size) {
    char header[200];
    int length = snprintf(header, sizeof header,
                          "{\"emb_params\":{\"dtype\":\"%s\",\"shape\":[%zu,%zu],\"data_offsets\":[0,%zu]}}", dtype, vectors,
                          width, bytes);
    CHECK(length > 0 && length < 200);
    *size = 8 + (size_t)length + bytes;
    unsigned char *file = malloc(*size);
    CHECK(file != NULL);
    for (int i = 0; i < 8; i++) {
        file[i] = i < 4 ? (unsigned char)(length >> (8 * i)) : 0;
    }
    memcpy(file + 8, header, (size_t)length);
    memcpy(file + 8 + length, values, bytes);
    return file;
}

static void save(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

/* The vectors that the demo model's text encoder has for two tokens, as a file. */
static unsigned char *twin_of(const char *folder, const uint32_t ids[2], size_t width, size_t *size) {
    size_t length = 0, begin = 0, header = 0;
    unsigned char *model = read_file(folder, "text_encoder/model.safetensors", &length);
    model[length] = 0; /* There is room for it. */
    for (int i = 7; i >= 0; i--) {
        header = header << 8 | model[i];
    }
    const char *entry = strstr((const char *)model + 8, "token_embedding.weight\"");
    CHECK(entry != NULL);
    const char *type = strstr(entry, "\"dtype\":\""), *offset = strstr(entry, "\"data_offsets\":[");
    CHECK(type != NULL && offset != NULL && sscanf(offset, "\"data_offsets\":[%zu", &begin) == 1);
    const char *dtype = strncmp(type + 9, "F16\"", 4) == 0 ? "F16" : "F32";
    size_t row = width * (dtype[1] == '1' ? 2 : 4);
    unsigned char *values = malloc(2 * row);
    CHECK(values != NULL);
    for (int i = 0; i < 2; i++) {
        CHECK(8 + header + begin + (ids[i] + 1) * row <= length);
        memcpy(values + (size_t)i * row, model + 8 + header + begin + ids[i] * row, row);
    }
    unsigned char *file = embedding_file(dtype, 2, width, values, 2 * row, size);
    free(values);
    free(model);
    return file;
}

static sdrs_builder *demo_builder(void) {
    sdrs_builder *builder = NULL;
    OK(sdrs_builder_new(&builder));
    OK(sdrs_builder_demo(builder));
    OK(sdrs_builder_device(builder, "cpu"));
    OK(sdrs_builder_dtype(builder, SDRS_DTYPE_F32));
    return builder;
}

/* "it's" with a typographic quote, which is repaired unless texts are taken as they are. */
static void repaired(const char *folder) {
    sdrs_generate_params params = quick_params();
    CHECK(params.text_as_is == 0);
    params.prompt = "it\xe2\x80\x99s";
    CHECK(first_chunk(NULL, &params) == 2 && planned(NULL, &params, "\"id\":568"));
    params.text_as_is = 1;
    CHECK(first_chunk(NULL, &params) == 4 && planned(NULL, &params, "\"id\":728"));

    /* A tokenizer that is given: its folder, or a pipeline's. */
    sdrs_builder *builder = demo_builder();
    OK(sdrs_builder_tokenizer(builder, folder));
    sdrs_pipeline *given = NULL;
    OK(sdrs_builder_build(builder, &given));
    uint32_t ids[2];
    size_t count = 0;
    OK(sdrs_tokenize(given, "red circle", SDRS_NUL_TERMINATED, ids, 2, &count));
    CHECK(count == 2);
    sdrs_pipeline_free(given);
    OK(sdrs_builder_tokenizer(builder, "no/such/folder"));
    given = NULL;
    FAILS(SDRS_ERROR_IO, "no/such/folder", sdrs_builder_build(builder, &given));
    sdrs_builder_free(builder);
}

static void embeddings(const char *folder, const char *scratch) {
    sdrs_pipeline_info info;
    OK(sdrs_pipeline_info_init(&info, sizeof info));
    OK(sdrs_pipeline_get_info(pipeline, &info));
    CHECK(sdrs_pipeline_embedding(pipeline, 0) == NULL && sdrs_pipeline_skipped_embedding(pipeline, 0) == NULL);
    uint32_t ids[2];
    size_t count = 0, size = 0;
    OK(sdrs_tokenize(pipeline, "red circle", SDRS_NUL_TERMINATED, ids, 2, &count));
    CHECK(count == 2);
    unsigned char *twin = twin_of(folder, ids, info.context_width, &size);

    /* From bytes: the name stands for two vectors, which are those of the two words. */
    sdrs_builder *builder = demo_builder();
    sdrs_pipeline *with = NULL, *none = NULL;
    OK(sdrs_builder_embedding_bytes(builder, "my-twin", twin, size));
    OK(sdrs_builder_build(builder, &with));
    CHECK(strcmp(sdrs_pipeline_embedding(with, 0), "my-twin") == 0 && sdrs_pipeline_embedding(with, 1) == NULL);
    sdrs_generate_params params = quick_params();
    params.prompt = "a my-twin";
    CHECK(first_chunk(with, &params) == 3 && planned(with, &params, "\"embedding\":\"my-twin\""));
    CHECK(!planned(NULL, &params, "\"embedding\""));
    CHECK(same_context(with, "a my-twin", "a red circle", 1));
    CHECK(same_context(with, "a (my-twin:1.3)", "a (red circle:1.3)", 1));
    CHECK(!same_context(pipeline, "a my-twin", "a red circle", 1));
    sdrs_pipeline_free(with);

    /* What can't be used is told when the pipeline is built. */
    OK(sdrs_builder_embedding_bytes(builder, "my-twin", twin, size));
    BAD("another embedding named 'my-twin'", sdrs_builder_build(builder, &none));
    sdrs_builder_free(builder);
    float *values = calloc(info.context_width + 1, sizeof *values);
    size_t bytes = (info.context_width + 1) * sizeof *values, wide_size = 0;
    CHECK(values != NULL);
    unsigned char *wide = embedding_file("F32", 1, info.context_width + 1, values, bytes, &wide_size);
    builder = demo_builder();
    OK(sdrs_builder_embedding_bytes(builder, "wide", wide, wide_size));
    FAILS(SDRS_ERROR_INVALID_FILE, "another kind of model", sdrs_builder_build(builder, &none));
    sdrs_builder_free(builder);
    builder = demo_builder();
    OK(sdrs_builder_embedding_bytes(builder, "cut", twin, size - 1));
    FAILS(SDRS_ERROR_INVALID_FILE, "cut", sdrs_builder_build(builder, &none));
    sdrs_builder_free(builder);

    /* A folder: the file that fits is there, the others are told. */
    char place[1000], path[1100];
    snprintf(place, sizeof place, "%s/embeddings", scratch);
    CHECK(mkdir(place, 0777) == 0 || errno == EEXIST);
    snprintf(path, sizeof path, "%s/wide.safetensors", place);
    save(path, wide, wide_size);
    snprintf(path, sizeof path, "%s/broken.pt", place);
    save(path, "abc", 3);
    snprintf(path, sizeof path, "%s/twin.safetensors", place);
    save(path, twin, size);
    builder = demo_builder();
    OK(sdrs_builder_embedding(builder, place));
    OK(sdrs_builder_build(builder, &with));
    CHECK(strcmp(sdrs_pipeline_embedding(with, 0), "twin") == 0 && sdrs_pipeline_embedding(with, 1) == NULL);
    CHECK(strstr(sdrs_pipeline_skipped_embedding(with, 0), "broken.pt") != NULL);
    CHECK(strstr(sdrs_pipeline_skipped_embedding(with, 1), "wide.safetensors") != NULL);
    CHECK(sdrs_pipeline_skipped_embedding(with, 2) == NULL && sdrs_pipeline_embedding(with, SIZE_MAX) == NULL);
    CHECK(same_context(with, "a twin", "a red circle", 1));
    sdrs_pipeline_free(with);
    sdrs_builder_free(builder);

    /* A file by its path, and one that is not there. */
    builder = demo_builder();
    OK(sdrs_builder_embedding(builder, path));
    OK(sdrs_builder_build(builder, &with));
    CHECK(strcmp(sdrs_pipeline_embedding(with, 0), "twin") == 0);
    sdrs_pipeline_free(with);
    snprintf(path, sizeof path, "%s/none.pt", place);
    OK(sdrs_builder_embedding(builder, path));
    FAILS(SDRS_ERROR_IO, "none.pt", sdrs_builder_build(builder, &none));
    CHECK(none == NULL);
    sdrs_builder_free(builder);
    free(values);
    free(wide);
    free(twin);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    pipeline = demo_pipeline();
    names();
    plans();
    contexts();
    fields();
    repaired(argv[1]);
    embeddings(argv[1], argv[2]);
    sdrs_pipeline_free(pipeline);
    return 0;
}
