/* From pictures to words on tiny random models: texts, vectors, mistakes. */
#include "check.h"

enum { W = 9, H = 7 };

static char clip[4096], blip[4096], tokenizer[4096];

static int told(sdrs_interrogate_stage stage, size_t done, size_t count, void *user_data) {
    size_t *seen = user_data;
    CHECK(stage <= SDRS_INTERROGATE_STAGE_CHAIN && done <= count);
    seen[0]++;
    return seen[1] != 0; /* Cancels if it is asked to. */
}

static void texts(const sdrs_interrogator *interrogator, const uint8_t *rgb) {
    sdrs_interrogate_params params;
    OK(sdrs_interrogate_params_init(&params, sizeof params));
    params.max_flavors = 2;
    params.min_flavors = 1;
    size_t seen[2] = {0, 0};
    for (int mode = SDRS_INTERROGATE_MODE_CAPTION; mode <= SDRS_INTERROGATE_MODE_FAST; mode++) {
        params.mode = (sdrs_interrogate_mode)mode;
        char *json = NULL;
        OK(sdrs_interrogate(interrogator, rgb, W, H, 3, &params, NULL, told, seen, &json));
        CHECK(strstr(json, "\"text\":\"") != NULL && strstr(json, "\"caption\":") != NULL);
        sdrs_string_free(json);
    }
    CHECK(seen[0] > 0);
    params.mode = SDRS_INTERROGATE_MODE_CLASSIC;
    params.caption = "a cat";
    char *json = NULL;
    OK(sdrs_interrogate(interrogator, rgb, W, H, 3, &params, NULL, NULL, NULL, &json));
    CHECK(strstr(json, "\"text\":\"a cat, a") != NULL && strstr(json, "\"phrase\":") != NULL);
    sdrs_string_free(json);
    params.caption = NULL;
    json = NULL;
    seen[1] = 1;
    FAILS(SDRS_ERROR_CANCELLED, "cancelled", sdrs_interrogate(interrogator, rgb, W, H, 3, &params, NULL, told, seen, &json));
    sdrs_cancel_token *token = NULL;
    OK(sdrs_cancel_token_new(&token));
    OK(sdrs_cancel_token_cancel(token));
    FAILS(SDRS_ERROR_CANCELLED, "cancelled", sdrs_interrogate(interrogator, rgb, W, H, 3, NULL, token, NULL, NULL, &json));
    sdrs_cancel_token_free(token);
    params.mode = (sdrs_interrogate_mode)77;
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "mode", sdrs_interrogate(interrogator, rgb, W, H, 3, &params, NULL, NULL, NULL, &json));
    OK(sdrs_interrogate_params_init(&params, sizeof params));
    params.beams = 65;
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "beams", sdrs_interrogate(interrogator, rgb, W, H, 3, &params, NULL, NULL, NULL, &json));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "channels: 2", sdrs_interrogate(interrogator, rgb, W, H, 2, NULL, NULL, NULL, NULL, &json));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "pixels: is NULL",
          sdrs_interrogate(interrogator, NULL, W, H, 3, NULL, NULL, NULL, NULL, &json));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "json: is NULL", sdrs_interrogate(interrogator, rgb, W, H, 3, NULL, NULL, NULL, NULL, NULL));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "interrogator: is NULL",
          sdrs_interrogate(NULL, rgb, W, H, 3, NULL, NULL, NULL, NULL, &json));
    CHECK(json == NULL);
}

static void vectors(const sdrs_interrogator *interrogator, const uint8_t *rgb) {
    float picture[64], text[64], rating = 0;
    size_t count = 0;
    OK(sdrs_embed_picture(interrogator, rgb, W, H, 3, NULL, 0, &count));
    CHECK(count == 20);
    OK(sdrs_embed_picture(interrogator, rgb, W, H, 3, picture, 64, &count));
    OK(sdrs_embed_text(interrogator, "a red circle", SDRS_NUL_TERMINATED, text, 64, &count));
    CHECK(count == 20);
    float lengths[2] = {0, 0};
    for (size_t i = 0; i < count; i++) {
        lengths[0] += picture[i] * picture[i];
        lengths[1] += text[i] * text[i];
    }
    CHECK(lengths[0] > 0.999f && lengths[0] < 1.001f && lengths[1] > 0.999f && lengths[1] < 1.001f);
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "count: is NULL", sdrs_embed_picture(interrogator, rgb, W, H, 3, picture, 64, NULL));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "text: is NULL", sdrs_embed_text(interrogator, NULL, 3, text, 64, &count));
    FAILS(SDRS_ERROR_IO, "none.pth", sdrs_rate_vector("none.pth", picture, 20, &rating));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "path: is NULL", sdrs_rate_vector(NULL, picture, 20, &rating));
}

int main(int argc, char **argv) {
    CHECK(argc > 1);
    snprintf(clip, sizeof clip, "%s/../../../goldens/interrogation/clip", argv[1]);
    snprintf(blip, sizeof blip, "%s/../../../goldens/interrogation/blip", argv[1]);
    snprintf(tokenizer, sizeof tokenizer, "%s/../../../models/demo/base/tokenizer", argv[1]);
    uint8_t pixels[3 * W * H];
    for (size_t i = 0; i < sizeof pixels; i++) {
        pixels[i] = (uint8_t)(i * 37 + i / 5);
    }
    sdrs_interrogator_options options;
    OK(sdrs_interrogator_options_init(&options, sizeof options));
    sdrs_interrogator *interrogator = NULL;
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "a CLIP, a BLIP or both", sdrs_interrogator_new(&options, &interrogator));
    options.clip = "none";
    FAILS(SDRS_ERROR_IO, "none", sdrs_interrogator_new(&options, &interrogator));
    options.clip = clip;
    options.clip_tokenizer = tokenizer;
    options.blip = blip;
    options.device = "cpu";
    options.threads = 1;
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "interrogator: is NULL", sdrs_interrogator_new(&options, NULL));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "options: is NULL", sdrs_interrogator_new(NULL, &interrogator));
    OK(sdrs_interrogator_new(&options, &interrogator));
    texts(interrogator, pixels);
    vectors(interrogator, pixels);
    sdrs_interrogator_free(interrogator);
    options.demo = 1;
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "leave clip and blip at NULL", sdrs_interrogator_new(&options, &interrogator));
    options.clip = options.blip = options.clip_tokenizer = NULL;
    OK(sdrs_interrogator_new(&options, &interrogator));
    sdrs_interrogate_params params;
    OK(sdrs_interrogate_params_init(&params, sizeof params));
    params.mode = SDRS_INTERROGATE_MODE_CAPTION;
    char *json = NULL;
    OK(sdrs_interrogate(interrogator, pixels, W, H, 3, &params, NULL, NULL, NULL, &json));
    CHECK(strstr(json, "\"text\":\"a") != NULL);
    sdrs_string_free(json);
    sdrs_interrogator_free(interrogator);
    sdrs_interrogator_free(NULL);
    return 0;
}
