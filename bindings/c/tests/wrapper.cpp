// The C++ wrapper: pictures, exceptions through a run, threads, and a picture by hand.
#undef NDEBUG
#include <sdrs.hpp>

#include <cassert>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>

static sdrs::GenerateParams quick() {
    sdrs::GenerateParams params("a red circle above a blue square");
    params->steps = 2;
    params->width = 48;
    params->height = 32;
    params->seed = 7;
    return params;
}

static bool same(const sdrs_image &a, const sdrs_image &b) {
    return a.width == b.width && a.height == b.height && a.stride == b.stride &&
           std::memcmp(a.rgb, b.rgb, a.stride * a.height) == 0;
}

template <class Call> static sdrs_status status_of(Call call) {
    try {
        call();
    } catch (const sdrs::Error &error) {
        assert(std::strlen(error.what()) > 0);
        return error.code();
    }
    return SDRS_OK;
}

static std::vector<std::uint8_t> read(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

static bool has(const std::string &text, const char *words) { return text.find(words) != std::string::npos; }

// A log, weights from a function, previews, latents, and pipelines made of another.
static void around(const std::string &folder, const std::string &scratch) {
    std::size_t lines = 0;
    std::unique_ptr<sdrs::Pipeline> pipeline;
    const std::vector<std::uint8_t> file = read(folder + "/../../../target/goldens/tiny-sd1-ldm.safetensors");
    {
        sdrs::Builder builder;
        const auto piece = [&](std::uint64_t offset, std::uint8_t *buffer, std::size_t length) {
            std::memcpy(buffer, file.data() + offset, length);
            return true;
        };
        builder.checkpoint_read("held", file.size(), piece).device("cpu").dtype(SDRS_DTYPE_F32).threads(2);
        builder.on_log([&](sdrs_log_level, const char *message) {
            lines += has(message, "loaded the ");
            throw 1;
        });
        pipeline = std::make_unique<sdrs::Pipeline>(builder.build());
        bool thrown = false;
        try {
            builder.checkpoint_read("x", 1, [](std::uint64_t, std::uint8_t *, std::size_t) -> bool { throw 5; });
        } catch (int five) {
            thrown = five == 5;
        }
        const auto refuse = [](std::uint64_t, std::uint8_t *, std::size_t) { return false; };
        assert(thrown && status_of([&] { builder.checkpoint_read("x", 1, refuse); }) == SDRS_ERROR_IO);
    }
    assert(lines == 3);
    // The log is the pipeline's now.
    sdrs::GenerateParams params = quick();
    sdrs::RunOptions options;
    std::size_t pixels = 0;
    options.preview = SDRS_PREVIEW_APPROXIMATE;
    options.preview_every = 2;
    options.on_progress = [&](const sdrs_progress &progress) {
        pixels += std::size_t(progress.preview_width) * progress.preview_height;
        return true;
    };
    assert(same(pipeline->txt2img(params, options)[0], pipeline->txt2img(params)[0]) && pixels == 6 * 4);
    options.states_folder = scratch + "/states";
    options.trace = scratch + "/trace.jsonl";
    const sdrs::Images whole = pipeline->txt2img(params, options);
    const sdrs::RunState state(options.states_folder + "/picture-1-step-00001.safetensors");
    sdrs::GenerateParams kept = state.params();
    assert(state.step() == 1 && kept.prompt == params.prompt && same(pipeline->resume(state)[0], whole[0]));
    assert(same(pipeline->resume(state, kept)[0], whole[0]));
    kept->cfg_scale = 2;
    assert(!same(pipeline->resume(state, kept)[0], whole[0]));
    assert(pipeline->latents(params).shape()[3] == 6);
    assert(pipeline->encode_text("a (ring)").shape()[0] == pipeline->info().context_length);

    sdrs::Builder builder;
    const sdrs::Pipeline plain = builder.demo().device("cpu").dtype(SDRS_DTYPE_F32).build();
    const sdrs::Pipeline styled = plain.with_loras({{folder + "/../outlines.safetensors", 0.5, 0.25}});
    assert(styled.loras().size() == 1 && styled.loras()[0].text_encoder_weight == 0.25 && plain.loras().empty());
    assert(!same(styled.txt2img(params)[0], plain.txt2img(params)[0]));
    assert(same(styled.with_loras({}).txt2img(params)[0], plain.txt2img(params)[0]));
    sdrs::Lora late;
    late.path = folder + "/../outlines.safetensors";
    late.schedule = "0.5-1";
    const sdrs::Pipeline scheduled = builder.lora(late).lora_dir(folder + "/..").build();
    assert(same(scheduled.txt2img(params)[0], plain.with_loras({late}).txt2img(params)[0]));
    sdrs::GenerateParams tagged = params;
    tagged.prompt += "<lora:outlines:1:step=0-1>";
    assert(!same(scheduled.txt2img(tagged)[0], scheduled.txt2img(params)[0]));
    const std::uint64_t apart = plain.memory_of_loras({late});
    assert(apart > 0 && apart < plain.memory_plan(params).weights && plain.memory_of_loras({}) == 0);
    assert(scheduled.memory_plan(params).loras > 0 && plain.memory_plan(params).loras == 0);
    assert(plain.memory_of_vae(folder) == plain.memory_plan(params).vae);
    late.blocks = "none";
    assert(status_of([&] { builder.lora(late); }) == SDRS_ERROR_INVALID_PARAMETER);
    assert(!same(plain.with_vae(folder + "/../vae-washed.safetensors").txt2img(params)[0], plain.txt2img(params)[0]));
}

// A long weighted prompt with an embedding, which the test makes.
static void prompts(const sdrs::Pipeline &plain, const std::string &scratch) {
    const sdrs_pipeline_info info = plain.info();
    const std::size_t bytes = info.context_width * sizeof(float);
    const std::string header = "{\"emb_params\":{\"dtype\":\"F32\",\"shape\":[1," + std::to_string(info.context_width) +
                               "],\"data_offsets\":[0," + std::to_string(bytes) + "]}}";
    std::vector<std::uint8_t> file(8);
    file[0] = static_cast<std::uint8_t>(header.size());
    file.insert(file.end(), header.begin(), header.end());
    file.resize(file.size() + bytes); // A vector of zeros.
    const std::string path = scratch + "/nothing.safetensors";
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char *>(file.data()), std::streamsize(file.size()));
    sdrs::Builder builder;
    const sdrs::Pipeline pipeline =
        builder.demo().device("cpu").dtype(SDRS_DTYPE_F32).embedding(path).embedding_bytes("void-1", file).build();
    assert((pipeline.embeddings() == std::vector<std::string>{"nothing", "void-1"}));
    assert(pipeline.skipped_embeddings().empty() && plain.embeddings().empty());

    sdrs::GenerateParams params = quick();
    params.prompt = "a (red:1.25) circle void-1";
    for (int i = 0; i < 80; i++) {
        params.prompt += " big";
    }
    const std::string plan = pipeline.plan_prompts(params);
    assert(has(plan, "\"weight\":1.25") && has(plan, "\"embedding\":\"void-1\"") && has(plan, "]]"));
    assert(!has(sdrs::plan_prompts(params), "void-1\"}") && has(sdrs::plan_prompts(params), "\"weight\":1.25"));
    assert(pipeline.encode_prompt(params.prompt).shape()[0] == 2 * info.context_length);
    sdrs::Images with = pipeline.txt2img(params), without = plain.txt2img(params);
    assert(!same(with[0], without[0]));
    params->emphasis = SDRS_EMPHASIS_IGNORE;
    params->clip_skip_rule = SDRS_CLIP_SKIP_RULE_DIFFUSERS;
    params->pad_prompts = 1;
    sdrs::Images other = pipeline.txt2img(params);
    assert(!same(with[0], other[0]) && has(other[0].infotext, "Clip skip: 2, Emphasis: Ignore, Pad conds: True"));
    params->emphasis = static_cast<sdrs_emphasis>(9);
    assert(status_of([&] { pipeline.txt2img(params); }) == SDRS_ERROR_INVALID_PARAMETER);
    assert(status_of([&] { sdrs::plan_prompts(params); }) == SDRS_ERROR_INVALID_PARAMETER);
    builder.embedding(scratch + "/none.pt");
    assert(status_of([&] { builder.build(); }) == SDRS_ERROR_IO);
}

/** Interrogation on tiny random models. */
static void words(const std::string &folder) {
    const std::string goldens = folder + "/../../../goldens/interrogation";
    const std::string clip = goldens + "/clip", blip = goldens + "/blip";
    const std::string tokenizer = folder + "/../../../models/demo/base/tokenizer";
    sdrs_interrogator_options options = sdrs::Interrogator::options();
    options.clip = clip.c_str();
    options.blip = blip.c_str();
    options.clip_tokenizer = tokenizer.c_str();
    options.device = "cpu";
    const sdrs::Interrogator interrogator(options);
    const std::vector<std::uint8_t> flat(3 * 9 * 7, 77);
    assert(interrogator.embed_picture(flat, 9, 7, 3).size() == 20);
    assert(interrogator.embed_text("a red circle").size() == 20);
    sdrs_interrogate_params params = sdrs::Interrogator::params();
    params.mode = SDRS_INTERROGATE_MODE_CAPTION;
    std::size_t told = 0;
    const auto count = [&](sdrs_interrogate_stage, std::size_t, std::size_t) { return ++told > 0; };
    const std::string json = interrogator.interrogate(flat, 9, 7, 3, params, nullptr, count);
    assert(told > 0 && json.find("\"text\":") != std::string::npos);
    const auto stop = [](sdrs_interrogate_stage, std::size_t, std::size_t) { return false; };
    assert(status_of([&] { interrogator.interrogate(flat, 9, 7, 3, params, nullptr, stop); }) == SDRS_ERROR_CANCELLED);
    assert(status_of([&] { interrogator.embed_picture(flat, 8, 7, 3); }) == SDRS_ERROR_INVALID_PARAMETER);
}

int main(int argc, char **argv) {
    assert(argc == 3);
    const std::string folder = argv[1], scratch = argv[2];
    assert(std::string(sdrs::version()) == SDRS_VERSION);
    sdrs::Builder builder;
    sdrs::Pipeline first = builder.demo().device("cpu").dtype(SDRS_DTYPE_F32).build();
    sdrs::Pipeline pipeline = std::move(first);
    assert(status_of([&] { first.info(); }) == SDRS_ERROR_INVALID_PARAMETER);
    const sdrs_pipeline_info info = pipeline.info();
    assert(std::string(info.name) == "demo");

    around(folder, scratch);
    words(folder);
    sdrs::GenerateParams params = quick();
    sdrs::Images images = pipeline.txt2img(params);
    assert(images.size() == 1 && images[0].width == 48 && images[0].height == 32);
    images.save_png(0, scratch + "/wrapper.png");
    images.save(0, scratch + "/wrapper.jpg", 90);
    images.save(0, scratch + "/wrapper.webp");
    const sdrs::Upscaler lanczos("lanczos");
    const std::vector<std::uint8_t> flat(3 * 4 * 2, 77);
    assert(lanczos.factor() == 0);
    assert(lanczos.upscale(flat, 4, 2, 3, 9, 5) == std::vector<std::uint8_t>(3 * 9 * 5, 77));
    assert(status_of([&] { lanczos.upscale(flat, 5, 2, 3, 9, 5); }) == SDRS_ERROR_INVALID_PARAMETER);
    const std::vector<std::uint8_t> saved = read(scratch + "/wrapper.png");
    const sdrs::View<std::uint8_t> png = images.png(0);
    assert(saved.size() == png.size() && std::memcmp(saved.data(), png.data(), png.size()) == 0);
    assert(status_of([&] { images[1]; }) == SDRS_ERROR_INVALID_PARAMETER);

    // Progress, cancelling, and exceptions that pass through a run.
    sdrs::CancelToken token;
    sdrs::RunOptions options;
    int steps = 0;
    options.on_progress = [&](const sdrs_progress &progress) {
        steps++;
        return progress.step < 1;
    };
    assert(status_of([&] { pipeline.txt2img(params, options); }) == SDRS_ERROR_CANCELLED && steps == 1);
    options.cancel = &token;
    options.on_progress = [&](const sdrs_progress &) -> bool { throw std::out_of_range("mine"); };
    bool thrown = false;
    try {
        pipeline.txt2img(params, options);
    } catch (const std::out_of_range &error) {
        thrown = std::string(error.what()) == "mine";
    }
    assert(thrown && token.is_cancelled());
    sdrs::Images again = pipeline.txt2img(params);
    assert(same(again[0], images[0]));

    // The pictures of a batch, as they are done; on two devices, too.
    sdrs::Pipeline two = sdrs::Builder().checkpoint(folder).device("cpu,cpu").dtype(SDRS_DTYPE_F32).build();
    sdrs::GenerateParams batch = params;
    batch->batch_size = 3;
    const sdrs::Images whole = pipeline.txt2img(batch);
    for (const sdrs::Pipeline *drawing : {&pipeline, &two}) {
        sdrs::RunOptions each;
        std::size_t done = 0;
        each.on_image = [&](std::size_t index, const sdrs::Images &image) {
            assert(image.size() == 1 && same(image[0], whole[index]) && image.png(0).size() > 100);
            image.save_png(0, scratch + "/wrapper-" + std::to_string(index) + ".png");
            done++;
            return true;
        };
        assert(drawing->txt2img(batch, each).size() == 3 && done == 3);
        assert(read(scratch + "/wrapper-2.png").size() == whole.png(2).size());
        each.on_image = [](std::size_t, const sdrs::Images &) { return false; };
        assert(status_of([&] { drawing->txt2img(batch, each); }) == SDRS_ERROR_CANCELLED);
        // The first exception is thrown on, whatever later calls throw.
        done = 0;
        each.on_image = [&](std::size_t, const sdrs::Images &) -> bool {
            done++;
            throw std::out_of_range("first");
        };
        each.on_progress = [&](const sdrs_progress &) {
            return done > 0 ? throw std::length_error("later") : true;
        };
        std::string told;
        try {
            drawing->txt2img(batch, each);
        } catch (const std::out_of_range &error) {
            told = error.what();
        }
        assert(told == "first");
    }

    // A file of the folder in memory, and the folder itself.
    sdrs::Pipeline from_folder = sdrs::Builder().checkpoint(folder).device("cpu").dtype(SDRS_DTYPE_F32).build();
    sdrs::Images from_files = from_folder.txt2img(params);
    assert(same(from_files[0], images[0]));
    const std::vector<std::uint8_t> three = {1, 2, 3};
    builder.checkpoint_bytes("three", three);
    assert(status_of([&] { builder.build(); }) == SDRS_ERROR_INVALID_FILE);
    assert(sdrs::inspect(folder).find("\"family\"") != std::string::npos);
    assert(status_of([&] { sdrs::inspect(scratch + "/none"); }) == SDRS_ERROR_IO);
    assert(sdrs::model_hash(scratch + "/wrapper.png").size() == 64);
    assert(status_of([&] { sdrs::model_hash(folder); }) == SDRS_ERROR_INVALID_FILE);
    prompts(pipeline, scratch);
    assert(status_of([&] { first.plan_prompts(params); }) == SDRS_ERROR_INVALID_PARAMETER && first.embeddings().empty());

    // Four threads.
    std::vector<std::thread> threads;
    std::vector<sdrs::Images> drawn;
    for (int i = 0; i < 4; i++) {
        drawn.emplace_back(nullptr);
    }
    for (std::size_t i = 0; i < 4; i++) {
        threads.emplace_back([&, i] {
            sdrs::GenerateParams own = quick();
            own->seed = static_cast<std::int64_t>(i);
            drawn[i] = pipeline.txt2img(own);
        });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    for (std::size_t i = 0; i < 4; i++) {
        params->seed = static_cast<std::int64_t>(i);
        sdrs::Images alone = pipeline.txt2img(params);
        assert(same(alone[0], drawn[i][0]));
    }

    // By hand, without guidance.
    params->seed = 7;
    params->cfg_scale = 1.0;
    params->sampler = SDRS_SAMPLER_EULER;
    sdrs::Images expected = pipeline.txt2img(params);
    assert(pipeline.tokenize("red red").size() == 2);
    assert(pipeline.text_hidden_states(pipeline.tokenize("red red")).shape().size() == 3);
    assert(pipeline.encode_ids(pipeline.tokenize("red red")).shape().size() == 2);
    const sdrs::Tensor context = pipeline.encode_prompt(params.prompt);
    const std::vector<std::size_t> context_shape = {1, context.shape()[0], context.shape()[1]};
    const std::vector<std::size_t> shape = {1, info.latent_channels, 32 / info.downscale, 48 / info.downscale};
    sdrs_noise_options noise_options = sdrs::noise_options();
    noise_options.seed = 7;
    noise_options.channels = static_cast<std::uint32_t>(shape[1]);
    noise_options.height = static_cast<std::uint32_t>(shape[2]);
    noise_options.width = static_cast<std::uint32_t>(shape[3]);
    sdrs::Noise noise(noise_options);
    sdrs_stepper_options stepper_options = sdrs::stepper_options();
    stepper_options.sampler = SDRS_SAMPLER_EULER;
    stepper_options.steps = 2;
    const std::vector<float> begin = noise.first();
    sdrs::Stepper stepper(&pipeline, stepper_options, begin);
    assert(stepper.sigmas() == sdrs::schedule_sigmas(SDRS_SCHEDULE_UNIFORM, 2, &pipeline));
    sdrs_request request = stepper.request();
    for (; request.kind == SDRS_REQUEST_DENOISE; request = stepper.request()) {
        std::vector<float> values(request.x, request.x + request.length);
        for (float &value : values) {
            value = static_cast<float>(request.c_in * value);
        }
        const std::vector<double> timesteps = {request.timestep};
        const sdrs::Tensor out = pipeline.unet({values, shape}, timesteps, {context.values(), context_shape});
        for (std::size_t i = 0; i < values.size(); i++) {
            values[i] = static_cast<float>(request.c_skip * request.x[i] + request.c_out * out.values()[i]);
        }
        stepper.provide_denoised(values);
    }
    const sdrs::View<float> latents(request.x, request.length);
    const sdrs::Tensor decoded = pipeline.vae_decode({latents, shape});
    assert(decoded.values().size() == 3 * 48 * 32);
    const sdrs_image picture = expected[0];
    for (std::size_t i = 0; i < 48 * 32; i++) {
        const double value = (std::fmin(std::fmax(decoded.values()[i], -1.0), 1.0) + 1.0) / 2.0 * 255.0;
        assert(std::fabs(value - picture.rgb[3 * i]) < 2.0);
    }
    const auto encoded = pipeline.vae_encode({decoded.values(), decoded.shape()});
    assert(encoded.mean.values().size() == latents.size() && encoded.std.values()[0] > 0.0F);
    // SD1 has no vector, and takes no scale.
    const std::vector<double> one = {1.0};
    const sdrs::Array text = {context.values(), context_shape};
    const std::vector<float> added = {0.5F, 0.5F};
    const std::vector<std::size_t> added_shape = {1, 2};
    assert(status_of([&] { pipeline.unet_guided({latents, shape}, one, text, 8.0); }) == SDRS_ERROR_INVALID_PARAMETER);
    assert(status_of([&] { pipeline.unet_guided({latents, shape}, one, text, {added, added_shape}, 8.0); }) ==
           SDRS_ERROR_INVALID_PARAMETER);
    const std::vector<std::size_t> wrong = {1, 1, 1, 1};
    assert(status_of([&] { pipeline.vae_decode({latents, wrong}); }) == SDRS_ERROR_INVALID_PARAMETER);
    return 0;
}
