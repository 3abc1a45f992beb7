"""The raw files of TNEWS, or of data in the same form: download, reading, checks.

TNEWS: Xu et al. 2020, CLUE: A Chinese Language Understanding Evaluation Benchmark, arXiv 2004.05986.
"""

import re
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import pandas
import torch

from bert_to_bilstm.files import new_directory
from bert_to_bilstm.stages import counted
from bert_to_bilstm.text.tables import JSON, SUFFIXES, find_column, read_records, suffix_of

URL = "https://storage.googleapis.com/cluebenchmark/tasks/tnews_public.zip"
LARGEST = 200_000_000  # bytes that the zip may hold unpacked; TNEWS: 16 million
SPLITS = {"train": "train", "dev": "valid", "test": "test", "test1.0": "test1.0"}  # file without suffix → split
NEEDED = ("labels.json", "train.json", "dev.json")  # of the zip
OTHERS = ("labels", "README")  # files in the folder that are no splits
NAMED = ("sentence", "label")  # fields whose column a constant of stage 1 can name
TEXT_FORM = "write sentence, tab, label"  # of a .txt file, whose columns no constant names
MANY = 20  # labels that are never too many
HELD_OUT = 10  # one row in so many is held out where there is no dev
WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")  # an id that is a number and nothing else
# What neither UTF-8 nor a line of a table can hold: half a surrogate pair, and control characters.
UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def download(source: Path) -> None:
    """Fetches the public TNEWS zip, over verified TLS, and unpacks it into the directory `source`."""
    print(f"{source}/ is missing: downloading {URL}")
    with tempfile.TemporaryDirectory() as directory:
        archive = Path(directory) / "tnews.zip"
        try:
            torch.hub.download_url_to_file(URL, str(archive))
            files = unpack(archive)
        # Of the zip: damaged, encrypted, packed in a way that is not known here.
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            raise SystemExit(
                f"{URL} could not be downloaded ({error}): unpack the TNEWS zip by hand, so that "
                f"{', '.join(f'{source}/{name}' for name in NEEDED)} exist."
            ) from None
    with new_directory(source) as target:
        for name, content in files.items():
            (target / name).write_bytes(content)


def unpack(archive: Path) -> dict[str, bytes]:
    """The files of TNEWS in a zip, by their bare names: nothing in it says where they are written.

    Raises ValueError where one is missing or they are larger than LARGEST, zipfile's own errors where it is damaged.
    """
    with zipfile.ZipFile(archive) as contents:
        members = {Path(member.filename).name: member for member in contents.infolist() if not member.is_dir()}
        if missing := [name for name in NEEDED if name not in members]:
            raise ValueError(f"no {missing[0]} in it")
        names = (*NEEDED, *(f"{split}.json" for split in SPLITS))
        members = {name: members[name] for name in names if name in members}
        # zipfile unpacks no more of a member than the size that it claims.
        if (size := sum(member.file_size for member in members.values())) > LARGEST:
            raise ValueError(f"{size:,} bytes unpacked")
        return {name: contents.read(member) for name, member in members.items()}


def find_form(source: Path, name: str) -> Path | None:
    """The file of that name in a form of text.tables, if there is one. Raises SystemExit where there are two."""
    files = sorted(path for path in source.glob("*") if path.stem == name and path.suffix.lower() in SUFFIXES)
    if len(files) > 1:
        raise SystemExit(f"{' and '.join(map(str, files))}: two files for one thing: keep one in {source}/.")
    return files[0] if files else None


def find_files(source: Path) -> dict[str, Path]:
    """The file of every split that `source` holds: train, dev, test, test1.0, in one of the forms of text.tables.

    Raises SystemExit where train has none, or a split has two.
    """
    found = {split: path for split in SPLITS if (path := find_form(source, split))}
    for path in sorted(source.iterdir()):
        if path.suffix.lower() in (*SUFFIXES, ".xls") and path not in found.values() and path.stem not in OTHERS:
            print(
                f"{path} is not read: files are called {', '.join(SPLITS)} or labels, and end in {', '.join(SUFFIXES)}."
            )
    if "train" not in found:
        forms = ", ".join(SUFFIXES[1:])
        raise SystemExit(
            f"{source}/train.json is missing, and so is train{forms.replace(', ', ', train')}: put one there, "
            f"with a label and a sentence in each row, or move {source}/ away to have TNEWS downloaded."
        )
    return found


def read_rows(path: Path, columns: dict[str, Sequence[str]]) -> list[tuple[str, dict]]:
    """What a file has in `columns` (field → the names that its column may have), and each row's place in words.

    A number in `label` or `id` such as 1.0, as pandas writes them, is a whole one. Raises SystemExit, naming the line,
    where a file is not like that.
    """
    rows, form = [], suffix_of(path)
    remedies = {
        field: f"name it so, or name it in {field.upper()}_COLUMN at the top of prepare_data.py" for field in NAMED
    }
    if form == ".txt":
        remedies = dict.fromkeys(columns, f"{TEXT_FORM} in each line")
    for place, record in read_records(path):
        if all(cell == "" for cell in record.values()):
            continue
        row = {}
        for field, names in columns.items():
            column = find_column(place, record, names, remedies.get(field, "add it"))
            value = record[column]
            if field in ("label", "id") and isinstance(value, float) and value.is_integer():
                value = int(value)
            if field == "label" and form not in JSON:  # who types may type a space more
                value = value.strip()
            accepted = (str, int) if field in ("label", "id") else str
            if not isinstance(value, accepted) or isinstance(value, bool):
                raise SystemExit(f"{place}: {column!r} is not text: mend the row.")
            if field != "sentence" and UNWRITABLE.search(str(value)):
                raise SystemExit(f"{place}: {column!r} holds {value!r}, which cannot be written: mend the row.")
            if field in ("label", "id") and value == "":
                raise SystemExit(f"{place}: no {column}: give the row one or take it out.")
            row[field] = value
        rows.append((place, row))
    return rows


def read_labels(path: Path) -> pandas.DataFrame:
    """The classes in the order of labels.json: index the original label, columns `label` (0…) and `label_desc`."""
    descriptions: dict[str, str] = {}
    for place, row in read_rows(path, {"label": ["label"], "label_desc": ["label_desc"]}):
        if str(row["label"]) in descriptions:
            raise SystemExit(f"{place}: label {row['label']} stands there twice: keep one.")
        descriptions[str(row["label"])] = row["label_desc"]
    return number_labels(path, descriptions)


def collect_labels(path: Path, rows: list[tuple[str, dict]]) -> pandas.DataFrame:
    """The classes of the rows of train, sorted, in the form of `read_labels`; each is its own description.

    Raises SystemExit where there are so many that they seem to be something else.
    """
    labels = sorted({str(row["label"]) for _, row in rows})
    if len(labels) > max(MANY, len(rows) // 2):
        is_text = suffix_of(path) == ".txt"
        remedy = TEXT_FORM if is_text else "name the column of the labels in LABEL_COLUMN of prepare_data.py"
        raise SystemExit(
            f"{path}: {len(labels):,} labels in {len(rows):,} rows, such as {labels[0][:40]!r}: {remedy}, or, if these "
            "are the classes, list them in labels.json."
        )
    return number_labels(path, {label: label for label in labels})


def number_labels(path: Path, descriptions: dict[str, str]) -> pandas.DataFrame:
    """The table of `read_labels` of label → description. Raises SystemExit where there are fewer than two classes."""
    if len(descriptions) < 2:
        raise SystemExit(f"{path}: one class alone, so that there is nothing to tell apart: add the others.")
    return pandas.DataFrame(
        {"label": range(len(descriptions)), "label_desc": descriptions.values()}, index=list(descriptions)
    )


def number_rows(rows: list[tuple[str, dict]], labels: pandas.DataFrame, known: Path) -> dict[str, list]:
    """The columns of labelled rows: sentences as they are, labels as numbers 0… in the order of `labels`, and the
    number of the row in its file.

    Raises SystemExit at a label that is not among them; `known`: the file that they come from.
    """
    numbers = labels["label"].to_dict()
    for place, row in rows:
        if str(row["label"]) not in numbers:
            if described := labels.index[labels["label_desc"] == row["label"]].tolist():
                raise SystemExit(
                    f"{place}: label {row['label']!r} is not in {known}, where it describes {described[0]!r}: "
                    "give the rows their labels, or make the descriptions the labels there."
                )
            raise SystemExit(f"{place}: label {row['label']!r} is not in {known}: add it there or mend the row.")
    return {
        "label": [numbers[str(row["label"])] for _, row in rows],
        "sentence": [row["sentence"] for _, row in rows],
        "row": [row_of(place) for place, _ in rows],
    }


def row_of(place: str) -> int:
    """The number of a row in its file, of its place in words."""
    return int(place.rsplit(" ", 1)[1])


def hold_out(train: dict[str, list], seed: int) -> tuple[dict[str, list], dict[str, list]]:
    """The columns of train without every tenth row of each label, and those of these rows, both in their order.

    One row of each label at least stays in train. Raises SystemExit where there are too few rows.
    """
    table = pandas.DataFrame(train)
    shuffled = table.sample(frac=1, random_state=seed).sort_values("label", kind="stable")
    taken = shuffled[shuffled.duplicated("label")].iloc[HELD_OUT // 2 :: HELD_OUT].index
    if not len(taken):
        raise SystemExit(
            f"train has {counted(len(table), 'row')}, too few to hold some of them out: add a dev file, or rows."
        )
    return table.drop(taken).to_dict("list"), table.loc[sorted(taken)].to_dict("list")


def number_ids(rows: list[tuple[str, dict]]) -> dict[str, list]:
    """The columns of a test set. Raises SystemExit where its ids are not all of one kind, or one stands there twice."""
    first: dict[int | str, str] = {}
    if all(isinstance(row["id"], str) and WHOLE.fullmatch(row["id"]) for _, row in rows):  # as a table has them
        rows = [(place, row | {"id": int(row["id"])}) for place, row in rows]
    for place, row in rows:
        number = row["id"]
        if type(number) is not type(rows[0][1]["id"]):
            raise SystemExit(f"{place}: id {number!r} among ids of another kind: make all numbers or all text.")
        if isinstance(number, int) and abs(number) >= 2**63:
            raise SystemExit(f"{place}: id {number} has more than 64 bits: give a smaller one, or text.")
        if number in first:
            raise SystemExit(f"{place}: id {number!r} stands in {first[number]} already: give each row its own.")
        first[number] = place
    return {"id": list(first), "sentence": [row["sentence"] for _, row in rows]}
