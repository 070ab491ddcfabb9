/* Draws a picture: txt2img PROMPT [OUT.png [CHECKPOINT]]. Without a checkpoint, the demo model that is compiled in. */
#include <sdrs.h>

#include <stdio.h>

static int32_t show(const sdrs_progress *progress, void *user_data) {
    (void)user_data;
    fprintf(stderr, "\rstep %zu of %zu", progress->step, progress->steps);
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s PROMPT [OUT.png [CHECKPOINT]]\n", argv[0]);
        return 2;
    }
    const char *out = argc > 2 ? argv[2] : "out.png";
    sdrs_builder *builder = NULL;
    sdrs_pipeline *pipeline = NULL;
    sdrs_images *images = NULL;
    sdrs_generate_params params;
    sdrs_run_options options;
    sdrs_image image;

    sdrs_status status = sdrs_builder_new(&builder);
    if (status == SDRS_OK) {
        status = argc > 3 ? sdrs_builder_checkpoint(builder, argv[3]) : sdrs_builder_demo(builder);
    }
    if (status == SDRS_OK) {
        status = sdrs_builder_build(builder, &pipeline);
    }
    if (status == SDRS_OK) {
        sdrs_generate_params_init(&params, sizeof params);
        params.prompt = argv[1];
        sdrs_run_options_init(&options, sizeof options);
        options.on_progress = show;
        status = sdrs_txt2img(pipeline, &params, &options, &images);
        fputc('\n', stderr);
    }
    if (status == SDRS_OK) {
        status = sdrs_images_save_png(images, 0, out);
    }
    if (status == SDRS_OK) {
        sdrs_image_init(&image, sizeof image);
        sdrs_images_get(images, 0, &image);
        printf("%s (%ux%u, seed %llu)\n", out, (unsigned)image.width, (unsigned)image.height,
               (unsigned long long)image.seed);
    } else {
        fprintf(stderr, "%s: %s\n", sdrs_status_name(status), sdrs_last_error_message());
    }
    sdrs_images_free(images);
    sdrs_pipeline_free(pipeline);
    sdrs_builder_free(builder);
    return status == SDRS_OK ? 0 : 1;
}
