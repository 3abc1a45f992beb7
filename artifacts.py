"""What the stages leave on disk: how it is written so that it is whole or not there, and how it is found again."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas
from datasets import Dataset, DatasetDict, load_from_disk
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

import bilstm  # noqa: F401  registers the student with AutoModelForSequenceClassification
from normalization import CharTable
from running import writing

DATA = Path("data")
STUDENT_TOKENIZER = DATA / "tokenizer"


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Yields an empty temporary directory that takes the place of `path` when the block ends without an error.

    Raises SystemExit where the disk is full or may not be written to.
    """
    temporary, old = path.with_name(f".{path.name}.tmp"), path.with_name(f".{path.name}.old")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir()
            yield temporary
            if path.exists():  # a directory that is not empty cannot be replaced by a rename
                shutil.rmtree(old, ignore_errors=True)
                path.rename(old)
            temporary.rename(path)
        finally:
            if old.exists() and not path.exists():  # stopped between the two renames
                old.rename(path)
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path` under a temporary name, then renames it.

    Raises SystemExit where the disk is full or may not be written to.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` as UTF-8 under a temporary name, then renames it."""
    write_bytes(path, text.encode("utf-8"))


def read_json(path: Path) -> Any:
    """What stands in a JSON file, or None where there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def load_data() -> DatasetDict:
    """The DatasetDict of stage 1: `train` and `valid` (`label` 0…, `sentence`), perhaps `test` and `test1.0`."""
    try:
        data = load_from_disk(str(DATA))
    except (OSError, ValueError) as error:
        raise SystemExit(f"data/ is missing or incomplete ({error}): run python prepare_data.py first.") from None
    if not isinstance(data, DatasetDict) or not {"train", "valid"} <= set(data):
        raise SystemExit("data/ does not hold the splits train and valid: run python prepare_data.py again.")
    return data


def read_label_table() -> pandas.DataFrame:
    """The rows of data/label.csv, in the order of labels.json: index the original label, column `label_desc`."""
    try:
        # keep_default_na: a class may be called NA or null, too.
        return pandas.read_csv(DATA / "label.csv", dtype=str, index_col=0, keep_default_na=False)[["label_desc"]]
    except (OSError, ValueError, LookupError) as error:
        raise SystemExit(f"data/label.csv cannot be read ({error}): run python prepare_data.py again.") from None


def load_labels() -> dict[int, str]:
    """Class number 0… → original label, in the order of labels.json."""
    return dict(enumerate(read_label_table().index))


def load_descriptions() -> dict[str, str]:
    """Original label → its description in labels.json."""
    return read_label_table()["label_desc"].to_dict()


def load_char_table() -> CharTable:
    """The character table that stage 1 used."""
    saved = read_json(DATA / "char_table.json")
    if saved is None:
        raise SystemExit("data/char_table.json cannot be read: run python prepare_data.py again.")
    return CharTable(saved["source"], saved["table"])


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint directory, or the student's own."""
    try:
        return AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise SystemExit(
            f"{directory} holds no readable tokenizer ({reason}): run the stage that wrote it again."
        ) from None


def load_classifier(
    directory: Path, labels: dict[int, str] | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of a checkpoint directory, teacher or student, ready to predict, and its tokenizer.

    Raises SystemExit where there is none, or one that was trained on other classes than `labels` (None: on any).
    """
    tokenizer = load_tokenizer(directory)
    try:
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            directory, local_files_only=True, use_safetensors=True, dtype="float32", output_loading_info=True
        )
    except Exception as error:  # safetensors and transformers raise their own kinds for a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SystemExit(
            f"{directory} holds no readable model ({reason}): run the stage that wrote it again."
        ) from None
    if loading["missing_keys"]:
        raise SystemExit(f"{directory} lacks weights ({', '.join(loading['missing_keys'])}): train it again.")
    if labels is not None and model.config.id2label != labels:
        raise SystemExit(f"{directory} was trained on other classes than those of data/label.csv: train it again.")
    return model.eval(), tokenizer


def best_checkpoint(directory: Path, stage: str) -> Path:
    """The `{epoch}-{accuracy}` checkpoint of the highest accuracy, the earliest on a tie.

    Raises SystemExit, naming the script `stage` that makes them, where there is none.
    """
    found = []
    for path in directory.glob("*-*") if directory.is_dir() else []:
        if name := re.fullmatch(r"(\d+)-([01]\.\d{4})", path.name):
            found.append((-float(name[2]), int(name[1]), path))
    if not found:
        raise SystemExit(f"{directory}/ holds no checkpoint: run python {stage} first.")
    return min(found)[2]


def fingerprint(splits: Dataset | DatasetDict) -> str:
    """A digest of what stands in the rows of `train` and `valid`, or of one Dataset, in order."""
    digest = hashlib.sha256()
    for rows in [splits["train"], splits["valid"]] if isinstance(splits, DatasetDict) else [splits]:
        for batch in rows.iter(batch_size=10_000):
            digest.update(json.dumps(batch, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def file_fingerprint(path: Path) -> str:
    """A digest of the bytes of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
