"""What stage 1 left in data/, for the later stages."""

import hashlib
import json
from pathlib import Path

import pandas
from datasets import Dataset, DatasetDict, load_from_disk

from bert_to_bilstm.files import file_fingerprint, first_line
from bert_to_bilstm.text.char_table import CharTable
from bert_to_bilstm.text.tnews import SPLITS

DATA = Path("data")
STUDENT_TOKENIZER = DATA / "tokenizer"
# The files of stage 1: what else lies in data/ is the user's.
ROWS = ("data-*-of-*.arrow", "dataset_info.json", "state.json")  # of datasets.Dataset.save_to_disk
DATA_FILES = (
    *("dataset_dict.json", "vocab.txt", "label.csv", "char_table.json"),
    *(f"tokenizer/{name}" for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")),
    *(f"{split}/{name}" for split in SPLITS.values() for name in ROWS),
)


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
    """The DatasetDict of stage 1: `train`, `valid` (`label` 0…, `sentence`, and as it was `written` in which `row` of
    its file), perhaps `test` and `test1.0`.

    Raises SystemExit where it is missing, damaged, or not of the classes in label.csv.
    """
    data = load_rows(DATA, "run python prepare_data.py first")
    if not isinstance(data, DatasetDict) or not {"train", "valid"} <= set(data):
        raise SystemExit("data/ does not hold the splits train and valid: run python prepare_data.py again.")
    classes = set(load_labels())
    for split, rows in data.items():
        columns = {"sentence", "written", *(["id"] if split.startswith("test") else ["label", "row"])}
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


def digests(data: DatasetDict) -> dict[str, str]:
    """What tells what stage 1 left from what it would leave of other rows, labels, characters, or with another
    vocabulary or length, which the students alone read.
    """
    table = load_char_table()
    return {
        "data": fingerprint(data),
        "labels": file_fingerprint(DATA / "label.csv"),
        "char_table": hashlib.sha256(json.dumps([table.source, table.table]).encode()).hexdigest()[:16],
        "tokenizer": file_fingerprint(STUDENT_TOKENIZER / "tokenizer.json"),
    }


def fingerprint(data: DatasetDict) -> str:
    """A digest of what stands in the rows of `train` and `valid`, in order."""
    digest = hashlib.sha256()
    for split in ("train", "valid"):
        for batch in data[split].select_columns(["label", "sentence"]).iter(batch_size=10_000):
            digest.update(json.dumps(batch, sort_keys=True).encode())
    return digest.hexdigest()[:16]
