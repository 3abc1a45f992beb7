"""Tables for people, who open them in a spreadsheet."""

import re
from pathlib import Path

import pandas

from bert_to_bilstm.files import write_text

FORMULA = re.compile(r"[=+\-@\t\r]")  # what a cell begins with that a spreadsheet would compute


def write_table(path: Path, table: pandas.DataFrame) -> None:
    """Writes a CSV file that Excel opens as UTF-8, and none of whose texts runs as a formula: those get a `'` in front.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    safe = table.reset_index() if table.index.name else table.reset_index(names="")
    texts = safe.select_dtypes(exclude="number").columns
    safe[texts] = safe[texts].map(lambda cell: f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell)
    write_text(path, "\ufeff" + safe.to_csv(index=False, float_format="%.4f", lineterminator="\n"))
