"""Why this answer: the characters, words and numbers without which it is less likely."""

import numpy as np
import pandas
import pytest

import predict_test
from bert_to_bilstm.evaluation.explanation import carried_by
from bert_to_bilstm.models.checkpoints import load_tokenizer


def test_what_the_model_looks_at_is_named(finished):
    """A model that knows two words."""

    def probabilities(sentences: list[str]) -> np.ndarray:
        sure = np.array([0.5 + 0.3 * ("nba" in text.lower()) + 0.1 * ("冠" in text) for text in sentences])
        return np.stack([1 - sure, sure], axis=1)

    tokenizer = load_tokenizer(finished / "data/tokenizer")
    assert carried_by(probabilities, tokenizer, ["今天NBA冠军", "今天", ""]) == ["NBA 0.30, 冠 0.10", "", ""]


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_every_answer_tells_what_carried_it(finished, monkeypatch, capsys, engine, tmp_path):
    monkeypatch.setattr(predict_test, "ENGINE", engine)
    monkeypatch.setattr(predict_test, "EXPLAIN", True)
    (tmp_path / "a.txt").write_text("今天芯片中国\n", encoding="utf-8")
    predict_test.main([str(tmp_path / "a.txt")])
    carried = pandas.read_csv(tmp_path / "a.txt.predictions.csv", encoding="utf-8-sig")["carried_by"][0].split(", ")
    assert {token.split()[0] for token in carried} <= set("今天芯片中国")
    assert all(0 < float(token.split()[1]) <= 1 for token in carried)
