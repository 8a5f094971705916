"""Decoding of head outputs where the goldens do not reach."""
import pytest
import torch

from darknet_py import load_network, parse_cfg

REGION = "[net]\nwidth=4\nheight=4\nchannels=3\n[convolutional]\nfilters=7\nsize=4\nstride=4\n[region]\nclasses=2\n" \
         "num=1\nanchors=1,1\nsoftmax={}\n"


@pytest.mark.parametrize("softmax, threshold, scores", [
    (0, .2, [[.3, 0]]), (0, .31, []), (1, .2, []), (1, .05, [[.1 * .952574, 0]])])
def test_region_scores_without_softmax_may_exceed_the_objectness(softmax, threshold, scores):
    """Darknet: get_region_boxes compares the product of objectness and class value alone with the threshold."""
    head = load_network(parse_cfg(REGION.format(softmax))).layers[1]
    values = torch.tensor([0, 0, 0, 0, torch.tensor(.1).logit(), 3, 0])
    found = head.decode(head(values.view(1, 7, 1, 1)), 4, 4, threshold, .5)
    torch.testing.assert_close(found.scores, torch.tensor(scores).view(-1, 2), atol=1e-6, rtol=1e-5)
