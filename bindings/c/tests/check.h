/* What the test programs share: checks that tell where they failed. */
#ifndef CHECK_H
#define CHECK_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sdrs.h>

#define CHECK(condition)                                                                                      \
    do {                                                                                                      \
        if (!(condition)) {                                                                                   \
            fprintf(stderr, "%s:%d: not so: %s\n  last error: %s\n", __FILE__, __LINE__, #condition,           \
                    sdrs_last_error_message());                                                               \
            exit(1);                                                                                          \
        }                                                                                                     \
    } while (0)

#define OK(call) CHECK((call) == SDRS_OK)

/* The call fails with the status, and the message has the words. */
#define FAILS(status, words, call)                                                                            \
    do {                                                                                                      \
        CHECK((call) == (status));                                                                            \
        CHECK(strstr(sdrs_last_error_message(), words) != NULL);                                              \
    } while (0)

static inline sdrs_pipeline *demo_pipeline(void) {
    sdrs_builder *builder = NULL;
    sdrs_pipeline *pipeline = NULL;
    OK(sdrs_builder_new(&builder));
    OK(sdrs_builder_demo(builder));
    OK(sdrs_builder_device(builder, "cpu"));
    OK(sdrs_builder_dtype(builder, SDRS_DTYPE_F32));
    OK(sdrs_builder_build(builder, &pipeline));
    sdrs_builder_free(builder);
    return pipeline;
}

/* A quick picture's parameters: few steps, two latents' worth of any model's side. */
static inline sdrs_generate_params quick_params(void) {
    sdrs_generate_params params;
    OK(sdrs_generate_params_init(&params, sizeof params));
    params.prompt = "a red circle above a blue square";
    params.steps = 2;
    params.width = 48;
    params.height = 32;
    params.seed = 7;
    return params;
}

static inline sdrs_images *draw(const sdrs_pipeline *pipeline, const sdrs_generate_params *params) {
    sdrs_images *images = NULL;
    OK(sdrs_txt2img(pipeline, params, NULL, &images));
    return images;
}

static inline sdrs_image image_of(const sdrs_images *images, size_t index) {
    sdrs_image image;
    OK(sdrs_image_init(&image, sizeof image));
    OK(sdrs_images_get(images, index, &image));
    return image;
}

/* Same size, same pixels. */
static inline int same_picture(const sdrs_image *a, const sdrs_image *b) {
    if (a->width != b->width || a->height != b->height) {
        return 0;
    }
    for (size_t y = 0; y < a->height; y++) {
        if (memcmp(a->rgb + y * a->stride, b->rgb + y * b->stride, 3 * (size_t)a->width) != 0) {
            return 0;
        }
    }
    return 1;
}

#endif
