"""Damaged input, one example of each kind for each reader: the stage stops with a sentence that names the file and says
what to do, and changes nothing; or it copes.

Each example spoils a copy of a finished run.
"""

import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import outcome, run_script
from datasets import Dataset, load_from_disk
from safetensors.torch import load_file, save_file

import distill
import finetune_bert
import predict_test
import prepare_data
import report
import train_bilstm
from bert_to_bilstm.models.checkpoints import best_checkpoint, load_classifier
from bert_to_bilstm.text import tnews

Change = Callable[[Path], object]  # what befalls a file
Spoil = Callable[[], object]  # what befalls the working directory

REMEDY = re.compile(
    r"\b(add|convert|copy|cut|give|go online|keep|make|mend|move|mv|name|put|remove|run|train|unpack|write)\b"
)


@pytest.fixture(scope="module")
def original(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run with one checkpoint a model: the best."""
    directory = tmp_path_factory.mktemp("original") / "run"
    shutil.copytree(finished_run, directory, symlinks=True)
    for name in ("model1", "model2", "model3"):
        for path in set(directory.glob(f"{name}/*-*")) - {best_checkpoint(directory / name, "")}:
            shutil.rmtree(path)
    return directory


@pytest.fixture
def run(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run as the working directory. It shares its files with the others: what is spoiled is a new one."""
    shutil.copytree(original, tmp_path / "run", copy_function=os.link, symlinks=True)
    monkeypatch.chdir(tmp_path / "run")
    return tmp_path / "run"


def files() -> dict[str, object]:
    """What stands in the working directory: each file's number, size and time of the last change; None: a directory."""
    status = {str(path): path.lstat() for path in Path().rglob("*")}
    return {
        name: None if Path(name).is_dir() else (one.st_ino, one.st_size, one.st_mtime_ns)
        for name, one in status.items()
    }


# What befalls a file.


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def put(path: Path, new: str | bytes) -> None:
    remove(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(new if isinstance(new, bytes) else new.encode())


def content(new: str | bytes) -> Change:
    return lambda path: put(path, new)


def directory(path: Path) -> None:
    """A directory of the user's in its place."""
    remove(path)
    put(path / "mine.txt", "mine")


def linked(path: Path) -> None:
    """The directory goes elsewhere, a link to it stays."""
    path.rename("elsewhere")
    path.symlink_to("elsewhere")


def half(path: Path) -> None:
    """Cut in the middle, as by a full disk or a broken download."""
    put(path, path.read_bytes()[: path.stat().st_size // 2])


def garbled(path: Path) -> None:
    """Of its bytes the sentences' are no UTF-8 any more; the file's form is whole."""
    put(path, path.read_bytes().replace("今天".encode(), b"\xff" * 6))


def edited(change: Callable[[str], str], encoding: str = "utf-8") -> Change:
    return lambda path: put(path, change(path.read_text(encoding="utf-8")).encode(encoding))


def replaced(old: str, new: str) -> Change:
    return edited(lambda text: text.replace(old, new, 1))


def fields(**changes: object) -> Callable[[str], str]:
    """Other fields in a JSON object; `...` takes one away."""
    return lambda text: json.dumps({k: v for k, v in (json.loads(text) | changes).items() if v is not ...})


def line(number: int, change: str | Callable[[str], str]) -> Change:
    """Another text as line `number`, from 1."""

    def other_line(text: str) -> str:
        lines = text.split("\n")
        lines[number - 1] = change if isinstance(change, str) else change(lines[number - 1])
        return "\n".join(lines)

    return edited(other_line)


def row(number: int, **changes: object) -> Change:
    return line(number, fields(**changes))


def array(text: str) -> str:
    return json.dumps([json.loads(one) for one in text.split("\n")], indent=1)


def rows(**columns: list) -> Change:
    """Another data set in its place."""
    return lambda path: (remove(path), Dataset.from_dict(columns).save_to_disk(str(path)))


def weights(change: Callable[[str, torch.Tensor], torch.Tensor | None]) -> Change:
    """Other weights, by their names; None takes them away."""

    def spoil(path: Path) -> None:
        changed = {name: change(name, value) for name, value in load_file(path).items()}
        remove(path)
        save_file({name: value for name, value in changed.items() if value is not None}, path, {"format": "pt"})

    return spoil


# What befalls the working directory.


def on(pattern: str, *changes: Change) -> Spoil:
    """The changes to the file of that name; `*` stands for the name of the checkpoint."""

    def spoil() -> None:
        path = next(Path().glob(pattern)) if "*" in pattern else Path(pattern)
        for change in changes:
            change(path)

    return spoil


def both(*spoils: Spoil) -> Spoil:
    return lambda: [spoil() for spoil in spoils]


def nothing() -> None:
    """The constants are wrong, not the files."""


def prepared_again(*spoils: Spoil) -> Spoil:
    """tnews/ has changed and stage 1 has run once more, after all the others."""

    def spoil() -> None:
        both(*spoils)()
        with pytest.raises(SystemExit, match="trained on other data"):
            prepare_data.main()

    return spoil


TRAIN, DEV, TEST, LABELS = (f"tnews/{name}.json" for name in ("train", "dev", "test", "labels"))
LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
OTHER_TRAIN = prepared_again(on(TRAIN, row(1, sentence="新的标题")))
OTHER_CLASSES = prepared_again(
    *(on(path, edited(lambda text: text.replace('"109"', '"104"'))) for path in (LABELS, TRAIN, DEV))
)
# What the message names, and what has happened.
Examples = dict[str, tuple[str, Spoil]]
PREPARE: Examples = {
    # the file
    "missing": (TRAIN, on(TRAIN, remove)),
    "a directory": (DEV, on(DEV, directory)),
    "blank lines": (TRAIN, on(TRAIN, content("\n \r\n\t\n"))),
    "UTF-16 cut": (f"{TRAIN}, line 1", on(TRAIN, content("{}".encode("utf-16")[:-1]))),
    "a line of GB 18030": (f"{TRAIN}, line 151", on(TRAIN, lambda p: put(p, p.read_bytes() + b"\n\xb1\xea\xcc\xe2"))),
    "a pointer of git-lfs": (TEST, on(TEST, content(LFS_POINTER))),
    "cut": (f"{DEV}, line ", on(DEV, half)),
    "a cut array": (f"{LABELS}, line ", on(LABELS, edited(array), half)),
    # its lines
    "CSV": (f"{TRAIN}, line 1", on(TRAIN, content("label,sentence\n100,今天\n"))),
    "a number of 5,000 digits": (f"{TEST}, line 2", on(TEST, line(2, '{"id": %s}' % ("9" * 5000)))),
    "100,000 brackets": (f"{TEST}, line 3", on(TEST, line(3, '{"id": ' + "[" * 100_000))),
    "no object": (f"{DEV}, line 2", on(DEV, line(2, '["100", "标题"]'))),
    "no object in an array": (f"{LABELS}, item 1", on(LABELS, content('[["100", "a"]]'))),
    # labels
    "no label": (f"{DEV}, line 2", on(DEV, row(2, label=...))),
    "a label that is true": (f"{DEV}, line 5", on(DEV, row(5, label=True))),
    "a label with a line break": (f"{LABELS}, line 1", on(LABELS, row(1, label="1\r0"))),
    "a label twice": (f"{LABELS}, line 3", on(LABELS, row(3, label=100))),
    "one class": (LABELS, on(LABELS, edited(lambda text: text.split("\n")[0]))),
    "an unknown label": (f"{TRAIN}, line 7", on(TRAIN, row(7, label="999"))),
    "a description for a label": (f"{TRAIN}, line 1", on(TRAIN, row(1, label="news_story"))),
    # sentences and ids
    "a sentence that is a number": (f"{TRAIN}, line 3", on(TRAIN, row(3, sentence=2018))),
    "an id that is a fraction": (f"{TEST}, line 2", on(TEST, row(2, id=1.5))),
    "an id twice": (f"{TEST}, line 9", on(TEST, row(9, id=3))),
    "an id as text among numbers": (f"{TEST}, line 2", on(TEST, row(2, id="1"))),
    "an id of 70 bits": ("tnews/test1.0.json, line 2", on("tnews/test1.0.json", row(2, id=2**70))),
    # the download
    "a download from nowhere": ("missing.zip", on("tnews", remove)),
    "a download that is no zip": ("missing.zip", both(on("tnews", remove), on("missing.zip", content("<html>404")))),
    # what lies where data/ is to be
    "data/ is a file": ("data", on("data", content("mine"))),
    "data/ is somebody else's": ("data/", on("data", directory)),
    "a file of the user's in data/": ("data/train/notes.txt", on("data/train/notes.txt", content("mine"))),
    "one in .data.old/": (".data.old/mine.txt", on(".data.old", directory)),
}
TEACHER: Examples = {
    "no model": ("bert", on("bert", remove)),
    "the model is a file": ("bert", on("bert", content("mine"))),
    "an empty folder": ("bert/model.safetensors", on("bert", remove, Path.mkdir)),
    "config.json cut": ("bert", on("bert/config.json", half)),
    "config.json of another width": ("bert", on("bert/config.json", edited(fields(hidden_size=32)))),
    "weights cut": ("bert", on("bert/model.safetensors", half)),
    "weights of another model": ("bert", on("bert/model.safetensors", weights(lambda *_: torch.zeros(2)))),
    "weights not numbers": ("bert", on("bert/model.safetensors", weights(lambda _, value: value * torch.nan))),
    "a pointer of git-lfs": ("bert/model.safetensors", on("bert/model.safetensors", content(LFS_POINTER))),
    "a pickle": ("pytorch_model.bin", on("bert/model.safetensors", lambda p: p.rename("bert/pytorch_model.bin"))),
    "tokenizer.json cut": ("bert", on("bert/tokenizer.json", half)),
    "a larger vocabulary": ("bert", on("bert/tokenizer.json", replaced('"[PAD]": 0', '"[PAD]": 0, "新": 5000'))),
}
ARROW, LABEL_CSV, TOKENIZER = "data/train/data-00000-of-00001.arrow", "data/label.csv", "data/tokenizer"
STUDENT: Examples = {
    "no dataset_dict.json": ("data/", on("data/dataset_dict.json", remove)),
    "no valid": ("data/", on("data/dataset_dict.json", content('{"splits": ["train"]}'))),
    "rows without splits": ("data/", on("data", rows(label=[0], sentence=["今"]))),
    "state.json cut": ("data/", on("data/train/state.json", half)),
    "rows cut": ("data/", on(ARROW, half)),
    "rows garbled": ("data/", on(ARROW, garbled)),
    "other columns": ("data/valid/", on("data/valid", rows(labels=[0], text=["今"]))),
    "other classes": ("data/train/", on("data/train", rows(label=[3], sentence=["今"]))),
    "label.csv not UTF-8": (LABEL_CSV, on(LABEL_CSV, edited(str, "utf-16"))),
    "label.csv of other columns": (LABEL_CSV, on(LABEL_CSV, replaced("label_desc", "name"))),
    "label.csv out of order": (LABEL_CSV, on(LABEL_CSV, replaced("100,0", "100,2"))),
    "no tokenizer.json": (TOKENIZER, on(f"{TOKENIZER}/tokenizer.json", remove)),
    "tokenizer.json is none": (TOKENIZER, on(f"{TOKENIZER}/tokenizer.json", content("{}"))),
    "no padding": (TOKENIZER, on(f"{TOKENIZER}/tokenizer_config.json", edited(fields(pad_token=...)))),
    "the output is a file": ("fresh", on("fresh", content("mine"))),
    "the output is somebody else's": ("fresh/", on("fresh", directory)),
}
STATE = "model2/state-2/state.pt"
OTHER_STATE = {"model": {"x": torch.zeros(2)}}
FINISHED: Examples = {
    "other rows": ("model2/", OTHER_TRAIN),
    "other classes": ("model2/", OTHER_CLASSES),
    "run.json cut": ("model2/", on("model2/run.json", half)),
    "run.json is a list": ("model2/", on("model2/run.json", content("[]"))),
    "other settings": ("SEED", on("model2/run.json", replaced('"SEED": 42', '"SEED": 7'))),
    "history.csv of words": ("model2/history.csv", on("model2/history.csv", replaced("3,", "three,"))),
    "a state of another model": (
        STATE,
        both(on("model2/history.csv", remove), on(STATE, content("")), lambda: torch.save(OTHER_STATE, STATE)),
    ),
}
CHAR_TABLE, TEACHERS_WEIGHTS = "data/char_table.json", "model1/*-*/model.safetensors"
OTHER_TEACHER = on("knowledge/origin.json", replaced("model1/", "model1/9"))
DISTILL: Examples = {
    "no checkpoint": ("model1/", on("model1/*-*", remove)),
    "an unfinished teacher": (
        "model1/",
        on("model1/history.csv", edited(lambda text: text[: text.rindex("\n8,") + 1])),
    ),
    "a teacher of other classes": ("model1/", OTHER_CLASSES),
    "weights not numbers": ("model1/", on(TEACHERS_WEIGHTS, weights(lambda _, value: value * torch.inf))),
    "weights lacking": (
        "model1/",
        on(TEACHERS_WEIGHTS, weights(lambda name, value: None if "bias" in name else value)),
    ),
    "char_table.json cut": (CHAR_TABLE, on(CHAR_TABLE, half)),
    "knowledge/ is somebody else's": ("knowledge", on("knowledge", directory)),
    "knowledge/ cut": ("knowledge/", on("knowledge/data-00000-of-00001.arrow", half)),
    "a file of the user's in it": ("notes.txt", both(OTHER_TEACHER, on("knowledge/notes.txt", content("mine")))),
    "one beside the shards": ("notes.txt", both(OTHER_TEACHER, on("knowledge-shards/notes.txt", content("mine")))),
}
UNLABELLED: Examples = {
    "missing": ("more.txt", nothing),
    "a directory": ("more.txt", on("more.txt", directory)),
    "not UTF-8": ("more.txt, line 2", on("more.txt", content(b"one\n\xb1\xea\xff"))),
}
BEST = "model3/*-*"
PREDICT: Examples = {
    "an older test set": ("data/test/", on("data/test", rows(sentence=["今"], written=["今"]))),
    "an id twice": ("id 1", on("data/test", rows(id=[1, 1], sentence=["今", "天"], written=["今", "天"]))),
    "no model": ("model3/", on("model3", remove)),
    "config.json cut": ("model3/", on(f"{BEST}/config.json", half)),
    "other names of the classes": ("model3/", on(f"{BEST}/config.json", replaced('"109"', '"110"'))),
    "fewer classes in the weights": ("model3/", on(f"{BEST}/model.safetensors", weights(lambda _, v: v[:2].clone()))),
    "no tokenizer.json": ("model3/", on(f"{BEST}/tokenizer.json", remove)),
    "data/ of other rows": ("model3/", OTHER_TRAIN),
    "an output is a directory": ("tnews11_predict.json", on("tnews11_predict.json", directory)),
}
REPORT: Examples = {
    "no models": ("model1/", both(*(on(f"model{number}", remove) for number in (1, 2, 3)))),
    "no checkpoint": ("model2/", on("model2/*-*", remove)),
    "weights cut": ("model2/", on("model2/*-*/model.safetensors", half)),
    "history.csv of other columns": ("model3/history.csv", on("model3/history.csv", content("a,b\n1,2\n"))),
    "data/ of other rows": ("data/", OTHER_TRAIN),
    "a picture is a directory": ("report/comparison.png", on("report/comparison.png", directory)),
}
FRESH = {"OUTPUT": Path("fresh"), "EPOCHS": 1, "BATCH_SIZE": 100}
GROUPS = [  # a stage, its constants, what happens to what it reads
    (prepare_data, {"MODELS": ()}, PREPARE),
    (prepare_data, {"MODELS": (), "SOURCE": TRAIN}, {"SOURCE is a file": ("tnews/train.json", nothing)}),
    (finetune_bert, FRESH, TEACHER),
    (train_bilstm, FRESH, STUDENT),
    (train_bilstm, {}, FINISHED),
    (distill, FRESH, DISTILL),
    (distill, FRESH | {"UNLABELLED": ["more.txt"]}, UNLABELLED),
    (distill, FRESH | {"TEACHERS": ["model1/9"]}, {"TEACHERS is not there": ("model1/9", nothing)}),
    (predict_test, {}, PREDICT),
    (predict_test, {"MODEL": "model9"}, {"MODEL is not there": ("model9", nothing)}),
    (report, {}, REPORT),
]


@pytest.mark.parametrize(
    ("stage", "constants", "named", "spoil"),
    [
        pytest.param(stage, constants, *example, id=f"{stage.__name__}: {name}")
        for stage, constants, examples in GROUPS
        for name, example in examples.items()
    ],
)
def test_it_stops_with_one_sentence(run, monkeypatch, capsys, stage, constants, named, spoil):
    monkeypatch.setattr(tnews, "URL", "file:missing.zip")
    spoil()
    for name, value in constants.items():
        monkeypatch.setattr(stage, name, value)
    refuses(stage.main, named, capsys)


def refuses(main: Callable[[], None], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = files()
    with pytest.raises(SystemExit) as stop:
        main()
    message = stop.value.code
    assert isinstance(message, str) and "\n" not in message  # which Python prints, with exit status 1
    assert named in message and REMEDY.search(message)
    assert "Traceback" not in capsys.readouterr().err
    assert files() == before


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (b"one\ntwo\n\xff\n", "standard input, line 3"),
        (b"x" * 2_000_000, "standard input, line 1"),
    ],
    ids=["not UTF-8", "a line without an end"],
)
def test_standard_input_is_refused_by_its_line(run, monkeypatch, capsys, given, named):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    refuses(lambda: predict_test.main(["-"]), named, capsys)


@pytest.mark.parametrize("script", dict.fromkeys(f"{stage.__name__}.py" for stage, *_ in GROUPS))
def test_from_the_shell_it_is_one_line_and_exit_status_1(scratch, script):
    Path("tnews").mkdir()
    result = run_script(script, scratch)
    assert (result.returncode, result.stdout) == (1, "")
    title, message = result.stderr.splitlines()
    named = TRAIN if script == "prepare_data.py" else "data/"
    assert title.endswith("; loading the libraries ...") and message.startswith(named) and REMEDY.search(message)
    assert files() == {"tnews": None}


# What it copes with.

ODD_SENTENCES = [
    "",
    " \u3000\t",
    "今" * 10_000,
    "x" * 10_000,
    "今\0天",
    "今\ud83d天",
    "\x07今\x1b[31m\x7f",
    "👨‍👩‍👧🇨🇳今天",
]
ODD_SENTENCES += [
    "𠮷𠀀野家",
    "今" + "\u0301" * 500,
    "\u202eالصين שלום\u202c",
    "今\u2028天\n\r好",
    "[PAD][CLS] [mask]",
    "龘\u200b",
]


def odd_rows(text: str) -> str:
    """Thirty rows, the first with the odd sentences."""
    rows = [json.loads(one) for one in text.split("\n")[:30]]
    for one, sentence in zip(rows, ODD_SENTENCES, strict=False):
        one["sentence"] = sentence
    return "\n".join(map(json.dumps, rows))


def test_odd_sentences_go_through_all_stages(run, monkeypatch):
    both(*(on(path, edited(odd_rows)) for path in (TRAIN, DEV, TEST)), *(on(f"model{n}", remove) for n in (1, 2, 3)))()
    for stage in (finetune_bert, train_bilstm, distill):
        monkeypatch.setattr(stage, "EPOCHS", 1)
    for stage in (prepare_data, finetune_bert, train_bilstm, distill, predict_test, report):
        stage.main()
    assert {"今\0天", "今?天"} <= set(load_from_disk("data")["train"]["sentence"])
    assert torch.tensor(load_from_disk("knowledge")["label"][:]).isfinite().all()
    answers = [json.loads(one) for one in Path("tnews11_predict.json").read_text().splitlines()]
    assert [one["id"] for one in answers] == list(range(30))


@pytest.mark.parametrize(
    "spoil",
    [
        on(TRAIN, edited(lambda text: text.replace("\n", "\r\n") + "\r\n \r\n", "utf-8-sig")),
        both(on(LABELS, row(1, label=100.0)), on(TRAIN, row(1, label=100)), on(TEST, row(2, id=1.0))),
        on("tnews", linked),
        both(on(".data.tmp", directory), on("data/train", remove)),
        on("data/.DS_Store", content("of the Finder")),
    ],
    ids=["as Windows writes it", "as pandas writes it", "a link", "killed while it wrote", "looked at on a Mac"],
)
def test_stage_1_writes_what_it_writes_of_undamaged_input(run, original, monkeypatch, spoil):
    monkeypatch.setattr(prepare_data, "MODELS", ())
    spoil()
    prepare_data.main()
    assert outcome(run / "data") == outcome(original / "data")


def test_another_length_for_the_students_leaves_the_teacher_as_it_is(run, monkeypatch, capsys):
    monkeypatch.setattr(prepare_data, "MAX_LENGTH", 64)
    with pytest.raises(SystemExit, match=r"^model2/, model3/: trained on other data"):
        prepare_data.main()
    finetune_bert.main()
    assert "model1/ is finished with these settings and this data" in capsys.readouterr().out


def test_a_linked_data_stays_a_link(run, monkeypatch):
    monkeypatch.setattr(prepare_data, "MODELS", ())
    linked(Path("data"))
    prepare_data.main()
    assert Path("data").is_symlink() and load_from_disk("data")["train"].num_rows == 150


def test_missing_classes_and_test_files_are_no_damage(run, monkeypatch):
    monkeypatch.setattr(prepare_data, "MODELS", ())
    for path in (TEST, "tnews/test1.0.json"):
        remove(Path(path))
    on(TRAIN, edited(lambda text: "\n".join(one for one in text.split("\n") if '"103"' not in one)))()
    on(DEV, edited(lambda text: text.split("\n")[1]))()
    prepare_data.main()
    assert {name: len(split) for name, split in load_from_disk("data").items()} == {"train": 100, "valid": 1}


@pytest.mark.parametrize(
    ("stage", "spoil"),
    [
        (train_bilstm, on("fresh/.1-0.5000.tmp", directory)),
        (finetune_bert, on("bert/model.safetensors", weights(lambda _, value: value.half()))),
        (distill, on("more.csv", content("label,text\n1,新的标题\n"))),
        (distill, both(OTHER_TEACHER, on("knowledge-shards/origin.json", content("{}")))),
    ],
    ids=["killed while it wrote", "half precision", "a table, its path a Path", "older knowledge and shards"],
)
def test_a_training_copes(run, monkeypatch, stage, spoil):
    spoil()
    constants = FRESH | ({"UNLABELLED": list(Path().glob("more.csv"))} if stage is distill else {})
    for name, value in constants.items():
        monkeypatch.setattr(stage, name, value)
    stage.main()
    model, _ = load_classifier(next(Path("fresh").glob("1-*")))
    assert model.dtype == torch.float32
    if stage is distill:
        assert load_from_disk("knowledge")["source"][:].count("unlabelled") == len(constants["UNLABELLED"])


def test_of_a_finished_run_checkpoints_may_go_and_files_of_the_users_come(run):
    on("model2/*-*", remove)()
    put(Path("model2/notes.txt"), "mine")
    before = files()
    train_bilstm.main()
    assert files() == before


def test_a_checkpoint_predicts_without_its_code_card_and_history(run):
    for name in (f"{BEST}/bilstm.py", f"{BEST}/README.md", "model3/history.csv", "model[12]"):
        for path in Path().glob(name):
            remove(path)
    put(Path("tnews11_predict.json"), "older")
    predict_test.main()
    report.main()
    assert len(Path("tnews11_predict.json").read_text().splitlines()) == 30
