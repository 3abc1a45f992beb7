"""The loss on labels, and what each class counts in it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

NO_LABEL = -100  # of a sentence without one: its loss is 0


class LabelLoss(nn.Module):
    """The cross-entropy (batch,) of logits (batch, classes) with labels (batch,).

    `class_weights`: None, every sentence counts the same; or "balanced", every class does: the rarer that of a sentence
    is in `labels`, those of train, the more it counts, 1 in the mean.
    """

    def __init__(self, class_weights: str | None, labels: Sequence[int], classes: int) -> None:
        super().__init__()
        self.weights: Tensor | None = None
        if class_weights == "balanced":
            frequencies = torch.tensor(labels).bincount(minlength=classes)
            self.weights = len(labels) / (frequencies.count_nonzero() * frequencies.clamp(min=1))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        weights = None if self.weights is None else self.weights.to(logits.device)
        return cross_entropy(logits, labels, weights, ignore_index=NO_LABEL, reduction="none")
