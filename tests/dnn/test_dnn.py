"""``dnn`` against what OpenCV 4.12 gave (tests/goldens/dnn/make.py), and what users' scripts rely on."""
import compare_dnn
import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT
from dnn import make

from darknet_py import DarknetError, Detector, dnn, load_network
from darknet_py.inference.backends import choose

PICTURE = ROOT / "cfg/shapes.png"


@pytest.fixture
def golden(tmp_path, request):
    """(cfg, weights) of a golden."""
    make.write_weights(make.HERE / f"{request.param}.cfg", tmp_path / "a.weights")
    return str(make.HERE / f"{request.param}.cfg"), str(tmp_path / "a.weights")


yolo = pytest.mark.parametrize("golden", ["yolo"], indirect=True)


@pytest.mark.parametrize("golden, name", [(name, name) for name in make.SIZES], indirect=["golden"], ids=str)
def test_opencv_gave_the_same(golden, name):
    with np.load(make.HERE / f"{name}.npz") as npz:
        problem, worst, boxes, alone = compare_dnn.differences(
            compare_dnn.run(dnn, *golden, *make.SIZES[name], 3), dict(npz))
    assert (problem, alone) == ("", 0) and boxes > 0 and worst < 1e-4


@yolo
def test_files_and_buffers_in_any_order(golden):
    cfg, weights = golden
    buffers = [np.fromfile(path, np.uint8) for path in golden]
    nets = [dnn.readNetFromDarknet(cfg, weights), dnn.readNet(cfg, weights), dnn.readNet(weights, cfg),
            dnn.readNetFromDarknet(*buffers), dnn.readNetFromDarknet(*map(bytearray, buffers)),
            dnn.readNet("darknet", buffers[1], buffers[0])]
    blob = np.random.default_rng(0).random((1, 3, 64, 32), np.float32)
    outs = []
    for net in nets:
        assert not net.empty()
        net.setInput(blob, "data")
        outs.append(net.forward())
    assert all(np.array_equal(out, outs[0]) for out in outs)


@yolo
def test_outputs(golden):
    net = dnn.readNetFromDarknet(*golden)
    ends = net.getUnconnectedOutLayersNames()
    assert [net.getLayer(int(number)).name for number in net.getUnconnectedOutLayers()] == list(ends)
    for size in (32, 64), (64, 32), (32, 64), (16, 16):         # width, height: of the cfg and others, and back
        net.setInput(np.full((1, 3, *size[::-1]), .5, np.float32))
        permuted, whole, last = net.forward(["permute_10", "mish_3", ends[-1]])
        assert permuted.shape == (1, size[1] // 4, size[0] // 4, 16)
        assert whole.shape == (1, 4, size[1] // 2, size[0] // 2)
        assert np.array_equal(last, net.forward())
        second = net.forward(outBlobNames=[ends[-1]])[0]        # of another runtime
        assert np.array_equal(second, net.forward()) and np.allclose(second, last, rtol=0, atol=1e-6)
        assert last.dtype == np.float32 and last.shape[1] == 8 and last.flags.c_contiguous
    ticks, timings = net.getPerfProfile()
    assert 0 < ticks / cv2.getTickFrequency() < 60 and timings.shape == (len(net.getLayerNames()), 1)
    assert (net.getLayerId("_input"), net.getLayerId("conv_0"), net.getLayerId("nothing")) == (0, 1, -1)


@yolo
def test_errors_are_both_kinds(golden, tmp_path):
    (tmp_path / "bad.cfg").write_text("[net]\nwidth=32\nheight=32\nchannels=3\n[conv]\nfilters=0\n")
    net, names = dnn.readNetFromDarknet(*golden), dnn.readNetFromDarknet(golden[0])
    names.setInput(np.zeros((1, 3, 64, 32), np.float32))
    for message, wrong in {
        r"bad.cfg:6: .*filters": lambda: dnn.readNetFromDarknet(str(tmp_path / "bad.cfg")),
        "no such weights file": lambda: dnn.readNet(golden[0], str(tmp_path / "none.weights")),
        "call setInput first": net.forward,
        "without weights": names.forward,
        r"expected a blob .*, found \(3, 64, 32\)": lambda: net.setInput(np.zeros((3, 64, 32), np.float32)),
        'expected the input "data"': lambda: net.setInput(np.zeros((1, 3, 64, 32), np.float32), "image"),
        "found nothing": lambda: net.forward("nothing"),
        '"conv_0" has no output of its own.*"leaky_1"': lambda: net.forward("conv_0"),
        "call setInputSize": lambda: dnn.DetectionModel(net).detect(cv2.imread(str(PICTURE))),
    }.items():
        for kind in (DarknetError, cv2.error):
            with pytest.raises(kind, match=message):
                wrong()
    net.setInput(np.zeros((1, 1, 64, 32), np.float32))
    with pytest.raises(cv2.error, match="takes"):
        net.forward()


@yolo
def test_targets(golden):
    net = dnn.readNetFromDarknet(*golden)
    net.setPreferableBackend(dnn.DNN_BACKEND_CUDA)
    net.setPreferableTarget(dnn.DNN_TARGET_CPU)
    net.setInput(np.full((1, 3, 64, 32), .5, np.float32))
    net.forward()
    before = net.forward()                  # of the runtime that all later ones take
    targets = [dnn.DNN_TARGET_OPENCL] if torch.cuda.is_available() else [
        dnn.DNN_TARGET_CUDA, dnn.DNN_TARGET_CUDA_FP16, dnn.DNN_TARGET_OPENCL]
    for target in targets:
        with pytest.warns(RuntimeWarning, match="the CPU computes"):
            net.setPreferableTarget(target)
        assert np.array_equal(net.forward(), before)


@yolo
def test_the_second_forward_is_the_fastest_runtime(golden):
    net = dnn.readNetFromDarknet(*golden)
    fastest = choose(load_network(*golden), "cpu")[0][0]
    names = net.getUnconnectedOutLayersNames()
    for size in ((64, 32), (96, 64)):
        net.setInput(np.random.default_rng(0).random((2, 3, *size), np.float32))
        outputs = [net.forward(names) for _ in range(3)]
        for one, *others in zip(*outputs, strict=True):
            assert all(np.allclose(other, one, atol=1e-5) for other in others)
    assert [backend.name for backend in net._compiled.values()] == [fastest] * 2 and fastest != "pytorch"


@yolo
@pytest.mark.parametrize("size", [(64, 32), (96, 64)])
def test_openvino(golden, size):
    net = dnn.readNetFromDarknet(*golden)
    names = [*net.getUnconnectedOutLayersNames(), *net.getUnconnectedOutLayersNames()]
    net.setInput(np.random.default_rng(0).random((1, 3, *size), np.float32))
    before = net.forward(names)
    net.setPreferableBackend(dnn.DNN_BACKEND_INFERENCE_ENGINE)
    for one, other in zip(before, net.forward(names), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-4)
    assert net._compiled


@pytest.mark.gpu
@yolo
def test_gpu(golden):
    net = dnn.readNetFromDarknet(*golden)
    net.setInput(np.full((1, 3, 32, 32), .5, np.float32))
    before = net.forward()
    for target, off in (dnn.DNN_TARGET_CUDA, 1e-3), (dnn.DNN_TARGET_CUDA_FP16, .05), (dnn.DNN_TARGET_CPU, 1e-3):
        net.setPreferableTarget(target)
        np.testing.assert_allclose(net.forward()[:, :5], before[:, :5], rtol=off, atol=off)


def test_detection_model_finds_what_the_detector_finds(demo):
    image = cv2.imread(str(demo[2]))
    model = dnn.DetectionModel(str(demo[1]), str(demo[0]))
    _, height, width = load_network(demo[0]).input_shape
    assert model.setInputSize(width, height).setInputScale(1 / 255).setInputSwapRB(True).setInputMean(0) is model
    labels, scores, boxes = model.detect(image, .5, .4)
    found = Detector(*demo[:2], device="cpu", thresh=.5, nms=.4)(image)
    assert sorted(labels.tolist()) == sorted(found.labels.tolist()) and labels.dtype == boxes.dtype == np.int32
    for label, score, (left, top, w, h) in zip(labels, scores, boxes, strict=True):
        near = [np.abs(one.box - [left, top, left + w, top + h]).max() + 100 * abs(one.score - score)
                for one in found if one.label == label]
        assert min(near) < 6
    assert model.detect(image, 1.) == ((), (), ())
    assert len(model.setNmsAcrossClasses(True).detect(image, .5, .1)[0]) <= len(labels) and model.getNmsAcrossClasses()


def test_the_rest_is_opencv():
    assert dnn.NMSBoxes is cv2.dnn.NMSBoxes and dnn.blobFromImage is cv2.dnn.blobFromImage
    assert dnn.DNN_TARGET_CUDA == 6 and dnn.DNN_BACKEND_HALIDE == 1
    with pytest.raises(AttributeError):
        dnn.nothing  # noqa: B018


def test_heads_that_opencv_does_not_know(tmp_path):
    """[detection] and [Gaussian_yolo] give rows too, in the order of Darknet's places and boxes."""
    head = ("[net]\nwidth=8\nheight=8\nchannels=3\n[conv]\nfilters=22\nsize=1\nstride=4\nactivation=linear\n"
            "[Gaussian_yolo]\nmask=0,1\nanchors=2,2, 4,4\nclasses=2\nnum=2\n")
    dense = ("[net]\nwidth=8\nheight=8\nchannels=3\n[connected]\noutput=48\nactivation=logistic\n"
             "[detection]\nclasses=2\ncoords=4\nside=2\nnum=2\nsqrt=1\n")
    for text, rows, width in (head, 8, 7), (dense, 8, 7):
        cfg = tmp_path / "a.cfg"
        cfg.write_text(text)
        load_network(cfg).save_weights(tmp_path / "a.weights")
        net = dnn.readNetFromDarknet(str(cfg), str(tmp_path / "a.weights"))
        net.setInput(np.random.default_rng(0).random((2, 3, 8, 8), np.float32))
        out = net.forward()
        assert out.shape == (2, rows, width) and (out[..., 4] <= 1).all()
        center = out[0, :, :2] * 2                          # both boxes of a place before the next place, row by row
        assert np.floor(center).astype(int).tolist() == [[0, 0]] * 2 + [[1, 0]] * 2 + [[0, 1]] * 2 + [[1, 1]] * 2
