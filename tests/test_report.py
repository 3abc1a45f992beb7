"""What the report shows and leaves, checked against the checkpoints' own predictions on dev."""

import json
import math
import re
import shutil
from pathlib import Path
from unittest.mock import ANY

import pandas
import pytest
import torch
from datasets import load_from_disk
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image

import report
from bert_to_bilstm.evaluation import cost
from bert_to_bilstm.evaluation.comparison import coverage, per_class, reliability
from bert_to_bilstm.models.checkpoints import best_checkpoint, load_classifier
from bert_to_bilstm.models.ngrams import fitted_and_unseen
from bert_to_bilstm.outputs import plots
from bert_to_bilstm.outputs.plots import draw_confusion_matrix, draw_history, drawable
from bert_to_bilstm.text.dataset import load_labels
from bert_to_bilstm.training.prediction import predict_logits

NAMES = {"teacher": "model1", "student alone": "model2", "distilled student": "model3"}


def read(name: str, text: tuple[str, ...] = ()) -> pandas.DataFrame:
    """A file of the report, the columns `text` not as numbers."""
    return pandas.read_csv(report.OUTPUT / name, dtype=dict.fromkeys(text, str))


@pytest.fixture
def predicted(finished) -> dict[str, torch.Tensor]:
    """Model → what it takes each dev sentence for, 0…"""
    sentences = load_from_disk("data")["valid"]["sentence"][:]
    result = {}
    for name, directory in NAMES.items():
        model, tokenizer = load_classifier(best_checkpoint(Path(directory), ""))
        result[name] = predict_logits(model, tokenizer, sentences).argmax(1)
    return result


def test_the_table_on_the_screen_shows_the_models_and_what_they_have_to_beat(finished, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "OUTPUT", tmp_path / "report")
    report.main()
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = rows[[row[0] for row in rows].index("checkpoint") :]
    assert rows[1][:4] == ["most", "frequent", "class", "0.3333"]  # of three classes, as many sentences each
    assert rows[2][:2] == ["n-gram", "model"] and float(rows[2][2]) > 0.5
    assert rows[4][0] == "ensemble" and float(rows[4][1]) > 0.5
    parameters = [int(row[-1].replace(",", "")) for row in rows[2:5]]
    assert parameters[0] == report.find_ngrams(load_from_disk("data"))[0].weights.size
    assert parameters[2] == parameters[0] + parameters[1]
    for row, (name, directory) in zip([rows[3], *rows[5:7]], NAMES.items(), strict=True):
        checkpoint = best_checkpoint(Path(directory), "")
        accuracy = checkpoint.name.split("-")[1]
        # No sentence of the small dev set stands in train, so the new rows are all rows.
        words = name.split()
        assert row[: len(words) + 2] == [*words, str(checkpoint), accuracy]
        assert row[len(words) + 3] == accuracy
        assert row[-1] == f"{load_classifier(checkpoint)[0].num_parameters():,}"
    assert {path.name for path in report.OUTPUT.iterdir()} == {
        *("index.html", "comparison.csv", "comparison.png", "confusion_matrix.png", "per_class.csv", "errors.csv"),
        *("calibration.csv", "confidence.csv", "suspicious.csv"),
    }


def test_comparison_is_the_dev_accuracy_of_every_epoch(finished):
    table = read("comparison.csv").set_index("epoch")
    assert list(table) == ["n-gram model", "ensemble", *NAMES]
    for name, directory in NAMES.items():
        history = pandas.read_csv(f"{directory}/history.csv").set_index("epoch")["valid_accuracy"]
        assert table[name].dropna().to_dict() == history.to_dict()
    assert len(table) == 8 and table["distilled student"].count() == 3


def test_per_class_scores_are_counted_on_dev(predicted):
    truth = torch.tensor(load_from_disk("data")["valid"]["label"][:])
    table = read("per_class.csv", text=("label",)).set_index(["model", "label"])
    assert len(table) == 15
    for name in NAMES:
        for number, label in load_labels().items():
            row = table.loc[(name, label)]
            right = ((predicted[name] == number) & (truth == number)).sum().item()
            assert row["support"] == (truth == number).sum() == 20
            assert row["recall"] == pytest.approx(right / 20, abs=1e-4)
            taken = (predicted[name] == number).sum().item()
            assert row["precision"] == pytest.approx(right / taken if taken else math.nan, abs=1e-4, nan_ok=True)
            assert row["f1"] == pytest.approx(2 * right / (20 + taken), abs=1e-4)
    assert table.loc[("teacher", "109"), "label_desc"] == "news_tech"


def test_scores_of_what_there_is_nothing_to_count_of_are_missing():
    truth, answers = torch.tensor([0, 0, 1]), torch.tensor([0, 3, 0])
    logits = {"student": {"valid": torch.nn.functional.one_hot(answers, 5).float()}}
    table = per_class(logits, truth, dict(enumerate("abcde")), {}).set_index("label")
    assert table["precision"].to_dict() == pytest.approx(
        {"a": 1 / 2, "b": math.nan, "c": math.nan, "d": 0, "e": math.nan}, nan_ok=True
    )
    assert table["recall"].to_dict() == pytest.approx(
        {"a": 1 / 2, "b": 0, "c": math.nan, "d": math.nan, "e": math.nan}, nan_ok=True
    )
    assert table["f1"].to_dict() == pytest.approx(
        {"a": 1 / 2, "b": 0, "c": math.nan, "d": 0, "e": math.nan}, nan_ok=True
    )


def test_errors_are_the_students_with_both_models_answers(predicted):
    valid, labels = load_from_disk("data")["valid"], load_labels()
    table = read("errors.csv", text=("label", "teacher", "distilled student"))
    wrong = {
        number + 1
        for number, (guess, truth) in enumerate(
            zip(predicted["distilled student"].tolist(), valid["label"], strict=True)
        )
        if guess != truth
    }
    assert set(table["row"]) == wrong and len(table) == len(wrong) > 0
    for row in table.to_dict("records"):
        assert row["sentence"] == valid[row["row"] - 1]["written"]
        assert row["label"] == labels[valid[row["row"] - 1]["label"]]
        for name in ("teacher", "distilled student"):
            assert row[name] == labels[predicted[name][row["row"] - 1].item()]
            assert 1 / 3 <= row[f"{name} confidence"] <= 1
    assert table["distilled student confidence"].is_monotonic_decreasing


def test_without_a_distilled_student_the_best_model_there_is_is_shown(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("data", "model2"):
        (tmp_path / name).symlink_to(finished / name)
    monkeypatch.setattr(report, "COST", True)
    report.main()
    assert list(read("comparison.csv")) == ["epoch", "n-gram model", "student alone"]
    assert list(read("errors.csv")) == [
        *("row", "sentence", "label", "label_desc"),
        *("student alone", "student alone label_desc", "student alone confidence", "carried by"),
    ]
    assert "the costs need model1/ and model3/" in capsys.readouterr().out


def test_a_checkpoint_that_was_brought_without_its_history_is_a_point(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(finished / "data")
    checkpoint = best_checkpoint(finished / "model3", "")
    shutil.copytree(checkpoint, tmp_path / "model3" / checkpoint.name)
    report.main()
    epoch, accuracy = checkpoint.name.split("-")
    assert read("comparison.csv").to_dict("records") == [
        {"epoch": int(epoch), "n-gram model": ANY, "distilled student": float(accuracy)}
    ]


def test_the_price_list_is_measured_when_it_is_wished(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "OUTPUT", tmp_path / "report")
    monkeypatch.setattr(report, "COST", True)
    monkeypatch.setattr(cost, "SINGLE", 5)
    monkeypatch.setattr(cost, "ROUNDS", 1)
    report.main()
    table = read("cost.csv").set_index("cost")
    assert list(table) == ["teacher", "student", "ratio"]
    prices = table.drop("checkpoint").astype(float)
    student, _ = load_classifier(best_checkpoint(Path("model3"), ""))
    assert prices.loc["parameters", "student"] == sum(weight.numel() for weight in student.parameters())
    assert prices.loc["MB on disk", "student"] == pytest.approx(4 * student.num_parameters() / 1e6, rel=0.02)
    assert (prices[["teacher", "student"]] > 0).all(axis=None)
    printed = capsys.readouterr().out
    assert "headlines a second" in printed and "ms for one headline" in printed


def test_pictures_can_be_opened_and_depend_on_their_numbers_only(finished, tmp_path):
    rows = [
        {"epoch": "1", "train_loss": "1.5", "valid_accuracy": "0.4000", "seconds": "7"},
        {"epoch": "2", "train_loss": "1.0", "valid_accuracy": "0.5000", "seconds": "7"},
    ]
    slower = [row | {"seconds": "9"} for row in rows]
    other = [rows[0], rows[1] | {"valid_accuracy": "0.4500"}]
    for name, history in (("a", rows), ("b", slower), ("c", other), ("d", rows[:1])):
        draw_history(tmp_path / f"{name}.png", history)
    a, b, c, d = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert a == b and len({a, c, d}) == 3
    for path in [*tmp_path.iterdir(), *report.OUTPUT.glob("*.png"), *finished.glob("model*/history.png")]:
        with Image.open(path) as picture:
            assert len(picture.convert("RGB").getcolors(1_000_000)) > 5  # not blank
            assert "Software" not in picture.info
    assert len(list(finished.glob("model*/history.png"))) == 3


def test_the_ensemble_is_what_taught_the_student(finished, tmp_path, monkeypatch, capsys):
    """The weighted mean of the log-probabilities of teacher and n-gram model; no row where others taught."""
    valid = load_from_disk("data")["valid"]
    model, tokenizer = load_classifier(best_checkpoint(Path("model1"), ""))
    ngrams, _ = report.find_ngrams(load_from_disk("data"))
    origin = json.loads(Path("knowledge/origin.json").read_text(encoding="utf-8"))
    mean = predict_logits(model, tokenizer, valid["sentence"][:]).log_softmax(1) * (1 - origin["ngrams"])
    mean += ngrams.predict_logits(valid["sentence"][:]) * origin["ngrams"]
    expected = (mean.argmax(1) == torch.tensor(valid["label"][:])).double().mean().item()

    monkeypatch.chdir(tmp_path)
    for name in ("data", "model1", "knowledge"):
        (tmp_path / name).symlink_to(finished / name)
    shutil.copytree(finished / "model3", tmp_path / "model3")
    report.OUTPUT.mkdir()
    (report.OUTPUT / "cost.csv").touch()  # of another day
    report.main()
    assert "suspicious.csv\nopen " in capsys.readouterr().out
    assert read("comparison.csv")["ensemble"].tolist() == pytest.approx([expected] * 8, abs=1e-4)
    run = json.loads(Path("model3/run.json").read_text(encoding="utf-8"))
    assert report.find_ngrams(load_from_disk("data"))[1] is None
    run["settings"]["ngrams_class_weights"] = "balanced"  # while knowledge/ is of another student
    Path("model3/run.json").write_text(json.dumps(run), encoding="utf-8")
    balanced, class_weights = report.find_ngrams(load_from_disk("data"))
    assert class_weights == "balanced" and not (balanced.weights == ngrams.weights).all()
    run["settings"]["teachers"]["another"] = "0123456789abcdef"
    Path("model3/run.json").write_text(json.dumps(run), encoding="utf-8")
    report.main()
    assert list(read("comparison.csv")) == ["epoch", "n-gram model", "teacher", "distilled student"]


def test_of_train_the_ensemble_says_what_the_student_was_taught(finished):
    data, labels = load_from_disk("data"), load_labels()
    ngrams, class_weights = report.find_ngrams(data)
    train = data["train"]
    both = fitted_and_unseen(ngrams, train["sentence"][:], train["label"][:], class_weights)
    logits, _ = report.predict({"teacher": best_checkpoint(Path("model1"), "")}, ngrams, *both, data, labels)
    torch.testing.assert_close(logits["n-gram model"]["train"], ngrams.predict_logits(train["sentence"][:]))
    taught = {row["sentence"]: row["label"] for row in load_from_disk("knowledge") if row["source"] == "train"}
    expected = torch.tensor([taught[sentence] for sentence in train["sentence"]])
    torch.testing.assert_close(logits["ensemble"]["train"], expected, atol=5e-2, rtol=5e-2)  # bf16


def test_reliability_counts_answers_by_confidence():
    """Four sentences: 0.95 right, 0.95 wrong, 0.65 right, and certainty, in the last tenth too."""
    logits = torch.tensor([[0.95, 0.05], [0.95, 0.05], [0.35, 0.65], [1, 1e-30]]).log()
    table = reliability(logits, torch.tensor([0, 1, 1, 0]))
    assert table["from"].tolist() == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert table["count"].tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 0, 3]
    assert table.loc[6, ["mean confidence", "accuracy"]].tolist() == pytest.approx([0.65, 1])
    assert table.loc[9, ["mean confidence", "accuracy"]].tolist() == pytest.approx([2.9 / 3, 2 / 3])
    assert table.loc[[0, 5, 8], ["mean confidence", "accuracy"]].isna().all(axis=None)


def test_coverage_is_what_a_threshold_leaves():
    logits = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.55, 0.45]]).log()
    table = coverage(logits, torch.tensor([0, 1, 1, 0])).set_index("threshold")
    assert table.loc[[0, 0.58, 0.7, 0.85, 0.95], "answered"].tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert table.loc[[0, 0.58, 0.7, 0.85], "accuracy"].tolist() == pytest.approx([0.75, 2 / 3, 1, 1])
    assert math.isnan(table.loc[0.95, "accuracy"]) and len(table) == 100


def test_the_confusion_matrix_counts_sentences():
    logits, truth = torch.eye(3)[[0, 1, 1]], torch.tensor([0, 0, 1])
    matrix = report.confusion_matrix(logits, truth, {0: "100", 1: "101", 2: "109"})
    assert matrix.index.tolist() == matrix.columns.tolist() == ["100", "101", "109"]
    assert matrix.to_numpy().tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


COUNTS = pandas.DataFrame([[2, 1, 0], [0, 1, 0], [0, 0, 0]], ["100", "$x$", "娱乐"], ["100", "$x$", "娱乐"])
DESCRIPTIONS = {"100": "news_story", "$x$": "文化", "娱乐": "娱乐"}


def test_labels_stand_for_descriptions_where_no_font_can_write_these(tmp_path, monkeypatch, capsys):
    """A label that none can write, either, is its number; the same picture as with these names from the start."""
    monkeypatch.setattr(plots, "CJK_FONTS", re.compile("none"))
    draw_confusion_matrix(tmp_path / "matrix.png", COUNTS, DESCRIPTIONS, "$x$")
    assert capsys.readouterr().out == (
        f"{tmp_path}/matrix.png: no font here can write '文化': labels or numbers are drawn; install Noto Sans CJK.\n"
    )
    names = {"100": "news_story", "$x$": "$x$", "娱乐": "2"}
    draw_confusion_matrix(tmp_path / "expected.png", COUNTS, names, "$x$")
    assert capsys.readouterr().out == ""
    assert (tmp_path / "matrix.png").read_bytes() == (tmp_path / "expected.png").read_bytes()
    assert not drawable("a\tb", ["DejaVu Sans"]) and drawable("é ß Ω", ["DejaVu Sans"])


def test_a_chinese_font_of_the_machine_writes_the_descriptions(tmp_path, monkeypatch, capsys):
    """Here one of four characters that is made for the purpose, installed after matplotlib has listed the fonts."""
    square = TTGlyphPen(None)
    for step, corner in ((square.moveTo, (0, 0)), (square.lineTo, (0, 700)), (square.lineTo, (700, 700))):
        step(corner)
    square.closePath()
    names = [".notdef", "one", "two", "three", "four"]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap(dict(zip(map(ord, "文化娱乐"), names[1:], strict=True)))
    font.setupGlyf(dict.fromkeys(names, square.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Noto Sans CJK SC", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(tmp_path / "font.ttf")
    monkeypatch.setattr(plots, "findSystemFonts", lambda: [str(tmp_path / "font.ttf")])
    monkeypatch.setattr(
        plots.fontManager, "ttflist", [one for one in plots.fontManager.ttflist if "DejaVu" in one.name]
    )
    draw_confusion_matrix(tmp_path / "matrix.png", COUNTS, DESCRIPTIONS, "文化")
    assert capsys.readouterr().out == ""
    names = {"100": "news_story", "$x$": "$x$", "娱乐": "2"}
    draw_confusion_matrix(tmp_path / "codes.png", COUNTS, names, "文化")
    assert (tmp_path / "matrix.png").read_bytes() != (tmp_path / "codes.png").read_bytes()
