"""The teachers: each reads the transfer set in its own way."""

import json
import re
import shutil
from pathlib import Path

import torch

from bert_to_bilstm.distillation import labelling
from bert_to_bilstm.distillation.labelling import Ensemble, label_transfer_set, neural_teacher
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


def test_how_long_it_takes_is_told_before_it_starts(scratch, monkeypatch, capsys):
    monkeypatch.setattr(labelling, "SHARD", 100)
    teacher = Ensemble([(1.0, lambda sentences: torch.zeros(len(sentences), 3))])
    rows = ({"sentence": f"第{number}条", "source": "train", "hard_label": 0} for number in range(250))
    knowledge = label_transfer_set(Path("knowledge"), {}, rows, lambda: teacher)
    first, *others = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"knowledge/: 3 parts of 100 sentences to label, \d+ (s|min) left", first)
    assert len(others) == 3 and knowledge["sentence"][:] == [f"第{number}条" for number in range(250)]
