"""The teachers: each reads the transfer set in its own way."""

import json
import shutil
from pathlib import Path

import torch

from bert_to_bilstm.distillation.labelling import neural_teacher
from bert_to_bilstm.text.dataset import load_labels


def test_a_mask_is_read_as_the_teachers_own_token_for_masks(finished, tmp_path):
    bert = Path("model1/best")
    xlmr = Path(shutil.copytree(bert, tmp_path / "xlmr"))  # the same model, whose mask is written as XLM-R writes it
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (xlmr / name).read_text(encoding="utf-8")
        assert json.dumps("[MASK]") in text
        (xlmr / name).write_text(text.replace("[MASK]", "<mask>"), encoding="utf-8")
    sentences = ["[MASK]球队", "球队[MASK]", "球队"]
    expected = neural_teacher(bert, load_labels())(sentences)
    torch.testing.assert_close(neural_teacher(xlmr, load_labels())(sentences), expected)
    assert not torch.allclose(expected[1], expected[2])
