"""`make ablation`: which runs it trains, what it writes of them, and how it goes on where it was stopped."""

from pathlib import Path

import pandas
import pytest
from datasets import load_from_disk

import distill
import finetune_bert
import train_bilstm
from benchmarks import ablation
from benchmarks.ablation import Row
from bert_to_bilstm.models.checkpoints import load_classifier
from bert_to_bilstm.text.dataset import load_data
from bert_to_bilstm.training.prediction import predict_logits

COMMITTEES = {
    "BERT": ("teacher-1",),
    "BERT and student": ("teacher-1", "student-alone-0"),
    "held-out student": ("student-held-out-0",),
}
ROWS = [
    Row("teacher", "teacher", {}, seeds=(1,)),
    Row("student alone", "alone", {}, seeds=(0, 1)),
    Row("train", "distilled", {}, seeds=(0, 1), teachers="BERT", knowledge="knowledge-train"),
    Row("softened", "distilled", {"LOSS": "kl"}, teachers="BERT", knowledge="knowledge-train"),
    Row("both teach", "distilled", {}, teachers="BERT and student", knowledge="knowledge-both"),
    Row("student held out", "alone", {"DROPOUT": 0.5}, split="held-out"),
    Row("out of fold", "distilled", {}, (0,), "held-out", "held-out student", ablation.OUT_OF_FOLD),
    *(Row("teacher", "teacher", {}, (42,), fold) for fold in ablation.FOLDS),
]


@pytest.fixture
def small_ablation(finished, tmp_path, monkeypatch) -> Path:
    """The ablation's constants for the small set, with one run after the other; what it changes is put back."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "ROOT": finished,
        "WORK": tmp_path / "ablation",
        "RESULTS": tmp_path / "ablation.csv",
        "PICTURE": tmp_path / "ablation.png",
        "WORKERS": 1,
        "HELD_OUT": 60,
        "ALIKE": {
            "teacher": {"MODEL_NAME": str(finished / "bert"), "EPOCHS": 2},
            "alone": {"EPOCHS": 2, "BATCH_SIZE": 16, "WARMUP_RATIO": 0.0},
            "distilled": {"EPOCHS": 2, "BATCH_SIZE": 16, "WARMUP_RATIO": 0.0, "EPOCH_SENTENCES": 160},
        },
        "COMMITTEES": COMMITTEES,
        "ROWS": ROWS,
    }.items():
        monkeypatch.setattr(ablation, name, value)
    for script in (finetune_bert, train_bilstm, distill):
        for name in [name for name in vars(script) if name.isupper()]:
            monkeypatch.setattr(script, name, getattr(script, name))
    return tmp_path


def test_every_row_is_trained_and_told(small_ablation, capsys):
    ablation.main()
    table = pandas.read_csv(small_ablation / "ablation.csv", keep_default_na=False).set_index(["split", "row", "seed"])
    trained = {(row.split, row.name, seed) for row in ROWS for seed in row.seeds}
    together = {(row.split, f"teachers: {row.teachers}", 0) for row in ROWS if row.teachers}
    assert set(table.index) == trained | together
    for split, name, seed in trained:
        run = table.loc[(split, name, seed)]
        history = pandas.read_csv(small_ablation / "ablation" / split / f"{name.replace(' ', '-')}-{seed}/history.csv")
        assert [float(value) for value in run["history"].split()] == history["valid_accuracy"].tolist()
        assert run["accuracy"] == pytest.approx(history["valid_accuracy"].iloc[-1], abs=0.02)
    assert table.loc[("dev", "student alone", 0), "sentences"] == 300
    assert table.loc[("held-out", "student held out", 0), "sentences"] == 240
    assert table.loc[("dev", "train", 0), "steps"] == 2 * 10
    assert (small_ablation / "ablation.png").stat().st_size > 5000
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert sum(" ± " in line for line in lines) == 2  # the rows with two seeds


def test_finished_runs_are_not_trained_again(small_ablation, monkeypatch, capsys):
    monkeypatch.setattr(ablation, "ROWS", ROWS[:2])
    ablation.main()
    before = pandas.read_csv(small_ablation / "ablation.csv")
    capsys.readouterr()
    another = Row("student alone", "alone", {"DROPOUT": 0.5}, seeds=(0, 1))
    for path in (small_ablation / "ablation/dev").glob("student-alone-*"):
        path.rename(path.with_name(f"was-{path.name}"))
    monkeypatch.setattr(ablation, "ROWS", [ROWS[0], another])
    ablation.main()
    printed = capsys.readouterr().out
    assert "teacher, seed 1:" not in printed
    assert "student alone, seed 0:" in printed and "student alone, seed 1:" in printed
    after = pandas.read_csv(small_ablation / "ablation.csv")
    assert len(after) == len(before) == 3
    assert after["constants"].str.contains("DROPOUT").sum() == 2


def test_out_of_fold_logits_are_of_the_teacher_that_has_not_seen_the_sentence(small_ablation, monkeypatch):
    monkeypatch.setattr(ablation, "ROWS", [row for row in ROWS if row.split != "dev"])
    ablation.main()
    held_out = small_ablation / "ablation" / "held-out"
    learnt = load_from_disk(held_out / ablation.OUT_OF_FOLD)
    assert len(learnt) == 240
    halves = [load_from_disk(small_ablation / "ablation" / fold / "data") for fold in ablation.FOLDS]
    assert halves[0]["train"]["sentence"][:] == halves[1]["valid"]["sentence"][:]
    assert halves[1]["train"]["sentence"][:] == halves[0]["valid"]["sentence"][:]
    for fold, half in zip(ablation.FOLDS, halves, strict=True):
        monkeypatch.chdir(small_ablation / "ablation" / fold)
        unseen = half["valid"]["sentence"][:]
        model, tokenizer = load_classifier(Path(ablation.last_checkpoint(Path("teacher-42"))))
        logits = dict(zip(unseen, predict_logits(model, tokenizer, unseen, 128, 64), strict=True))
        theirs = [row for row in learnt if row["sentence"] in logits]
        assert len(theirs) == 120
        for row in theirs:
            assert row["label"] == pytest.approx(logits[row["sentence"]].tolist(), abs=0.1)


def test_held_out_sentences_are_rows_of_train_that_are_not_learnt(small_ablation, monkeypatch):
    ablation.prepare("dev")
    ablation.prepare("held-out")
    monkeypatch.chdir(small_ablation / "ablation" / "dev")
    whole = load_data()
    monkeypatch.chdir(small_ablation / "ablation" / "held-out")
    parts = load_data()
    rows = sorted(zip(whole["train"]["sentence"], whole["train"]["label"], strict=True))
    learnt, held_out = ([(row["sentence"], row["label"]) for row in parts[split]] for split in ("train", "valid"))
    assert len(held_out) == 60
    assert sorted(learnt + held_out) == rows
