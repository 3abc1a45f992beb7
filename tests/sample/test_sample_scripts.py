"""The scripts beside the sample: pretraining its little BERT, and the sample with several seeds."""

import importlib
import json
import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT
from small_set import write_tnews
from transformers import BertForMaskedLM

import distill
import finetune_bert
import train_bilstm
from bert_to_bilstm.models.pretrained import load_pretrained
from bert_to_bilstm.text.char_table import builtin_table
from bert_to_bilstm.text.dataset import load_labels


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Imports a script of sample/, for one test; the stages' constants are put back."""
    monkeypatch.syspath_prepend(str(ROOT / "sample"))
    stages = (finetune_bert, train_bilstm, distill)
    before = {stage: dict(vars(stage)) for stage in stages}
    yield importlib.import_module
    for stage, values in before.items():
        vars(stage).update(values)
    for name in ("run", "seeds", "pretrain"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_a_pretrained_bert_has_learnt_to_fill_gaps_and_can_be_finetuned(
    script, scratch, finished_run, monkeypatch, capsys
):
    pretrain = script("pretrain")
    Path("data").symlink_to(finished_run / "data")
    write_tnews(Path("tnews"))
    Path("unlabelled").mkdir()
    headlines = [json.loads(line)["sentence"] for line in Path("tnews/dev.json").read_text("utf-8").splitlines()]
    Path("unlabelled/headlines.txt").write_text("\n".join(headlines), encoding="utf-8")
    for name, value in {
        "ROOT": scratch,
        "OUTPUT": scratch / "bert",
        "VOCABULARY_SIZE": 200,
        "HIDDEN_LAYERS": 1,
        "HIDDEN_SIZE": 64,
        "TOKENS_PER_BATCH": 512,
        "HEADLINE_EPOCHS": 4,
    }.items():
        monkeypatch.setattr(pretrain, name, value)
    pretrain.main()
    printed = capsys.readouterr().out
    result = json.loads(printed[printed.index('{\n  "steps"') :])
    model = BertForMaskedLM.from_pretrained("bert")
    assert result["loss"] < math.log(model.config.vocab_size)  # of a guess
    assert result["sha256"].keys() == {"headlines.txt", "train.json"}
    assert model.config.hidden_dropout_prob == 0.1 and model.num_parameters() < 200_000

    _, tokenizer = load_pretrained("bert", load_labels(), {}, builtin_table().normalizer(), 128, False)
    assert "classifier.bias, classifier.weight; the rest is pretrained." in capsys.readouterr().out
    assert tokenizer.tokenize("今天") == ["今", "天"]


@pytest.mark.slow
def test_each_seed_has_a_row_and_the_last_is_the_mean(script, scratch, finished_run, monkeypatch, capsys):
    run, seeds = script("run"), script("seeds")
    write_tnews(Path("tnews"))
    Path("tiny-bert-chinese").symlink_to(finished_run / "bert")
    monkeypatch.setattr(run, "SAMPLE", scratch)
    set_constants = run.set_constants

    def fewer_epochs(seed: int) -> None:
        set_constants(seed)
        finetune_bert.EPOCHS = train_bilstm.EPOCHS = distill.EPOCHS = distill.AUGMENTATIONS = 1
        finetune_bert.BATCH_SIZE = train_bilstm.BATCH_SIZE = distill.BATCH_SIZE = 64

    monkeypatch.setattr(run, "set_constants", fewer_epochs)
    monkeypatch.setattr(seeds, "SEEDS", range(2))
    before = {path.name for path in scratch.iterdir()}
    seeds.main()
    head, *rows, mean = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert head == ["seed", "n-gram model", "teacher", "student alone", "distilled student"]
    assert [row[0] for row in rows] == ["0", "1"] and rows[0] != rows[1]
    columns = list(zip(*rows, strict=True))[1:]
    assert [float(value) for value in mean[1:]] == [
        pytest.approx(sum(map(float, column)) / 2, abs=1e-4) for column in columns
    ]
    assert {path.name for path in scratch.iterdir()} == before


def test_clean_leaves_what_the_sample_did_not_make(finished_run, scratch, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "sample"))
    import clean

    shutil.copytree(finished_run, scratch / "sample", symlinks=True)
    mine = [Path("sample", name) for name in ("notes.txt", "data/notes.txt", "model3/best.txt", "report/notes.txt")]
    for path in mine:
        path.write_text("mine", encoding="utf-8")
    monkeypatch.setattr(clean, "SAMPLE", Path("sample"))
    clean.main()
    left = {path for path in Path("sample").rglob("*") if path.is_file()}
    assert {path for path in left if path.parts[1] not in ("tnews", "bert")} == set(mine)
    assert capsys.readouterr().out.count("is not of make sample: it stays.") == 3
