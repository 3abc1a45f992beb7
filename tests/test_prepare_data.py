"""Stage 1: the files it reads, the files it writes, and what it says about wrong ones."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from conftest import ROOT
from datasets import load_from_disk
from tokenizers import Tokenizer
from transformers import AutoTokenizer

import prepare_data
from bert_to_bilstm.text import tnews

real_data = pytest.mark.skipif(not (ROOT / "tnews" / "train.json").exists(), reason="tnews/ is not here")


def digests(directory: Path) -> dict[str, str]:
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_writes_what_the_next_stages_read(small_tnews, capsys):
    prepare_data.main()
    data = load_from_disk("data")
    assert {name: split.num_rows for name, split in data.items()} == {
        "train": 150,
        "valid": 60,
        "test": 30,
        "test1.0": 30,
    }
    assert data["train"].column_names == data["valid"].column_names == ["label", "sentence", "row", "written"]
    assert data["test"].column_names == ["id", "sentence", "written"]
    first = json.loads(Path("tnews/train.json").read_text(encoding="utf-8").splitlines()[0])
    assert data["train"][0] == {
        "label": 0,
        "sentence": first["sentence"].lower().translate(str.maketrans("發現，？！", "发现,?!")),
        "row": 1,
        "written": first["sentence"],
    }
    labels = pandas.read_csv("data/label.csv", index_col=0)
    assert labels.index.tolist() == [100, 103, 109]
    assert labels["label"].tolist() == [0, 1, 2]
    assert labels["label_desc"].tolist() == ["news_story", "news_sports", "news_tech"]
    assert json.loads(Path("data/char_table.json").read_text(encoding="utf-8"))["source"] == "built-in"
    printed = capsys.readouterr().out
    assert "HanLP could not be started" in printed and "install Java" in printed
    assert "train 150, valid 60, test 30, test1.0 30" in printed


def test_vocabulary_counts_characters_and_whole_latin_words(small_tnews):
    prepare_data.main()
    vocabulary = Path("data/vocab.txt").read_text(encoding="utf-8").splitlines()
    assert vocabulary[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert {"nba", "iphone", "2018", "球", "?", "a", "##a", "0", "##9"} <= set(vocabulary)
    assert not {"", " ", "球队"} & set(vocabulary)
    assert len(vocabulary) == len(set(vocabulary))


@pytest.fixture
def tokenizer(small_tnews):
    prepare_data.main()
    return AutoTokenizer.from_pretrained("data/tokenizer")


def test_no_latin_word_and_no_number_is_unknown(tokenizer):
    edit(Path("tnews/train.json"), "NBA", "A股大涨，A股大涨。A股大涨！NBA")
    prepare_data.main()
    tokens = AutoTokenizer.from_pretrained("data/tokenizer").tokenize("A股大涨2018年NBA iphone")
    assert tokens == ["a", "股", "大", "涨", "2018", "年", "nba", "iphone"]
    assert tokenizer.tokenize("Qwertz1234567890" * 20).count("[UNK]") == 0


def test_raw_and_normalised_sentences_have_the_same_ids_and_no_special_tokens(tokenizer):
    raw, normalised = "發現　ＮＢＡ，為什麼？", "发现 nba,为什么?"
    assert tokenizer(raw)["input_ids"] == tokenizer(normalised)["input_ids"]
    assert tokenizer("今天")["input_ids"] == tokenizer.convert_tokens_to_ids(["今", "天"])
    assert set(tokenizer("今天")) == {"input_ids", "attention_mask"}
    assert tokenizer("  ")["input_ids"] == []


def test_long_texts_are_cut_alike_by_whoever_reads_the_tokenizer(small_tnews, monkeypatch):
    monkeypatch.setattr(prepare_data, "MAX_LENGTH", 8)
    prepare_data.main()
    tokenizer, text = AutoTokenizer.from_pretrained("data/tokenizer"), "今天" * 5
    expected = tokenizer.convert_tokens_to_ids(["今", "天"] * 4)
    assert tokenizer(text, truncation=True)["input_ids"] == expected  # as the stages and pipelines
    assert Tokenizer.from_file("data/tokenizer/tokenizer.json").encode(text).ids == expected  # as beside ONNX


def test_small_data_keep_rarer_tokens(small_tnews, capsys):
    edit(Path("tnews/train.json"), "NBA", "龘NBA龘")  # twice in 150 rows
    prepare_data.main()
    assert "minimum count 3" in capsys.readouterr().out  # few of the tokens are rare
    assert "龘" not in Path("data/vocab.txt").read_text(encoding="utf-8")
    path = Path("tnews/train.json")
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:20]), encoding="utf-8")
    edit(path, "今天", "龘今天龘")
    prepare_data.main()
    printed = capsys.readouterr().out
    assert "minimum count 2" in printed and "龘" in Path("data/vocab.txt").read_text(encoding="utf-8")
    assert re.search(r"^The students will not know \d+% of dev's tokens", printed, re.MULTILINE)


def test_in_another_locale_with_other_hashes_the_bytes_are_the_same_and_labels_are_printed(small_tnews):
    with open("tnews/labels.json", "a", encoding="utf-8") as file:
        file.write('\n{"label": "旅游", "label_desc": "旅游"}')
    prepare_data.main()
    here = digests(Path("data"))
    shutil.rmtree("data")
    result = subprocess.run(
        [sys.executable, ROOT / "prepare_data.py"],
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONHASHSEED": "1"},
        capture_output=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert "tnews/train.json has no row of label 旅游: no model" in result.stdout.decode("utf-8")
    assert digests(Path("data")) == here


def test_a_class_without_a_train_row_is_told(small_tnews, capsys):
    path = Path("tnews/train.json")
    rows = [line for line in path.read_text(encoding="utf-8").splitlines() if '"label": "103"' not in line]
    path.write_text("\n".join(rows), encoding="utf-8")
    prepare_data.main()
    assert "tnews/train.json has no row of label 103: no model will learn to give it.\n" in capsys.readouterr().out


def test_downloads_what_is_missing(small_tnews, monkeypatch):
    shutil.make_archive("public", "zip", "tnews")
    shutil.rmtree("tnews")
    monkeypatch.setattr(tnews, "URL", Path("public.zip").resolve().as_uri())
    prepare_data.main()
    assert load_from_disk("data")["train"].num_rows == 150


@real_data
def test_real_data(scratch):
    Path("tnews").symlink_to(ROOT / "tnews")
    prepare_data.main()
    data = load_from_disk("data")
    assert (data["train"].num_rows, data["valid"].num_rows, data["test"].num_rows) == (53_360, 10_000, 10_000)
    tokenizer = AutoTokenizer.from_pretrained("data/tokenizer")
    ids = [number for row in tokenizer(data["valid"]["sentence"][:])["input_ids"] for number in row]
    assert ids.count(tokenizer.unk_token_id) / len(ids) <= 0.005
