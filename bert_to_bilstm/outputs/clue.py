"""What CLUE's server wants of a submission: a check of every prediction file, and the zip that is uploaded.

CLUE: https://www.cluebenchmarks.com, Xu et al. 2020, arXiv 2004.05986.
"""

import io
import json
import zipfile
from collections.abc import Collection
from pathlib import Path

from bert_to_bilstm.files import write_bytes


def check_predictions(name: str, text: str, ids: list[int] | list[str], labels: Collection[str]) -> None:
    """Raises SystemExit, naming file and line, unless `text` has one `{"id": …, "label": …}` a line, whose ids are
    those of the test set, `ids`, in that order, and whose labels are original labels, out of `labels`.
    """
    expected = {json.dumps(number): line for line, number in enumerate(ids, start=1)}
    found: dict[str, int] = {}
    for line, part in enumerate(text.removesuffix("\n").split("\n") if text else [], start=1):
        place = f"{name}, line {line}"
        try:
            row = json.loads(part)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise SystemExit(f'{place}: not one JSON object: write {{"id": 0, "label": "108"}}, an object a line.')
        if missing := {"id", "label"} - set(row):
            raise SystemExit(f"{place}: no field {min(missing)!r}: every line needs id and label.")
        number = json.dumps(row["id"])
        if number in found:
            raise SystemExit(f"{place}: id {number} stands in line {found[number]} already: give each id once.")
        if number not in expected:
            raise SystemExit(f"{place}: id {number} is not in the test set: give the ids of the test set, of its kind.")
        if row["label"] not in labels:
            raise SystemExit(f"{place}: label {row['label']!r} is not one of labels.json, as text: write one of those.")
        found[number] = line
    if absent := [number for number in expected if number not in found]:
        raise SystemExit(
            f"{name}: {len(found):,} predictions for {len(ids):,} rows, id {absent[0]} is missing: predict every row."
        )
    if len(expected) != len(ids):
        raise SystemExit(f"{name}: the test set gives one id to several rows: mend its ids and run prepare_data.py.")
    if wrong := [number for number, line in found.items() if line != expected[number]]:
        raise SystemExit(f"{name}, line {found[wrong[0]]}: id {wrong[0]} is out of order: keep the test set's order.")


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
