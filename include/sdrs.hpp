/*
 * sdrs for C++17: sdrs.h with handles that free themselves, and exceptions.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 *     sdrs::Builder builder;
 *     sdrs::Pipeline pipeline = builder.checkpoint("model.safetensors").build();
 *     sdrs::GenerateParams params("a red circle above a blue square");
 *     params->seed = 1;
 *     sdrs::Images images = pipeline.txt2img(params);
 *     images.save_png(0, "out.png");
 *
 * Names, units, errors and the rules for threads are those of sdrs.h. Handles can be moved, not copied. Whatever fails throws
 * sdrs::Error, whose message is sdrs_last_error_message. A moved-from handle holds NULL, which every function answers with an Error.
 */
#ifndef SDRS_HPP
#define SDRS_HPP

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sdrs.h"

namespace sdrs {

/** The exception of every failure. */
class Error : public std::runtime_error {
public:
    Error(sdrs_status code, const char *message) : std::runtime_error(message), code_(code) {}

    /** The status. */
    sdrs_status code() const noexcept { return code_; }

private:
    sdrs_status code_;
};

/** Throws unless the status is SDRS_OK. */
inline void check(sdrs_status status) {
    if (status != SDRS_OK) {
        throw Error(status, sdrs_last_error_message());
    }
}

/** The library's version. */
inline const char *version() noexcept { return sdrs_version(); }

/** Values that belong to something else, as std::span of C++20. */
template <class T> class View {
public:
    View() = default;
    View(const T *data, std::size_t size) : data_(data), size_(size) {}
    View(const std::vector<T> &values) : data_(values.data()), size_(values.size()) {}

    const T *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    const T *begin() const noexcept { return data_; }
    const T *end() const noexcept { return data_ + size_; }
    const T &operator[](std::size_t i) const noexcept { return data_[i]; }

private:
    const T *data_ = nullptr;
    std::size_t size_ = 0;
};

namespace detail {

template <class T, void (*Free)(T *)> struct Deleter {
    void operator()(T *handle) const noexcept { Free(handle); }
};

template <class T, void (*Free)(T *)> using Handle = std::unique_ptr<T, Deleter<T, Free>>;

/** For functions that fill a caller's buffer and tell how many values there are. */
template <class T, class Call> std::vector<T> filled(Call call) {
    std::size_t count = 0;
    check(call(nullptr, 0, &count));
    std::vector<T> values(count);
    check(call(values.data(), values.size(), &count));
    return values;
}

} // namespace detail

/** Stops runs from anywhere. */
class CancelToken {
public:
    CancelToken() {
        sdrs_cancel_token *token = nullptr;
        check(sdrs_cancel_token_new(&token));
        handle_.reset(token);
    }

    void cancel() const { check(sdrs_cancel_token_cancel(handle_.get())); }
    bool is_cancelled() const noexcept { return sdrs_cancel_token_is_cancelled(handle_.get()) != 0; }
    const sdrs_cancel_token *get() const noexcept { return handle_.get(); }

private:
    detail::Handle<sdrs_cancel_token, sdrs_cancel_token_free> handle_;
};

/** sdrs_generate_params with texts of its own. The defaults are the library's. */
struct GenerateParams {
    std::string prompt;
    std::string negative_prompt;
    /** All else; the texts in here are not used. */
    sdrs_generate_params values;

    explicit GenerateParams(std::string prompt_ = {}, std::string negative_prompt_ = {})
        : prompt(std::move(prompt_)), negative_prompt(std::move(negative_prompt_)) {
        check(sdrs_generate_params_init(&values, sizeof values));
    }

    sdrs_generate_params *operator->() noexcept { return &values; }
    const sdrs_generate_params *operator->() const noexcept { return &values; }

    /** As C has it; valid as long as this is unchanged. */
    sdrs_generate_params get() const noexcept {
        sdrs_generate_params params = values;
        params.prompt = prompt.data();
        params.prompt_length = prompt.size();
        params.negative_prompt = negative_prompt.data();
        params.negative_prompt_length = negative_prompt.size();
        return params;
    }
};

namespace detail {

/** For functions that give an entry of a pipeline's list, NULL past the last. */
inline std::vector<std::string> listed(const sdrs_pipeline *pipeline,
                                       const char *(*entry)(const sdrs_pipeline *, std::size_t)) {
    std::vector<std::string> texts;
    while (const char *text = entry(pipeline, texts.size())) {
        texts.emplace_back(text);
    }
    return texts;
}

/** A text that the library gave to be freed. */
inline std::string taken(char *text) {
    const Handle<char, sdrs_string_free> owner(text);
    return text;
}

inline std::string planned(const sdrs_pipeline *pipeline, const GenerateParams &params) {
    char *json = nullptr;
    const sdrs_generate_params given = params.get();
    check(sdrs_plan_prompts(pipeline, &given, &json));
    return taken(json);
}

} // namespace detail

/** The plan of both prompts for any Stable Diffusion 1, as JSON: the inputs of its text encoder. */
inline std::string plan_prompts(const GenerateParams &params) { return detail::planned(nullptr, params); }

class Images;

/** The options to watch and stop a run. */
struct RunOptions {
    /** Called after each step; false cancels the run. An exception of its own cancels the run too, which throws it on. */
    std::function<bool(const sdrs_progress &)> on_progress;
    /** Stops the run; may be NULL. */
    const CancelToken *cancel = nullptr;
    /** Whether on_progress is shown previews, and after how many steps each. */
    sdrs_preview preview = SDRS_PREVIEW_NONE;
    std::uint32_t preview_every = 1;
    /** The folder that states are written into, from which Pipeline::resume goes on, and after how many steps each; none if empty. */
    std::string states_folder;
    std::uint32_t states_every = 1;
    /** A file that records what each stage of the run computes; none if empty. */
    std::string trace;
    /** Called with each picture of a batch as soon as it is done: its place in the batch, and the picture, alone, valid during the call.
     * Answers and exceptions are taken as those of on_progress. */
    std::function<bool(std::size_t, const Images &)> on_image;
};

/** A picture under way, after one of its steps: a file that a run with states_folder wrote. */
class RunState {
public:
    explicit RunState(const std::string &path) {
        sdrs_run_state *state = nullptr;
        check(sdrs_run_state_open(path.c_str(), &state));
        handle_.reset(state);
    }

    /** The parameters of the picture, to be changed where they decide only what is to come. Texts of the second pass are this state's. */
    GenerateParams params() const {
        GenerateParams params;
        check(sdrs_run_state_params(handle_.get(), &params.values));
        params.prompt = params->prompt;
        params.negative_prompt = params->negative_prompt ? params->negative_prompt : "";
        return params;
    }

    /** Steps of the picture that are done, in all passes. */
    std::size_t step() const noexcept { return sdrs_run_state_step(handle_.get()); }
    const sdrs_run_state *get() const noexcept { return handle_.get(); }

private:
    detail::Handle<sdrs_run_state, sdrs_run_state_free> handle_;
};

/** The pictures and latents that a run begins at, or draws after: sdrs_inputs. They must last as long as the run. */
struct Inputs {
    const sdrs_picture *image = nullptr;
    const sdrs_picture *mask = nullptr;
    const sdrs_picture *depth = nullptr;
    /** [1, latent_channels, h, w], in the place of `image`. */
    const float *latents = nullptr;
    std::size_t latents_shape[4] = {0, 0, 0, 0};

    sdrs_inputs get() const {
        sdrs_inputs inputs;
        check(sdrs_inputs_init(&inputs, sizeof inputs));
        inputs.image = image;
        inputs.mask = mask;
        inputs.depth = depth;
        inputs.latents = latents;
        for (std::size_t axis = 0; axis < 4; axis++) {
            inputs.latents_shape[axis] = latents_shape[axis];
        }
        return inputs;
    }
};

/** Rows of pixels with 1, 3 or 4 bytes each, and nothing between them. */
inline sdrs_picture picture(const std::uint8_t *pixels, std::uint32_t width, std::uint32_t height,
                            std::uint32_t channels = 3) {
    sdrs_picture picture;
    check(sdrs_picture_init(&picture, sizeof picture));
    picture.pixels = pixels;
    picture.width = width;
    picture.height = height;
    picture.channels = channels;
    return picture;
}

/** A picture that was read from a file. */
class PictureFile {
public:
    explicit PictureFile(const std::string &path) {
        sdrs_picture_file *file = nullptr;
        check(sdrs_picture_open(path.c_str(), &file));
        handle_.reset(file);
    }

    /** Its pixels, valid as long as this. */
    sdrs_picture get() const {
        sdrs_picture picture;
        check(sdrs_picture_init(&picture, sizeof picture));
        check(sdrs_picture_file_get(handle_.get(), &picture));
        return picture;
    }

private:
    detail::Handle<sdrs_picture_file, sdrs_picture_file_free> handle_;
};

/** The pictures of a run. */
class Images {
public:
    explicit Images(sdrs_images *handle) noexcept : handle_(handle) {}

    std::size_t size() const noexcept { return sdrs_images_count(handle_.get()); }

    /** A picture; what it points to is valid as long as this. */
    sdrs_image operator[](std::size_t index) const {
        sdrs_image image;
        check(sdrs_image_init(&image, sizeof image));
        check(sdrs_images_get(handle_.get(), index, &image));
        return image;
    }

    /** A PNG file's bytes, valid as long as this. */
    View<std::uint8_t> png(std::size_t index) const {
        const std::uint8_t *data = nullptr;
        std::size_t size = 0;
        check(sdrs_images_png(handle_.get(), index, &data, &size));
        return {data, size};
    }

    void save_png(std::size_t index, const std::string &path) const {
        check(sdrs_images_save_png(handle_.get(), index, path.c_str()));
    }

    void save(std::size_t index, const std::string &path, std::uint32_t quality = 0) const {
        check(sdrs_images_save(handle_.get(), index, path.c_str(), quality));
    }

    const sdrs_images *get() const noexcept { return handle_.get(); }

private:
    friend class Pipeline;
    detail::Handle<sdrs_images, sdrs_images_free> handle_;
};

/** An array of floats with its shape, row-major. */
class Tensor {
public:
    explicit Tensor(sdrs_tensor *handle) noexcept : handle_(handle) {}

    View<float> values() const {
        const float *data = nullptr;
        check(sdrs_tensor_get(handle_.get(), &data, nullptr, nullptr));
        return {data, sdrs_tensor_size(handle_.get())};
    }

    View<std::size_t> shape() const {
        const float *data = nullptr;
        const std::size_t *shape = nullptr;
        std::size_t rank = 0;
        check(sdrs_tensor_get(handle_.get(), &data, &shape, &rank));
        return {shape, rank};
    }

    const sdrs_tensor *get() const noexcept { return handle_.get(); }

private:
    detail::Handle<sdrs_tensor, sdrs_tensor_free> handle_;
};

/** A caller's array: values with the lengths of the axes. */
struct Array {
    View<float> values;
    View<std::size_t> shape;
};

/** A LoRA's file, and how it acts: sdrs_lora with C++ strings. Empty ones are not set, and 0 ranks are all. */
struct Lora {
    std::string path;
    double weight = 1.0;
    double text_encoder_weight = 1.0;
    std::string blocks = {};
    std::string schedule = {};
    std::string name = {};
    std::uint32_t ranks = 0;
    bool allow_unmatched = false;

    /** Valid as long as this. */
    sdrs_lora get() const {
        const auto set = [](const std::string &text) { return text.empty() ? nullptr : text.c_str(); };
        sdrs_lora lora;
        check(sdrs_lora_init(&lora, sizeof lora));
        lora.path = path.c_str();
        lora.weight = weight;
        lora.text_encoder_weight = text_encoder_weight;
        lora.blocks = set(blocks);
        lora.schedule = set(schedule);
        lora.name = set(name);
        lora.ranks = ranks;
        lora.allow_unmatched = allow_unmatched ? 1 : 0;
        return lora;
    }
};

/** A loaded checkpoint. */
class Pipeline {
public:
    explicit Pipeline(sdrs_pipeline *handle, std::shared_ptr<void> log = nullptr) noexcept
        : log_(std::move(log)), handle_(handle) {}

    sdrs_pipeline_info info() const {
        sdrs_pipeline_info info;
        check(sdrs_pipeline_info_init(&info, sizeof info));
        check(sdrs_pipeline_get_info(handle_.get(), &info));
        return info;
    }

    /** The memory that such a run takes, or so many at once; nothing is drawn. */
    sdrs_memory_plan memory_plan(const GenerateParams &params, std::uint32_t runs = 1) const {
        return memory_plan_of(params, nullptr, runs);
    }

    /** The same of a run from a picture. */
    sdrs_memory_plan memory_plan(const GenerateParams &params, const Inputs &inputs, std::uint32_t runs = 1) const {
        const sdrs_inputs from = inputs.get();
        return memory_plan_of(params, &from, runs);
    }

    Images txt2img(const GenerateParams &params, const RunOptions &options = {}) const {
        sdrs_images *images = nullptr;
        run(params, options, [&](const sdrs_generate_params *given, const sdrs_run_options *c) {
            return sdrs_txt2img(handle_.get(), given, c, &images);
        });
        return Images(images);
    }

    /** The same from a picture, or a part of it anew. */
    Images img2img(const GenerateParams &params, const Inputs &inputs, const RunOptions &options = {}) const {
        sdrs_images *images = nullptr;
        const sdrs_inputs from = inputs.get();
        run(params, options, [&](const sdrs_generate_params *given, const sdrs_run_options *c) {
            return sdrs_img2img(handle_.get(), given, &from, c, &images);
        });
        return Images(images);
    }

    /** Goes on from a state, to the same picture, to the bit. */
    Images resume(const RunState &state, const RunOptions &options = {}) const {
        sdrs_images *images = nullptr;
        run(GenerateParams(), options, [&](const sdrs_generate_params *, const sdrs_run_options *c) {
            return sdrs_resume(handle_.get(), state.get(), nullptr, c, &images);
        });
        return Images(images);
    }

    /** The same with other parameters for what is to come: RunState::params, changed. */
    Images resume(const RunState &state, const GenerateParams &params, const RunOptions &options = {}) const {
        sdrs_images *images = nullptr;
        run(params, options, [&](const sdrs_generate_params *given, const sdrs_run_options *c) {
            return sdrs_resume(handle_.get(), state.get(), given, c, &images);
        });
        return Images(images);
    }

    /** As txt2img without decoding: [batch_size, latent_channels, h, w]. */
    Tensor latents(const GenerateParams &params, const RunOptions &options = {}) const {
        sdrs_tensor *latents = nullptr;
        run(params, options, [&](const sdrs_generate_params *given, const sdrs_run_options *c) {
            return sdrs_txt2img_latents(handle_.get(), given, c, &latents, nullptr);
        });
        return Tensor(latents);
    }

    using Lora = sdrs::Lora;

    /** The same pipeline with these LoRAs instead of those that it has, sharing all else. */
    Pipeline with_loras(const std::vector<Lora> &loras) const {
        sdrs_pipeline *other = nullptr;
        listed(loras, [&](const sdrs_lora *const *list, std::size_t count) {
            check(sdrs_pipeline_with_lora_list(handle_.get(), list, count, &other));
        });
        return Pipeline(other, log_);
    }

    /** The bytes that with_loras takes beside this. */
    std::uint64_t memory_of_loras(const std::vector<Lora> &loras) const {
        std::uint64_t bytes = 0;
        listed(loras, [&](const sdrs_lora *const *list, std::size_t count) {
            check(sdrs_pipeline_memory_of_loras(handle_.get(), list, count, &bytes));
        });
        return bytes;
    }

    /** The bytes that with_vae takes beside this. */
    std::uint64_t memory_of_vae(const std::string &path) const {
        std::uint64_t bytes = 0;
        check(sdrs_pipeline_memory_of_vae(handle_.get(), path.c_str(), &bytes));
        return bytes;
    }

    /** The same pipeline with another autoencoder, sharing all else. */
    Pipeline with_vae(const std::string &path) const {
        sdrs_pipeline *other = nullptr;
        check(sdrs_pipeline_with_vae(handle_.get(), path.c_str(), &other));
        return Pipeline(other, log_);
    }

    /** The LoRAs that it has: paths and weights. */
    std::vector<Lora> loras() const {
        std::vector<Lora> loras;
        Lora lora;
        while (const char *path =
                   sdrs_pipeline_lora(handle_.get(), loras.size(), &lora.weight, &lora.text_encoder_weight)) {
            lora.path = path;
            loras.push_back(lora);
        }
        return loras;
    }

    /** Writes it as a single .safetensors file, with its LoRAs merged. */
    void save_file(const std::string &path, sdrs_dtype dtype) const {
        check(sdrs_pipeline_save_file(handle_.get(), path.c_str(), dtype));
    }

    /** Writes it as a diffusers folder, with its LoRAs merged. */
    void save_folder(const std::string &path, sdrs_dtype dtype) const {
        check(sdrs_pipeline_save_folder(handle_.get(), path.c_str(), dtype));
    }

    /** Names of the textual inversions that prompts may use. */
    std::vector<std::string> embeddings() const { return detail::listed(handle_.get(), sdrs_pipeline_embedding); }

    /** The files of folders of them that were passed over, each with the reason. */
    std::vector<std::string> skipped_embeddings() const {
        return detail::listed(handle_.get(), sdrs_pipeline_skipped_embedding);
    }

    /** The plan of both prompts, as JSON: the inputs of the text encoder. */
    std::string plan_prompts(const GenerateParams &params) const {
        if (!handle_) {
            throw Error(SDRS_ERROR_INVALID_PARAMETER, "pipeline: is NULL");
        }
        return detail::planned(handle_.get(), params);
    }

    std::vector<std::uint32_t> tokenize(std::string_view text) const {
        return detail::filled<std::uint32_t>([&](std::uint32_t *ids, std::size_t capacity, std::size_t *count) {
            return sdrs_tokenize(handle_.get(), text.data(), text.size(), ids, capacity, count);
        });
    }

    Tensor encode_text(std::string_view text, std::uint32_t clip_skip = 1) const {
        sdrs_tensor *context = nullptr;
        check(sdrs_encode_text(handle_.get(), text.data(), text.size(), clip_skip, &context));
        return Tensor(context);
    }

    Tensor encode_prompt(std::string_view text, std::uint32_t clip_skip = 1) const {
        sdrs_tensor *context = nullptr;
        check(sdrs_encode_prompt(handle_.get(), text.data(), text.size(), clip_skip, &context));
        return Tensor(context);
    }

    /** The pooled text of a prompt, for SDXL. */
    Tensor pooled_prompt(std::string_view text) const {
        sdrs_tensor *pooled = nullptr;
        check(sdrs_pooled_prompt(handle_.get(), text.data(), text.size(), &pooled));
        return Tensor(pooled);
    }

    /** The pooled text of a text as it is, for SDXL. */
    Tensor pooled_text(std::string_view text) const {
        sdrs_tensor *pooled = nullptr;
        check(sdrs_pooled_text(handle_.get(), text.data(), text.size(), &pooled));
        return Tensor(pooled);
    }

    /** The context of token ids, with the final norm of SD1 and SD2; SDXL has two encoders. */
    Tensor encode_ids(View<std::uint32_t> ids, std::uint32_t clip_skip = 1, std::uint32_t encoder = 0) const {
        sdrs_tensor *context = nullptr;
        check(sdrs_encode_ids_with(handle_.get(), encoder, ids.data(), ids.size(), clip_skip, &context));
        return Tensor(context);
    }

    /** Without the final norm. */
    Tensor text_hidden_states(View<std::uint32_t> ids, std::uint32_t encoder = 0) const {
        sdrs_tensor *states = nullptr;
        check(sdrs_text_hidden_states_with(handle_.get(), encoder, ids.data(), ids.size(), &states));
        return Tensor(states);
    }

    /** Sizes as SDXL's vector has them behind the pooled text. */
    Tensor size_vector(View<double> sizes) const {
        sdrs_tensor *vector = nullptr;
        check(sdrs_size_vector(handle_.get(), sizes.data(), sizes.size(), &vector));
        return Tensor(vector);
    }

    /** `latents` has 4 axes, `context` 3. */
    Tensor unet(Array latents, View<double> timesteps, Array context) const {
        return unet(latents, timesteps, context, nullptr, nullptr);
    }

    /** The same of a model that takes the scale of guidance (a latent consistency model). */
    Tensor unet_guided(Array latents, View<double> timesteps, Array context, double cfg_scale) const {
        return unet(latents, timesteps, context, nullptr, &cfg_scale);
    }

    /** The same for SDXL: `added` has 2 axes. */
    Tensor unet(Array latents, View<double> timesteps, Array context, Array added) const {
        return unet(latents, timesteps, context, checked(latents, added), nullptr);
    }

    /** Of an SDXL that takes the scale of guidance: `added` has 2 axes. */
    Tensor unet_guided(Array latents, View<double> timesteps, Array context, Array added, double cfg_scale) const {
        return unet(latents, timesteps, context, checked(latents, added), &cfg_scale);
    }

    /** A latent of the U-Net is mean + std * noise. */
    struct Encoded {
        Tensor mean;
        Tensor std;
    };

    Encoded vae_encode(Array images) const {
        expect("images", images, 4);
        sdrs_tensor *mean = nullptr, *std = nullptr;
        check(sdrs_vae_encode(handle_.get(), images.values.data(), images.shape.data(), &mean, &std));
        return {Tensor(mean), Tensor(std)};
    }

    Tensor vae_decode(Array latents) const {
        expect("latents", latents, 4);
        sdrs_tensor *images = nullptr;
        check(sdrs_vae_decode(handle_.get(), latents.values.data(), latents.shape.data(), &images));
        return Tensor(images);
    }

    const sdrs_pipeline *get() const noexcept { return handle_.get(); }

private:
    /** The vectors beside the timesteps, if they are one for each row of latents. */
    const float *checked(const Array &latents, const Array &added) const {
        expect("latents", latents, 4);
        expect("added", added, 2);
        if (added.shape[0] != latents.shape[0] || added.shape[1] != info().added_width) {
            throw Error(SDRS_ERROR_INVALID_PARAMETER, "added: must have the shape [batch, added_width]");
        }
        return added.values.data();
    }

    Tensor unet(Array latents, View<double> timesteps, Array context, const float *added, const double *cfg_scale) const {
        expect("latents", latents, 4);
        expect("context", context, 3);
        if (timesteps.size() != latents.shape[0]) {
            throw Error(SDRS_ERROR_INVALID_PARAMETER, "timesteps: must have one number for each row of latents");
        }
        sdrs_tensor *prediction = nullptr;
        const float *x = latents.values.data(), *text = context.values.data();
        const std::size_t *x_shape = latents.shape.data(), *text_shape = context.shape.data();
        check(cfg_scale ? sdrs_unet_guided(handle_.get(), x, x_shape, timesteps.data(), text, text_shape, added, *cfg_scale,
                                           &prediction)
                        : sdrs_unet_with_vector(handle_.get(), x, x_shape, timesteps.data(), text, text_shape, added,
                                                &prediction));
        return Tensor(prediction);
    }

    sdrs_memory_plan memory_plan_of(const GenerateParams &params, const sdrs_inputs *inputs, std::uint32_t runs) const {
        const sdrs_generate_params given = params.get();
        sdrs_memory_plan plan;
        check(sdrs_memory_plan_init(&plan, sizeof plan));
        check(sdrs_pipeline_memory_plan(handle_.get(), &given, inputs, runs, &plan));
        return plan;
    }

    /** Calls with a list of LoRAs as C takes it. */
    template <class Call> static void listed(const std::vector<Lora> &loras, Call call) {
        std::vector<sdrs_lora> given;
        std::vector<const sdrs_lora *> pointers;
        for (const Lora &lora : loras) {
            given.push_back(lora.get());
        }
        for (const sdrs_lora &lora : given) {
            pointers.push_back(&lora);
        }
        call(pointers.data(), pointers.size());
    }

    /** The callbacks of a run, and the first exception of one. */
    struct Watch {
        const RunOptions &options;
        std::exception_ptr thrown;

        /** What a callback answers. No exception may cross the library. */
        template <class Callback> std::int32_t answer(Callback callback) {
            try {
                return callback() ? 0 : 1;
            } catch (...) {
                if (!thrown) {
                    thrown = std::current_exception();
                }
                return 1;
            }
        }
    };

    /** A run with the options' callbacks, through which nothing may be thrown. */
    template <class Call> static void run(const GenerateParams &params, const RunOptions &options, Call call) {
        Watch watch{options, nullptr};
        sdrs_run_options c;
        check(sdrs_run_options_init(&c, sizeof c));
        c.cancel = options.cancel ? options.cancel->get() : nullptr;
        c.preview = options.preview;
        c.preview_every = options.preview_every;
        c.states_folder = options.states_folder.empty() ? nullptr : options.states_folder.c_str();
        c.states_every = options.states_every;
        c.trace = options.trace.empty() ? nullptr : options.trace.c_str();
        c.user_data = &watch;
        if (options.on_progress) {
            c.on_progress = [](const sdrs_progress *progress, void *user_data) -> std::int32_t {
                auto &seen = *static_cast<Watch *>(user_data);
                return seen.answer([&] { return seen.options.on_progress(*progress); });
            };
        }
        if (options.on_image) {
            c.on_image = [](std::size_t index, const sdrs_images *lent, void *user_data) -> std::int32_t {
                auto &seen = *static_cast<Watch *>(user_data);
                Images image(const_cast<sdrs_images *>(lent));
                const std::int32_t answer = seen.answer([&] { return seen.options.on_image(index, image); });
                // It is the library's.
                (void)image.handle_.release();
                return answer;
            };
        }
        const sdrs_generate_params given = params.get();
        const sdrs_status status = call(&given, &c);
        if (watch.thrown) {
            std::rethrow_exception(watch.thrown);
        }
        check(status);
    }

    /** C takes the size from the shape: here both are known. */
    static void expect(const char *name, const Array &array, std::size_t rank) {
        bool fits = array.shape.size() == rank;
        std::size_t rest = array.values.size();
        for (std::size_t axis : array.shape) {
            fits = fits && axis != 0 && rest % axis == 0;
            rest = fits ? rest / axis : rest;
        }
        if (!fits || rest != 1) {
            const std::string message = std::string(name) + ": the values don't fill the shape";
            throw Error(SDRS_ERROR_INVALID_PARAMETER, message.c_str());
        }
    }

    /** The function that the log calls; it outlives the handle. */
    std::shared_ptr<void> log_;
    detail::Handle<sdrs_pipeline, sdrs_pipeline_free> handle_;
};

/** Says what is in pictures: captions, prompts, and CLIP's vectors. */
class Interrogator {
public:
    /** Options as `sdrs_interrogator_options_init` and the caller set them. */
    explicit Interrogator(const sdrs_interrogator_options &options) {
        sdrs_interrogator *interrogator = nullptr;
        check(sdrs_interrogator_new(&options, &interrogator));
        handle_.reset(interrogator);
    }

    /** The defaults of options. */
    static sdrs_interrogator_options options() {
        sdrs_interrogator_options options;
        check(sdrs_interrogator_options_init(&options, sizeof options));
        return options;
    }

    /** The defaults of an interrogation's settings. */
    static sdrs_interrogate_params params() {
        sdrs_interrogate_params params;
        check(sdrs_interrogate_params_init(&params, sizeof params));
        return params;
    }

    /** Told what is being done, how much of it, of how much; false cancels. */
    using Progress = std::function<bool(sdrs_interrogate_stage stage, std::size_t done, std::size_t count)>;

    /** The text of a picture of 3 or 4 bytes a pixel, with the phrases that were found, as JSON. */
    std::string interrogate(View<std::uint8_t> pixels, std::uint32_t width, std::uint32_t height, std::uint32_t channels,
                            const sdrs_interrogate_params &params, const CancelToken *cancel = nullptr,
                            const Progress &on_progress = {}) const {
        fits(pixels, width, height, channels);
        struct Watch {
            const Progress &on_progress;
            std::exception_ptr thrown;
        } watch{on_progress, nullptr};
        // No exception may cross the library.
        const auto call = [](sdrs_interrogate_stage stage, std::size_t done, std::size_t count, void *user_data) -> std::int32_t {
            auto &seen = *static_cast<Watch *>(user_data);
            try {
                return seen.on_progress(stage, done, count) ? 0 : 1;
            } catch (...) {
                seen.thrown = std::current_exception();
                return 1;
            }
        };
        char *json = nullptr;
        const sdrs_status status =
            sdrs_interrogate(handle_.get(), pixels.data(), width, height, channels, &params,
                             cancel ? cancel->get() : nullptr, on_progress ? +call : nullptr, &watch, &json);
        const std::unique_ptr<char, void (*)(char *)> owned(json, sdrs_string_free);
        if (watch.thrown) {
            std::rethrow_exception(watch.thrown);
        }
        check(status);
        return owned.get();
    }

    /** A picture's vector, of length 1. */
    std::vector<float> embed_picture(View<std::uint8_t> pixels, std::uint32_t width, std::uint32_t height,
                                     std::uint32_t channels) const {
        fits(pixels, width, height, channels);
        return filled([&](float *vector, std::size_t capacity, std::size_t *count) {
            return sdrs_embed_picture(handle_.get(), pixels.data(), width, height, channels, vector, capacity, count);
        });
    }

    /** A text's vector, of length 1. */
    std::vector<float> embed_text(const std::string &text) const {
        return filled([&](float *vector, std::size_t capacity, std::size_t *count) {
            return sdrs_embed_text(handle_.get(), text.data(), text.size(), vector, capacity, count);
        });
    }

    const sdrs_interrogator *get() const noexcept { return handle_.get(); }

private:
    static void fits(View<std::uint8_t> pixels, std::uint32_t width, std::uint32_t height, std::uint32_t channels) {
        if (pixels.size() != static_cast<std::size_t>(width) * height * channels) {
            throw Error(SDRS_ERROR_INVALID_PARAMETER, "pixels: there are not width * height * channels of them");
        }
    }

    template <class Call> static std::vector<float> filled(const Call &call) {
        // No CLIP has more.
        std::vector<float> vector(4096);
        std::size_t count = 0;
        check(call(vector.data(), vector.size(), &count));
        if (count > vector.size()) {
            vector.resize(count);
            check(call(vector.data(), vector.size(), &count));
        }
        vector.resize(count);
        return vector;
    }

    detail::Handle<sdrs_interrogator, sdrs_interrogator_free> handle_;
};

/** Enlarges pictures, by a network or a filter. */
class Upscaler {
public:
    /** A network's file, or a filter's name. */
    explicit Upscaler(const std::string &path_or_name, const std::string &device = "auto",
                      sdrs_dtype dtype = SDRS_DTYPE_AUTO, std::uint32_t threads = 0) {
        sdrs_upscaler *upscaler = nullptr;
        check(sdrs_upscaler_open(path_or_name.c_str(), device.c_str(), dtype, threads, &upscaler));
        handle_.reset(upscaler);
    }

    /** Pixels of a side that the network makes of one; 0 of a filter. */
    std::uint32_t factor() const noexcept { return sdrs_upscaler_factor(handle_.get()); }

    /** Told what is done, of how much; false cancels. */
    using Progress = std::function<bool(std::size_t done, std::size_t count)>;

    /** Rows of pixels of 3 or 4 bytes, and the same of another size. */
    std::vector<std::uint8_t> upscale(View<std::uint8_t> pixels, std::uint32_t width, std::uint32_t height,
                                      std::uint32_t channels, std::uint32_t out_width, std::uint32_t out_height,
                                      std::uint32_t tile = 0, const CancelToken *cancel = nullptr,
                                      const Progress &on_progress = {}) const {
        if (pixels.size() != static_cast<std::size_t>(width) * height * channels) {
            throw Error(SDRS_ERROR_INVALID_PARAMETER, "pixels: there are not width * height * channels of them");
        }
        struct Watch {
            const Progress &on_progress;
            std::exception_ptr thrown;
        } watch{on_progress, nullptr};
        // No exception may cross the library.
        const auto call = [](std::size_t done, std::size_t count, void *user_data) -> std::int32_t {
            auto &seen = *static_cast<Watch *>(user_data);
            try {
                return seen.on_progress(done, count) ? 0 : 1;
            } catch (...) {
                seen.thrown = std::current_exception();
                return 1;
            }
        };
        std::vector<std::uint8_t> out(static_cast<std::size_t>(out_width) * out_height * channels);
        const sdrs_status status = sdrs_upscale(
            handle_.get(), pixels.data(), width, height, channels, out_width, out_height, tile,
            cancel ? cancel->get() : nullptr, on_progress ? +call : nullptr, &watch, out.data());
        if (watch.thrown) {
            std::rethrow_exception(watch.thrown);
        }
        check(status);
        return out;
    }

    const sdrs_upscaler *get() const noexcept { return handle_.get(); }

private:
    detail::Handle<sdrs_upscaler, sdrs_upscaler_free> handle_;
};

/** Describes a pipeline. Every function has the name and meaning of `sdrs_builder_*`. */
class Builder {
public:
    Builder() {
        sdrs_builder *builder = nullptr;
        check(sdrs_builder_new(&builder));
        handle_.reset(builder);
    }

    Builder &taesd(const std::string &path) { return done(sdrs_builder_taesd(get(), path.c_str())); }
    Builder &checkpoint(const std::string &path) { return done(sdrs_builder_checkpoint(get(), path.c_str())); }
    Builder &checkpoint_bytes(const std::string &name, View<std::uint8_t> data) {
        return done(sdrs_builder_checkpoint_bytes(get(), name.c_str(), data.data(), data.size()));
    }
    Builder &checkpoint_file(const std::string &name, const std::string &file, View<std::uint8_t> data) {
        return done(
            sdrs_builder_checkpoint_file(get(), name.c_str(), file.c_str(), data.data(), data.size()));
    }
    /** Reads `length` bytes from `offset` on, or returns false. Its exceptions are thrown on. */
    using Read = std::function<bool(std::uint64_t offset, std::uint8_t *buffer, std::size_t length)>;
    Builder &checkpoint_read(const std::string &name, std::uint64_t size, const Read &read) {
        struct Held {
            const Read &read;
            std::exception_ptr thrown;
        } held{read, nullptr};
        const auto call = [](void *user_data, std::uint64_t offset, std::uint8_t *buffer,
                             std::size_t length) -> std::int32_t {
            auto &seen = *static_cast<Held *>(user_data);
            try {
                return seen.read(offset, buffer, length) ? 0 : 1;
            } catch (...) {
                seen.thrown = std::current_exception();
                return 1;
            }
        };
        const sdrs_status status = sdrs_builder_checkpoint_read(get(), name.c_str(), size, call, &held);
        if (held.thrown) {
            std::rethrow_exception(held.thrown);
        }
        return done(status);
    }
    Builder &threads(std::uint32_t threads) { return done(sdrs_builder_threads(get(), threads)); }
    Builder &memory_limit(std::uint64_t bytes) { return done(sdrs_builder_memory_limit(get(), bytes)); }
    /** Any thread may call it, several at once. Its exceptions are lost. */
    using Log = std::function<void(sdrs_log_level level, const char *message)>;
    Builder &on_log(Log log) {
        auto shared = std::make_shared<Log>(std::move(log));
        const auto call = [](sdrs_log_level level, const char *message, void *user_data) {
            try {
                (*static_cast<Log *>(user_data))(level, message);
            } catch (...) {
            }
        };
        done(sdrs_builder_on_log(get(), call, shared.get()));
        log_ = std::move(shared);
        return *this;
    }
    Builder &demo() { return done(sdrs_builder_demo(get())); }
    Builder &config(const std::string &folder) { return done(sdrs_builder_config(get(), folder.c_str())); }
    Builder &vae(const std::string &path) { return done(sdrs_builder_vae(get(), path.c_str())); }
    Builder &tokenizer(const std::string &path) { return done(sdrs_builder_tokenizer(get(), path.c_str())); }
    Builder &text_encoder(const std::string &path) {
        return done(sdrs_builder_text_encoder(get(), path.c_str()));
    }
    Builder &text_encoder_2(const std::string &path) {
        return done(sdrs_builder_text_encoder_2(get(), path.c_str()));
    }
    Builder &refiner(const std::string &path) { return done(sdrs_builder_refiner(get(), path.c_str())); }
    Builder &unet(const std::string &path) { return done(sdrs_builder_unet(get(), path.c_str())); }
    Builder &predictions(const std::string &table) {
        return done(sdrs_builder_predictions(get(), table.c_str()));
    }
    Builder &allow_unexpected() { return done(sdrs_builder_allow_unexpected(get())); }
    Builder &lora(const std::string &path, double weight = 1.0) {
        return done(sdrs_builder_lora(get(), path.c_str(), weight));
    }
    Builder &lora(const Lora &lora) {
        const sdrs_lora given = lora.get();
        return done(sdrs_builder_add_lora(get(), &given));
    }
    Builder &lora_dir(const std::string &folder) { return done(sdrs_builder_lora_dir(get(), folder.c_str())); }
    /** Of the LoRA that was added last. */
    Builder &lora_blocks(const std::string &numbers) {
        return done(sdrs_builder_lora_blocks(get(), numbers.c_str()));
    }
    Builder &lora_allow_unmatched() {
        return done(sdrs_builder_lora_allow_unmatched(get()));
    }
    Builder &embedding(const std::string &path) { return done(sdrs_builder_embedding(get(), path.c_str())); }
    Builder &upscaler(const std::string &path) { return done(sdrs_builder_upscaler(get(), path.c_str())); }
    Builder &embedding_bytes(const std::string &name, View<std::uint8_t> data) {
        return done(sdrs_builder_embedding_bytes(get(), name.c_str(), data.data(), data.size()));
    }
    Builder &device(const std::string &name) { return done(sdrs_builder_device(get(), name.c_str())); }
    Builder &dtype(sdrs_dtype dtype) { return done(sdrs_builder_dtype(get(), dtype)); }
    Builder &weight_dtype(sdrs_weight_dtype weight_dtype) { return done(sdrs_builder_weight_dtype(get(), weight_dtype)); }
    Builder &keep_text_encoders(bool keep) { return done(sdrs_builder_keep_text_encoders(get(), keep ? 1 : 0)); }
    Builder &quantization(sdrs_quantization quantization) { return done(sdrs_builder_quantization(get(), quantization)); }
    Builder &prediction(sdrs_prediction prediction) {
        return done(sdrs_builder_prediction(get(), prediction));
    }

    Pipeline build() const {
        sdrs_pipeline *pipeline = nullptr;
        check(sdrs_builder_build(handle_.get(), &pipeline));
        return Pipeline(pipeline, log_);
    }

private:
    sdrs_builder *get() const noexcept { return handle_.get(); }
    Builder &done(sdrs_status status) {
        check(status);
        return *this;
    }

    std::shared_ptr<void> log_;
    detail::Handle<sdrs_builder, sdrs_builder_free> handle_;
};

/** The noise levels of a schedule; without a pipeline those of every Stable Diffusion. */
inline std::vector<double> schedule_sigmas(sdrs_schedule schedule, std::uint32_t steps,
                                           const Pipeline *pipeline = nullptr) {
    return detail::filled<double>([&](double *sigmas, std::size_t capacity, std::size_t *count) {
        return sdrs_schedule_sigmas(pipeline ? pipeline->get() : nullptr, schedule, steps, sigmas, capacity, count);
    });
}

/** sdrs_stepper_options with their defaults. */
inline sdrs_stepper_options stepper_options() {
    sdrs_stepper_options options;
    check(sdrs_stepper_options_init(&options, sizeof options));
    return options;
}

/** A sampler under way. */
class Stepper {
public:
    Stepper(const Pipeline *pipeline, const sdrs_stepper_options &options, View<float> noise) {
        sdrs_stepper *stepper = nullptr;
        check(sdrs_stepper_new(pipeline ? pipeline->get() : nullptr, &options, noise.data(), noise.size(), &stepper));
        handle_.reset(stepper);
    }

    sdrs_request request() const {
        sdrs_request request;
        check(sdrs_request_init(&request, sizeof request));
        check(sdrs_stepper_request(handle_.get(), &request));
        return request;
    }

    void provide_denoised(View<float> denoised) {
        check(sdrs_stepper_provide_denoised(handle_.get(), denoised.data(), nullptr, denoised.size()));
    }
    void provide_denoised(View<float> denoised, View<float> uncond) {
        if (uncond.size() != denoised.size()) {
            throw Error(SDRS_ERROR_INVALID_PARAMETER, "uncond: must be as long as denoised");
        }
        check(sdrs_stepper_provide_denoised(handle_.get(), denoised.data(), uncond.data(), denoised.size()));
    }
    void provide_noise(View<float> noise) {
        check(sdrs_stepper_provide_noise(handle_.get(), noise.data(), noise.size()));
    }

    std::vector<double> sigmas() const {
        return detail::filled<double>([&](double *sigmas, std::size_t capacity, std::size_t *count) {
            return sdrs_stepper_sigmas(handle_.get(), sigmas, capacity, count);
        });
    }

    const sdrs_stepper *get() const noexcept { return handle_.get(); }

private:
    detail::Handle<sdrs_stepper, sdrs_stepper_free> handle_;
};

/** sdrs_noise_options with their defaults. */
inline sdrs_noise_options noise_options() {
    sdrs_noise_options options;
    check(sdrs_noise_options_init(&options, sizeof options));
    return options;
}

/** The noise of one picture. */
class Noise {
public:
    explicit Noise(const sdrs_noise_options &options)
        : values_(std::size_t(options.channels) * options.height * options.width) {
        sdrs_noise *noise = nullptr;
        check(sdrs_noise_new(&options, &noise));
        handle_.reset(noise);
    }

    std::vector<float> first() {
        std::vector<float> values(values_);
        check(sdrs_noise_first(handle_.get(), values.data(), values.size()));
        return values;
    }
    std::vector<float> next(const Stepper *stepper = nullptr) {
        std::vector<float> values(values_);
        check(sdrs_noise_next(handle_.get(), stepper ? stepper->get() : nullptr, values.data(), values.size()));
        return values;
    }

private:
    std::size_t values_;
    detail::Handle<sdrs_noise, sdrs_noise_free> handle_;
};

/** The inspection of a file or folder, as JSON. */
inline std::string inspect(const std::string &path) {
    char *json = nullptr;
    check(sdrs_inspect(path.c_str(), &json));
    return detail::taken(json);
}

/** The devices of this machine that the library can compute on, as a JSON array. */
inline std::string devices() {
    char *json = nullptr;
    check(sdrs_devices(&json));
    return detail::taken(json);
}

/** A file's SHA-256 as hexadecimal digits; the first ten are the WebUI's "model hash". */
inline std::string model_hash(const std::string &path) {
    char *sha256 = nullptr;
    check(sdrs_model_hash(path.c_str(), &sha256));
    return detail::taken(sha256);
}

} // namespace sdrs

#endif
