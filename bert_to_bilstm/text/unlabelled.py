"""Sentences without labels, from a user's files: one a line, or JSON lines, CSV, TSV with a column of sentences."""

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from bert_to_bilstm.files import expand, file_fingerprint, refuse_lfs_pointer
from bert_to_bilstm.text.tables import JSON, SENTENCE_COLUMNS

JSON_LINES = (*JSON, ".ndjson")
TABLES = {".csv": ",", ".tsv": "\t"}  # suffix → what stands between the cells
LONGEST_LINE = 1_000_000  # bytes
LOOKED_AT = 100  # first lines that tell sentences from records
# The beginning of a JSON value or of fastText's label; what stands between the fields of Toutiao's and other records.
RECORD = re.compile(r"""\s*(\{\s*["']|\[\s*["'{\[]|__label__)|.*(_!_|\S\t+\S)""")


class TabSeparated(csv.excel_tab):
    """Without quoting: a quote is a part of the sentence, wherever it stands."""

    quoting = csv.QUOTE_NONE


Line = tuple[int, str]  # its number, from 1, and its text


def read_unlabelled(path: str | Path) -> Iterator[str]:
    """The sentences of a file, stripped, none of them empty, read as they are asked for; a name in .gz is unpacked.

    Raises SystemExit, naming the file and where it can the line, where there are none to be read.
    """
    path = expand(path)
    refuse_lfs_pointer(path)
    later = ((number, line) for number, line in read_lines(path) if line.strip())
    first = list(islice(later, LOOKED_AT))
    lines = chain(first, later)
    suffix = Path(path.stem if path.suffix == ".gz" else path).suffix.lower()
    if suffix in TABLES:
        sentences = read_table(path, lines, TABLES[suffix])
    elif suffix in JSON_LINES or (first and is_object(first[0][1])):
        sentences = read_json_lines(path, lines)
    else:
        refuse_records(path, first)
        sentences = (line for _, line in lines)
    is_empty = True
    for sentence in sentences:
        if sentence := sentence.strip():
            is_empty = False
            yield sentence
    if is_empty:
        raise SystemExit(f"{path} in UNLABELLED holds no sentence: write one a line, or name another file.")


def unlabelled_fingerprint(path: str | Path) -> str:
    """A digest of the bytes of a file. Raises SystemExit where its first sentences cannot be read."""
    next(read_unlabelled(path), None)
    return file_fingerprint(expand(path))


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a file with their numbers. Raises SystemExit where it cannot be read, or a line is not UTF-8."""
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise SystemExit(f"{path}, line {number}: longer than {LONGEST_LINE:,} bytes: cut it into lines.")
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise SystemExit(f"{path}, line {number}: not UTF-8: convert the file or mend the line.") from None
    except FileNotFoundError:
        raise SystemExit(f"{path} in UNLABELLED is missing: name text files of one sentence a line.") from None
    except IsADirectoryError:
        raise SystemExit(f"{path} in UNLABELLED is a directory: name the files in it.") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise SystemExit(f"{path} in UNLABELLED cannot be read ({reason}): copy it again.") from None


def is_object(line: str) -> bool:
    """Whether a line is a JSON object."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def refuse_records(path: Path, lines: list[Line]) -> None:
    """Raises SystemExit where most of the `lines` look like records, or the first like the header of a table."""
    records = [number for number, line in lines if RECORD.match(line)]
    header = {cell.strip(' "\r\n').lower() for _, line in lines[:1] for cell in re.split(r"[,;\t]", line)}
    if len(header) > 1 and header & {*SENTENCE_COLUMNS, "label"}:
        records = [number for number, _ in lines]
    if 2 * len(records) > len(lines):
        shown = next(line for number, line in lines if number == records[0]).strip()
        raise SystemExit(
            f"{path}, line {records[0]}: looks like a record, not like a sentence ({shown[:40]!r}): write one sentence "
            f"a line, or name the column {' or '.join(SENTENCE_COLUMNS)} and the file .jsonl, .csv or .tsv."
        )


def read_json_lines(path: Path, lines: Iterator[Line]) -> Iterator[str]:
    """The sentence of each JSON object. Raises SystemExit where a line is none, or has no such text."""
    for number, line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SystemExit(
                f"{path}, line {number}: not JSON ({getattr(error, 'msg', error)}): write one JSON object a line."
            ) from None
        fields = [row[name] for name in SENTENCE_COLUMNS if name in row] if isinstance(row, dict) else []
        if not fields or not isinstance(fields[0], str):
            names = " or ".join(map(repr, SENTENCE_COLUMNS))
            raise SystemExit(f"{path}, line {number}: no text as {names}: write {{…}} with one of the two.")
        yield fields[0].encode("utf-8", "replace").decode()  # half a surrogate pair becomes `?`


def read_table(path: Path, lines: Iterator[Line], delimiter: str) -> Iterator[str]:
    """The cells of the column of sentences. Raises SystemExit where there is none, or a row is shorter or longer.

    Commas and line breaks may stand between quotes; of tabs there are none in a cell, and quotes are part of it.
    """
    number = 0

    def texts() -> Iterator[str]:
        nonlocal number
        for number, line in lines:  # noqa: B007  where a row ends, for the messages
            yield line

    rows = csv.reader(texts(), csv.excel if delimiter == "," else TabSeparated, strict=True)
    try:
        header = next(rows, [])
        names = [name.strip().lower() for name in header]
        column = next((names.index(name) for name in SENTENCE_COLUMNS if name in names), None)
        if column is None:
            raise SystemExit(
                f"{path} in UNLABELLED: no column {' or '.join(SENTENCE_COLUMNS)} in its first line "
                f"({delimiter.join(header)[:60]!r}): name the column of the sentences so."
            )
        for row in rows:
            if len(row) != len(header):
                raise SystemExit(
                    f"{path}, line {number}: {len(row)} cells where the first line has {len(header)}: mend the row."
                )
            yield row[column]
    except csv.Error as error:
        raise SystemExit(f"{path}, line {number}: not CSV ({error}): close its quotes or mend the row.") from None
