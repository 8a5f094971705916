"""Whether the device computes what the CPU, and what C, computes."""
from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from conformance import compare
from goldens.detections import compare_sets
from goldens.reading import find_goldens
from torch import Tensor

from darknet_py import Detections, Detector, Network, dnn
from darknet_py.inference.backends.pytorch import prepare_for_inference
from darknet_py.inference.postprocess import PostProcessor
from darknet_py.ops.boxes import iou

from .common import CFG, ROOT, WEIGHTS, Job, exact_float32, seeded_network

WITHIN = 1e-3           # of a layer's largest absolute output
HALF = .03              # of a confidence in float16 and bfloat16
LEAST = .25             # score of the detections that are compared; those within HALF of it may be missing
OVERLAP = .8            # by which boxes in half precision are known to be one (bfloat16, on a CPU: .897 at least)
SCORE = 1e-3            # of a confidence in float32
SPREAD = 4              # times what the order of the sums changes on the CPU
EACH, SOME = 12, 4      # of the goldens, and of the files of tests, --quick takes one in so many
DIGITS = CFG / "digits.cfg", WEIGHTS / "digits.weights", CFG / "digits.jpg"
SHAPES = CFG / "shapes.cfg", WEIGHTS / "shapes.weights", CFG / "shapes.png"
# Name and size of the input; the first ones are run on the CPU too when it is the device under test.
NETWORKS = (("yolov4-tiny", 64), ("yolov2-tiny", 64), ("yolov4", 416), ("yolov4-tiny", 416), ("yolov3", 416),
            ("yolov3-tiny", 416), ("yolov3-spp", 416), ("yolov2", 416), ("yolov1-tiny", None), ("Gaussian_yolov3", 416),
            ("yolov4-csp", 416), ("yolov4x-mish", 416), ("yolov7", 416), ("yolov7-tiny", 416),
            ("csresnext50-panet-spp", 416), ("enet-coco", 416), ("efficientnet_b0", None), ("darknet53", None),
            ("yolov4-csp-swish", 416), ("csresnext50-panet-spp-original-optimal", 416), ("cd53paspp-gamma", 416))
QUICK_NETWORKS = 2
DECODED = (("yolov4", 416, .4), ("yolov2", 416, .1), ("Gaussian_yolov3", 416, .5))      # cfg, size, threshold
QUICK_DECODED = (("yolov4-tiny", 64, .2),)


def run(job: Job) -> None:
    exact_float32()
    detections(job)
    half_precision(job)
    opencv_targets(job)
    goldens(job)
    networks(job)
    decoding(job)
    onnx(job)
    marked_tests(job)


def goldens(job: Job) -> None:
    """C's measured outputs of small networks, one or more a layer kind."""
    for kind in ("forward", "train"):
        paths = list(find_goldens([ROOT / "tests/goldens/kinds" / kind]))[::EACH if job.quick else 1]
        failed, worst, where, done = 0, 0., "", 0
        for path in paths:
            if job.late(f"goldens: {kind}, {path.stem} and after"):
                break
            with job.attempt(f"golden {kind}/{path.stem}"):
                found = compare(path, job.device.type)
                done += 1
                if found is None or not found[1].passed:
                    failed += 1
                    job.write(f"golden {kind}/{path.stem}", passed=False, **(
                        {} if found is None else {"error": float(found[1].error), "where": found[1].where}))
                elif found[1].error > worst:
                    worst, where = found[1].error, path.stem
        job.write(f"goldens: {kind}", passed=not failed and done == len(paths), compared=done, of=len(paths),
                  failed=failed, worst=worst, at=where)


def marked_tests(job: Job) -> None:
    """pytest's own, in a process of its own; those of the goldens are done already."""
    if job.late("tests marked gpu", 10):
        return
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py"))
             if "mark.gpu" in path.read_text() and path.name != "test_conformance.py"][::SOME if job.quick else 1]
    with job.attempt("tests marked gpu"):
        # without a GPU all are skipped, and more processes would only import
        words = ["-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", *["-n0"] * (not job.cuda), *map(str, files)]
        done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False,
                              timeout=max(5., job.left - 3))
        counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)",
                                                                   done.stdout)}
        job.write("tests marked gpu", passed=done.returncode == 0, counts=counts,
                  summary=(done.stdout.strip().splitlines() or [done.stderr[-200:]])[-1],
                  failures=re.findall(r"^(?:FAILED|ERROR) .*", done.stdout, re.M)[:20])


def networks(job: Job) -> None:
    """Every layer's output of networks of cfg/, beside the CPU's: of each layer alone on what the CPU gives it, and of
    the whole network. Random weights blow rounding up layer by layer; what the CPU's own sums in another order
    (channels last) differ by shows how much, and ``SPREAD`` times that is allowed."""
    for name, size in NETWORKS[:QUICK_NETWORKS] if job.quick else NETWORKS[QUICK_NETWORKS:]:
        if job.late(f"network {name}"):
            return
        with job.attempt(f"network {name}"), torch.no_grad():
            network = seeded_network(name, size)
            every = range(len(network.plan))
            x = torch.rand(1, *network.input_shape, generator=torch.Generator().manual_seed(1))
            theirs = [*network.outputs_of(x, every), x]                 # -1 is the input
            network.to(memory_format=torch.channels_last)               # type: ignore[call-overload]
            others = network.outputs_of(x.contiguous(memory_format=torch.channels_last), every)
            network.to(job.device)
            ours = network.outputs_of(x.to(job.device, memory_format=torch.channels_last), every)
            alone = [layer(*(theirs[source].to(job.device) for source in sources))
                     for layer, sources, _ in network.plan]
            whole, each, spread = ([_error(a, b) for a, b in zip(some, theirs, strict=False)]
                                   for some in (ours, alone, others))
            for what, errors, most in (("each layer alone", each, WITHIN),
                                       ("whole", whole, max(WITHIN, SPREAD * max(spread)))):
                worst = int(np.nan_to_num(errors, nan=np.inf).argmax())
                job.check(f"network {name}, {what}", errors[worst], most, size=network.input_shape.width,
                          layers=len(errors), worst=f"layer {worst} [{network.layers[worst].kind}]",
                          median=float(np.median(errors)))


def _error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference in parts of the largest value."""
    return float((ours.cpu() - theirs).abs().max() / theirs.abs().max().clamp(min=1e-30))


def decoding(job: Job) -> None:
    """Decode and NMS of the very same outputs, on the device and on the CPU."""
    for name, size, threshold in QUICK_DECODED if job.quick else DECODED:
        if job.late(f"decode and NMS of {name}"):
            return
        with job.attempt(f"decode and NMS of {name}"), torch.inference_mode():
            network = prepare_for_inference(seeded_network(name, size))
            outputs = network(torch.rand(2, *network.input_shape, generator=torch.Generator().manual_seed(2)))
            error, pairs, alone = _same_boxes(network, outputs, job.device, threshold)
            job.check(f"decode and NMS of {name}", error, 1e-4, boxes=pairs, without_partner=alone,
                      **({} if pairs else {"note": "nothing to compare"}))


def _same_boxes(network: Network, outputs: tuple[Tensor, ...], device: torch.device, threshold: float
                ) -> tuple[float, int, int]:
    """The worst error of a score or box, how many pairs of a box and a class there are, how many have no partner. The
    error is infinite where more than .5 % have none."""
    sizes = [(480, 640)] * len(outputs[0])
    error, pairs, alone = 0., 0, 0
    theirs = PostProcessor.of(network).find_boxes(outputs, sizes, threshold, .45)
    ours = PostProcessor.of(network).find_boxes([output.to(device) for output in outputs], sizes, threshold, .45)
    for (boxes, scores), (our_boxes, our_scores) in zip(theirs, ours, strict=True):
        box, label = (scores > 0).nonzero().unbind(1)
        truth = torch.cat([label[:, None], scores[box, label][:, None], label[:, None], boxes[box]], 1).double().numpy()
        our_box, our_label = (our_scores > 0).nonzero().unbind(1)
        result = compare_sets(truth, our_label.numpy(), our_scores[our_box, our_label].numpy(),
                              our_boxes[our_box].numpy(), threshold)
        pairs += len(truth)
        alone += abs(len(truth) - len(our_box))
        error = max(error, result.error if result.passed else np.inf)
    return error, pairs, alone


def detections(job: Job) -> None:
    """Trained networks on a picture, from file to boxes."""
    for cfg, weights, picture in (DIGITS, SHAPES):
        with job.attempt(f"detections of {cfg.stem}"):
            theirs, ours = (Detector(cfg, weights, device=device, backend="pytorch")(picture)
                            for device in ("cpu", job.device))
            job.check(f"detections of {cfg.stem}", _apart(theirs, ours, .99), SCORE, objects=len(theirs))


def half_precision(job: Job) -> None:
    cfg, weights, picture = DIGITS
    theirs = Detector(cfg, weights, device="cpu", backend="pytorch")(picture)
    for dtype in (torch.float16, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        with job.attempt(f"digits in {name}"):
            detector = Detector(cfg, weights, device=job.device, backend="pytorch", thresh=LEAST - HALF)
            detector.network.to(dtype)
            job.check(f"digits in {name}", _apart(theirs, detector(picture), OVERLAP), HALF, objects=len(theirs))


def _apart(theirs: Detections, ours: Detections, overlap: float) -> float:
    """The largest difference of confidence between detections of the same object; infinite where one has none. What
    lies within ``HALF`` of the threshold may be on one side alone."""
    free, worst = set(range(len(ours))), 0.
    for box, score, label, _ in theirs:
        pairs = [(abs(float(ours.scores[i]) - score), i) for i in free if ours.labels[i] == label and
                 float(iou(*(torch.from_numpy(_centred(b)) for b in (ours.boxes[i], box)))) >= overlap]
        off, best = min(pairs, default=(np.inf, -1))
        free.discard(best)
        if np.isfinite(off) or score > LEAST + HALF:
            worst = max(worst, off)
    return np.inf if any(ours.scores[i] > LEAST + HALF for i in free) else worst


def _centred(box: np.ndarray) -> np.ndarray:
    return np.concatenate([(box[:2] + box[2:]) / 2, box[2:] - box[:2]])


def opencv_targets(job: Job) -> None:
    """darknet_py.dnn with the targets of the device."""
    targets = {"DNN_TARGET_CUDA": WITHIN, "DNN_TARGET_CUDA_FP16": .05} if job.cuda else {"DNN_TARGET_CPU": WITHIN}
    with job.attempt("dnn"):
        net = dnn.readNetFromDarknet(str(DIGITS[0]), str(DIGITS[1]))
        image = cv2.imread(str(DIGITS[2]))
        blob = cv2.resize(image, (288, 288))[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32)
        net.setInput(np.ascontiguousarray(blob), scalefactor=1 / 255)
        names = net.getUnconnectedOutLayersNames()
        before = net.forward(names)
        for target, most in targets.items():
            net.setPreferableTarget(getattr(dnn, target))
            error = max(float(np.abs(a[:, :5] - b[:, :5]).max() / max(1., np.abs(b[:, :5]).max()))
                        for a, b in zip(net.forward(names), before, strict=True))
            job.check(f"dnn, {target}", error, most)


def onnx(job: Job) -> None:
    """A float16 model in ONNX Runtime, on its CUDA provider where it has one."""
    try:
        import onnxruntime

        from darknet_py.convert import convert
        from darknet_py.convert.formats import ExportOptions
    except ImportError as error:
        job.write("ONNX in float16", skipped=str(error))
        return
    if job.late("ONNX in float16", 5):
        return
    providers = onnxruntime.get_available_providers()
    with job.attempt("ONNX in float16"), tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "digits.onnx")
        parity = convert(*DIGITS[:2], path, options=ExportOptions(half=True)).parity
        assert parity is not None
        job.check("ONNX in float16, on the CPU", parity.error, parity.allowed)
        if "CUDAExecutionProvider" not in providers:
            job.write("ONNX in float16, on the GPU", skipped=f"ONNX Runtime {onnxruntime.__version__} has "
                      f"{', '.join(providers)} here")
            return
        x = np.random.default_rng(0).random((2, 3, 288, 288), np.float32)
        cpu, gpu = (onnxruntime.InferenceSession(str(path), providers=[provider]).run(None, {"images": x})
                    for provider in ("CPUExecutionProvider", "CUDAExecutionProvider"))
        job.check("ONNX in float16, on the GPU", max(float(np.abs(a - b).max() / np.abs(a).max())
                                                     for a, b in zip(cpu, gpu, strict=True)), parity.allowed)
