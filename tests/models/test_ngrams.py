"""The n-gram model: what it learns, of how little it can learn, and that it comes back from the disk as it was."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import nll_loss

from bert_to_bilstm.models.ngrams import load_ngrams, split, train_logits, train_ngrams

TOPICS = [["球队", "比赛", "冠军", "联赛"], ["手机", "芯片", "网络", "电脑"], ["stock", "market", "股票", "基金"]]


def headlines(count: int, classes: int = 3) -> tuple[list[str], list[int]]:
    """Sentences that each name their class by its words, and the classes in turn."""
    labels = [number % classes for number in range(count)]
    words = [TOPICS[label % 3][number // 3 % 4] for number, label in enumerate(labels)]
    return [f"{words[number]} 第{label}类的第{number}条" for number, label in enumerate(labels)], labels


def accuracy(logits: Tensor, labels: list[int]) -> float:
    return (logits.argmax(1) == torch.tensor(labels)).float().mean().item()


def test_learns_words_and_says_log_probabilities():
    model = train_ngrams(*headlines(120), 3)
    logits = model.predict_logits(["冠军球队的比赛", "新手机的芯片", "THE STOCK MARKET"])
    assert logits.argmax(1).tolist() == [0, 1, 2]
    assert logits.dtype == torch.float32
    assert torch.allclose(logits.exp().sum(1), torch.ones(3))


def test_the_same_training_gives_the_same_model():
    sentences, labels = headlines(60)
    first, second = train_ngrams(sentences, labels, 3), train_ngrams(sentences, labels, 3)
    assert torch.equal(first.predict_logits(sentences), second.predict_logits(sentences))
    assert torch.equal(train_logits(first, sentences, labels), train_logits(second, sentences, labels))


@pytest.mark.parametrize(("count", "classes"), [(30, 2), (30, 15), (1000, 200)])
def test_few_rows_and_many_classes(count, classes):
    sentences, labels = headlines(count, classes)
    model = train_ngrams(sentences, labels, classes)
    logits = train_logits(model, sentences, labels)
    assert logits.shape == (count, classes) and logits.isfinite().all()
    assert accuracy(model.predict_logits(sentences), labels) > 0.9


def test_a_class_that_train_lacks_is_unlikely_and_no_crash():
    sentences, labels = headlines(60)
    logits = train_ngrams(sentences, labels, 5).predict_logits(sentences)
    assert logits.isfinite().all()
    assert (logits[:, 3:].exp() < 0.001).all()
    alone = train_ngrams(sentences, [1] * 60, 3).predict_logits(sentences)
    assert alone.isfinite().all() and accuracy(alone, [1] * 60) == 1


def test_a_sentence_without_text_gets_the_same_as_one_of_unknown_text():
    model = train_ngrams(*headlines(60), 3)
    empty, unknown, mask = model.predict_logits(["", "ÿþ", "[MASK]"])
    assert torch.equal(empty, unknown) and empty.isfinite().all()
    assert mask.isfinite().all()
    assert model.predict_logits([]).shape == (0, 3)


def test_a_long_list_gets_what_its_sentences_get_alone(monkeypatch):
    sentences, labels = headlines(60)
    model = train_ngrams(sentences, labels, 3)
    whole = model.predict_logits(sentences)
    monkeypatch.setattr("bert_to_bilstm.models.ngrams.TOGETHER", 7)
    assert torch.equal(model.predict_logits(sentences), whole)


def test_where_nothing_stands_twice_single_ngrams_are_taken_and_that_is_said(capsys):
    model = train_ngrams(["甲乙丙", "丁戊己"], [0, 1], 2)
    assert model.predict_logits(["甲乙", "戊己"]).argmax(1).tolist() == [0, 1]
    assert "no n-gram of characters stands in 2 sentences: taking those in one" in capsys.readouterr().out


def test_sentences_without_any_text_are_told():
    with pytest.raises(SystemExit, match="the train sentences hold no text"):
        train_ngrams(["", ""], [0, 1], 2)


def test_balanced_weights_make_a_rare_class_likelier():
    sentences, labels = headlines(120)
    rare = [number for number, label in enumerate(labels) if label != 2 or number % 20 == 2]
    sentences, labels = [sentences[number] for number in rare], [labels[number] for number in rare]
    plain, balanced = train_ngrams(sentences, labels, 3), train_ngrams(sentences, labels, 3, "balanced")
    assert (balanced.predict_logits(["第条"])[0, 2] > plain.predict_logits(["第条"])[0, 2]).item()


def test_of_its_train_sentences_it_is_less_sure_than_it_would_be():
    """Labels by chance: whoever is sure of them has learnt them by heart."""
    sentences, labels = headlines(200)[0], torch.randint(2, (200,), generator=torch.manual_seed(0)).tolist()
    model = train_ngrams(sentences, labels, 2)
    fitted, passed_on = model.predict_logits(sentences), train_logits(model, sentences, labels)
    assert nll_loss(passed_on, torch.tensor(labels)) > nll_loss(fitted, torch.tensor(labels))


def test_a_repeated_sentence_is_never_on_both_sides_of_a_fold():
    sentences = headlines(20)[0] * 3
    folds = list(split(sentences))
    assert sorted(number for _, left_out in folds for number in left_out) == list(range(60))
    for learnt, left_out in folds:
        assert not {sentences[number] for number in learnt} & {sentences[number] for number in left_out}


def test_it_comes_back_from_the_disk_as_it_was_and_holds_no_pickle(tmp_path):
    sentences, labels = headlines(60)
    model = train_ngrams(sentences, labels, 3)
    model.save(tmp_path / "ngrams")
    assert torch.equal(load_ngrams(tmp_path / "ngrams").predict_logits(sentences), model.predict_logits(sentences))
    assert {path.name for path in (tmp_path / "ngrams").iterdir()} == {
        "weights.safetensors",
        "characters.json",
        "words.json",
    }
    assert "球队" in json.loads((tmp_path / "ngrams/words.json").read_text(encoding="utf-8"))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_one(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8"))[1:]), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("weights.safetensors", Path.unlink),
        ("weights.safetensors", cut_short),
        ("words.json", Path.unlink),
        ("words.json", cut_short),
        ("characters.json", lose_one),
    ],
)
def test_a_damaged_model_is_named_in_one_sentence(tmp_path, file, damage):
    train_ngrams(*headlines(30), 3).save(tmp_path / "ngrams")
    damage(tmp_path / "ngrams" / file)
    with pytest.raises(SystemExit, match=r"ngrams/ holds no readable n-gram model .*: move it away") as error:
        load_ngrams(tmp_path / "ngrams")
    assert "\n" not in str(error.value)
