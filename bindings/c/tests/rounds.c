/* 20 rounds of create, generate, fail and destroy: resident memory stays flat after the third. */
#include "check.h"

/* Resident memory in kilobytes; 0 where the system doesn't tell it so. */
static long resident(void) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[200];
    long found = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "VmRSS: %ld", &found) == 1) {
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return found;
}

int main(int argc, char **argv) {
    int rounds = argc > 3 ? atoi(argv[3]) : 20;
    long third = 0, most = 0;
    for (int i = 1; i <= rounds; i++) {
        sdrs_pipeline *pipeline = demo_pipeline();
        sdrs_generate_params params = quick_params();
        sdrs_images *images = draw(pipeline, &params);
        const uint8_t *png = NULL;
        size_t size = 0;
        OK(sdrs_images_png(images, 0, &png, &size));
        params.width = 1;
        sdrs_images *none = NULL;
        CHECK(sdrs_txt2img(pipeline, &params, NULL, &none) == SDRS_ERROR_INVALID_PARAMETER);
        sdrs_tensor *context = NULL;
        OK(sdrs_encode_prompt(pipeline, "red", SDRS_NUL_TERMINATED, 1, &context));
        sdrs_tensor_free(context);
        char *json = NULL;
        params = quick_params();
        OK(sdrs_plan_prompts(pipeline, &params, &json));
        sdrs_string_free(json);
        CHECK(sdrs_debug_panic() == SDRS_ERROR_INTERNAL);
        sdrs_images_free(images);
        sdrs_pipeline_free(pipeline);
        long now = resident();
        if (i == 3) {
            third = now;
        } else if (i > 3 && now > most) {
            most = now;
        }
    }
    printf("resident after round 3: %ld kB, most afterwards: %ld kB\n", third, most);
    /* A leaked pipeline would be 12 MB and more each round; allocators keep a little. */
    CHECK(third == 0 || most < third + 8 * 1024);
    (void)argv;
    return 0;
}
