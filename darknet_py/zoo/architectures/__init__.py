"""The architectures of the zoo, in the field's terms, and the cfgs that they give.

A cfg is a table row: a title, the function that adds its layers to a ``Draft``, and [net]. This room writes text, and
knows nothing of layers and networks.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from darknet_py.errors import DataError, Reason, suggestion
from darknet_py.zoo.architectures import ablations, digits, efficientnet, yolov2, yolov3, yolov4, yolov7
from darknet_py.zoo.architectures import scaled_yolov4 as scaled
from darknet_py.zoo.architectures.builder import VARIANTS, Draft

COCO = {"width": 512, "channels": 3, "batch": 64, "subdivisions": 8, "learning_rate": .001, "burn_in": 1000,
        "max_batches": 500_500, "policy": "steps", "steps": (400_000, 450_000), "scales": (.1, .1), "momentum": .949,
        "decay": .0005, "angle": 0, "saturation": 1.5, "exposure": 1.5, "hue": .1}
V4 = COCO | {"learning_rate": .00261, "mosaic": 1}
CSP = COCO | {"width": 640, "mosaic": 1, "letter_box": 1, "ema_alpha": .9998}
TINY = COCO | {"width": 416, "subdivisions": 1, "learning_rate": .00261, "max_batches": 2_000_200, "momentum": .9,
               "steps": (1_600_000, 1_800_000)}
V7 = TINY | {"width": 640, "batch": 8}
V3 = COCO | {"width": 416, "batch": 1, "subdivisions": 1, "max_batches": 500_200, "momentum": .9}
IMAGENET = {"width": 256, "channels": 3, "batch": 1, "subdivisions": 1, "learning_rate": .1, "burn_in": 1000,
            "policy": "poly", "power": 4, "momentum": .9, "decay": .0005, "min_crop": 128, "max_crop": 448,
            "angle": 7, "aspect": .75, "saturation": .75, "exposure": .75, "hue": .1}


class Architecture(NamedTuple):
    """An architecture of the zoo: a row of the table.

    title: a line or two for readers.
    build: adds the layers to a draft.
    net: [net]; height is width where it says nothing.
    classes: how many it is published for.
    """

    title: str
    build: Callable[[Draft], Any]
    net: Mapping[str, Any]
    classes: int = 80


ARCHITECTURES = {
    "yolov4": Architecture(
        "YOLOv4 (arXiv:2004.10934): CSPDarknet53, SPP, PAN, and YOLOv3's heads", yolov4.yolov4,
        V4 | {"width": 608, "learning_rate": .0013}),
    "yolov4-tiny": Architecture(
        "YOLOv4-tiny (arXiv:2011.08036): CSP with channel groups, two heads", yolov4.tiny, TINY),
    "yolov4-tiny-3l": Architecture(
        "YOLOv4-tiny (arXiv:2011.08036) with a third head, for small objects", yolov4.tiny_3l,
        TINY | {"width": 608, "max_batches": 500_200, "steps": (400_000, 450_000)}),
    "yolov4-csp": Architecture(
        "YOLOv4-CSP (arXiv:2011.08036): CSP in the neck too", scaled.interleaved, CSP | {"width": 512}),
    "yolov4-csp-swish": Architecture("YOLOv4-CSP (arXiv:2011.08036) with Swish", scaled.swish, CSP),
    "yolov4x-mish": Architecture(
        "YOLOv4x (arXiv:2011.08036): YOLOv4-CSP, wider and deeper", scaled.x_mish, CSP | {"ema_alpha": None}),
    "yolov4-csp-x-swish": Architecture("YOLOv4x (arXiv:2011.08036) with Swish", scaled.x_swish, CSP),
    "yolov4-p5": Architecture("YOLOv4-P5 (arXiv:2011.08036)", scaled.p5, CSP | {"width": 896}),
    "yolov4-p6": Architecture(
        "YOLOv4-P6 (arXiv:2011.08036): a fourth head, for the largest objects", scaled.p6, CSP | {"width": 1280}),
    "yolov7": Architecture("YOLOv7 (arXiv:2207.02696): ELAN blocks in backbone and neck", yolov7.base, V7),
    "yolov7-tiny": Architecture("YOLOv7-tiny (arXiv:2207.02696)", yolov7.tiny, TINY),
    "yolov7x": Architecture("YOLOv7-X (arXiv:2207.02696): YOLOv7, wider and deeper", yolov7.x, V7),
    "csresnext50-panet-spp": Architecture(
        "CSPResNeXt50 (arXiv:1911.11929), SPP, PAN, and YOLOv3's heads as they were", yolov4.csp_resnext50_plain,
        COCO | {"subdivisions": 16, "momentum": .9}),
    "csresnext50-panet-spp-original-optimal": Architecture(
        "CSPResNeXt50, SPP, PAN: the start of YOLOv4's ablations (arXiv:2004.10934)", yolov4.csp_resnext50_optimal,
        V4 | {"width": 608}),
    "csresnext50-panet-spp-rfb": Architecture("CSPResNeXt50, SPP, PAN, with RFB", ablations.with_rfb, V4),
    "csresnext50-panet-spp-sam": Architecture("CSPResNeXt50, SPP, PAN, with SAM", ablations.sam, V4),
    "csresnext50-panet-spp-sam-gaussian": Architecture(
        "CSPResNeXt50, SPP, PAN, with SAM and Gaussian YOLO", ablations.sam_gaussian, V4),
    "csresnext50-panet-spp-asff-rfb": Architecture("CSPResNeXt50, SPP, PAN, with ASFF and RFB", ablations.asff_rfb, V4),
    "csresnext50-bifpn-spp": Architecture("CSPResNeXt50, SPP, BiFPN (MiWRC)", ablations.bifpn, V4),
    "cd53paspp-gamma": Architecture("CSPDarknet53, SPP, PAN, leaky", yolov4.cd53_leaky, V4),
    "yolov3": Architecture("YOLOv3 (arXiv:1804.02767): Darknet-53 and a feature pyramid", yolov3.yolov3, V3),
    "yolov3-spp": Architecture("YOLOv3 (arXiv:1804.02767) with SPP", yolov3.spp, V3 | {"width": 608}),
    "yolov3-tiny": Architecture("YOLOv3-tiny (arXiv:1804.02767)", yolov3.tiny, V3),
    "Gaussian_yolov3": Architecture(
        "Gaussian YOLOv3 for BDD (Choi et al. 2019, arXiv:1904.04620): each coordinate with its uncertainty",
        yolov3.gaussian, V3 | {"width": 512, "batch": 64, "subdivisions": 16, "learning_rate": .0001}, 10),
    "enet-coco": Architecture("EfficientNet-B0 (arXiv:1905.11946) and two of YOLOv3's heads", efficientnet.coco,
                              V3 | {"batch": 64, "subdivisions": 8}),
    "yolov2": Architecture("YOLOv2 (arXiv:1612.08242): Darknet-19", yolov2.yolov2, V3),
    "yolov2-tiny": Architecture("YOLOv2-tiny (arXiv:1612.08242)", yolov2.tiny, V3),
    "yolov1-tiny": Architecture(
        "YOLOv1-tiny (arXiv:1506.02640), for Pascal VOC", yolov2.yolov1_tiny,
        {"width": 448, "channels": 3, "batch": 64, "subdivisions": 2, "learning_rate": .0005, "max_batches": 40_000,
         "policy": "steps", "steps": (200, 400, 600, 800, 20_000, 30_000), "scales": (2.5, 2, 2, 2, .1, .1),
         "momentum": .9, "decay": .0005, "saturation": .75, "exposure": .75, "hue": .1}, 20),
    "digits": Architecture(
        "Digits on meters, plates, signs: made and trained by scripts/examples/digits",
        digits.digits,
        {"width": 288, "channels": 3, "batch": 32, "subdivisions": 1, "learning_rate": .004, "burn_in": 400,
         "max_batches": 7400, "policy": "sgdr", "momentum": .9, "decay": .0005, "ema_alpha": .999, "angle": 0,
         "saturation": 1.4, "exposure": 1.4, "hue": .1, "flip": 0}, 10),
    "darknet53": Architecture(
        "Darknet-53, the classifier: YOLOv3's backbone", yolov3.darknet53_classifier,
        IMAGENET | {"max_batches": 800_000}, 1000),
    "darknet19": Architecture(
        "Darknet-19, the classifier: YOLOv2's backbone", yolov2.darknet19_classifier,
        {"width": 224, "channels": 3, "batch": 128, "subdivisions": 1, "learning_rate": .1, "max_batches": 1_600_000,
         "policy": "poly", "power": 4, "momentum": .9, "decay": .0005, "max_crop": 448}, 1000),
    "csdarknet53-omega": Architecture(
        "CSPDarknet53, the classifier: YOLOv4's backbone", yolov4.csp_darknet53_classifier,
        IMAGENET | {"batch": 128, "subdivisions": 4, "max_batches": 1_200_000, "mosaic": 1, "cutmix": 1,
                    "label_smooth_eps": .1}, 1000),
    "efficientnet_b0": Architecture(
        "EfficientNet-B0 (arXiv:1905.11946), the classifier", efficientnet.classifier,
        IMAGENET | {"width": 224, "batch": 120, "subdivisions": 4, "learning_rate": .256, "max_batches": 800_000,
                    "min_crop": None, "max_crop": 256, "blur": 1, "mosaic": 1, "cutmix": 1}, 1000),
}


def check_name(name: str) -> None:
    """Raises:
        DataError: this is no name of an architecture; it says which one is probably meant, else which there are.
    """
    if name not in ARCHITECTURES:
        hint = suggestion(name, ARCHITECTURES)
        known = "" if hint else f" ({', '.join(ARCHITECTURES)})"
        raise DataError(f"expected an architecture{known}, found {name}{hint}", Reason.UNKNOWN_NAME)


def cfg_text(name: str, *, classes: int | None = None, variants: Iterable[str] = (), **net: Any) -> str:
    """The cfg of an architecture.

    Args:
        classes: None for those that it is published for.
        variants: "sam" (spatial attention before the heads), "gaussian" (heads with uncertainties), "spp".
        net: keys of [net] that differ from the table's.

    Raises:
        DataError: no such name, or it has no place for a variant.
    """
    check_name(name)
    architecture = ARCHITECTURES[name]
    draft = Draft(architecture.classes if classes is None else classes, variants)
    architecture.build(draft)
    if left := draft.variants - draft.applied:
        raise DataError(f"{name} has no place for {', '.join(sorted(left))}: {VARIANTS[min(left)]}",
                        Reason.UNSUPPORTED)
    options = {**architecture.net, **net}
    return draft.text(architecture.title, {"height": options["width"], **options})
