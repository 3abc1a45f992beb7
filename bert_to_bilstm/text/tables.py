"""Tables of sentences as people have them: CSV, TSV, Excel, JSON lines, text; read in parts, every cell as text."""

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO, Any, cast

import openpyxl

from bert_to_bilstm.files import first_line, refuse_lfs_pointer
from bert_to_bilstm.stages import say

JSON = (".json", ".jsonl", ".ndjson")
SUFFIXES = (*JSON, ".csv", ".tsv", ".xlsx", ".txt")
SENTENCE_COLUMNS = ("sentence", "text")  # what the column of the sentences is called where no constant names it
# https://github.com/aceimnorstuvwxz/toutiao-text-classfication-dataset
TOUTIAO, TOUTIAO_FIELDS = "_!_", ["id", "label", "label_desc", "sentence", "keywords"]
THUCNEWS_FIELDS = ["sentence", "label"]  # http://thuctc.thunlp.org, with tabs, as it is mostly handed on


class WithoutQuoting(csv.excel):
    """A quote is a part of the cell, wherever it stands."""

    quoting = csv.QUOTE_NONE


def suffix_of(path: Path) -> str:
    """By which the form of a file is known, in small letters: of a name in .gz, of what is packed."""
    return Path(path.stem if path.suffix.lower() == ".gz" else path).suffix.lower()


def open_bytes(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked where its name ends in .gz."""
    packed = path.suffix.lower() == ".gz"
    return cast(IO[bytes], gzip.open(path)) if packed else open(path, "rb")


def open_text(path: Path, encoding: str = "", newline: str | None = None) -> io.TextIOWrapper:
    """The text of a file in its encoding, which is looked for if it is not given; `newline` as for `open`."""
    return io.TextIOWrapper(open_bytes(path), encoding or encoding_of(path), newline=newline)


def encoding_of(path: Path) -> str:
    """The encoding of a text file: UTF-8, with or without a BOM, or UTF-16 with one, or GB18030, which a line tells.

    Raises SystemExit, naming the line, where it is none of them, or UTF-8 with a damaged line.
    """
    with open_bytes(path) as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) and is_utf16(path):
            say(f"{path} is not UTF-8 but UTF-16: read as that.")
            return "utf-16"
    number, line = first_other_line(path, "utf-8")
    if not number:
        return "utf-8-sig"
    read = line.decode("utf-8", "replace")
    damaged = 2 * read.count("\ufffd") < sum(not character.isascii() for character in read)  # most of it is UTF-8
    later, line = first_other_line(path, "gb18030")
    if later > number and not damaged and "\ufffd" in line.decode("utf-8", "replace"):
        raise SystemExit(f"{path}, line {later}: neither UTF-8 nor GB18030: convert the file or mend the line.")
    if later or damaged:
        raise SystemExit(f"{path}, line {number}: not UTF-8: convert the file or mend the line.")
    say(f"{path} is not UTF-8 but GB18030: read as that.")
    return "gb18030"


def first_other_line(path: Path, encoding: str) -> tuple[int, bytes]:
    """The first line of a file that is not of that encoding, in which a line ends as in ASCII, and its number; 0 and
    nothing where all are.
    """
    with open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError:
                return number, line
    return 0, b""


def is_utf16(path: Path) -> bool:
    """Whether the whole file is."""
    try:
        with io.TextIOWrapper(open_bytes(path), "utf-16") as file:
            for _ in file:
                pass
    except UnicodeDecodeError:
        return False
    return True


def read_records(path: Path, form: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a table, column → cell, each with its place in words, for messages; memory stays flat.

    By the suffix, or by `form`, one of SUFFIXES: .csv, .tsv and .xlsx (the first sheet) have a header; .json, .jsonl
    and .ndjson hold an object a line, or one array of them; .txt a sentence a line, or the file is Toutiao's or
    THUCNews's. Cells are texts but in JSON; a row that is too short has empty ones. Raises SystemExit, naming file, row
    and remedy, where it cannot be read.
    """
    readers = {
        **dict.fromkeys(JSON, read_objects),
        **dict.fromkeys((".csv", ".tsv"), read_cells),
        ".xlsx": read_sheet,
        ".txt": read_text,
    }
    form = form or suffix_of(path)
    if form not in readers:
        raise SystemExit(f"{path} is not called {', '.join(SUFFIXES)}: save it as one of them.")
    refuse_lfs_pointer(path)
    is_empty, blank = True, []  # rows without anything are kept where another follows
    try:
        for place, row in readers[form](path):
            blank.append((place, row))
            if any(cell != "" for cell in row.values()):
                yield from blank
                is_empty, blank = False, []
    except FileNotFoundError:
        raise SystemExit(f"{path} is missing: put it there.") from None
    except (OSError, EOFError, zlib.error) as error:  # the latter two: of a packed file that was cut
        reason = getattr(error, "strerror", None) or error
        raise SystemExit(f"{path} cannot be read ({reason}): make it a readable file.") from None
    if is_empty:
        raise SystemExit(f"{path} has no rows: write one for each sentence, in an Excel file in its first sheet.")


def read_cells(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a .csv or .tsv file."""
    separator = "," if suffix_of(path) == ".csv" else "\t"
    encoding = encoding_of(path)
    dialect = csv.excel if separator == "," or is_quoted(path, encoding) else WithoutQuoting
    with open_text(path, encoding, newline="") as file:
        reader = csv.reader(file, dialect, delimiter=separator, strict=True)
        rows = enumerate(reader, start=1)
        try:
            header = next((names_of(cells) for _, cells in rows if cells), [])
            other = next((other for other in ";\t" if len(header) == 1 and other in header[0]), None)
            if other:
                raise SystemExit(
                    f"{path}: {other!r} stands between its cells: save it with commas, or as .tsv with tabs."
                )
            refuse_twins(path, header)
            for number, cells in rows:
                place = f"{path}, row {number}"
                yield place, by_column(place, header, cells, "name its column, or put quotes around the text")
        except csv.Error as error:
            raise SystemExit(
                f"{path}, line {reader.line_num}: not CSV ({error}): close its quotes, or cut it."
            ) from None


def is_quoted(path: Path, encoding: str) -> bool:
    """Whether the quotes in a .tsv file stand around its cells, as Excel writes it; a line says where they do not."""
    with open_text(path, encoding, newline="") as file, suppress(csv.Error):
        if not any(
            "\t" in cell and "\n" in cell for row in csv.reader(file, csv.excel_tab, strict=True) for cell in row
        ):
            return True
    say(f"{path}: its quotes do not stand around cells: read as a part of the texts.")
    return False


def names_of(header: list[str]) -> list[str]:
    """The names of the columns, of those without one their numbers."""
    return [name if name.strip() else f"column {number}" for number, name in enumerate(header, start=1)]


def by_column(place: str, header: list[str], cells: list[str], remedy: str) -> dict[str, str]:
    """Column → cell; cells that are missing are empty. Raises SystemExit, with the `remedy`, where there are more than
    columns.
    """
    if any(cells[len(header) :]):
        raise SystemExit(f"{place}: more cells than the header: {remedy}.")
    return dict(zip(header, [*cells, *[""] * len(header)], strict=False))


def read_sheet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of the first sheet of an .xlsx file."""
    try:
        sheet = openpyxl.load_workbook(open_bytes(path), read_only=True, data_only=True).worksheets[0]
        sheet.reset_dimensions()  # some programs write wrong ones
        rows = enumerate(sheet.iter_rows(values_only=True), start=1)
        header = names_of([as_text(cell).strip() for cell in next(rows, (1, ()))[1]])
        refuse_twins(path, header)
        remedy = "name its column in row 1, and let nothing stand above the names"
        for number, cells in rows:
            place = f"{path}, row {number}"
            yield place, by_column(place, header, list(map(as_text, cells)), remedy)
    except OSError:
        raise
    except Exception as error:  # zipfile's, openpyxl's and the XML parser's own, KeyError, IndexError
        raise SystemExit(f"{path} is no readable Excel file ({first_line(error)}): save it as .xlsx again.") from None


def refuse_twins(path: Path, header: list[str]) -> None:
    """Raises SystemExit where two columns have one name, in large letters or small ones."""
    names = [name.strip().lower() for name in header]
    twins = [name for name in names if name and names.count(name) > 1]
    if twins:
        raise SystemExit(f"{path}: two columns are called {twins[0]!r}: rename one.")


def as_text(cell: object) -> str:
    """A cell as Excel shows it: nothing is an empty text, 1.0 is 1; a list in JSON stays JSON, half a surrogate pair
    becomes `?`.
    """
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    if isinstance(cell, list | dict):
        cell = json.dumps(cell, ensure_ascii=False)
    return "" if cell is None else str(cell).encode("utf-8", "replace").decode()


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file of JSON lines, or of one JSON array."""
    with open_text(path) as file:
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
    with open_text(path) as file:
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
    if suffix_of(path) == ".xlsx":
        return openpyxl.load_workbook(open_bytes(path), read_only=True).worksheets[0].max_row or 0
    with open_bytes(path) as file:
        return sum(1 for _ in file)


def columns_of(path: Path, named: str, usual: Sequence[str]) -> Sequence[str]:
    """The names that a column may have: the one that a constant names, or else, and in .txt, the usual ones."""
    return [named] if named and suffix_of(path) != ".txt" else usual


def find_column(place: str, columns: Iterable[str], names: Sequence[str], remedy: str) -> str:
    """The column that is called one of `names`, else in large letters or small ones.

    Raises SystemExit, with the `remedy`, where there is none.
    """
    columns = list(columns)
    if found := [name for name in names if name in columns]:
        return found[0]
    known: dict[str, str] = {}
    for column in columns:
        known.setdefault(column.strip().lower(), column)
    if found := [known[name.strip().lower()] for name in names if name.strip().lower() in known]:
        return found[0]
    raise SystemExit(
        f"{place}: no {' or '.join(map(repr, names))} among {', '.join(map(repr, known.values()))[:80]}: {remedy}."
    )
