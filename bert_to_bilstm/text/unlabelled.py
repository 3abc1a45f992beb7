"""Sentences without labels, from a user's files: one a line, or a table with a column of sentences."""

import json
import re
import zlib
from collections.abc import Iterator
from itertools import chain, count, islice
from pathlib import Path

from bert_to_bilstm.files import expand, file_fingerprint, refuse_lfs_pointer
from bert_to_bilstm.text.tables import (
    SENTENCE_COLUMNS,
    SUFFIXES,
    as_text,
    find_column,
    open_text,
    read_records,
    suffix_of,
)

FORMS = tuple(suffix for suffix in SUFFIXES if suffix != ".txt")  # of a table, by its name
LONGEST_LINE = 1_000_000  # characters
LOOKED_AT = 100  # first lines that tell sentences from records
# The beginning of a JSON value or of fastText's label; what stands between the fields of Toutiao's and other records.
RECORD = re.compile(r"""\s*(\{\s*["']|\[\s*["'{\[]|__label__)|.*(_!_|\S\t+\S)""")


Line = tuple[int, str]  # its number, from 1, and its text


def read_unlabelled(path: str | Path) -> Iterator[str]:
    """The sentences of a file, stripped, none of them empty, read as they are asked for; a name in .gz is unpacked.

    Raises SystemExit, naming the file and where it can the line, where there are none to be read.
    """
    path = expand(path)
    if not path.exists():
        raise SystemExit(f"{path} in UNLABELLED is missing: in distill.py, name files that are there.")
    if path.is_dir():
        raise SystemExit(f"{path} in UNLABELLED is a directory: name the files in it.")
    refuse_lfs_pointer(path)
    is_empty = True
    for sentence in read_cells(path, suffix_of(path)) if suffix_of(path) in FORMS else read_lines(path):
        if sentence := sentence.strip():
            is_empty = False
            yield sentence
    if is_empty:
        raise SystemExit(f"{path} in UNLABELLED holds no sentence: write one a line, or name another file.")


def unlabelled_fingerprint(path: str | Path) -> str:
    """A digest of the bytes of a file. Raises SystemExit where its first sentences cannot be read."""
    next(read_unlabelled(path), None)
    return file_fingerprint(expand(path))


def read_cells(path: Path, form: str) -> Iterator[str]:
    """The cells of the column of sentences of a table in a form of text.tables.

    Raises SystemExit where there is none, or one is no text.
    """
    for place, row in read_records(path, form):
        cell = row[find_column(place, row, SENTENCE_COLUMNS, "name the column of the sentences so")]
        if not isinstance(cell, str):
            raise SystemExit(f"{place}: no text but {cell!r}: write the sentence in quotes.")
        yield as_text(cell)


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a file; what is JSON lines by any name is read as that.

    Raises SystemExit where the first lines look like other records.
    """
    later = ((number, line) for number, line in numbered_lines(path) if line.strip())
    first = list(islice(later, LOOKED_AT))
    if first and is_object(first[0][1]):
        yield from read_cells(path, ".jsonl")
        return
    refuse_records(path, first)
    yield from (line for _, line in chain(first, later))


def numbered_lines(path: Path) -> Iterator[Line]:
    """The lines of a file with their numbers. Raises SystemExit where it cannot be read, or a line has no end."""
    try:
        with open_text(path) as file:
            for number in count(1):
                if not (line := file.readline(LONGEST_LINE + 1)):
                    return
                if len(line) > LONGEST_LINE:
                    raise SystemExit(
                        f"{path}, line {number}: longer than {LONGEST_LINE:,} characters: cut it into lines."
                    )
                yield number, line
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
