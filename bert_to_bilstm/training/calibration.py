"""Confidence that means what it says: of the answers given with 0.8, 80% are right.

Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv 1706.04599.
"""

import math

from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy

LARGEST = 20.0  # and its inverse the smallest
SPREAD = 0.5  # of its logarithm around 0, before dev has been seen


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """The number by which the logits (sentence, class) are to be divided so that `labels` (sentence,) are likeliest.

    Which class is the likeliest of a sentence stays as it is. The number is taken to be near 1, its logarithm normally
    distributed, so that a few sentences say little: that they are all right does not make every answer certain.
    """
    logits = logits.double()

    def loss(logarithm: float) -> float:
        unlikely = (logarithm / SPREAD) ** 2 / 2
        return cross_entropy(logits / math.exp(logarithm), labels, reduction="sum").item() + unlikely

    found = minimize_scalar(loss, bounds=(-math.log(LARGEST), math.log(LARGEST)), method="bounded")
    return round(math.exp(found.x), 4)
