// Detect objects with OpenVINO: ./detect model.onnx picture.ppm
// model.onnx is what `darknet-py convert CFG WEIGHTS model.onnx -outputs boxes` writes; an .xml model works as well.
// Of the metadata it takes the class names, the thresholds and the kind of resizing.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <openvino/openvino.hpp>
#include <stdexcept>
#include <string>
#include <vector>

// The JSON text of a key of the metadata: rt_info of OpenVINO's IR, "framework" where it comes from ONNX.
std::string text(const ov::Model& model, const std::string& key) {
    if (model.has_rt_info("darknet_py", key)) return model.get_rt_info<std::string>("darknet_py", key);
    return model.get_rt_info<std::string>("framework", "darknet_py." + key);
}

// A number of an object, nan for null; a program with a JSON library would use that.
double number(const std::string& json, const std::string& key) {
    const auto place = json.find("\"" + key + "\": ") + key.size() + 4;
    return json.compare(place, 4, "null") == 0 ? NAN : std::stod(json.substr(place));
}

std::vector<std::string> strings(const std::string& json) {
    std::vector<std::string> found;
    for (size_t at = 0; (at = json.find('"', at)) != std::string::npos;) {
        std::string one;
        while (json[++at] != '"') one += json[at] == '\\' ? json[++at] : json[at];
        found.push_back(one), ++at;
    }
    return found;
}

struct Picture { int width, height; std::vector<unsigned char> rgb; };

Picture read_ppm(const char* path) {        // binary, P6
    std::ifstream file(path, std::ios::binary);
    std::string kind;
    Picture picture;
    int most = 0;
    file >> kind >> picture.width >> picture.height >> most;
    file.get();
    if (!file || kind != "P6" || most != 255) throw std::runtime_error("expected a binary PPM");
    picture.rgb.resize(3ul * picture.width * picture.height);
    file.read(reinterpret_cast<char*>(picture.rgb.data()), picture.rgb.size());
    return picture;
}

struct Place { int low, high; float share; };

Place place(int index, int source, int target) {        // the centres of the corner pixels are aligned
    const float at = target > 1 ? index * (source - 1.f) / (target - 1) : source - 1.f;
    const int low = std::min(int(at), source - 1);
    return {low, std::min(low + 1, source - 1), at - low};
}

struct Box { float left, top, right, bottom; };

// Intersection over union, less the distance term of DIoU if there is an exponent.
double overlap(const Box& a, const Box& b, double exponent) {
    const auto area = [](const Box& c) { return (c.right - c.left) * (c.bottom - c.top); };
    const float w = std::min(a.right, b.right) - std::max(a.left, b.left);
    const float h = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
    const float shared = std::max(0.f, w) * std::max(0.f, h);
    const double iou = shared / (area(a) + area(b) - shared);
    if (std::isnan(exponent)) return iou;
    const auto square = [](float x, float y) { return double(x) * x + double(y) * y; };
    const double apart = square(a.left + a.right - b.left - b.right, a.top + a.bottom - b.top - b.bottom) / 4;
    const double whole = square(std::max(a.right, b.right) - std::min(a.left, b.left),
                                std::max(a.bottom, b.bottom) - std::min(a.top, b.top));
    return iou - std::pow(apart / whole, exponent);
}

int main(int, char** arguments) {
    ov::Core core;
    const auto model = core.read_model(arguments[1]);
    const auto names = strings(text(*model, "names"));
    const auto thresholds = text(*model, "thresholds");
    const double least = number(thresholds, "score"), nms = number(thresholds, "nms");
    const double exponent = number(thresholds, "nms_exponent");
    const bool letterbox = text(*model, "resize").find("\"letterbox\"") != std::string::npos;
    const auto shape = model->input().get_partial_shape();
    const int height = shape[2].get_length(), width = shape[3].get_length();

    const Picture picture = read_ppm(arguments[2]);
    const double scale = std::min(double(width) / picture.width, double(height) / picture.height);
    const int inner_w = letterbox ? picture.width * scale : width, inner_h = letterbox ? picture.height * scale : height;
    const int left = (width - inner_w) / 2, top = (height - inner_h) / 2;
    ov::Tensor input(ov::element::f32, {1, 3, size_t(height), size_t(width)});
    float* x = input.data<float>();
    std::fill_n(x, input.get_size(), .5f);
    for (int row = 0; row < inner_h; ++row) {
        const Place v = place(row, picture.height, inner_h);
        for (int column = 0; column < inner_w; ++column) {
            const Place u = place(column, picture.width, inner_w);
            for (int c = 0; c < 3; ++c) {
                const auto pixel = [&](int r, int q) { return picture.rgb[3ul * (r * picture.width + q) + c] / 255.f; };
                const float upper = pixel(v.low, u.low) * (1 - u.share) + pixel(v.low, u.high) * u.share;
                const float lower = pixel(v.high, u.low) * (1 - u.share) + pixel(v.high, u.high) * u.share;
                x[(c * height + top + row) * width + left + column] = upper * (1 - v.share) + lower * v.share;
            }
        }
    }

    const auto exact = ov::hint::inference_precision(ov::element::f32);       // else bfloat16 where the CPU has it
    auto request = core.compile_model(model, "CPU", exact).create_infer_request();
    request.set_input_tensor(input);
    request.infer();
    const ov::Tensor found = request.get_tensor("boxes"), certain = request.get_tensor("scores");
    const size_t count = certain.get_shape()[1], classes = certain.get_shape()[2];
    const float* scores = certain.data<float>();
    std::vector<Box> boxes(count);
    for (size_t k = 0; k < count; ++k) {                // relative to the input -> pixels of the picture
        const float* b = found.data<float>() + 4 * k;
        const auto across = [&](float at) { return (at * width - (width - inner_w) / 2.f) * picture.width / inner_w; };
        const auto down = [&](float at) { return (at * height - (height - inner_h) / 2.f) * picture.height / inner_h; };
        boxes[k] = {across(b[0]), down(b[1]), across(b[2]), down(b[3])};
    }
    for (size_t label = 0; label < classes; ++label) {
        std::vector<size_t> order, kept;
        for (size_t k = 0; k < count; ++k)
            if (scores[k * classes + label] > least) order.push_back(k);
        std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
            return scores[a * classes + label] > scores[b * classes + label]; });
        for (size_t k : order) {
            if (std::any_of(kept.begin(), kept.end(), [&](size_t j) {
                return overlap(boxes[j], boxes[k], exponent) > nms; })) continue;
            kept.push_back(k);
            const Box& b = boxes[k];
            std::printf("%s %.4f %.1f %.1f %.1f %.1f\n", names[label].c_str(), scores[k * classes + label],
                        b.left, b.top, b.right, b.bottom);
        }
    }
}
