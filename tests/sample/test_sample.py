"""The sample: the form of its corpus, how hard it is, and all stages on a copy of it."""

import csv
import json
import shutil
import sys
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

import pytest
from conftest import ROOT
from datasets import load_from_disk
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import distill
import finetune_bert
import train_bilstm
from bert_to_bilstm.models.checkpoints import best_checkpoint

SAMPLE = ROOT / "sample"
SPLITS = ["train", "dev", "test", "test1.0"]


def read(folder: Path, split: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{split}.json").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def corpus() -> dict[str, list[dict]]:
    return {split: read(SAMPLE / "tnews", split) for split in SPLITS}


def test_form_and_counts_are_those_of_tnews(corpus):
    labels = {row["label"]: row["label_desc"] for row in read(SAMPLE / "tnews", "labels")}
    assert len(labels) == 15 and labels["100"] == "news_story" and labels["116"] == "news_game"
    for split in ("train", "dev"):
        assert all(list(row) == ["label", "label_desc", "sentence", "keywords"] for row in corpus[split])
        assert all(labels[row["label"]] == row["label_desc"] for row in corpus[split])
        assert min(Counter(row["label"] for row in corpus[split]).values()) >= 60
    for split in ("test", "test1.0"):
        assert [row["id"] for row in corpus[split]] == list(range(len(corpus[split])))
        assert all(list(row) == ["id", "sentence", "keywords"] for row in corpus[split])
        assert len(corpus[split]) >= 150
    assert (SAMPLE / "tnews" / "README.txt").exists()


def test_headlines_are_8_to_40_characters_and_come_once(corpus):
    sentences = [row["sentence"] for rows in corpus.values() for row in rows]
    assert all(8 <= len(sentence) <= 40 for sentence in sentences)
    assert len(set(sentences)) == len(sentences)


def test_no_two_headlines_are_nearly_the_same(corpus):
    sentences = [row["sentence"] for rows in corpus.values() for row in rows]
    runs = [{sentence[start : start + 4] for start in range(len(sentence) - 3)} for sentence in sentences]
    holders = defaultdict(list)
    for number, parts in enumerate(runs):
        for part in parts:
            holders[part].append(number)
    pairs = {pair for numbers in holders.values() for pair in combinations(numbers, 2)}
    assert len(pairs) > 100
    similarity = max((len(runs[a] & runs[b]) / len(runs[a] | runs[b]), sentences[a], sentences[b]) for a, b in pairs)
    assert similarity[0] <= 0.5, similarity


@pytest.mark.skipif(not (ROOT / "tnews" / "train.json").exists(), reason="tnews/ is not here")
def test_no_headline_stands_in_the_real_tnews(corpus):
    real = {row["sentence"] for split in SPLITS for row in read(ROOT / "tnews", split)}
    assert not real & {row["sentence"] for rows in corpus.values() for row in rows}


def test_characters_alone_do_not_solve_it(corpus):
    (train, labels), (dev, truth) = (
        ([row["sentence"] for row in corpus[split]], [row["label"] for row in corpus[split]])
        for split in ("train", "dev")
    )
    classifier = make_pipeline(CountVectorizer(analyzer="char"), LogisticRegression(max_iter=1000)).fit(train, labels)
    assert 0.3 < classifier.score(dev, truth) <= 0.60


def test_folder_is_small():
    assert (
        sum(path.stat().st_size for name in ("tnews", "tiny-bert-chinese") for path in (SAMPLE / name).iterdir()) < 14e6
    )
    assert (SAMPLE / "tiny-bert-chinese" / "model.safetensors").stat().st_size < 12e6


@pytest.mark.slow
def test_all_stages_on_a_copy_of_the_sample(scratch, monkeypatch, capsys):
    """With a part of its headlines, and one epoch of each training."""
    for name in ("tnews", "tiny-bert-chinese", "run.py"):
        (shutil.copytree if (SAMPLE / name).is_dir() else shutil.copy)(SAMPLE / name, scratch / name)
    for split, step in (("train", 3), ("dev", 6), ("test", 6), ("test1.0", 6)):
        path = scratch / "tnews" / f"{split}.json"
        path.write_text("\n".join(path.read_text(encoding="utf-8").splitlines()[::step]), encoding="utf-8")
    monkeypatch.syspath_prepend(str(SAMPLE))
    import run

    monkeypatch.setattr(run, "SAMPLE", scratch)
    stages = (finetune_bert, train_bilstm, distill)
    before = {stage: dict(vars(stage)) for stage in stages}
    set_constants = run.set_constants

    def one_epoch(seed: int) -> None:
        set_constants(seed)
        finetune_bert.EPOCHS, train_bilstm.EPOCHS, distill.EPOCHS, distill.AUGMENTATIONS = 1, 1, 1, 1
        distill.EPOCH_SENTENCES = 585  # the train headlines of the part: both students take as many steps

    monkeypatch.setattr(run, "set_constants", one_epoch)
    try:
        run.main()
        first = capsys.readouterr().out
        run.main()
        again = capsys.readouterr().out
    finally:
        for stage, values in before.items():
            vars(stage).update(values)
        sys.modules.pop("run")
    assert again.count("is finished with these settings and this data; nothing to do.") == 3
    for printed in (first, again):
        assert all(name in printed for name in ("teacher", "student alone", "distilled student", "dev accuracy"))

    data = load_from_disk("data")
    assert data["train"].num_rows == len(read(scratch / "tnews", "train"))
    assert Path("data/vocab.txt").read_text(encoding="utf-8").startswith("[PAD]\n[UNK]\n")
    knowledge = load_from_disk("knowledge")
    assert knowledge["sentence"][: len(data["train"])] == data["train"]["sentence"][:]
    assert len(knowledge) > 1.5 * len(data["train"]) and len(knowledge["label"][0]) == 15
    accuracy = {}
    for name in ("model1", "model2", "model3"):
        with open(f"{name}/history.csv", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        accuracy[name] = float(rows[-1]["valid_accuracy"])
        assert len(rows) == 1 and Path(name, "history.png").read_bytes().startswith(b"\x89PNG")
        checkpoint = best_checkpoint(Path(name), "")
        model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
        assert model.config.label_descriptions["100"] == "news_story"
        assert AutoTokenizer.from_pretrained(checkpoint)("为什么")["input_ids"]
    assert accuracy["model3"] > accuracy["model2"]  # what it is all for
    for name, split in (("tnews11_predict.json", "test"), ("tnews10_predict.json", "test1.0")):
        rows = [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]
        assert [row["id"] for row in rows] == [row["id"] for row in read(scratch / "tnews", split)]
        assert {row["label"] for row in rows} <= {row["label"] for row in read(scratch / "tnews", "labels")}
    assert Path("clue_submission.zip").exists() and Path("report/comparison.png").exists()
