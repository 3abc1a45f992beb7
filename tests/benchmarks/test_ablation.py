"""`make ablation`: which runs it trains, what it writes of them, and how it goes on where it was stopped."""

import importlib
import os
from pathlib import Path

import pandas
import pytest

import prepare_data
from benchmarks import ablation, rows
from benchmarks.rows import Row
from bert_to_bilstm.settings import RULES
from bert_to_bilstm.text.dataset import load_data

STUDENT = {"EPOCHS": 2, "BATCH_SIZE": 64}
TEACHER = {"TEACHERS": ["teacher-1"], "KNOWLEDGE": Path("knowledge")}


@pytest.fixture
def small_rows(finished) -> list[Row]:
    return [
        Row("n-gram baseline", "ngrams"),
        Row("teacher", "finetune_bert", {"MODEL_NAME": str(finished / "bert"), "EPOCHS": 2}, seeds=(1,)),
        Row("ensemble", "ensemble", {"TEACHERS": ["teacher-1"]}),
        Row("student alone", "train_bilstm", STUDENT, seeds=(0, 1)),
        Row("distilled", "distill", STUDENT | TEACHER | {"EPOCH_SENTENCES": 640}, seeds=(0, 1)),
        Row("student held out", "train_bilstm", STUDENT | {"DROPOUT": 0.5}, split="held-out"),
    ]


@pytest.fixture
def small_ablation(finished, small_rows, tmp_path, monkeypatch) -> Path:
    """The ablation's constants for the small set, with one run after the other; what it changes is put back."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "ROOT": finished,
        "WORK": tmp_path / "ablation",
        "RESULTS": tmp_path / "ablation.csv",
        "PICTURE": tmp_path / "ablation.png",
        "WORKERS": 1,
        "HELD_OUT": 60,
        "ROWS": small_rows,
    }.items():
        monkeypatch.setattr(ablation, name, value)
    monkeypatch.setattr(prepare_data, "SOURCE", prepare_data.SOURCE)
    for script in ablation.SCRIPTS.values():
        for name in [name for name in vars(script) if name.isupper()]:
            monkeypatch.setattr(script, name, getattr(script, name))
    return tmp_path


def test_every_row_is_trained_and_told(small_ablation, small_rows, capsys):
    ablation.main()
    table = pandas.read_csv(small_ablation / "ablation.csv", keep_default_na=False).set_index(["split", "row", "seed"])
    assert set(table.index) == {(row.split, row.name, seed) for row in small_rows for seed in row.seeds}
    for (split, name, seed), run in table[table["steps"] > 0].iterrows():
        history = pandas.read_csv(small_ablation / "ablation" / split / f"{name.replace(' ', '-')}-{seed}/history.csv")
        assert [float(value) for value in run["history"].split()] == history["valid_accuracy"].tolist()
        assert run["accuracy"] == pytest.approx(history["valid_accuracy"].iloc[-1], abs=0.02)
    assert (table.loc[[("dev", "n-gram baseline", 0), ("dev", "ensemble", 0)], "accuracy"] > 0.5).all()
    assert table.loc[("dev", "student alone", 0), "sentences"] == 150
    assert table.loc[("held-out", "student held out", 0), "sentences"] == 90
    assert table.loc[("dev", "distilled", 0), "steps"] == 2 * 10
    assert (small_ablation / "ablation.png").stat().st_size > 5000
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert sum(" ± " in line for line in lines) == 2  # the rows with two seeds


@pytest.mark.parametrize("changed", ["row", "default"])
def test_finished_runs_are_not_trained_again(small_ablation, small_rows, monkeypatch, capsys, changed):
    baseline, teacher, *_ = small_rows
    monkeypatch.setattr(ablation, "ROWS", [baseline, teacher])
    ablation.main()
    if changed == "row":
        teacher = Row("teacher", "finetune_bert", teacher.constants | {"WEIGHT_DECAY": 0.25}, seeds=(1,))
    else:
        monkeypatch.setitem(ablation.DEFAULTS["finetune_bert"], "WEIGHT_DECAY", 0.25)
    trained = small_ablation / "ablation/dev/teacher-1"
    trained.rename(trained.with_name("was-teacher-1"))
    monkeypatch.setattr(ablation, "ROWS", [baseline, teacher])
    capsys.readouterr()
    ablation.main()
    printed = capsys.readouterr().out
    assert "ablation.csv: with other constants than now, left out: dev, teacher." in printed
    assert "n-gram baseline, seed 0:" not in printed and "teacher, seed 1:" in printed
    after = pandas.read_csv(small_ablation / "ablation.csv")
    assert len(after) == 2 and after["constants"].str.contains('"WEIGHT_DECAY": 0.25').sum() == 1


def test_a_student_is_trained_anew_where_its_teacher_is(small_ablation, small_rows, monkeypatch):
    distilled, ensemble = (next(row for row in small_rows if row.name == name) for name in ("distilled", "ensemble"))
    before = ablation.as_json(distilled), ablation.as_json(ensemble)
    monkeypatch.setitem(ablation.DEFAULTS["finetune_bert"], "WEIGHT_DECAY", 0.25)
    after = ablation.as_json(distilled), ablation.as_json(ensemble)
    assert before[0] != after[0] and before[1] != after[1]
    monkeypatch.setitem(ablation.DEFAULTS["distill"], "WEIGHT_DECAY", 0.25)  # which trains no ensemble
    assert ablation.as_json(distilled) != after[0] and ablation.as_json(ensemble) == after[1]


@pytest.mark.slow
def test_several_run_at_a_time_each_in_a_process_of_its_own(monkeypatch, capsys):
    monkeypatch.setattr(ablation, "WORKERS", 2)
    killed = "__import__('os').kill(__import__('os').getpid(), 9)"
    done = ablation.in_parallel(eval, [(killed,), ("exit('an error')",), ("__import__('os').getpid()",)])
    assert next(done) != os.getpid()  # what fails keeps nothing back
    with pytest.raises(SystemExit, match="2 of 3 runs failed"):
        next(done)
    assert "a run failed, the others go on: an error" in capsys.readouterr().out


def test_held_out_sentences_are_rows_of_train_that_are_not_learnt(small_ablation, monkeypatch):
    ablation.prepare("dev")
    ablation.prepare("held-out")
    monkeypatch.chdir(small_ablation / "ablation" / "dev")
    whole = load_data()
    monkeypatch.chdir(small_ablation / "ablation" / "held-out")
    parts = load_data()
    expected = sorted(zip(whole["train"]["sentence"], whole["train"]["label"], strict=True))
    learnt, held_out = ([(row["sentence"], row["label"]) for row in parts[split]] for split in ("train", "valid"))
    assert len(held_out) == 60
    assert sorted(learnt + held_out) == expected


@pytest.mark.parametrize("row", rows.ROWS, ids=lambda row: f"{row.split}: {row.name}")
def test_the_rows_set_constants_that_their_script_has_to_values_that_it_allows(row):
    script = importlib.import_module({"ensemble": "distill", "ngrams": "train_bilstm"}.get(row.script, row.script))
    assert set(row.constants) <= set(vars(script))
    assert all(RULES[name].accepts(value) for name, value in row.constants.items())
