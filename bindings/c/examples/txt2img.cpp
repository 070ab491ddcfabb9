// Draws a picture: txt2img PROMPT [OUT.png [CHECKPOINT]]. Without a checkpoint, the demo model that is compiled in.
#include <sdrs.hpp>

#include <iostream>

int main(int argc, char **argv) {
    if (argc < 2) {
        std::cerr << "usage: " << argv[0] << " PROMPT [OUT.png [CHECKPOINT]]\n";
        return 2;
    }
    const std::string out = argc > 2 ? argv[2] : "out.png";
    try {
        sdrs::Builder builder;
        if (argc > 3) {
            builder.checkpoint(argv[3]);
        } else {
            builder.demo();
        }
        const sdrs::Pipeline pipeline = builder.build();
        const sdrs::GenerateParams params(argv[1]);
        sdrs::RunOptions options;
        options.on_progress = [](const sdrs_progress &progress) {
            std::cerr << "\rstep " << progress.step << " of " << progress.steps;
            return true;
        };
        const sdrs::Images images = pipeline.txt2img(params, options);
        images.save_png(0, out);
        std::cerr << '\n';
        std::cout << out << " (" << images[0].width << "x" << images[0].height << ", seed " << images[0].seed << ")\n";
    } catch (const sdrs::Error &error) {
        std::cerr << sdrs_status_name(error.code()) << ": " << error.what() << '\n';
        return 1;
    }
    return 0;
}
