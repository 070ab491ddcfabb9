/* The demo model's folder read into memory, and given to a builder file by file. */
#ifndef FOLDER_H
#define FOLDER_H

#include "check.h"

static const char *const FILES[] = {
    "scheduler/scheduler_config.json",
    "sdrs_recommended.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
};

static inline unsigned char *read_file(const char *folder, const char *name, size_t *size) {
    char path[1100];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0);
    long length = ftell(file);
    CHECK(length >= 0 && fseek(file, 0, SEEK_SET) == 0);
    unsigned char *bytes = malloc((size_t)length + 1);
    CHECK(bytes != NULL && fread(bytes, 1, (size_t)length, file) == (size_t)length);
    fclose(file);
    *size = (size_t)length;
    return bytes;
}

/* `change`, if not NULL, may alter a file before it is given; false leaves the file out. */
static inline sdrs_builder *memory_builder(const char *folder,
                                           int (*change)(const char *name, unsigned char *bytes, size_t size)) {
    sdrs_builder *builder = NULL;
    OK(sdrs_builder_new(&builder));
    OK(sdrs_builder_device(builder, "cpu"));
    OK(sdrs_builder_dtype(builder, SDRS_DTYPE_F32));
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        size_t size = 0;
        unsigned char *bytes = read_file(folder, FILES[i], &size);
        if (change == NULL || change(FILES[i], bytes, size)) {
            OK(sdrs_builder_checkpoint_file(builder, "memory", FILES[i], bytes, size));
        }
        /* The library has its own copy. */
        memset(bytes, 0xff, size);
        free(bytes);
    }
    return builder;
}

#endif
