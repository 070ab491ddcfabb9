/* Pictures: the demo model's own size, batches, seeds, progress, cancelling, PNG, and four threads over one pipeline. */
#include "check.h"

#include <pthread.h>

static void versions(void) {
    CHECK(strcmp(sdrs_version(), SDRS_VERSION) == 0);
    CHECK(sdrs_abi_version() == SDRS_ABI_VERSION);
    CHECK(strcmp(sdrs_available_device(0), "cpu") == 0);
    CHECK(sdrs_available_device(1000) == NULL);
    char *json = NULL;
    OK(sdrs_devices(&json));
    CHECK(json[0] == '[' && strstr(json, "\"name\":\"cpu\"") != NULL && strstr(json, "\"is_default\":true") != NULL);
    sdrs_string_free(json);
    CHECK(strcmp(sdrs_last_error_message(), "") == 0);
}

/* A whole picture as a first program would draw it. `out` is a file name for the PNG. */
static void a_picture(const sdrs_pipeline *pipeline, const char *out) {
    sdrs_pipeline_info info;
    OK(sdrs_pipeline_info_init(&info, sizeof info));
    OK(sdrs_pipeline_get_info(pipeline, &info));
    CHECK(strcmp(info.name, "demo") == 0 && strcmp(info.device, "cpu") == 0);
    CHECK(info.dtype == SDRS_DTYPE_F32 && info.default_width > 0);

    sdrs_generate_params params;
    OK(sdrs_generate_params_init(&params, sizeof params));
    params.prompt = "a red circle above a blue square";
    params.seed = 1;
    sdrs_images *images = draw(pipeline, &params);
    CHECK(sdrs_images_count(images) == 1);
    sdrs_image image = image_of(images, 0);
    CHECK(image.width == info.default_width && image.height == info.default_height && image.seed == 1);
    CHECK(image.stride >= 3 * (size_t)image.width);
    CHECK(strlen(image.infotext) == image.infotext_length);
    CHECK(strncmp(image.infotext, params.prompt, strlen(params.prompt)) == 0);
    CHECK(strstr(image.infotext, "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 4.5, ") != NULL);

    /* Something red is in the upper half, something blue in the lower, and on the whole the red is above the blue. */
    size_t red = 0, blue = 0, all_red = 0, all_blue = 0;
    double red_rows = 0.0, blue_rows = 0.0;
    for (size_t y = 0; y < image.height; y++) {
        for (size_t x = 0; x < image.width; x++) {
            const uint8_t *p = image.rgb + y * image.stride + 3 * x;
            int is_red = p[0] > 150 && p[1] < 100 && p[2] < 100;
            int is_blue = p[2] > 110 && p[0] < 100 && p[1] < 150; /* Cyan has more green. */
            all_red += is_red;
            all_blue += is_blue;
            red_rows += is_red ? (double)y : 0.0;
            blue_rows += is_blue ? (double)y : 0.0;
            red += is_red && y < image.height / 2;
            blue += is_blue && y >= image.height / 2;
        }
    }
    size_t pixels = (size_t)image.width * image.height;
    CHECK(red > pixels / 50 && blue > pixels / 50);
    CHECK(red_rows / all_red + image.height / 8.0 < blue_rows / all_blue);

    const uint8_t *png = NULL;
    size_t size = 0;
    OK(sdrs_images_png(images, 0, &png, &size));
    CHECK(size > 100 && memcmp(png, "\x89PNG\r\n\x1a\n", 8) == 0);
    OK(sdrs_images_save_png(images, 0, out));
    FILE *file = fopen(out, "rb");
    CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0 && ftell(file) == (long)size);
    fclose(file);
    sdrs_images_free(images);
}

/* What the demo model recommends is taken where nothing else is set. */
static void recommendations(const sdrs_pipeline *pipeline) {
    sdrs_pipeline_info info;
    OK(sdrs_pipeline_info_init(&info, sizeof info));
    CHECK(info.recommended_steps == SDRS_NOT_SET && isnan(info.recommended_cfg_scale));
    CHECK(info.recommended_sampler == SDRS_SAMPLER_NOT_SET);
    OK(sdrs_pipeline_get_info(pipeline, &info));
    CHECK(info.recommended_steps == 20 && info.recommended_cfg_scale == 4.5);
    CHECK(info.recommended_sampler == SDRS_SAMPLER_DPMPP_2M && info.recommended_schedule == SDRS_SCHEDULE_KARRAS);
    CHECK(info.recommended_clip_skip == SDRS_NOT_SET);

    sdrs_generate_params params = quick_params();
    sdrs_images *images = draw(pipeline, &params);
    sdrs_image image = image_of(images, 0);
    CHECK(strstr(image.infotext, "Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 4.5, ") != NULL);
    sdrs_images_free(images);
    params.cfg_scale = 7.0;
    params.sampler = SDRS_SAMPLER_EULER;
    images = draw(pipeline, &params);
    image = image_of(images, 0);
    CHECK(strstr(image.infotext, "Steps: 2, Sampler: Euler, Schedule type: Automatic, CFG scale: 7, ") != NULL);
    sdrs_images_free(images);
}

static void batches_and_names(const sdrs_pipeline *pipeline) {
    sdrs_generate_params params = quick_params();
    OK(sdrs_sampler_from_name("Euler a Karras", &params.sampler, &params.schedule));
    CHECK(params.sampler == SDRS_SAMPLER_EULER_ANCESTRAL && params.schedule == SDRS_SCHEDULE_KARRAS);
    CHECK(strcmp(sdrs_sampler_name(params.sampler), "Euler a") == 0);
    CHECK(strcmp(sdrs_schedule_name(params.schedule), "Karras") == 0);
    OK(sdrs_schedule_from_name("sgm_uniform", &params.schedule));
    CHECK(params.schedule == SDRS_SCHEDULE_SGM_UNIFORM);
    params.batch_size = 2;
    sdrs_images *batch = draw(pipeline, &params);
    CHECK(sdrs_images_count(batch) == 2);
    params.batch_size = 1;
    for (size_t i = 0; i < 2; i++) {
        sdrs_image in_batch = image_of(batch, i);
        CHECK(in_batch.seed == 7 + i);
        params.seed = (int64_t)in_batch.seed;
        sdrs_images *single = draw(pipeline, &params);
        sdrs_image alone = image_of(single, 0);
        CHECK(same_picture(&in_batch, &alone));
        sdrs_images_free(single);
    }
    params.seed = (int64_t)UINT64_MAX;
    params.unsigned_seeds = 1;
    sdrs_images *last = draw(pipeline, &params);
    sdrs_image of_last = image_of(last, 0);
    CHECK(of_last.seed == UINT64_MAX);
    sdrs_images_free(last);
    sdrs_image first = image_of(batch, 0), second = image_of(batch, 1);
    CHECK(!same_picture(&first, &second));
    sdrs_images_free(batch);
}

struct watched {
    const sdrs_pipeline *pipeline;
    size_t calls, last_step;
    size_t stop_at;
    sdrs_cancel_token *token;
    int nested;
};

static int32_t watch(const sdrs_progress *progress, void *user_data) {
    struct watched *seen = user_data;
    CHECK(progress->struct_size >= sizeof *progress);
    CHECK(progress->images == 1 && progress->step <= progress->steps && progress->sigma > 0.0);
    seen->calls++;
    seen->last_step = progress->step;
    if (seen->nested) {
        /* Calling back into the library, also for a whole other run, is fine. */
        sdrs_generate_params params = quick_params();
        params.steps = 1;
        sdrs_images_free(draw(seen->pipeline, &params));
        CHECK(sdrs_tokenize(NULL, "a", 1, NULL, 0, NULL) == SDRS_ERROR_INVALID_PARAMETER);
    }
    if (seen->token != NULL && progress->step == seen->stop_at) {
        OK(sdrs_cancel_token_cancel(seen->token));
    }
    return seen->token == NULL && progress->step == seen->stop_at;
}

static void callbacks(const sdrs_pipeline *pipeline) {
    sdrs_generate_params params = quick_params();
    params.steps = 4;
    sdrs_images *plain = draw(pipeline, &params);
    sdrs_image expected = image_of(plain, 0);

    struct watched seen = {.pipeline = pipeline, .nested = 1};
    sdrs_run_options options;
    OK(sdrs_run_options_init(&options, sizeof options));
    options.on_progress = watch;
    options.user_data = &seen;
    sdrs_images *images = NULL;
    OK(sdrs_txt2img(pipeline, &params, &options, &images));
    sdrs_image got = image_of(images, 0);
    CHECK(seen.calls == 4 && seen.last_step == 4 && same_picture(&got, &expected));
    sdrs_images_free(images);

    /* The callback's answer stops the run; nothing is written. */
    seen = (struct watched){.pipeline = pipeline, .stop_at = 2};
    images = (sdrs_images *)&seen;
    params.steps = 1000;
    FAILS(SDRS_ERROR_CANCELLED, "cancelled", sdrs_txt2img(pipeline, &params, &options, &images));
    CHECK(seen.calls == 2 && images == (sdrs_images *)&seen);

    /* So does a token. */
    seen = (struct watched){.pipeline = pipeline, .stop_at = 3};
    OK(sdrs_cancel_token_new(&seen.token));
    CHECK(sdrs_cancel_token_is_cancelled(seen.token) == 0);
    options.cancel = seen.token;
    CHECK(sdrs_txt2img(pipeline, &params, &options, &images) == SDRS_ERROR_CANCELLED);
    CHECK(seen.calls == 3 && sdrs_cancel_token_is_cancelled(seen.token) == 1);
    /* A used token stays used. */
    CHECK(sdrs_txt2img(pipeline, &params, &options, &images) == SDRS_ERROR_CANCELLED);
    CHECK(seen.calls == 3);
    sdrs_cancel_token_free(seen.token);

    /* The pipeline is as good as before. */
    params.steps = 4;
    images = draw(pipeline, &params);
    got = image_of(images, 0);
    CHECK(same_picture(&got, &expected));
    sdrs_images_free(images);
    sdrs_images_free(plain);
}

struct finished {
    const sdrs_images *expected;
    size_t count, stop_after;
    int seen[4];
};

static int32_t keep(size_t index, const sdrs_images *image, void *user_data) {
    struct finished *finished = user_data;
    CHECK(sdrs_images_count(image) == 1 && index < 4 && !finished->seen[index]);
    sdrs_image got = image_of(image, 0), expected = image_of(finished->expected, index);
    CHECK(same_picture(&got, &expected) && got.seed == expected.seed);
    CHECK(strcmp(got.infotext, expected.infotext) == 0);
    const uint8_t *png = NULL;
    size_t size = 0;
    OK(sdrs_images_png(image, 0, &png, &size));
    CHECK(size > 100 && memcmp(png, "\x89PNG\r\n\x1a\n", 8) == 0);
    finished->seen[index] = 1;
    return ++finished->count == finished->stop_after;
}

static int32_t stop_in_the_second(const sdrs_progress *progress, void *user_data) {
    (void)user_data;
    return progress->image == 1;
}

/* The pictures of a batch come as they are done, and stay when the run doesn't reach its end. */
static void finished_pictures(const sdrs_pipeline *pipeline) {
    sdrs_generate_params params = quick_params();
    params.batch_size = 4;
    struct finished plain = {.expected = draw(pipeline, &params)};
    sdrs_builder *builder = NULL;
    sdrs_pipeline *two = NULL;
    OK(sdrs_builder_new(&builder));
    OK(sdrs_builder_demo(builder));
    OK(sdrs_builder_device(builder, "cpu,cpu"));
    OK(sdrs_builder_dtype(builder, SDRS_DTYPE_F32));
    OK(sdrs_builder_build(builder, &two));
    sdrs_builder_free(builder);

    sdrs_run_options options;
    OK(sdrs_run_options_init(&options, sizeof options));
    CHECK(options.on_image == NULL);
    options.on_image = keep;
    const sdrs_pipeline *pipelines[2] = {pipeline, two};
    for (size_t i = 0; i < 2; i++) {
        struct finished finished = plain;
        options.user_data = &finished;
        sdrs_images *images = NULL;
        OK(sdrs_txt2img(pipelines[i], &params, &options, &images));
        CHECK(finished.count == 4 && sdrs_images_count(images) == 4);
        sdrs_images_free(images);

        /* Stopped in the middle, and with the last: the run fails, and the callback had what was drawn. */
        images = (sdrs_images *)&finished;
        for (size_t stop = 2; stop <= 4; stop += 2) {
            finished = plain;
            finished.stop_after = stop;
            FAILS(SDRS_ERROR_CANCELLED, "cancelled", sdrs_txt2img(pipelines[i], &params, &options, &images));
            /* Another device may have been at the end of a picture. */
            CHECK(finished.count >= stop && finished.count <= stop + i && images == (sdrs_images *)&finished);
        }
    }

    /* So it is where a step of the second picture stops the run. */
    struct finished first = plain;
    options.user_data = &first;
    options.on_progress = stop_in_the_second;
    sdrs_images *none = NULL;
    FAILS(SDRS_ERROR_CANCELLED, "cancelled", sdrs_txt2img(pipeline, &params, &options, &none));
    CHECK(first.count == 1 && first.seen[0]);
    options.on_progress = NULL;

    /* Latents are no pictures. */
    struct finished finished = plain;
    options.user_data = &finished;
    sdrs_tensor *latents = NULL;
    OK(sdrs_txt2img_latents(pipeline, &params, &options, &latents, NULL));
    CHECK(finished.count == 0);
    sdrs_tensor_free(latents);
    sdrs_images_free((sdrs_images *)plain.expected);
    sdrs_pipeline_free(two);
}

struct job {
    const sdrs_pipeline *pipeline;
    sdrs_generate_params params;
    sdrs_images *images;
    sdrs_status bad;
    char message[200];
};

static void *work(void *argument) {
    struct job *job = argument;
    job->images = draw(job->pipeline, &job->params);
    /* Each thread has its own last error. */
    sdrs_generate_params params = job->params;
    params.steps = 100000 + (uint32_t)params.seed;
    sdrs_images *none = NULL;
    job->bad = sdrs_txt2img(job->pipeline, &params, NULL, &none);
    snprintf(job->message, sizeof job->message, "%s", sdrs_last_error_message());
    return NULL;
}

static void four_threads(const sdrs_pipeline *pipeline) {
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    struct job jobs[THREADS];
    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (struct job){.pipeline = pipeline, .params = quick_params()};
        jobs[i].params.seed = 100 + i;
        CHECK(pthread_create(&threads[i], NULL, work, &jobs[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        sdrs_images *alone = draw(pipeline, &jobs[i].params);
        sdrs_image a = image_of(alone, 0), b = image_of(jobs[i].images, 0);
        CHECK(same_picture(&a, &b));
        char number[20];
        snprintf(number, sizeof number, "not %d", 100100 + i);
        CHECK(jobs[i].bad == SDRS_ERROR_INVALID_PARAMETER && strstr(jobs[i].message, number) != NULL);
        sdrs_images_free(alone);
        sdrs_images_free(jobs[i].images);
    }
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    char out[1000];
    snprintf(out, sizeof out, "%s/draw.png", argv[2]);
    versions();
    sdrs_pipeline *pipeline = demo_pipeline();
    a_picture(pipeline, out);
    recommendations(pipeline);
    batches_and_names(pipeline);
    callbacks(pipeline);
    finished_pictures(pipeline);
    four_threads(pipeline);
    sdrs_pipeline_free(pipeline);
    return 0;
}
