"""Confidence that means what it says: of the answers given with 0.8, 80% are right.

Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv 1706.04599.
"""

import math

from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy

LARGEST = 20.0  # and its inverse the smallest


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """The number by which the logits (sentence, class) are to be divided so that `labels` (sentence,) are likeliest.

    Which class is the likeliest of a sentence stays as it is. The labels are smoothed as if each class had been met
    once more, as in Platt 1999, Probabilistic Outputs for Support Vector Machines: that a few sentences are all right
    does not make every answer certain.
    """
    logits = logits.double()
    sentences, classes = logits.shape

    def loss(logarithm: float) -> float:
        smoothing = classes / (sentences + classes)
        return cross_entropy(logits / math.exp(logarithm), labels, label_smoothing=smoothing).item()

    found = minimize_scalar(loss, bounds=(-math.log(LARGEST), math.log(LARGEST)), method="bounded")
    return round(math.exp(found.x), 4)
