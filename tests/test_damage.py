"""Every stage on every kind of damaged input: it copes, or it stops with one sentence that says what to do.

Each case spoils a copy of a finished run. A case whose outcome is a text must stop with a sentence that holds it, and
change nothing; one whose outcome is a function must end, change nothing but the stage's own output, and pass it.
"""

import hashlib
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType

import pandas
import pytest
import torch
from conftest import run_script
from datasets import Dataset, load_from_disk
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

import distill
import finetune_bert
import predict_test
import prepare_data
import report
import train_bilstm
from bert_to_bilstm.models.checkpoints import best_checkpoint, load_classifier
from bert_to_bilstm.text import tnews

Spoil = Callable[[], object]
Outcome = str | Callable[[], object]
Case = tuple  # (spoil, outcome), or (spoil, outcome, constants of the stage)

REMEDY = re.compile(
    r"\b(add|convert|copy|cut|give|go online|keep|make|mend|move|mv|name|put|remove|run|train|unpack|write)\b"
)


def digests(directory: Path) -> dict[str, str]:
    """What stands under `directory`: path → digest of a file's bytes, a link's target, or that it is a directory."""
    found = {}
    for folder, folders, files in os.walk(directory):
        for path in (Path(folder, name) for name in folders + files):
            if path.is_symlink():
                content = f"link to {os.readlink(path)}"
            elif path.is_dir():
                content = "directory"
            else:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(directory))] = content
    return found


@pytest.fixture(scope="module")
def original(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The finished run with one checkpoint a model: the best. Its copies share their files with it."""
    directory = tmp_path_factory.mktemp("original") / "run"
    shutil.copytree(finished_run, directory, symlinks=True)
    for name in ("model1", "model2", "model3"):
        for path in set(directory.glob(f"{name}/*-*")) - {best_checkpoint(directory / name, "")}:
            shutil.rmtree(path)
    before = digests(directory)
    yield directory
    assert digests(directory) == before


@pytest.fixture
def run(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run as the working directory."""
    shutil.copytree(original, tmp_path / "run", copy_function=os.link)
    monkeypatch.chdir(tmp_path / "run")
    return tmp_path / "run"


def check(main: Callable[[], None], writes: tuple[str, ...], spoil: Spoil, outcome: Outcome) -> None:
    """Spoils the working directory and asserts what `main` makes of it; `writes`: the stage's own output."""
    spoil()
    before = digests(Path())
    try:
        main()
    except SystemExit as stop:
        assert isinstance(stop.code, str) and "\n" not in stop.code  # a text: exit status 1
        assert isinstance(outcome, str), stop.code
        assert outcome in stop.code and REMEDY.search(stop.code) and stop.code.endswith(".")
        assert digests(Path()) == before
    else:
        assert not isinstance(outcome, str), "not stopped"
        changed = dict(digests(Path()).items() ^ before.items())
        assert [path for path in changed if outcome is as_before or not path.startswith(writes)] == []
        outcome()


def run_case(stage: ModuleType, writes: tuple[str, ...], case: Case, **constants: object) -> None:
    """Checks a case with these constants of the stage, and the case's own."""
    spoil, outcome, *own = case
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (constants | dict(*own)).items():
            patch.setattr(tnews if name == "URL" else stage, name, value)
        check(stage.main, writes, spoil, outcome)


def as_before() -> None:
    """An outcome: the same output as from undamaged input."""


# How to spoil. A spoiled file is a new one: the old one is shared with the other copies.


def on(pattern: str, *changes: Callable[[Path], object]) -> Spoil:
    """The `changes` to the file of that name; `*` stands for the name of the checkpoint."""

    def spoil() -> None:
        path = next(Path().glob(pattern)) if "*" in pattern else Path(pattern)
        for change in changes:
            change(path)

    return spoil


def both(*spoils: Spoil) -> Spoil:
    return lambda: [spoil() for spoil in spoils]


def put(path: Path, content: str | bytes) -> None:
    remove(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def content(new: str | bytes) -> Callable[[Path], None]:
    return lambda path: put(path, new)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def directory(path: Path) -> None:
    remove(path)
    path.mkdir(parents=True)
    (path / "mine.txt").write_text("mine")


def link_to_itself(path: Path) -> None:
    remove(path)
    path.symlink_to(path.name)


def link_to_nothing(path: Path) -> None:
    remove(path)
    path.symlink_to("nowhere")


def unreadable(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    put(path, path.read_bytes())
    path.chmod(0)


def rename(new: str) -> Callable[[Path], None]:
    return lambda path: path.rename(path.with_name(new))


def copy(new: str) -> Callable[[Path], None]:
    return lambda path: shutil.copytree(path, new)


def half(path: Path) -> None:
    """Cut in the middle, as by a full disk or a broken download."""
    put(path, path.read_bytes()[: path.stat().st_size // 2])


def zeros(path: Path) -> None:
    """As long as before and all zero, as after a crash of the machine."""
    put(path, bytes(path.stat().st_size))


def replaced(old: str, new: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert old in text
        put(path, text.replace(old, new, 1))

    return change


def as_json(**fields: object) -> Callable[[Path], None]:
    """Sets fields of a JSON object; None removes one."""

    def change(path: Path) -> None:
        value = json.loads(path.read_text(encoding="utf-8")) | fields
        put(path, json.dumps({name: part for name, part in value.items() if part is not None}))

    return change


# Stage 1: tnews/


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")


def line(number: int, new: str | None) -> Callable[[Path], None]:
    """Another text as line `number` (from 1), or none."""

    def change(path: Path) -> None:
        rows = lines(path)
        rows[number - 1 : number] = [] if new is None else [new]
        put(path, "\n".join(rows))

    return change


def row(number: int, **fields: object) -> Callable[[Path], None]:
    """Other fields in line `number` (from 1)."""
    return lambda path: line(number, json.dumps(json.loads(lines(path)[number - 1]) | fields))(path)


def without(number: int, field: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        fields = json.loads(lines(path)[number - 1])
        del fields[field]
        line(number, json.dumps(fields))(path)

    return change


def array(path: Path) -> None:
    put(path, json.dumps([json.loads(text) for text in lines(path)], indent=1))


def every_row(**fields: object) -> Callable[[Path], None]:
    return lambda path: put(path, "\n".join(json.dumps(json.loads(text) | fields) for text in lines(path)))


def only_rows(keep: Callable[[dict], bool]) -> Callable[[Path], None]:
    return lambda path: put(path, "\n".join(text for text in lines(path) if keep(json.loads(text))))


def encoded(encoding: str) -> Callable[[Path], None]:
    return lambda path: put(path, path.read_text(encoding="utf-8").encode(encoding))


def line_ends(end: str) -> Callable[[Path], None]:
    return lambda path: put(path, path.read_text(encoding="utf-8").replace("\n", end))


def cut_in_a_character(path: Path) -> None:
    put(path, path.read_bytes() + "标".encode()[:2])


TRAIN, DEV, TEST, LABELS = "tnews/train.json", "tnews/dev.json", "tnews/test.json", "tnews/labels.json"

# What happens to a file, on each of the input files.
FILE_DAMAGE: dict[str, tuple[Callable[[Path], None], Outcome]] = {
    "missing": (remove, "{} is missing: put it there"),
    "empty": (content(""), "{} is empty"),
    "blank lines": (content("\n \r\n\t\n"), "{} is empty"),
    "a directory": (directory, "{} cannot be read (Is a directory)"),
    "a link to itself": (link_to_itself, "{} cannot be read (Too many levels of symbolic links)"),
    "a link to nothing": (link_to_nothing, "{} is missing: put it there"),
    "unreadable": (unreadable, "{} cannot be read (Permission denied)"),
    "UTF-16": (encoded("utf-16"), "{}, line 1: not UTF-8"),
    "cut in a character": (cut_in_a_character, "{}, line "),
    "a pointer of git-lfs": (
        content("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "{} is a pointer of git-lfs, not the file itself: run git lfs pull",
    ),
    "cut in a line": (lambda path: put(path, path.read_bytes()[:-9]), "{}, line "),
    "an array": (array, as_before),
    "a cut array": (lambda path: (array(path), half(path)), "{}, line "),
    "a byte order mark": (encoded("utf-8-sig"), as_before),
    "ends of line of Windows": (line_ends("\r\n"), as_before),
}


def train_sentence(expected: str) -> Callable[[], None]:
    """The first sentence of train is `expected`, and the tokenizer has ids for it or leaves it to the loader."""

    def outcome() -> None:
        rows = load_from_disk("data")["train"]
        assert rows["sentence"][0] == expected and len(rows) == 300
        tokenizer = AutoTokenizer.from_pretrained("data/tokenizer")
        assert max(tokenizer(expected)["input_ids"], default=0) < len(tokenizer)

    return outcome


def first_id(expected: object) -> Callable[[], None]:
    def outcome() -> None:
        assert load_from_disk("data")["test"]["id"][0] == expected

    return outcome


def classes(*expected: str) -> Callable[[], None]:
    def outcome() -> None:
        table = pandas.read_csv("data/label.csv", dtype=str, index_col=0, keep_default_na=False)
        assert table.index.tolist() == list(expected)
        assert load_from_disk("data")["train"].features["label"].dtype == "int64"

    return outcome


def counts(**expected: int) -> Callable[[], None]:
    def outcome() -> None:
        data = load_from_disk("data")
        assert {name: len(data[name]) for name in expected} == expected

    return outcome


def is_link() -> None:
    assert Path("data").is_symlink() and load_from_disk("data")["train"].num_rows == 300


def move_out(path: Path) -> None:
    """The directory goes elsewhere, a link to it stays."""
    path.rename(f"elsewhere-{path.name}")
    path.symlink_to(f"elsewhere-{path.name}")


def two_hundred_labels(path: Path) -> None:
    more = [json.dumps({"label": str(number), "label_desc": f"class {number}"}) for number in range(1000, 1197)]
    put(path, "\n".join(lines(path) + more))


ODD_LABELS = ["NA", ' 1e5,"x"\'', "007"]


def one_row(path: Path) -> None:
    put(path, lines(path)[0])


def odd_labels() -> None:
    names = dict(zip(("100", "103", "109"), ODD_LABELS, strict=True))
    for path in (LABELS, TRAIN, DEV):
        rows = [json.loads(text) for text in lines(Path(path))]
        put(Path(path), "\n".join(json.dumps(fields | {"label": names[fields["label"]]}) for fields in rows))


PREPARE: dict[str, Case] = {
    "tnews/ is empty": (on("tnews", remove, Path.mkdir), "tnews/labels.json is missing"),
    "tnews/ is a file": (on("tnews", remove, content("mine")), "tnews/labels.json cannot be read (Not a directory)"),
    "tnews/ is a link": (on("tnews", move_out), as_before),
    # lines
    "a line that is no JSON": (on(TRAIN, line(2, "{label: 100}")), "tnews/train.json, line 2: not JSON"),
    "CSV": (
        on(TRAIN, content("label,sentence\n100,今天\n")),
        "tnews/train.json, line 1: not JSON but 'label,sentence': write one {…} with label and sentence a line, "
        "a table by pandas.read_csv(",
    ),
    "quotes of Python": (on(DEV, line(3, "{'label': '100'}")), "tnews/dev.json, line 3: not JSON"),
    "two objects in a line": (on(TRAIN, line(1, "{} {}")), "tnews/train.json, line 1: not JSON (Extra data)"),
    "an object over several lines": (on(TRAIN, line(4, '{\n"label": "100"\n}')), "tnews/train.json, line 4: not JSON"),
    "a list in place of an object": (on(DEV, line(2, '["100", "标题"]')), "tnews/dev.json, line 2: not a JSON object"),
    "a number in place of an object": (on(DEV, line(1, "7")), "tnews/dev.json, line 1: not a JSON object"),
    "null in place of an object": (on(DEV, line(1, "null")), "tnews/dev.json, line 1: not a JSON object"),
    "a text in place of an object": (on(TEST, line(9, '"标题"')), "tnews/test.json, line 9: not a JSON object"),
    "an array of lists": (on(LABELS, content('[["100", "a"]]')), "tnews/labels.json, item 1: not a JSON object"),
    "an empty array": (on(LABELS, content("[]")), "tnews/labels.json is empty"),
    "something after the array": (
        on(LABELS, array, lambda p: put(p, p.read_bytes() + b"x")),
        "tnews/labels.json, line 14",
    ),
    "a number of 5,000 digits": (on(TEST, line(2, '{"id": %s}' % ("9" * 5000))), "tnews/test.json, line 2: not JSON"),
    "100,000 brackets": (on(TEST, line(3, '{"id": ' + "[" * 100_000)), "tnews/test.json, line 3: not JSON"),
    "a line of GB 18030": (
        on(TRAIN, lambda path: put(path, path.read_bytes() + "\n标题".encode("gb18030"))),
        "tnews/train.json, line 301: not UTF-8",
    ),
    "blank lines between": (on(TRAIN, line_ends("\n\n  \n")), as_before),
    "ends of line of the first Macs": (on(TRAIN, line_ends("\r")), as_before),
    "a last newline": (on(TRAIN, lambda path: put(path, path.read_bytes() + b"\n")), as_before),
    "every row twice": (
        on(DEV, lambda path: line(1, "\n".join([lines(path)[0]] * 2))(path)),
        counts(valid=61),
    ),
    "fields that nobody asked for": (on(TRAIN, every_row(author="?", keywords=None)), as_before),
    "a field twice": (
        on(TRAIN, lambda path: line(1, lines(path)[0].replace("{", '{"sentence": "x", '))(path)),
        as_before,
    ),
    # labels
    "labels as numbers in labels.json": (on(LABELS, row(1, label=100), row(3, label=109)), as_before),
    "labels as numbers in train": (on(TRAIN, row(1, label=100), row(2, label=103)), as_before),
    "labels and ids as pandas writes them": (
        both(on(LABELS, row(1, label=100.0)), on(TRAIN, row(1, label=100.0)), on(TEST, row(2, id=1.0))),
        as_before,
    ),
    "a label as a fraction": (on(TRAIN, row(1, label=100.5)), "tnews/train.json, line 1: 'label' is not text"),
    "a label as a list": (on(TRAIN, row(2, label=["103"])), "tnews/train.json, line 2: 'label' is not text"),
    "a label as an object": (on(DEV, row(2, label={"label": "103"})), "tnews/dev.json, line 2: 'label' is not text"),
    "a label that is true": (on(DEV, row(5, label=True)), "tnews/dev.json, line 5: 'label' is not text"),
    "a label that is null": (on(DEV, row(5, label=None)), "tnews/dev.json, line 5: 'label' is not text"),
    "no label": (on(DEV, without(2, "label")), "tnews/dev.json, line 2: no field 'label'"),
    "an unknown label in train": (on(TRAIN, row(7, label="999")), "line 7: label '999' is not in tnews/labels.json"),
    "an unknown number in dev": (
        on(DEV, row(7, label=0)),
        "tnews/dev.json, line 7: label 0 is not in tnews/",
    ),
    "an empty label": (on(TRAIN, row(1, label="")), "line 1: label '' is not in tnews/labels.json"),
    "a label with a space behind": (on(TRAIN, row(1, label="100 ")), "line 1: label '100 ' is not in"),
    "a description in place of the label": (
        on(TRAIN, row(1, label="news_story")),
        "label 'news_story' is not in tnews/labels.json, where it describes '100': give the rows their labels",
    ),
    "a label with a line break": (on(LABELS, row(1, label="1\r0")), "tnews/labels.json, line 1: 'label' holds '1\\r0'"),
    "a label with half a character": (on(LABELS, row(2, label="\ud83d")), "line 2: 'label' holds '\\ud83d'"),
    "a description with NUL": (on(LABELS, row(2, label_desc="a\0b")), "line 2: 'label_desc' holds 'a\\x00b'"),
    "no description": (on(LABELS, without(1, "label_desc")), "tnews/labels.json, line 1: no field 'label_desc'"),
    "a description that is null": (on(LABELS, row(3, label_desc=None)), "line 3: 'label_desc' is not text"),
    "a label twice": (on(LABELS, row(2, label="100")), "tnews/labels.json, line 2: label 100 stands there twice"),
    "a label as number and as text": (on(LABELS, row(3, label=100)), "line 3: label 100 stands there twice"),
    "one class": (on(LABELS, only_rows(lambda row: row["label"] == "100")), "tnews/labels.json: one class alone"),
    "200 classes": (on(LABELS, two_hundred_labels), counts(train=300)),
    "a class without a train row": (on(TRAIN, only_rows(lambda row: row["label"] != "103")), counts(train=200)),
    "a class without a dev row": (on(DEV, only_rows(lambda row: row["label"] != "103")), counts(valid=40)),
    "rows of one class alone": (on(TRAIN, only_rows(lambda row: row["label"] == "103")), counts(train=100)),
    "a label removed that train has": (on(LABELS, line(1, None)), "tnews/train.json, line 1: label '100' is not in"),
    "labels that look like something else": (odd_labels, classes(*ODD_LABELS)),
    "one row": (
        both(on(TRAIN, lambda p: put(p, lines(p)[0])), on(DEV, lambda p: put(p, lines(p)[1]))),
        counts(train=1),
    ),
    # sentences
    "no sentence": (on(TRAIN, without(1, "sentence")), "tnews/train.json, line 1: no field 'sentence'"),
    "a sentence that is null": (on(TEST, row(3, sentence=None)), "tnews/test.json, line 3: 'sentence' is not text"),
    "a sentence that is a number": (on(TRAIN, row(3, sentence=2018)), "line 3: 'sentence' is not text"),
    "a sentence that is a list": (on(TRAIN, row(3, sentence=["今天"])), "line 3: 'sentence' is not text"),
    "a sentence that is NaN": (on(TRAIN, row(3, sentence=float("nan"))), "line 3: 'sentence' is not text"),
    "an empty sentence": (on(TRAIN, row(1, sentence="")), train_sentence("")),
    "a blank sentence": (on(TRAIN, row(1, sentence=" \u3000\t")), train_sentence("   ")),
    "10,000 characters": (on(TRAIN, row(1, sentence="今" * 10_000)), train_sentence("今" * 10_000)),
    "a word of 10,000 letters": (on(TRAIN, row(1, sentence="x" * 10_000)), train_sentence("x" * 10_000)),
    "NUL": (on(TRAIN, row(1, sentence="今\0天")), train_sentence("今\0天")),
    "control characters": (on(TRAIN, row(1, sentence="\x07今\x1b[31m\x7f")), train_sentence("\x07今\x1b《31m\x7f")),
    "emoji": (on(TRAIN, row(1, sentence="👨‍👩‍👧🇨🇳今天")), train_sentence("👨‍👩‍👧🇨🇳今天")),
    "characters past the basic plane": (on(TRAIN, row(1, sentence="𠮷𠀀野家")), train_sentence("𠮷𠀀野家")),
    "half a surrogate pair": (on(TRAIN, row(1, sentence="今\ud83d天")), train_sentence("今?天")),
    "halves in the wrong order": (on(TRAIN, row(1, sentence="\ude00\ud83d")), train_sentence("??")),
    "right-to-left text": (
        on(TRAIN, row(1, sentence="\u202eالصين שלום\u202c")),
        train_sentence("\u202eالصين שלום\u202c"),
    ),
    "piles of accents": (on(TRAIN, row(1, sentence="今" + "\u0301" * 500)), train_sentence("今" + "\u0301" * 500)),
    "line breaks": (on(TRAIN, row(1, sentence="今\u2028天\n\r好")), train_sentence("今 天  好")),
    "U+2028 as it is": (
        on(TRAIN, lambda path: line(1, '{"label": "100", "sentence": "今\u2028\x85天"}')(path)),
        train_sentence("今  天"),
    ),
    "special tokens": (on(TRAIN, row(1, sentence="[PAD][CLS] [mask]")), train_sentence("《pad》《cls》 《mask》")),
    "no sentence but blanks": (on(TRAIN, every_row(sentence=" ")), train_sentence(" ")),
    "the same sentence everywhere": (on(TRAIN, every_row(sentence="今天")), train_sentence("今天")),
    # ids
    "no id": (on(TEST, without(2, "id")), "tnews/test.json, line 2: no field 'id'"),
    "an id that is null": (on(TEST, row(2, id=None)), "tnews/test.json, line 2: 'id' is not text"),
    "an id that is a list": (on(TEST, row(2, id=[1])), "tnews/test.json, line 2: 'id' is not text"),
    "an id that is false": (on(TEST, row(1, id=False)), "tnews/test.json, line 1: 'id' is not text"),
    "an id that is a fraction": (on(TEST, row(2, id=1.5)), "tnews/test.json, line 2: 'id' is not text"),
    "an id twice": (on(TEST, row(9, id=3)), "tnews/test.json, line 9: id 3 stands in tnews/test.json, line 4 already"),
    "an id as text among numbers": (
        on(TEST, row(2, id="1")),
        "test.json, line 2: id '1' among ids of another kind",
    ),
    "an id of 70 bits": (on("tnews/test1.0.json", row(2, id=2**70)), "test1.0.json, line 2: id 1180591620717411303424"),
    "an id with half a character": (on(TEST, row(1, id="\udc00")), "tnews/test.json, line 1: 'id' holds '\\udc00'"),
    "ids below zero and out of order": (on(TEST, row(1, id=-5), row(2, id=99)), first_id(-5)),
    "ids that are text": (
        on(TEST, lambda p: put(p, "\n".join(f'{{"id": "q{n}", "sentence": "今"}}' for n in range(3)))),
        first_id("q0"),
    ),
    "no test files": (both(on(TEST, remove), on("tnews/test1.0.json", remove)), counts(train=300, valid=60)),
    # what lies where data/ is to be
    "data/ is a file": (on("data", remove, content("mine")), "data is a file where a directory is to be written"),
    "data/ is a link to a directory": (on("data", move_out), is_link),
    "data/ is somebody else's": (on("data", directory), "data/ holds something that this stage did not write"),
    "something of the user's in data/": (
        on("data/train/notes.txt", content("mine")),
        "data/train/notes.txt is none of the files that are to be replaced there: move it away",
    ),
    "something of the user's in a linked data/": (
        on("data", lambda path: put(path / "notes.txt", "mine"), move_out),
        "data/notes.txt is none of the files that are to be replaced there: move it away",
    ),
    "somebody else's .data.old/": (on(".data.old", directory), ".data.old/mine.txt is none of the files"),
    "data/ is empty": (on("data", remove, Path.mkdir), counts(train=300)),
    "data/ is half gone": (on("data/train", remove), counts(train=300)),
    "left by a run that was killed": (
        both(on(".data.tmp", directory), on("data", copy(".data.old"))),
        counts(train=300),
    ),
    "a download from nowhere": (
        on("tnews", remove),
        "missing.zip could not be downloaded",
        {"URL": "file:missing.zip"},
    ),
    "a download that is no zip": (
        both(on("tnews", remove), on("public.zip", content("<html>404</html>"))),
        "public.zip could not be downloaded (File is not a zip file)",
        {"URL": "file:public.zip"},
    ),
} | {
    f"{path}: {damage}": (on(path, change), outcome.format(path) if isinstance(outcome, str) else outcome)
    for path in (LABELS, TRAIN, DEV, TEST, "tnews/test1.0.json")
    for damage, (change, outcome) in FILE_DAMAGE.items()
    if damage != "missing" or path in (LABELS, TRAIN, DEV)  # the test files are optional
}


@pytest.mark.parametrize("case", PREPARE)
def test_prepare_data(run, case):
    run_case(prepare_data, ("data", ".data"), PREPARE[case], MODELS=())


# Stages 2 to 4: data/, the models, and what earlier runs left

FRESH = {"OUTPUT": Path("fresh"), "EPOCHS": 1, "BATCH_SIZE": 100}
ARROW = "data/train/data-00000-of-00001.arrow"


def trained() -> None:
    """An outcome: one epoch was trained, and its checkpoint loads."""
    model, tokenizer = load_classifier(next(Path("fresh").glob("1-*")))
    assert len(tokenizer("今天")["input_ids"]) >= 2
    assert model.dtype == torch.float32


def learns(source: str, count: int) -> Callable[[], None]:
    """An outcome of stage 4: so many sentences of the source in knowledge/, and an epoch trained."""

    def outcome() -> None:
        trained()
        knowledge = load_from_disk("knowledge")
        assert knowledge["source"][:].count(source) == count
        assert torch.tensor(knowledge["label"][:]).isfinite().all()

    return outcome


def dataset(**columns: list) -> Callable[[Path], None]:
    """In place of data/train: other columns."""

    def change(path: Path) -> None:
        remove(path)
        Dataset.from_dict(columns).save_to_disk(str(path))

    return change


def one_dataset(path: Path) -> None:
    """In place of data/'s splits: rows without splits."""
    train = load_from_disk(str(path))["train"]
    for name in ("dataset_dict.json", "train", "valid", "test", "test1.0"):
        remove(path / name)
    other = path.with_name("other")
    train.save_to_disk(str(other))
    for part in other.iterdir():
        part.rename(path / part.name)
    other.rmdir()


def garbled_text(path: Path) -> None:
    """The bytes of the sentences are no UTF-8 any more; the file's form is whole."""
    put(path, path.read_bytes().replace("今天".encode(), b"\xff" * 6))


def weights(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        changed = change(load_file(path))
        remove(path)
        save_file(changed, path, {"format": "pt"})

    return spoil


def odd_sentences() -> None:
    """Rows of train and dev alike."""
    texts = [
        "",
        " ",
        "今" * 10_000,
        "x" * 10_000,
        "今\0天",
        "👨‍👩‍👧",
        "שלום",
        "\u0301" * 50,
        "[PAD]",
        "龘" * 3,
        "\u200b",
    ]
    train = load_from_disk("data")["train"]
    rows = {"label": train["label"][: len(texts)], "sentence": texts}
    dataset(**rows)(Path("data/train"))
    dataset(**rows)(Path("data/valid"))


def prepare_again(*spoils: Spoil) -> Spoil:
    """tnews/ changes and stage 1 runs once more, after all the others."""

    def spoil() -> None:
        for one in spoils:
            one()
        with suppress(SystemExit):  # which says that the models are of other data
            prepare_data.main()

    return spoil


def another_class() -> None:
    on(LABELS, line(3, '{"label": "104", "label_desc": "news_finance"}'))()
    for path in (TRAIN, DEV):
        put(Path(path), Path(path).read_text(encoding="utf-8").replace('"label": "109"', '"label": "104"'))


LABEL_CSV = "data/label.csv"
DATA: dict[str, Case] = {
    "no data/": (on("data", remove), "data/ is missing or damaged"),
    "data/ is a file": (on("data", content("mine")), "data/ is missing or damaged"),
    "data/ is somebody else's": (on("data", directory), "data/ is missing or damaged"),
    "no dataset_dict.json": (on("data/dataset_dict.json", remove), "data/ is missing or damaged"),
    "dataset_dict.json empty": (on("data/dataset_dict.json", content("")), "data/ is missing or damaged"),
    "dataset_dict.json is a list": (on("data/dataset_dict.json", content("[]")), "data/ is missing or damaged"),
    "no valid": (on("data/dataset_dict.json", content('{"splits": ["train"]}')), "does not hold the splits train and"),
    "rows without splits": (on("data", one_dataset), "data/ does not hold the splits train and valid"),
    "no data/train": (on("data/train", remove), "data/ is missing or damaged"),
    "no state.json": (on("data/train/state.json", remove), "data/ is missing or damaged"),
    "state.json cut": (on("data/train/state.json", half), "data/ is missing or damaged"),
    "state.json without files": (on("data/train/state.json", content("{}")), "data/ is missing or damaged"),
    "no dataset_info.json": (on("data/valid/dataset_info.json", remove), "data/ is missing or damaged"),
    "dataset_info.json is null": (on("data/valid/dataset_info.json", content("null")), "data/ is missing or damaged"),
    "no arrow file": (on(ARROW, remove), "data/ is missing or damaged"),
    "arrow file empty": (on(ARROW, content("")), "data/ is missing or damaged"),
    "arrow file cut": (on(ARROW, half), "data/ is missing or damaged"),
    "arrow file of zeros": (on(ARROW, zeros), "data/ is missing or damaged"),
    "arrow file garbled": (on(ARROW, garbled_text), "data/ is missing or damaged"),
    "no rows": (on("data/train", dataset(label=[], sentence=[])), "data/ is missing or damaged"),
    "other columns": (on("data/valid", dataset(labels=[0], text=["今"])), "data/valid/ has no rows of label and"),
    "labels that are text": (on("data/train", dataset(label=["0"], sentence=["今"])), "data/train/ has other classes"),
    "labels out of range": (on("data/train", dataset(label=[3], sentence=["今"])), "data/train/ has other classes"),
    "labels below zero": (on("data/valid", dataset(label=[-1], sentence=["今"])), "data/valid/ has other classes"),
    "no label.csv": (on(LABEL_CSV, remove), "data/label.csv cannot be read"),
    "label.csv empty": (on(LABEL_CSV, content("")), "data/label.csv cannot be read"),
    "label.csv a directory": (on(LABEL_CSV, directory), "data/label.csv cannot be read"),
    "label.csv not UTF-8": (on(LABEL_CSV, encoded("utf-16")), "data/label.csv cannot be read"),
    "label.csv cut": (on(LABEL_CSV, line(3, None), line(3, None)), "data/train/ has other classes than data/label.csv"),
    "label.csv of other columns": (on(LABEL_CSV, replaced("label_desc", "name")), "data/label.csv cannot be read"),
    "label.csv out of order": (on(LABEL_CSV, replaced("100,0", "100,2")), "data/label.csv cannot be read (its classes"),
    "label.csv with a class twice": (on(LABEL_CSV, replaced("103,1", "100,1")), "data/label.csv cannot be read"),
}
TOKENIZER = "data/tokenizer/tokenizer.json"
STUDENT: dict[str, Case] = DATA | {
    "no tokenizer": (on("data/tokenizer", remove), "data/tokenizer/tokenizer.json cannot be read"),
    "no tokenizer.json": (on(TOKENIZER, remove), "data/tokenizer/tokenizer.json cannot be read"),
    "tokenizer.json cut": (on(TOKENIZER, half), "data/tokenizer holds no readable tokenizer"),
    "tokenizer.json is no tokenizer": (on(TOKENIZER, content("{}")), "data/tokenizer holds no readable tokenizer"),
    "no tokenizer_config.json": (on("data/tokenizer/tokenizer_config.json", remove), "holds no readable tokenizer"),
    "tokenizer_config.json cut": (on("data/tokenizer/tokenizer_config.json", half), "holds no readable tokenizer"),
    "tokenizer without padding": (
        on("data/tokenizer/tokenizer_config.json", as_json(pad_token=None)),
        "data/tokenizer holds no readable tokenizer (no token for padding",
    ),
    "odd sentences": (odd_sentences, trained),
    "rows of one class": (on("data/train", dataset(label=[1] * 3, sentence=["今天"] * 3)), trained),
    "one row": (on("data/train", dataset(label=[1], sentence=["今天"])), trained),
    "the output is a file": (on("fresh", content("mine")), "fresh is a file where a directory is to be written"),
    "the output is somebody else's": (on("fresh", directory), "fresh/ holds something that is not a run of ours"),
    "left by a run that was killed": (on("fresh/.1-0.5000.tmp", directory), trained),
    # a run is there already
    "a run of other data": (
        prepare_again(on(TRAIN, row(1, sentence="新的标题"))),
        "model2/ was trained with other settings or data (data ",
        {"OUTPUT": Path("model2"), "EPOCHS": 3, "BATCH_SIZE": 16},
    ),
    "a run of other classes": (
        prepare_again(another_class),
        "model2/ was trained with other settings or data (labels ",
        {"OUTPUT": Path("model2"), "EPOCHS": 3, "BATCH_SIZE": 16},
    ),
}


FINISHED: dict[str, Case] = {
    "no run.json": (on("model2/run.json", remove), "model2/ holds something that is not a run of ours: move it away"),
    "run.json cut": (on("model2/run.json", half), "model2/ holds something that is not a run of ours"),
    "run.json is a list": (on("model2/run.json", content("[]")), "model2/ holds something that is not a run of ours"),
    "settings are a text": (on("model2/run.json", as_json(settings="x")), "model2/ holds something that is not a run"),
    "settings are empty": (on("model2/run.json", as_json(settings={})), "model2/ holds something that is not a run"),
    "other settings": (on("model2/run.json", replaced('"SEED": 42', '"SEED": 7')), "(SEED 7 → 42): move it away"),
    "history.csv cut": (on("model2/history.csv", half), "model2/history.csv cannot be read"),
    "history.csv of zeros": (on("model2/history.csv", zeros), "model2/history.csv cannot be read"),
    "history.csv of words": (on("model2/history.csv", replaced("3,", "three,")), "model2/history.csv cannot be read"),
    "history.csv a directory": (on("model2/history.csv", directory), "model2/history.csv cannot be read"),
    "a state that is no file of torch": (
        both(on("model2/history.csv", remove), on("model2/state-2/state.pt", content("not a state"))),
        "model2/state-2/state.pt cannot be read",
    ),
    "a state without a file": (
        both(on("model2/history.csv", remove), on("model2/state-2", directory)),
        "model2/state-2/state.pt cannot be read",
    ),
    "a state of another model": (
        both(
            on("model2/history.csv", remove),
            lambda: Path("model2/state-2").mkdir(),
            lambda: torch.save({"model": {"x": torch.zeros(2)}}, "model2/state-2/state.pt"),
        ),
        "model2/state-2/state.pt cannot be read",
    ),
    "checkpoints removed": (on("model2/*-*", remove), as_before),
    "something of the user's beside": (on("model2/notes.txt", content("mine")), as_before),
}
BERT_CONFIG, BERT_WEIGHTS = "bert/config.json", "bert/model.safetensors"
TEACHER: dict[str, Case] = {
    "no model": (on("bert", remove), "bert could not be loaded"),
    "model is a file": (on("bert", content("mine")), "MODEL_NAME = 'bert' is no folder"),
    "weights that git-lfs did not pull": (
        on(BERT_WEIGHTS, content("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")),
        "bert/model.safetensors is a pointer of git-lfs, not the file itself: run git lfs pull",
    ),
    "an empty folder": (on("bert", remove, Path.mkdir), "bert/model.safetensors is missing"),
    "no config.json": (on(BERT_CONFIG, remove), "bert could not be loaded"),
    "config.json cut": (on(BERT_CONFIG, half), "bert could not be loaded"),
    "config.json is a list": (on(BERT_CONFIG, content("[]")), "bert could not be loaded"),
    "config.json of no kind": (on(BERT_CONFIG, as_json(model_type=None, architectures=None)), "bert could not be"),
    "config.json of an unknown kind": (on(BERT_CONFIG, as_json(model_type="gru")), "bert could not be loaded"),
    "config.json with text for a number": (on(BERT_CONFIG, as_json(hidden_size="64")), "bert could not be loaded"),
    "config.json of another width": (on(BERT_CONFIG, as_json(hidden_size=32)), "bert has weights of another model"),
    "no weights": (on(BERT_WEIGHTS, remove), "bert/model.safetensors is missing"),
    "weights empty": (on(BERT_WEIGHTS, content("")), "bert could not be loaded"),
    "weights cut": (on(BERT_WEIGHTS, half), "bert could not be loaded"),
    "weights of zeros": (on(BERT_WEIGHTS, zeros), "bert could not be loaded"),
    "weights of another model": (
        on(BERT_WEIGHTS, weights(lambda _: {"lstm.weight": torch.zeros(2)})),
        "bert has weights of another model than its config.json says",
    ),
    "weights that are not numbers": (
        on(BERT_WEIGHTS, weights(lambda state: {name: value * torch.nan for name, value in state.items()})),
        "bert has weights that are not numbers",
    ),
    "weights in half precision": (
        on(BERT_WEIGHTS, weights(lambda state: {name: value.half() for name, value in state.items()})),
        trained,
    ),
    "a vocabulary larger than the model's": (
        on("bert/tokenizer.json", replaced('"[PAD]": 0', '"[PAD]": 0, "新": 5000')),
        "bert has a tokenizer of",
    ),
    "tokenizer.json cut": (on("bert/tokenizer.json", half), "bert could not be loaded"),
    "weights in a pickle": (
        on(BERT_WEIGHTS, rename("pytorch_model.bin")),
        "bert has no model.safetensors, and pytorch_model",
    ),
    "fewer positions than MAX_LENGTH": (
        both(
            on(BERT_CONFIG, as_json(max_position_embeddings=16)),
            on(
                BERT_WEIGHTS,
                weights(lambda state: {n: v[:16].clone() if "position" in n else v for n, v in state.items()}),
            ),
            odd_sentences,
        ),
        trained,
    ),
    "a checkpoint of other classes": (
        both(on("bert", remove), on("model1/*-*", copy("bert")), prepare_again(on(LABELS, two_hundred_labels))),
        trained,
    ),
    "odd sentences": (odd_sentences, trained),
}
LABELLED = "knowledge/data-00000-of-00001.arrow"
MORE = {"UNLABELLED": ["more.txt"]}


def another_teacher() -> None:
    on("knowledge/origin.json", replaced("model1/", "model1/9"))()


def nothing() -> None:
    """Not spoiled."""


DISTILL: dict[str, Case] = {
    "no model1": (on("model1", remove), "model1/ holds no checkpoint: run python finetune_bert.py first"),
    "model1 is a file": (on("model1", content("mine")), "model1/ holds no checkpoint"),
    "model1 without checkpoints": (on("model1/*-*", remove), "model1/ holds no checkpoint"),
    "no weights": (on("model1/*-*/model.safetensors", remove), "model.safetensors is missing"),
    "weights cut": (on("model1/*-*/model.safetensors", half), "holds no readable model"),
    "weights that are not numbers": (
        on(
            "model1/*-*/model.safetensors",
            weights(lambda state: state | {"classifier.bias": torch.full_like(state["classifier.bias"], torch.inf)}),
        ),
        "has weights that are not numbers (classifier.bias)",
    ),
    "weights lacking": (
        on("model1/*-*/model.safetensors", weights(lambda state: {n: v for n, v in state.items() if "bias" not in n})),
        "lacks weights (bert.encoder.layer.0.attention.",
    ),
    "no config.json": (on("model1/*-*/config.json", remove), "holds no readable"),
    "no tokenizer": (on("model1/*-*/tokenizer.json", remove), "holds no readable tokenizer"),
    "a teacher of other classes": (
        prepare_again(another_class),
        "model1/ was trained on other data than data/ holds now",
    ),
    "an unfinished teacher": (
        on("model1/history.csv", lambda path: put(path, "".join(path.read_text().splitlines(keepends=True)[:-1]))),
        "model1/ has trained 7 of 8 epochs: let python finetune_bert.py go on to its end",
    ),
    "a teacher that is not there": (nothing, "model1/9 in TEACHERS is not there", {"TEACHERS": ["model1/9"]}),
    "no such text": (nothing, "more.txt in UNLABELLED is missing", MORE),
    "the text is a directory": (on("more.txt", directory), "more.txt in UNLABELLED is a directory: name the", MORE),
    "the text is not UTF-8": (
        on("more.txt", content("标题\n".encode() + "标题".encode("gb18030"))),
        "more.txt, line 2: not UTF-8",
        MORE,
    ),
    "a text of blank lines": (on("more.txt", content("\n \n\t\r\n")), "more.txt in UNLABELLED holds no sentence", MORE),
    "a text of records": (
        on("more.txt", content("今天_!_100\n")),
        "more.txt, line 1: looks like a record, not like a sentence ('今天_!_100'): write",
        MORE,
    ),
    "a table, its path a Path": (
        on("more.csv", content("label,text\n1,新的标题\n")),
        learns("unlabelled", 1),
        {"UNLABELLED": [Path("more.csv")]},
    ),
    "something of the user's in knowledge/": (
        both(another_teacher, on("knowledge/notes.txt", content("mine"))),
        "knowledge/notes.txt is none of the files that are to be replaced there: move it away",
    ),
    "something of the user's in knowledge-shards/": (
        both(another_teacher, on("knowledge-shards/notes.txt", content("mine"))),
        "knowledge-shards/notes.txt is none of the files",
    ),
    "a text of odd lines": (
        on("more.txt", content("\ufeff今\0天\r\n" + "x" * 10_000 + "\n👨‍👩‍👧\nשלום\n[MASK]\n今\u2028天\n")),
        learns("unlabelled", 5),
        MORE,
    ),
    "no char_table.json": (on("data/char_table.json", remove), "data/char_table.json cannot be read"),
    "char_table.json cut": (on("data/char_table.json", half), "data/char_table.json cannot be read"),
    "char_table.json of another form": (on("data/char_table.json", content("[]")), "data/char_table.json cannot be"),
    "char_table.json of whole words": (
        on("data/char_table.json", content('{"source": "x", "table": {"ab": "c"}}')),
        "data/char_table.json cannot be read",
    ),
    "knowledge/ is a file": (on("knowledge", content("mine")), "knowledge has no readable origin.json"),
    "knowledge/ is somebody else's": (on("knowledge", directory), "knowledge has no readable origin.json"),
    "origin.json cut": (on("knowledge/origin.json", half), "knowledge has no readable origin.json"),
    "knowledge/ of another teacher": (another_teacher, learns("train", 300)),
    "its arrow file cut": (on(LABELLED, half), "knowledge/ is missing or damaged"),
    "its arrow file missing": (on(LABELLED, remove), "knowledge/ is missing or damaged"),
    "its arrow file of zeros": (on(LABELLED, zeros), "knowledge/ is missing or damaged"),
    "its state.json missing": (on("knowledge/state.json", remove), "knowledge/ is missing or damaged"),
    "its dataset_info.json empty": (on("knowledge/dataset_info.json", content("")), "knowledge/ is missing or damaged"),
    "shards of other sentences": (on("knowledge-shards/origin.json", content("{}")), learns("train", 300)),
    "a run of another teacher": (
        on("model3/run.json", replaced("model1/", "model1/9")),
        "model3/ was trained with other settings or data (teachers ",
        {"OUTPUT": Path("model3"), "EPOCHS": 3, "BATCH_SIZE": 16},
    ),
}


@pytest.mark.parametrize("case", STUDENT)
def test_train_bilstm(run, case):
    run_case(train_bilstm, ("fresh",), STUDENT[case], **FRESH)


@pytest.mark.parametrize("case", FINISHED)
def test_a_finished_run(run, case):
    run_case(train_bilstm, (), FINISHED[case])


@pytest.mark.parametrize("case", TEACHER)
def test_finetune_bert(run, case):
    run_case(finetune_bert, ("fresh",), TEACHER[case], **FRESH)


@pytest.mark.parametrize("case", DISTILL)
def test_distill(run, case):
    run_case(distill, ("fresh", "knowledge"), DISTILL[case], **FRESH)


# Stage 5 and the report: the best checkpoints


def predicted(count: int = 30) -> Callable[[], None]:
    def outcome() -> None:
        rows = [json.loads(text) for text in Path("tnews11_predict.json").read_text().splitlines()]
        assert len(rows) == count and {row["label"] for row in rows} <= {"100", "103", "109"}

    return outcome


def older_test_set(**columns: list) -> Spoil:
    """Another data/test, as an older stage 1 may have left it."""

    def spoil() -> None:
        remove(Path("data/test"))
        Dataset.from_dict(columns).save_to_disk("data/test")

    return spoil


def without_test(path: Path) -> None:
    put(path, '{"splits": ["train", "valid"]}')


BEST = "model3/*-*"
WEIGHTS = f"{BEST}/model.safetensors"
OTHER_CLASSES = "was trained on other classes than those of data/label.csv: train it again"
PREDICT: dict[str, Case] = {
    "no data/": (on("data", remove), "data/ is missing or damaged"),
    "no test set": (on("data/dataset_dict.json", without_test), "data/ has no test set: put test.json into tnews/"),
    "a test set without ids": (older_test_set(sentence=["今"]), "data/test/ has no rows of id and sentence"),
    "an id twice": (older_test_set(id=[1, 1], sentence=["今", "天"]), "id 1 stands in line 1 already"),
    "empty sentences": (older_test_set(id=[7, 8], sentence=["", " "]), predicted(2)),
    "odd sentences": (older_test_set(id=["a"] * 1, sentence=["x" * 10_000 + "\0👨‍👩‍👧\u202eשלום"]), predicted(1)),
    "no model3/": (on("model3", remove), "model3/ holds no checkpoint: run python distill.py first"),
    "no checkpoint": (on(BEST, remove), "model3/ holds no checkpoint: run python distill.py first"),
    "the checkpoint is a file": (on(BEST, content("mine")), "is not there: name a checkpoint directory"),
    "the checkpoint is empty": (on(BEST, remove, Path.mkdir), "model.safetensors is missing"),
    "no config.json": (on(f"{BEST}/config.json", remove), "holds no readable"),
    "config.json cut": (on(f"{BEST}/config.json", half), "holds no readable"),
    "config.json empty": (on(f"{BEST}/config.json", content("")), "holds no readable"),
    "config.json of fewer tokens": (
        on(f"{BEST}/config.json", as_json(vocab_size=50)),
        "holds no readable model",
    ),
    "config.json of another width": (on(f"{BEST}/config.json", as_json(hidden_size=64)), "holds no readable model"),
    "config.json without classes": (
        on(f"{BEST}/config.json", as_json(id2label=None, label2id=None)),
        "holds no readable model",
    ),
    "other names of the classes": (
        on(f"{BEST}/config.json", replaced('"109"', '"110"')),
        OTHER_CLASSES,
    ),
    "no weights": (on(WEIGHTS, remove), "model.safetensors is missing"),
    "weights empty": (on(WEIGHTS, content("")), "holds no readable model"),
    "weights cut": (on(WEIGHTS, half), "holds no readable model"),
    "weights of text": (
        on(WEIGHTS, content("version https://git-lfs.github.com/spec/v1\n")),
        "model.safetensors is a pointer of git-lfs, not the file itself: run git lfs pull",
    ),
    "weights in a pickle": (
        on(WEIGHTS, rename("pytorch_model.bin")),
        "pytorch_model.bin, a pickle, is not read",
    ),
    "weights lacking": (
        on(WEIGHTS, weights(lambda state: {n: v for n, v in state.items() if "backward" not in n})),
        "lacks weights (backward_lstm.",
    ),
    "fewer classes in the weights": (
        on(WEIGHTS, weights(lambda state: {n: v[:2].clone() for n, v in state.items()})),
        "holds no readable model",
    ),
    "no tokenizer.json": (on(f"{BEST}/tokenizer.json", remove), "holds no readable tokenizer"),
    "tokenizer.json cut": (on(f"{BEST}/tokenizer.json", half), "holds no readable tokenizer"),
    "a tokenizer that knows more": (
        on(f"{BEST}/tokenizer.json", replaced('"[PAD]": 0', '"[PAD]": 0, "新": 5000')),
        "has a tokenizer of",
    ),
    "no tokenizer_config.json": (on(f"{BEST}/tokenizer_config.json", remove), "holds no readable tokenizer"),
    "without its code, card and history": (
        both(*(on(name, remove) for name in (f"{BEST}/bilstm.py", f"{BEST}/README.md", "model3/history.csv"))),
        predicted(),
    ),
    "data/ of another vocabulary": (
        prepare_again(on(TRAIN, every_row(sentence="全新的标题"))),
        "model3/ was trained on other data than data/ holds now",
    ),
    "data/ of other classes": (
        prepare_again(another_class),
        "was trained on other data than data/ holds now",
    ),
    "MODEL that is not there": (
        nothing,
        "model9/1-0.5 is not there: name a checkpoint directory",
        {"MODEL": "model9/1-0.5"},
    ),
    "MODEL that is a run": (nothing, "model3/model.safetensors is missing", {"MODEL": "model3"}),
    "an output is a directory": (
        on("tnews11_predict.json", directory),
        "tnews11_predict.json is a directory where a file",
    ),
    "the zip is a directory": (on("clue_submission.zip", directory), "clue_submission.zip is a directory where a file"),
    "older predictions": (on("tnews11_predict.json", content("older")), predicted()),
}
REPORT: dict[str, Case] = {
    "no data/": (on("data", remove), "data/ is missing or damaged"),
    "no models": (
        both(*(on(f"model{n}", remove) for n in (1, 2, 3))),
        "no model1/, model2/ or model3/ here: run",
    ),
    "a model without checkpoints": (
        on("model2/*-*", remove),
        "model2/ holds no checkpoint: run python",
    ),
    "one model alone": (both(on("model1", remove), on("model2", remove)), lambda: None),
    "no history.csv": (on("model3/history.csv", remove), lambda: None),
    "history.csv cut": (on("model3/history.csv", half), "model3/history.csv cannot be read"),
    "history.csv of other columns": (on("model3/history.csv", content("a,b\n1,2\n")), "model3/history.csv cannot be"),
    "weights cut": (on("model2/*-*/model.safetensors", half), "holds no readable model"),
    "report/ is a file": (on("report", content("mine")), "report is a file where a directory is to be written"),
    "a picture is a directory": (on("report/comparison.png", directory), "report/comparison.png is a directory where"),
    "another dev": (
        on("data/valid", dataset(label=[0, 2], sentence=["今天", "手机"])),
        "was trained on other data than data/ holds now (other data)",
    ),
    "data/ of other classes": (
        prepare_again(another_class),
        "was trained on other data than data/ holds now",
    ),
}
# Lines on standard input: what is printed, a line each, or the sentence that ends it.
STANDARD_INPUT: dict[str, tuple[bytes, int | str]] = {
    "nothing": (b"", 0),
    "a line without an end": ("今天".encode(), 1),
    "blank lines": (b"\n \n", 2),
    "a byte order mark": ("\ufeff今天\n".encode(), 1),
    "ends of line of Windows": ("今天\r\n手机\r\n".encode(), 2),
    "NUL": ("今\0天\n".encode(), 1),
    "emoji and right-to-left text": ("👨‍👩‍👧\n\u202eשלום\n".encode(), 2),
    "U+2028": ("今\u2028天\n".encode(), 1),
    "10,000 characters": (("今" * 10_000).encode(), 1),
    "a word of 10,000 letters": (b"x" * 10_000, 1),
    "GB 18030": ("标题".encode("gb18030"), "standard input, line 1: not UTF-8"),
    "a bad line after good ones": ("今天\n手机\n".encode() + b"\xff\n", "standard input, line 3: not UTF-8"),
    "half a character at the end": ("今天\n标".encode()[:-1], "standard input, line 2: not UTF-8"),
    "half a surrogate pair": (b"\xed\xa0\xbd\n", "standard input, line 1: not UTF-8"),
    "UTF-16": ("今天\n".encode("utf-16"), "standard input, line 1: not UTF-8"),
    "two million letters": (b"x" * 2_000_000, "standard input, line 1: longer than 1,000,000 bytes: cut it"),
}


@pytest.mark.parametrize("case", PREDICT)
def test_predict_test(run, case):
    run_case(predict_test, ("tnews11_predict.json", "tnews10_predict.json", "clue_submission.zip"), PREDICT[case])


@pytest.mark.parametrize("case", STANDARD_INPUT)
def test_predict_test_on_standard_input(run, case, monkeypatch, capsys):
    given, expected = STANDARD_INPUT[case]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))

    def printed() -> None:
        rows = [text.split("\t") for text in capsys.readouterr().out.splitlines()]
        assert len(rows) == expected and all(len(row) == 3 for row in rows)

    check(partial(predict_test.main, ["-"]), (), nothing, expected if isinstance(expected, str) else printed)


@pytest.mark.parametrize("case", REPORT)
def test_report(run, case):
    run_case(report, ("report",), REPORT[case])


@pytest.mark.parametrize(
    ("script", "sentence"),
    {
        "prepare_data.py": "tnews/labels.json is missing: put it there (for each class a line ",
        "finetune_bert.py": "data/ is missing or damaged",
        "train_bilstm.py": "data/ is missing or damaged",
        "distill.py": "data/ is missing or damaged",
        "predict_test.py": "data/ is missing or damaged",
        "report.py": "data/ is missing or damaged",
    }.items(),
)
def test_from_the_shell_it_is_one_line_and_exit_status_1(scratch, script, sentence):
    Path("tnews").mkdir()
    result = run_script(script, scratch)
    assert (result.returncode, result.stdout) == (1, "")
    title, told = result.stderr.splitlines()
    assert told.startswith(sentence) and title.endswith("; loading the libraries ...")
    assert digests(scratch) == {"tnews": "directory"}
