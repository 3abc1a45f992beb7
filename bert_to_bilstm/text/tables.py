"""Tables of sentences as people have them: CSV, TSV, Excel, JSON lines, text; read in parts, every cell as text."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import openpyxl
import pandas

from bert_to_bilstm.files import first_line, refuse_lfs_pointer
from bert_to_bilstm.stages import say

JSON = (".json", ".jsonl")
SUFFIXES = (*JSON, ".csv", ".tsv", ".xlsx", ".txt")
PART = 10_000  # rows that are in memory at a time
SENTENCE_COLUMNS = ("sentence", "text")  # what the column of the sentences is called where no constant names it
# https://github.com/aceimnorstuvwxz/toutiao-text-classfication-dataset
TOUTIAO, TOUTIAO_FIELDS = "_!_", ["id", "label", "label_desc", "sentence", "keywords"]
THUCNEWS_FIELDS = ["sentence", "label"]  # http://thuctc.thunlp.org, with tabs, as it is mostly handed on


def encoding_of(path: Path) -> str:
    """The encoding of a text file: UTF-8, with or without a BOM, or GB18030, which a line tells.

    Raises SystemExit, naming the line, where it is neither, or UTF-8 with a damaged line.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                read = line.decode("utf-8", "replace")
                damaged = 2 * read.count("\ufffd") < sum(not character.isascii() for character in read)
                if damaged or not is_gb18030(path):
                    raise SystemExit(f"{path}, line {number}: not UTF-8: convert the file or mend the line.") from None
                say(f"{path} is not UTF-8 but GB18030: read as that.")
                return "gb18030"
    return "utf-8-sig"


def is_gb18030(path: Path) -> bool:
    try:
        with open(path, encoding="gb18030") as file:
            for _ in file:
                pass
    except UnicodeDecodeError:
        return False
    return True


def read_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a table, column → cell, each with its place in words, for messages; memory stays flat.

    By the suffix: .csv, .tsv and .xlsx (the first sheet) have a header; .json and .jsonl hold an object a line, or one
    array of them; .txt a sentence a line, or the file is Toutiao's or THUCNews's. Cells are texts but in JSON;
    a row that is too short has empty ones. Raises SystemExit, naming file, row and remedy, where it cannot be read.
    """
    readers = {
        **dict.fromkeys(JSON, read_objects),
        **dict.fromkeys((".csv", ".tsv"), read_cells),
        ".xlsx": read_sheet,
        ".txt": read_text,
    }
    if path.suffix not in readers:
        raise SystemExit(f"{path} is not called {', '.join(SUFFIXES)}: save it as one of them.")
    refuse_lfs_pointer(path)
    is_empty, blank = True, []  # rows without anything are kept where another follows
    try:
        for place, row in readers[path.suffix](path):
            blank.append((place, row))
            if any(cell != "" for cell in row.values()):
                yield from blank
                is_empty, blank = False, []
    except FileNotFoundError:
        raise SystemExit(f"{path} is missing: put it there.") from None
    except OSError as error:
        raise SystemExit(f"{path} cannot be read ({error.strerror}): make it a readable file.") from None
    if is_empty:
        raise SystemExit(f"{path} has no rows: write one for each sentence, in an Excel file in its first sheet.")


def read_cells(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a .csv or .tsv file."""
    encoding, separator = encoding_of(path), "," if path.suffix == ".csv" else "\t"
    try:
        first = pandas.read_csv(
            path, sep=separator, encoding=encoding, dtype=str, header=None, nrows=1, na_filter=False
        )
        refuse_twins(path, first.iloc[0].tolist())
        # Not as numbers, nor "NA" as nothing: labels are texts.
        with pandas.read_csv(
            path, sep=separator, encoding=encoding, dtype=str, na_filter=False, skip_blank_lines=False, chunksize=PART
        ) as parts:
            for part in parts:
                if not isinstance(part.index, pandas.RangeIndex):  # its first rows have a cell more than the header
                    raise SystemExit(
                        f"{path}, row 2: more cells than the header: put quotes around a text with {separator!r} in it."
                    )
                for number, row in zip(part.index, part.to_dict("records"), strict=True):
                    yield f"{path}, row {number + 2}", row  # as a spreadsheet counts, with the header
    except pandas.errors.EmptyDataError:
        return
    except pandas.errors.ParserError as error:
        reason = str(error).rpartition("error: ")[2].strip()
        raise SystemExit(f"{path} is not a whole table ({reason}): mend the row or close its quotes.") from None


def read_sheet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of the first sheet of an .xlsx file."""
    try:
        sheet = openpyxl.load_workbook(path, read_only=True, data_only=True).worksheets[0]
        sheet.reset_dimensions()  # some programs write wrong ones
        rows = enumerate(sheet.iter_rows(values_only=True), start=1)
        header = [as_text(cell).strip() for cell in next(rows, (1, ()))[1]]
        header = [name or f"column {number}" for number, name in enumerate(header, start=1)]
    except OSError:
        raise
    except Exception as error:  # zipfile's and openpyxl's own, KeyError, IndexError
        raise SystemExit(f"{path} is no readable Excel file ({first_line(error)}): save it as .xlsx again.") from None
    refuse_twins(path, header)
    for number, cells in rows:
        texts = [as_text(cell) for cell in cells] + [""] * len(header)
        yield f"{path}, row {number}", dict(zip(header, texts, strict=False))


def refuse_twins(path: Path, header: list[str]) -> None:
    """Raises SystemExit where two columns have one name."""
    twins = [name for name in header if name and header.count(name) > 1]
    if twins:
        raise SystemExit(f"{path}: two columns are called {twins[0]!r}: rename one.")


def as_text(cell: object) -> str:
    """A cell as Excel shows it: nothing is an empty text, 1.0 is 1; a list in JSON stays JSON."""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    if isinstance(cell, list | dict):
        return json.dumps(cell, ensure_ascii=False)
    return "" if cell is None else str(cell)


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file of JSON lines, or of one JSON array."""
    with open(path, encoding=encoding_of(path)) as file:
        first = next((line for line in file if line.strip()), "")
        is_array = first.lstrip().startswith("[")
        file.seek(0)
        for number, part in enumerate([file.read()] if is_array else file, start=1):
            if not part.strip():
                continue
            try:
                value = json.loads(part)
            except (ValueError, RecursionError) as error:  # not JSON; a number of too many digits; nested too deep
                place = f"{path}, line {number + getattr(error, 'lineno', 1) - 1}"
                if part is first and part.lstrip()[0] not in "[{":
                    raise SystemExit(
                        f"{place}: not JSON but {part.strip()[:40]!r}: write one {{…}} a line, or name a table .csv."
                    ) from None
                raise SystemExit(f"{place}: not JSON ({getattr(error, 'msg', error)}): mend the line.") from None
            places = (f"{path}, item {item}" for item in count(1)) if is_array else [f"{path}, line {number}"]
            for place, row in zip(places, value if is_array else [value], strict=False):
                if not isinstance(row, dict):
                    raise SystemExit(f"{place}: not a JSON object: write {{…}} with a field for each column.")
                yield place, row


def read_text(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lines of a .txt file, whose first tells whether they are Toutiao's, THUCNews's or sentences alone."""
    with open(path, encoding=encoding_of(path)) as file:
        separator, names = None, ["sentence"]
        for number, line in enumerate(file, start=1):
            header = [name.strip().lower() for name in line.split("\t")] if number == 1 else []
            if len(header) > 1 and set(header) & set(SENTENCE_COLUMNS):
                refuse_twins(path, header)
                separator, names = "\t", header
                continue
            if number == 1 and TOUTIAO in line:
                separator, names = TOUTIAO, TOUTIAO_FIELDS
            elif number == 1 and "\t" in line.strip():
                separator, names = "\t", THUCNEWS_FIELDS
            if separator and not line.strip():
                continue
            cells = line.rstrip("\n").split(separator, len(names) - 1) if separator else [line]
            if len(cells) < len(names):
                raise SystemExit(
                    f"{path}, line {number}: {len(cells)} fields where the first line has {len(names)} "
                    f"({', '.join(names)}): mend the line."
                )
            yield f"{path}, line {number}", dict(zip(names, (cell.strip() for cell in cells), strict=True))


def count_rows(path: Path) -> int:
    """About how many rows a table has, for a progress bar: a cell may have line breaks in it."""
    if path.suffix == ".xlsx":
        return openpyxl.load_workbook(path, read_only=True).worksheets[0].max_row or 0
    with open(path, "rb") as file:
        return sum(1 for _ in file)


def columns_of(path: Path, named: str, usual: Sequence[str]) -> Sequence[str]:
    """The names that a column may have: the one that a constant names, or else, and in .txt, the usual ones."""
    return [named] if named and path.suffix != ".txt" else usual


def find_column(place: str, columns: Iterable[str], names: Sequence[str], constant: str = "") -> str:
    """The column that is called one of `names`, in large letters or small ones.

    Raises SystemExit where there is none, with the `constant` of the script, if any, that can name another.
    """
    known = {column.strip().lower(): column for column in columns}
    if found := [known[name.strip().lower()] for name in names if name.strip().lower() in known]:
        return found[0]
    remedy = f"name it so, or name it in {constant}" if constant else "add it"
    raise SystemExit(
        f"{place}: no {' or '.join(map(repr, names))} among {', '.join(map(repr, known.values()))[:80]}: {remedy}."
    )
