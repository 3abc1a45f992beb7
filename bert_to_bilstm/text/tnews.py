"""The raw files of TNEWS, or of data in the same form: download, reading, checks.

TNEWS: Xu et al. 2020, CLUE: A Chinese Language Understanding Evaluation Benchmark, arXiv 2004.05986.
"""

import json
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas
import torch

from bert_to_bilstm.files import new_directory, refuse_lfs_pointer

URL = "https://storage.googleapis.com/cluebenchmark/tasks/tnews_public.zip"
LARGEST = 200_000_000  # bytes that the zip may hold unpacked; TNEWS: 16 million
SPLITS = {"train.json": "train", "dev.json": "valid", "test.json": "test", "test1.0.json": "test1.0"}
NEEDED = {  # file → what it holds, for whoever brings data of his own
    "labels.json": 'for each class a line {"label": "100", "label_desc": "news_story"}',
    "train.json": 'for each sentence a line {"label": "100", "sentence": "…"}',
    "dev.json": "lines of the form of train.json that are not in it, about a tenth as many",
}
# From a table with the columns of the fields; as text, lest labels become 1.0.
CONVERT = 'pandas.read_csv("….csv", dtype=str).to_json("….json", orient="records", lines=True, force_ascii=False)'
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
        members = {name: members[name] for name in (*NEEDED, *SPLITS) if name in members}
        # zipfile unpacks no more of a member than the size that it claims.
        if (size := sum(member.file_size for member in members.values())) > LARGEST:
            raise ValueError(f"{size:,} bytes unpacked")
        return {name: contents.read(member) for name, member in members.items()}


def read_rows(path: Path, fields: Iterable[str]) -> list[tuple[str, dict]]:
    """The objects of a JSON-lines file, or of one JSON array, each having `fields`, and its place in words.

    A number in `label` or `id` such as 1.0, as pandas writes them, is a whole one. Raises SystemExit, naming the line,
    where a file is not like that.
    """
    refuse_lfs_pointer(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SystemExit(
            f"{path} is missing: put it there ({NEEDED.get(path.name, 'one JSON object a line')}), "
            f"or move {path.parent}/ away to have TNEWS downloaded."
        ) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SystemExit(f"{path}, line {line}: not UTF-8: convert the file or mend the line.") from None
    except OSError as error:
        raise SystemExit(f"{path} cannot be read ({error.strerror}): make it a readable file.") from None
    is_array = text.lstrip().startswith("[")
    rows: list[tuple[str, Any]] = []
    for number, part in enumerate([text] if is_array else text.split("\n"), start=1):
        try:
            value = json.loads(part) if part.strip() else []
        except (ValueError, RecursionError) as error:  # not JSON; a number of too many digits; nested too deep
            line = number + getattr(error, "lineno", 1) - 1
            reason = getattr(error, "msg", error)
            if not rows and part.lstrip()[0] not in "[{":
                raise SystemExit(
                    f"{path}, line {line}: not JSON but {part.strip()[:40]!r}: write one {{…}} with "
                    f"{' and '.join(fields)} a line, a table by {CONVERT}."
                ) from None
            raise SystemExit(f"{path}, line {line}: not JSON ({reason}): mend the line.") from None
        if is_array:
            rows += [(f"{path}, item {place}", row) for place, row in enumerate(value, start=1)]
        elif part.strip():
            rows.append((f"{path}, line {number}", value))
    if not rows:
        raise SystemExit(f"{path} is empty: write one JSON object a line.")
    for place, row in rows:
        if not isinstance(row, dict):
            raise SystemExit(f"{place}: not a JSON object: write {{…}} with {' and '.join(fields)}.")
        for field in fields:
            if field not in row:
                raise SystemExit(f"{place}: no field {field!r}: add it, or give the field of that meaning this name.")
            if field in ("label", "id") and isinstance(row[field], float) and row[field].is_integer():
                row[field] = int(row[field])
            accepted = (str, int) if field in ("label", "id") else str
            if not isinstance(row[field], accepted) or isinstance(row[field], bool):
                raise SystemExit(f"{place}: {field!r} is not text: mend the row.")
            if field != "sentence" and UNWRITABLE.search(str(row[field])):
                raise SystemExit(f"{place}: {field!r} holds {row[field]!a}, which cannot be written: mend the row.")
    return rows


def read_labels(source: Path) -> pandas.DataFrame:
    """The classes in the order of labels.json: index the original label, columns `label` (0…) and `label_desc`."""
    path = source / "labels.json"
    rows = read_rows(path, ["label", "label_desc"])
    descriptions: dict[str, str] = {}
    for place, row in rows:
        if str(row["label"]) in descriptions:
            raise SystemExit(f"{place}: label {row['label']} stands there twice: keep one.")
        descriptions[str(row["label"])] = row["label_desc"]
    if len(descriptions) < 2:
        raise SystemExit(f"{path}: one class alone, so that there is nothing to tell apart: add the others.")
    return pandas.DataFrame(
        {"label": range(len(descriptions)), "label_desc": descriptions.values()}, index=list(descriptions)
    )


def read_split(path: Path, labels: pandas.DataFrame) -> dict[str, list]:
    """The columns of one file: its sentences as they are, labels as numbers 0… in the order of `labels`."""
    if path.name.startswith("test"):
        rows = read_rows(path, ["id", "sentence"])
        first: dict[int | str, str] = {}
        for place, row in rows:
            number = row["id"]
            if type(number) is not type(rows[0][1]["id"]):
                raise SystemExit(f"{place}: id {number!r} among ids of another kind: make all numbers or all text.")
            if isinstance(number, int) and abs(number) >= 2**63:
                raise SystemExit(f"{place}: id {number} has more than 64 bits: give a smaller one, or text.")
            if number in first:
                raise SystemExit(f"{place}: id {number!r} stands in {first[number]} already: give each row its own.")
            first[number] = place
        columns = {"id": list(first)}
    else:
        rows = read_rows(path, ["label", "sentence"])
        numbers = labels["label"].to_dict()
        for place, row in rows:
            if str(row["label"]) not in numbers:
                table = path.with_name("labels.json")
                if described := labels.index[labels["label_desc"] == row["label"]].tolist():
                    raise SystemExit(
                        f"{place}: label {row['label']!r} is not in {table}, where it describes {described[0]!r}: "
                        "give the rows their labels, or make the descriptions the labels there."
                    )
                raise SystemExit(f"{place}: label {row['label']!r} is not in {table}: add it there or mend the row.")
        columns = {"label": [numbers[str(row["label"])] for _, row in rows]}
    return columns | {"sentence": [row["sentence"] for _, row in rows]}
