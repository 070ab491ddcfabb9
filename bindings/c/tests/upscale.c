/* Upscalers: a filter, a network, mistakes. */
#include "check.h"

enum { W = 9, H = 7 };

static int told(size_t done, size_t count, void *user_data) {
    size_t *seen = user_data;
    CHECK(done == seen[0] + 1 && done <= count);
    seen[0] = done;
    return seen[1] != 0; /* Cancels if it is asked to. */
}

static void filters(const uint8_t *rgba) {
    sdrs_upscaler *nearest = NULL;
    OK(sdrs_upscaler_open("Nearest", NULL, SDRS_DTYPE_AUTO, 0, &nearest));
    CHECK(sdrs_upscaler_factor(nearest) == 0);
    uint8_t large[4 * 2 * W * 3 * H];
    OK(sdrs_upscale(nearest, rgba, W, H, 4, 2 * W, 3 * H, 0, NULL, NULL, NULL, large));
    for (size_t y = 0; y < 3 * H; y++) {
        for (size_t x = 0; x < 2 * W; x++) {
            CHECK(memcmp(large + 4 * (y * 2 * W + x), rgba + 4 * (y / 3 * W + x / 2), 4) == 0);
        }
    }
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "channels: 2", sdrs_upscale(nearest, rgba, W, H, 2, 4, 4, 0, NULL, NULL, NULL, large));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "width: 0", sdrs_upscale(nearest, rgba, 0, H, 4, 4, 4, 0, NULL, NULL, NULL, large));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "height: 65536",
          sdrs_upscale(nearest, rgba, W, H, 4, 4, 65536, 0, NULL, NULL, NULL, large));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "tile: 5", sdrs_upscale(nearest, rgba, W, H, 4, 4, 4, 5, NULL, NULL, NULL, large));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "pixels: is NULL",
          sdrs_upscale(nearest, NULL, W, H, 4, 4, 4, 0, NULL, NULL, NULL, large));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "out: is NULL", sdrs_upscale(nearest, rgba, W, H, 4, 4, 4, 0, NULL, NULL, NULL, NULL));
    sdrs_upscaler_free(nearest);
}

static void network(const char *path, const uint8_t *rgb) {
    sdrs_upscaler *upscaler = NULL;
    OK(sdrs_upscaler_open(path, "cpu", SDRS_DTYPE_F32, 1, &upscaler));
    CHECK(sdrs_upscaler_factor(upscaler) == 2);
    size_t seen[2] = {0, 0};
    uint8_t large[3 * 2 * W * 2 * H], again[sizeof large];
    OK(sdrs_upscale(upscaler, rgb, W, H, 3, 2 * W, 2 * H, 0, NULL, told, seen, large));
    CHECK(seen[0] == 1);
    OK(sdrs_upscale(upscaler, rgb, W, H, 3, 2 * W, 2 * H, 128, NULL, NULL, NULL, again));
    CHECK(memcmp(large, again, sizeof large) == 0);
    seen[0] = 0;
    seen[1] = 1;
    FAILS(SDRS_ERROR_CANCELLED, "cancelled", sdrs_upscale(upscaler, rgb, W, H, 3, 2 * W, 2 * H, 0, NULL, told, seen, large));
    sdrs_cancel_token *token = NULL;
    OK(sdrs_cancel_token_new(&token));
    OK(sdrs_cancel_token_cancel(token));
    FAILS(SDRS_ERROR_CANCELLED, "cancelled", sdrs_upscale(upscaler, rgb, W, H, 3, 2 * W, 2 * H, 0, token, NULL, NULL, large));
    sdrs_cancel_token_free(token);
    sdrs_upscaler_free(upscaler);
}

int main(int argc, char **argv) {
    CHECK(argc > 1);
    uint8_t pixels[4 * W * H];
    for (size_t i = 0; i < sizeof pixels; i++) {
        pixels[i] = (uint8_t)(i * 37 + i / 5);
    }
    filters(pixels);
    char path[4096];
    snprintf(path, sizeof path, "%s/../../../goldens/upscalers/compact-x2.safetensors", argv[1]);
    network(path, pixels);
    sdrs_upscaler *none = NULL;
    FAILS(SDRS_ERROR_UNKNOWN_NAME, "no upscaler 'lanczos4'", sdrs_upscaler_open("lanczos4", NULL, SDRS_DTYPE_AUTO, 0, &none));
    FAILS(SDRS_ERROR_IO, "none.pth", sdrs_upscaler_open("none.pth", NULL, SDRS_DTYPE_AUTO, 0, &none));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "path_or_name: is NULL", sdrs_upscaler_open(NULL, NULL, SDRS_DTYPE_AUTO, 0, &none));
    FAILS(SDRS_ERROR_INVALID_PARAMETER, "upscaler: is NULL", sdrs_upscaler_open("lanczos", NULL, SDRS_DTYPE_AUTO, 0, NULL));
    CHECK(none == NULL && sdrs_upscaler_factor(NULL) == 0);
    sdrs_upscaler_free(NULL);
    return 0;
}
