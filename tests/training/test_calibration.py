"""A student's confidence: fitted on dev, the same wherever it is asked, and no answer changes by it."""

import json

import pytest
import torch
from conftest import Child
from transformers import pipeline

from bert_to_bilstm.models.bilstm import BiLSTMConfig, BiLSTMForSequenceClassification
from bert_to_bilstm.models.checkpoints import best_checkpoint, load_classifier
from bert_to_bilstm.outputs.classify import Classifier
from bert_to_bilstm.training.calibration import best_temperature


@pytest.mark.parametrize("too_sure", [0.2, 1.0, 5.0])
def test_the_temperature_undoes_what_made_the_model_too_sure(too_sure):
    torch.manual_seed(0)
    logits = 2 * torch.randn(20_000, 4)
    labels = logits.softmax(1).multinomial(1).squeeze(1)  # drawn with the chances that they say
    assert best_temperature(too_sure * logits, labels) == pytest.approx(too_sure, rel=0.05)


@pytest.mark.parametrize(("sentences", "classes"), [(20, 2), (50, 6), (200, 15), (2000, 200)])
def test_few_sentences_of_many_classes_leave_what_is_true_as_it_is(sentences, classes):
    torch.manual_seed(0)
    drawn = [4 * torch.randn(sentences, classes) for _ in range(20)]
    found = [best_temperature(logits, logits.softmax(1).multinomial(1).squeeze(1)) for logits in drawn]
    assert sum(found) / len(found) == pytest.approx(1, abs=0.15)


def test_a_few_sentences_that_are_all_right_do_not_make_every_answer_certain():
    logits = torch.eye(3).repeat(3, 1) * 2
    calibrated = logits / best_temperature(logits, torch.arange(3).repeat(3))
    assert 0.75 < calibrated.softmax(1).max(1).values.mean() < 0.95


def test_it_acts_where_the_model_predicts_and_not_where_it_learns():
    torch.manual_seed(0)
    model = BiLSTMForSequenceClassification(BiLSTMConfig(vocab_size=50))
    ids = torch.tensor([[3, 4, 5]])
    learning = model.train()(ids).logits
    model.config.calibration_temperature = 4.0
    assert torch.equal(model(ids).logits, learning)
    assert torch.allclose(model.eval()(ids).logits, learning / 4)


def test_every_way_to_ask_gives_the_confidence_of_the_checkpoint(finished_run):
    """The config's temperature is that of dev: another makes dev's labels less likely."""
    checkpoint = best_checkpoint(finished_run / "model3", "")
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    assert config["calibration_temperature"] not in (0, 1)
    model, tokenizer = load_classifier(checkpoint)
    with torch.inference_mode():
        expected = model(**tokenizer("球队冠军", return_tensors="pt")).logits.softmax(1).max().item()
    assert pipeline("text-classification", str(checkpoint))("球队冠军")[0]["score"] == pytest.approx(expected, abs=1e-5)
    assert Classifier(checkpoint)(["球队冠军"])[0][2] == pytest.approx(expected, abs=0.03)  # 8 bits
    model.config.calibration_temperature = 1.0
    with torch.inference_mode():
        assert model(**tokenizer("球队冠军", return_tensors="pt")).logits.softmax(1).max().item() != expected


@pytest.mark.slow
def test_the_best_checkpoints_and_the_last_are_kept(finished_run, tmp_path):
    """And nothing that somebody put into a folder goes."""
    (tmp_path / "data").symlink_to(finished_run / "data")
    constants = {"train_bilstm.EPOCHS": 5, "train_bilstm.BATCH_SIZE": 16, "train_bilstm.KEEP_CHECKPOINTS": 1}
    result = Child("train_bilstm", tmp_path, constants).result()
    assert result.returncode == 0, result.stderr
    kept = sorted(path.name for path in (tmp_path / "model2").glob("*-0.*"))
    history = (tmp_path / "model2" / "history.csv").read_text().splitlines()[1:]
    accuracies = [row.split(",")[2] for row in history]
    best = f"{len(accuracies) - accuracies[::-1].index(max(accuracies))}-{max(accuracies)}"  # the last of equals
    assert kept == sorted({best, f"5-{accuracies[-1]}"})
    assert (tmp_path / "model2" / "best").resolve().name == best
    assert "model2/ will take" in result.stdout and "2 checkpoints of" in result.stdout
