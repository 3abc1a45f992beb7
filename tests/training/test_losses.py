"""What a class counts in the loss."""

import pytest
import torch

from bert_to_bilstm.training.losses import NO_LABEL, LabelLoss

LABELS = [0] * 8 + [1] * 2  # of three classes the last is in no row


def test_by_default_every_sentence_counts_the_same():
    losses = LabelLoss(None, LABELS, 3)(torch.zeros(10, 3), torch.tensor(LABELS))
    assert losses.tolist() == pytest.approx([torch.tensor(3.0).log().item()] * 10)


def test_balanced_every_class_counts_the_same():
    truth = torch.tensor(LABELS)
    losses = LabelLoss("balanced", LABELS, 3)(torch.zeros(10, 3), truth)
    assert losses[truth == 0].sum().item() == pytest.approx(losses[truth == 1].sum().item())
    assert losses.mean().item() == pytest.approx(torch.tensor(3.0).log().item())  # as large as without


def test_a_sentence_without_a_label_has_no_loss():
    assert LabelLoss("balanced", LABELS, 3)(torch.zeros(1, 3), torch.tensor([NO_LABEL])).tolist() == [0]
