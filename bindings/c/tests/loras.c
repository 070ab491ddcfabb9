/* LoRAs with all that may be said of them: from files, bytes and folders, by block and by step. */
#include "folder.h"

/* The picture of the parameters, drawn by a pipeline with one LoRA, which is freed. */
static sdrs_images *with(const sdrs_pipeline *pipeline, const sdrs_lora *lora, const sdrs_generate_params *params) {
    sdrs_pipeline *styled = NULL;
    OK(sdrs_pipeline_with_lora_list(pipeline, &lora, 1, &styled));
    sdrs_images *images = draw(styled, params);
    sdrs_pipeline_free(styled);
    return images;
}

static int same(sdrs_images *a, sdrs_images *b) {
    sdrs_image first = image_of(a, 0), second = image_of(b, 0);
    int equal = same_picture(&first, &second);
    sdrs_images_free(a);
    sdrs_images_free(b);
    return equal;
}

static void options(const sdrs_pipeline *pipeline, const char *path, const char *folder) {
    sdrs_generate_params params = quick_params();
    params.steps = 4;
    sdrs_lora whole, other;
    OK(sdrs_lora_init(&whole, sizeof whole));
    CHECK(whole.weight == 1.0 && whole.text_encoder_weight != whole.text_encoder_weight && whole.schedule == NULL);
    whole.path = path;
    CHECK(!same(with(pipeline, &whole, &params), draw(pipeline, &params)));

    other = whole;
    other.text_encoder_weight = 1.0;
    other.schedule = "0-1";
    other.blocks = "*=1";
    CHECK(same(with(pipeline, &whole, &params), with(pipeline, &other, &params)));
    other = whole;
    size_t size = 0;
    unsigned char *bytes = read_file(folder, "../outlines.safetensors", &size);
    other.path = "held";
    other.data = bytes;
    other.data_size = size;
    sdrs_images *held = with(pipeline, &other, &params);
    CHECK(strstr(image_of(held, 0).infotext, "Lora hashes: \"held: ") != NULL);
    CHECK(same(with(pipeline, &whole, &params), held));
    other.name = "lines";
    held = with(pipeline, &other, &params);
    CHECK(strstr(image_of(held, 0).infotext, "Lora hashes: \"lines: ") != NULL);
    sdrs_images_free(held);
    free(bytes);

    /* Never on the U-Net is never in the blocks of the U-Net. */
    sdrs_lora never = whole, none = whole;
    never.schedule = "0-0";
    never.text_encoder_weight = 1.0;
    none.blocks = "1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0";
    CHECK(same(with(pipeline, &never, &params), with(pipeline, &none, &params)));
    /* Half of the steps is neither all nor none. */
    sdrs_lora late = whole;
    late.schedule = "0.5-1";
    CHECK(!same(with(pipeline, &late, &params), with(pipeline, &whole, &params)));
    CHECK(!same(with(pipeline, &late, &params), with(pipeline, &never, &params)));

    sdrs_builder *builder = NULL;
    sdrs_pipeline *built = NULL;
    OK(sdrs_builder_new(&builder));
    OK(sdrs_builder_demo(builder));
    OK(sdrs_builder_device(builder, "cpu"));
    OK(sdrs_builder_dtype(builder, SDRS_DTYPE_F32));
    OK(sdrs_builder_add_lora(builder, &late));
    OK(sdrs_builder_build(builder, &built));
    CHECK(same(with(pipeline, &late, &params), draw(built, &params)));
    sdrs_pipeline_free(built);

    sdrs_lora wrong = whole;
    wrong.schedule = "later";
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "schedule: 'later' is no FACTOR@MOMENT", sdrs_builder_add_lora(builder, &wrong));
    wrong = whole;
    wrong.blocks = "1,2";
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "block weights are", sdrs_builder_add_lora(builder, &wrong));
    wrong = whole;
    wrong.path = NULL;
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "path: is NULL", sdrs_builder_add_lora(builder, &wrong));
    wrong = whole;
    wrong.struct_size = 3;
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "call sdrs_lora_init first", sdrs_builder_add_lora(builder, &wrong));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "lora: is NULL", sdrs_builder_add_lora(builder, NULL));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "builder: is NULL", sdrs_builder_add_lora(NULL, &whole));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "lora: is NULL", sdrs_lora_init(NULL, sizeof whole));
    const sdrs_lora *list[] = {&whole, NULL};
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "lora: is NULL", sdrs_pipeline_with_lora_list(pipeline, list, 2, &built));
    wrong = whole;
    wrong.weight = 2000.0;
    list[0] = &wrong;
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "must be a number from -1000 to 1000",
          sdrs_pipeline_with_lora_list(pipeline, list, 1, &built));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "loras: is NULL", sdrs_pipeline_with_lora_list(pipeline, NULL, 1, &built));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "pipeline: is NULL", sdrs_pipeline_with_lora_list(NULL, NULL, 0, &built));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "other: is NULL", sdrs_pipeline_with_lora_list(pipeline, NULL, 0, NULL));
    /* None is none. */
    OK(sdrs_pipeline_with_lora_list(pipeline, NULL, 0, &built));
    CHECK(same(draw(built, &params), draw(pipeline, &params)));
    sdrs_pipeline_free(built);
    sdrs_builder_free(builder);
}

static void folders(const sdrs_pipeline *plain, const char *path, const char *folder) {
    char loras[1000];
    snprintf(loras, sizeof loras, "%s/..", folder);
    sdrs_builder *builder = NULL;
    sdrs_pipeline *pipeline = NULL, *none = NULL;
    OK(sdrs_builder_new(&builder));
    OK(sdrs_builder_demo(builder));
    OK(sdrs_builder_device(builder, "cpu"));
    OK(sdrs_builder_dtype(builder, SDRS_DTYPE_F32));
    OK(sdrs_builder_lora_dir(builder, loras));
    OK(sdrs_builder_build(builder, &pipeline));
    sdrs_generate_params params = quick_params(), tagged = quick_params();
    params.steps = tagged.steps = 4;
    sdrs_lora lora;
    OK(sdrs_lora_init(&lora, sizeof lora));
    lora.path = path;
    lora.weight = 0.5;
    lora.schedule = "0.5-1";
    char prompt[200];
    snprintf(prompt, sizeof prompt, "%s<lora:outlines:0.5:start=0.5>", params.prompt);
    tagged.prompt = prompt;

    /* What a prompt's LoRA changes lies beside the pipeline's own, and follows a schedule once more. */
    sdrs_memory_plan without, with_tag, twice;
    OK(sdrs_memory_plan_init(&without, sizeof without));
    with_tag = twice = without;
    OK(sdrs_pipeline_memory_plan(pipeline, &params, NULL, 1, &without));
    OK(sdrs_pipeline_memory_plan(pipeline, &tagged, NULL, 0, &with_tag));
    OK(sdrs_pipeline_memory_plan(pipeline, &tagged, NULL, 2, &twice));
    CHECK(without.weights == without.text_encoders + without.unet + without.vae && without.loras == 0);
    CHECK(without.least > without.weights + without.other && without.least < without.most && without.runs == 1);
    CHECK(with_tag.weights == without.weights && with_tag.loras > 0 && with_tag.least > without.least);
    CHECK(twice.runs == 2 && twice.loras == with_tag.loras && twice.least > with_tag.least && twice.most > with_tag.most);
    const sdrs_lora *list[] = {&lora};
    uint64_t bytes = 0;
    OK(sdrs_pipeline_memory_of_loras(plain, list, 1, &bytes));
    CHECK(bytes > 0 && bytes <= with_tag.loras);
    OK(sdrs_pipeline_memory_of_loras(plain, NULL, 0, &bytes));
    CHECK(bytes == 0);
    OK(sdrs_pipeline_memory_of_vae(plain, folder, &bytes));
    CHECK(bytes == without.vae);
    tagged.prompt = "<lora:nobody:1>";
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "the LoRA 'nobody'", sdrs_pipeline_memory_plan(pipeline, &tagged, NULL, 1, &twice));
    tagged.prompt = prompt;
    CHECK(same(draw(pipeline, &tagged), with(plain, &lora, &params)));
    CHECK(same(draw(pipeline, &params), draw(plain, &params)));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "folder: is NULL", sdrs_builder_lora_dir(builder, NULL));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "builder: is NULL", sdrs_builder_lora_dir(NULL, loras));
    OK(sdrs_builder_lora_dir(builder, "no/such/folder"));
    FAILS(SDRS_ERROR_IO, "no/such/folder", sdrs_builder_build(builder, &none));
    sdrs_pipeline_free(pipeline);
    sdrs_builder_free(builder);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    char path[1000];
    snprintf(path, sizeof path, "%s/../outlines.safetensors", argv[1]);
    sdrs_pipeline *pipeline = demo_pipeline();
    options(pipeline, path, argv[1]);
    folders(pipeline, path, argv[1]);
    sdrs_pipeline_free(pipeline);
    return 0;
}
