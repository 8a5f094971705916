"""Options of augmentation, taken from a network's cfg."""
from __future__ import annotations

from dataclasses import fields

from darknet_py.data.augment_plan import Augmentation
from darknet_py.data.classifier_augment import CUTMIX, EITHER, MOSAIC, ClassifierAugmentation
from darknet_py.errors import DataError
from darknet_py.model.network import Network
from darknet_py.prepare.refit_heads import detecting_head


def augmentation_of(network: Network) -> Augmentation:
    """The options of [net] and of its head.

    Raises:
        CfgError: no detection head, or values that have no meaning, alone or together.
    """
    net, cfg, head = network.options, network.cfg, detecting_head(network)
    shared = {field.name: getattr(net, field.name) for field in fields(Augmentation) if hasattr(net, field.name)}
    options = head.options
    try:
        wanted = Augmentation(**shared, jitter=options.jitter, resize=options.resize, max_boxes=options.max)
    except DataError as error:
        raise cfg.error(str(error), reason=error.reason) from None
    if net.cutmix or net.mixup in (2, 4):
        key = "cutmix" if net.cutmix else "mixup"
        cfg.warn(f"[net] {key}={getattr(net, key)}: cutmix is for classifiers, this detector trains "
                 f"{'with mosaic' if wanted.mixing else 'without'}", cfg.sections[0].first[key].line)
    return wanted


def classifier_augmentation_of(network: Network) -> ClassifierAugmentation:
    """The options of [net] for a classifier.

    Raises:
        CfgError: values that make no sense.

    Darknet: parse_net_options. cutmix=1 and mosaic=1 go before mixup=, and both together are mixup=4.
    """
    net = network.options
    shared = {field.name: getattr(net, field.name) for field in fields(ClassifierAugmentation)}
    shared["min_crop"] = net.width if net.min_crop is None else net.min_crop
    shared["max_crop"] = 2 * net.width if net.max_crop is None else net.max_crop
    if net.cutmix or net.mosaic:
        shared["mixup"] = EITHER if net.cutmix and net.mosaic else CUTMIX if net.cutmix else MOSAIC
    try:
        return ClassifierAugmentation(**shared)
    except DataError as error:
        raise network.cfg.error(str(error), reason=error.reason) from None
