"""Tables for people, who open them in a spreadsheet."""

import re
from pathlib import Path

import pandas

from bert_to_bilstm.files import write_text

BOM = "\ufeff"  # by which Excel knows UTF-8
# What begins as something that a spreadsheet would compute, in some places in full width, too; a number is none.
FORMULA = re.compile(r"(?![+-]?[\d.]+$)[=+\-@＝＋－＠\t\r\n]")


def as_csv(table: pandas.DataFrame, header: bool = True) -> str:
    """The table without its index. No text of it, nor a header, runs as a formula: those get a `'` in front.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    safe = table.copy()
    for name in table.select_dtypes(exclude="number"):
        safe[name] = table[name].map(as_data)
    safe = safe.rename(columns=as_data)
    return safe.to_csv(index=False, header=header, float_format="%.4f", lineterminator="\n")


def as_data(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def write_table(path: Path, table: pandas.DataFrame) -> None:
    """Writes a CSV file that Excel opens as UTF-8, the index its first column."""
    named = table.reset_index() if table.index.name else table.reset_index(names="")
    write_text(path, BOM + as_csv(named))
