"""What CLUE's server wants of a submission: a check of every prediction file, and the zip that is uploaded.

CLUE: https://www.cluebenchmarks.com, Xu et al. 2020, arXiv 2004.05986.
"""

import io
import zipfile
from collections.abc import Collection
from pathlib import Path

from bert_to_bilstm.files import write_bytes


def check_predictions(name: str, rows: list[dict], ids: list[int] | list[str], labels: Collection[str]) -> None:
    """Raises SystemExit, naming file and line, unless the rows of `id` and `label` are what CLUE's server scores.

    That is: the ids of the test set, `ids`, each once, in that order, and labels out of `labels`.
    """
    first: dict[int | str, int] = {}
    for line, (row, expected) in enumerate(zip(rows, ids, strict=True), start=1):
        place = f"{name}, line {line}"
        if row["id"] in first:
            raise SystemExit(
                f"{place}: id {row['id']!r} stands in line {first[row['id']]} already: give each row of the test set "
                "an id of its own and run python prepare_data.py."
            )
        if row["id"] != expected:
            raise SystemExit(f"{place}: id {row['id']!r} is out of order: keep the test set's order.")
        if row["label"] not in labels:
            raise SystemExit(f"{place}: label {row['label']!r} is not one of the labels: run python distill.py again.")
        first[row["id"]] = line


def write_submission(path: Path, files: dict[str, str]) -> None:
    """Writes a zip of `files` (name → text) to `path`; the same texts give the same bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            member = zipfile.ZipInfo(name)  # without the time: 1980
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            member.create_system = 3  # Unix, on Windows too
            archive.writestr(member, text)
    write_bytes(path, content.getvalue())
