"""What the stages leave on disk: how it is written so that it is whole or not there, and how it is found again."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
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
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")  # suffixes of weights that torch pickled


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Yields an empty temporary directory that takes the place of `path` when the block ends without an error.

    A link to a directory stays; what it points to is replaced. Raises SystemExit where `path` is a file, or the disk is
    full or may not be written to.
    """
    refuse_in_the_way([], [path])
    path = path.resolve()
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


def refuse_in_the_way(files: Iterable[Path], directories: Iterable[Path]) -> None:
    """Raises SystemExit where a directory stands in the place of one of the `files` to be written, or the reverse."""
    for path in files:
        if path.is_dir():
            raise SystemExit(f"{path} is a directory where a file is to be written: move it away.")
    for path in directories:
        if path.exists() and not path.is_dir():
            raise SystemExit(f"{path} is a file where a directory is to be written: move it away.")


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


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def load_rows(path: Path, remedy: str) -> Dataset | DatasetDict:
    """What `save_to_disk` wrote to `path`. Raises SystemExit, with the `remedy`, where it is missing or damaged."""
    try:
        rows = load_from_disk(str(path))
        for split in rows.values() if isinstance(rows, DatasetDict) else [rows]:
            split.data.table.validate(full=True)  # files of the right size and wrong content, too
    except Exception as error:  # datasets and pyarrow raise whatever they stumble over
        raise SystemExit(f"{path}/ is missing or damaged ({first_line(error)}): {remedy}.") from None
    return rows


def load_data() -> DatasetDict:
    """The DatasetDict of stage 1: `train` and `valid` (`label` 0…, `sentence`), perhaps `test` and `test1.0`.

    Raises SystemExit where it is missing, damaged, or not of the classes in label.csv.
    """
    data = load_rows(DATA, "run python prepare_data.py first")
    if not isinstance(data, DatasetDict) or not {"train", "valid"} <= set(data):
        raise SystemExit("data/ does not hold the splits train and valid: run python prepare_data.py again.")
    classes = set(load_labels())
    for split, rows in data.items():
        columns = {"sentence", "id"} if split.startswith("test") else {"sentence", "label"}
        if not len(rows) or not columns <= set(rows.column_names):
            names = " and ".join(sorted(columns))
            raise SystemExit(f"data/{split}/ has no rows of {names}: run python prepare_data.py again.")
        if "label" in columns and not set(rows.unique("label")) <= classes:
            raise SystemExit(f"data/{split}/ has other classes than data/label.csv: run python prepare_data.py again.")
    return data


def read_label_table() -> pandas.DataFrame:
    """The rows of data/label.csv, in the order of labels.json: index the original label, column `label_desc`."""
    try:
        # keep_default_na: a class may be called NA or null, too.
        table = pandas.read_csv(DATA / "label.csv", dtype=str, index_col=0, keep_default_na=False)
        if table.index.has_duplicates or table["label"].tolist() != [str(number) for number in range(len(table))]:
            raise ValueError("its classes are not numbered 0, 1, …")
        return table[["label_desc"]]
    except (OSError, ValueError, LookupError) as error:
        raise SystemExit(
            f"data/label.csv cannot be read ({first_line(error)}): run python prepare_data.py again."
        ) from None


def load_labels() -> dict[int, str]:
    """Class number 0… → original label, in the order of labels.json."""
    return dict(enumerate(read_label_table().index))


def load_descriptions() -> dict[str, str]:
    """Original label → its description in labels.json."""
    return read_label_table()["label_desc"].to_dict()


def load_char_table() -> CharTable:
    """The character table that stage 1 used."""
    try:
        saved = json.loads((DATA / "char_table.json").read_text(encoding="utf-8"))
        return CharTable(saved["source"], saved["table"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise SystemExit(
            f"data/char_table.json cannot be read ({first_line(error)}): run python prepare_data.py again."
        ) from None


def refuse_pickles(directory: Path) -> None:
    """Raises SystemExit where a directory holds pickled weights: loading such a file can run any code."""
    for path in sorted(directory.iterdir()) if directory.is_dir() else []:
        if path.suffix in PICKLES:
            raise SystemExit(f"{path} is a pickle, which may run code: remove it; model.safetensors alone is read.")


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint directory, or the student's own."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        if tokenizer.pad_token_id is None or tokenizer.unk_token_id is None:
            raise ValueError("no token for padding, or none for what is unknown")
        return tokenizer
    except Exception as error:  # tokenizers raises Exception itself
        raise SystemExit(
            f"{directory} holds no readable tokenizer ({first_line(error)}): run the stage that wrote it again."
        ) from None


def load_classifier(
    directory: Path, labels: dict[int, str] | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of a checkpoint directory, teacher or student, ready to predict, and its tokenizer.

    Raises SystemExit where there is none, or one that was trained on other classes than `labels` (None: on any).
    """
    refuse_pickles(directory)
    tokenizer = load_tokenizer(directory)
    try:
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            directory,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype="float32",
            output_loading_info=True,
        )
    except Exception as error:  # safetensors and transformers raise their own kinds for a damaged file
        raise SystemExit(
            f"{directory} holds no readable model ({first_line(error)}): run the stage that wrote it again."
        ) from None
    if loading["missing_keys"]:
        raise SystemExit(f"{directory} lacks weights ({', '.join(sorted(loading['missing_keys']))}): train it again.")
    check_model(directory, model, tokenizer)
    if labels is not None and model.config.id2label != labels:
        raise SystemExit(f"{directory} was trained on other classes than those of data/label.csv: train it again.")
    return model.eval(), tokenizer


def check_model(name: Path | str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises SystemExit where a model's weights are not numbers, or the tokenizer beside it is not its own.

    The tokenizer learns from it how many tokens the model can read, as `model_max_length`.
    """
    if broken := [weight for weight, values in model.named_parameters() if not values.isfinite().all()]:
        raise SystemExit(f"{name} has weights that are not numbers ({broken[0]}): copy it or train it again.")
    if not len(tokenizer.all_special_tokens) < len(tokenizer) <= model.config.vocab_size:
        raise SystemExit(
            f"{name} has a tokenizer of {len(tokenizer):,} tokens and a model of {model.config.vocab_size:,}: "
            "copy both from one place, or train it again."
        )
    positions = getattr(model.config, "max_position_embeddings", tokenizer.model_max_length)
    tokenizer.model_max_length = min(positions, tokenizer.model_max_length)


def checkpoints(directory: Path) -> list[tuple[int, float, Path]]:
    """Epoch, accuracy and path of every `{epoch}-{accuracy}` checkpoint in a directory, by epoch."""
    names = [(re.fullmatch(r"(\d+)-([01]\.\d{4})", path.name), path) for path in directory.glob("*-*")]
    return sorted((int(name[1]), float(name[2]), path) for name, path in names if name)


def best_checkpoint(directory: Path, stage: str) -> Path:
    """The checkpoint of the highest accuracy, the earliest on a tie.

    Raises SystemExit, naming the script `stage` that makes them, where there is none.
    """
    found = checkpoints(directory)
    if not found:
        raise SystemExit(f"{directory}/ holds no checkpoint: run python {stage} first.")
    return max(found, key=lambda checkpoint: checkpoint[1])[2]


def fingerprint(data: DatasetDict) -> str:
    """A digest of what stands in the rows of `train` and `valid`, in order."""
    digest = hashlib.sha256()
    for split in ("train", "valid"):
        for batch in data[split].iter(batch_size=10_000):
            digest.update(json.dumps(batch, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def file_fingerprint(path: Path) -> str:
    """A digest of the bytes of a file. Raises SystemExit where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise SystemExit(f"{path} cannot be read ({error.strerror}): run the stage that wrote it again.") from None
