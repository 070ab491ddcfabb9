/* A picture by hand: tokens, contexts, noise, stepper, U-Net and VAE give what sdrs_txt2img gives. */
#include "check.h"

enum { W = 48, H = 32, STEPS = 3 };
static const double CFG_SCALE = 5.0;

static void tokens(const sdrs_pipeline *pipeline, const sdrs_pipeline_info *info) {
    uint32_t ids[2] = {99, 99};
    size_t count = 0;
    OK(sdrs_tokenize(pipeline, "red red red", SDRS_NUL_TERMINATED, ids, 2, &count));
    CHECK(count == 3 && ids[0] == ids[1] && ids[0] < info->vocabulary);
    sdrs_tensor *states = NULL;
    OK(sdrs_text_hidden_states(pipeline, ids, 2, &states));
    const float *data = NULL;
    const size_t *shape = NULL;
    size_t rank = 0;
    OK(sdrs_tensor_get(states, &data, &shape, &rank));
    CHECK(rank == 3 && shape[0] == info->text_layers + 1 && shape[1] == 2 && shape[2] == info->context_width);
    CHECK(sdrs_tensor_size(states) == shape[0] * shape[1] * shape[2] && isfinite(data[0]));
    sdrs_tensor *context = NULL;
    OK(sdrs_encode_ids(pipeline, ids, 2, 1, &context));
    const float *normed = NULL;
    OK(sdrs_tensor_get(context, &normed, &shape, &rank));
    CHECK(rank == 2 && shape[0] == 2 && shape[1] == info->context_width && isfinite(normed[0]));
    sdrs_tensor_free(context);
    sdrs_tensor_free(states);
}

static void schedules(const sdrs_pipeline *pipeline, const sdrs_pipeline_info *info) {
    double sigmas[5];
    size_t count = 0;
    OK(sdrs_schedule_sigmas(pipeline, SDRS_SCHEDULE_KARRAS, 4, sigmas, 5, &count));
    /* Karras et al. 2022, equation 5, with rho 7. */
    CHECK(count == 5 && sigmas[4] == 0.0);
    for (int i = 0; i < 4; i++) {
        double low = pow(info->sigma_min, 1.0 / 7.0), high = pow(info->sigma_max, 1.0 / 7.0);
        CHECK(fabs(sigmas[i] / pow(high + i / 3.0 * (low - high), 7.0) - 1.0) < 1e-9);
    }
    /* The count alone. */
    count = 0;
    OK(sdrs_schedule_sigmas(NULL, SDRS_SCHEDULE_KARRAS, 100, NULL, 0, &count));
    CHECK(count == 101);
}

static void by_hand(const sdrs_pipeline *pipeline, const sdrs_pipeline_info *info, sdrs_sampler sampler,
                    const char *prompt) {
    const char *texts[2] = {prompt, ""};
    sdrs_generate_params params;
    OK(sdrs_generate_params_init(&params, sizeof params));
    params.prompt = texts[0];
    params.width = W;
    params.height = H;
    params.steps = STEPS;
    params.cfg_scale = CFG_SCALE;
    params.seed = 3;
    params.sampler = sampler;
    sdrs_images *images = draw(pipeline, &params);
    sdrs_image expected = image_of(images, 0);

    sdrs_tensor *contexts[2] = {NULL, NULL};
    const float *context[2] = {NULL, NULL};
    /* Of different length, if the prompt is long. */
    size_t context_shapes[2][3] = {{1, 0, 0}, {1, 0, 0}};
    for (int i = 0; i < 2; i++) {
        const size_t *shape = NULL;
        OK(sdrs_encode_prompt(pipeline, texts[i], SDRS_NUL_TERMINATED, 1, &contexts[i]));
        OK(sdrs_tensor_get(contexts[i], &context[i], &shape, NULL));
        context_shapes[i][1] = shape[0];
        context_shapes[i][2] = shape[1];
    }
    size_t shape[4] = {1, info->latent_channels, H / info->downscale, W / info->downscale};
    size_t n = shape[1] * shape[2] * shape[3];
    float *buffer = malloc(n * sizeof *buffer), *input = malloc(n * sizeof *input);
    CHECK(buffer != NULL && input != NULL);

    sdrs_noise_options noise_options;
    sdrs_noise *noise = NULL;
    OK(sdrs_noise_options_init(&noise_options, sizeof noise_options));
    noise_options.seed = 3;
    noise_options.channels = (uint32_t)shape[1];
    noise_options.height = (uint32_t)shape[2];
    noise_options.width = (uint32_t)shape[3];
    OK(sdrs_noise_new(&noise_options, &noise));
    OK(sdrs_noise_first(noise, buffer, n));

    sdrs_stepper_options options;
    sdrs_stepper *stepper = NULL;
    OK(sdrs_stepper_options_init(&options, sizeof options));
    options.sampler = sampler;
    options.steps = STEPS;
    OK(sdrs_stepper_new(pipeline, &options, buffer, n, &stepper));
    double sigmas[STEPS + 1];
    size_t count = 0;
    OK(sdrs_stepper_sigmas(stepper, sigmas, STEPS + 1, &count));
    CHECK(count == STEPS + 1 && sigmas[STEPS] == 0.0);

    sdrs_request request;
    OK(sdrs_request_init(&request, sizeof request));
    for (;;) {
        OK(sdrs_stepper_request(stepper, &request));
        if (request.kind == SDRS_REQUEST_DONE) {
            break;
        }
        if (request.kind == SDRS_REQUEST_NOISE) {
            OK(sdrs_noise_next(noise, stepper, buffer, n));
            OK(sdrs_stepper_provide_noise(stepper, buffer, n));
            continue;
        }
        CHECK(request.length == n && !request.needs_uncond);
        for (size_t i = 0; i < n; i++) {
            input[i] = (float)(request.c_in * request.x[i]);
        }
        for (int k = 1; k >= 0; k--) {
            double weight = k == 0 ? CFG_SCALE : 1.0 - CFG_SCALE;
            sdrs_tensor *prediction = NULL;
            const float *out = NULL;
            OK(sdrs_unet(pipeline, input, shape, &request.timestep, context[k], context_shapes[k], &prediction));
            OK(sdrs_tensor_get(prediction, &out, NULL, NULL));
            for (size_t i = 0; i < n; i++) {
                double denoised = request.c_skip * request.x[i] + request.c_out * out[i];
                buffer[i] = (float)(weight * denoised + (k == 0 ? buffer[i] : 0.0));
            }
            sdrs_tensor_free(prediction);
        }
        OK(sdrs_stepper_provide_denoised(stepper, buffer, NULL, n));
    }
    sdrs_tensor *decoded = NULL;
    const float *planes = NULL;
    OK(sdrs_vae_decode(pipeline, request.x, shape, &decoded));
    OK(sdrs_tensor_get(decoded, &planes, NULL, NULL));
    CHECK(sdrs_tensor_size(decoded) == 3 * W * H);
    for (size_t i = 0; i < W * H; i++) {
        for (size_t c = 0; c < 3; c++) {
            double value = (fmin(fmax(planes[c * W * H + i], -1.0), 1.0) + 1.0) / 2.0 * 255.0;
            int byte = expected.rgb[i / W * expected.stride + i % W * 3 + c];
            /* Two calls may round differently from a batch of two. */
            CHECK(fabs(value - byte) < 2.0);
        }
    }
    /* And back: the mean latent of a picture is near the latent that it was decoded from. */
    size_t image_shape[4] = {1, 3, H, W};
    sdrs_tensor *mean = NULL, *std = NULL;
    OK(sdrs_vae_encode(pipeline, planes, image_shape, &mean, &std));
    const float *means = NULL, *stds = NULL;
    OK(sdrs_tensor_get(mean, &means, NULL, NULL));
    OK(sdrs_tensor_get(std, &stds, NULL, NULL));
    CHECK(sdrs_tensor_size(mean) == n && sdrs_tensor_size(std) == n);
    CHECK(info->scaling_factor > 0.0 && info->scaling_factor < 10.0);
    double off = 0.0, size = 0.0;
    for (size_t i = 0; i < n; i++) {
        CHECK(stds[i] > 0.0f);
        off += pow((double)means[i] - request.x[i], 2.0);
        size += pow((double)request.x[i], 2.0);
    }
    CHECK(off < 0.8 * size);

    sdrs_tensor_free(mean);
    sdrs_tensor_free(std);
    sdrs_tensor_free(decoded);
    sdrs_tensor_free(contexts[0]);
    sdrs_tensor_free(contexts[1]);
    sdrs_stepper_free(stepper);
    sdrs_noise_free(noise);
    sdrs_images_free(images);
    free(buffer);
    free(input);
}

int main(void) {
    sdrs_pipeline *pipeline = demo_pipeline();
    sdrs_pipeline_info info;
    OK(sdrs_pipeline_info_init(&info, sizeof info));
    OK(sdrs_pipeline_get_info(pipeline, &info));
    tokens(pipeline, &info);
    schedules(pipeline, &info);
    const char *prompt = "a red circle above a blue square";
    by_hand(pipeline, &info, SDRS_SAMPLER_DPMPP_2M, prompt);
    by_hand(pipeline, &info, SDRS_SAMPLER_EULER_ANCESTRAL, prompt);
    by_hand(pipeline, &info, SDRS_SAMPLER_DPMPP_2M_SDE, prompt);
    char long_prompt[1000] = "a (red:1.3) circle above a [blue] square";
    for (int i = 0; i < 90; i++) {
        strcat(long_prompt, i == 80 ? ", (big:0.7)" : ", big");
    }
    by_hand(pipeline, &info, SDRS_SAMPLER_DPMPP_2M, long_prompt);
    sdrs_pipeline_free(pipeline);
    return 0;
}
