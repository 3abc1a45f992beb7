"""The report as a page: one HTML file with its data in it, which a browser opens without a network.

`page.html` is the template and draws everything; here the tables become the JSON that it reads.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
from pandas.api.types import is_numeric_dtype

from bert_to_bilstm.files import write_text

TEMPLATE = Path(__file__).with_name("page.html")
PLACE = '<script type="application/json" id="data">the data</script>'
# As JSON writes them, too, so that no text of the data ends the script element that holds them.
ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
DIGITS = 4  # of shares
SUSPICIOUS = 1000


@dataclass
class Page:
    """What the page shows: the tables of evaluation/.

    `confusion` counts sentences by true class (row) and predicted class (column). In `errors` and `suspicious` a column
    `X` of labels is known by its neighbour `X label_desc`, and one of shares by a name that ends in "confidence".
    """

    shown: str  # the model that confusion, reliability, coverage and errors are of
    checkpoint: str
    descriptions: dict[str, str]  # label → description, in the order of the classes
    new: int  # sentences of dev that are not in train
    models: pandas.DataFrame
    by_epoch: pandas.DataFrame
    constant: Collection[str]  # columns of by_epoch that are of models without epochs
    per_class: pandas.DataFrame
    confusion: pandas.DataFrame
    reliability: pandas.DataFrame
    coverage: pandas.DataFrame
    calibration: pandas.DataFrame
    errors: pandas.DataFrame
    suspicious: pandas.DataFrame  # of each reason the first SUSPICIOUS are shown
    cost: pandas.DataFrame | None = None


def write_page(path: Path, page: Page) -> None:
    """Writes the page to `path`; the same tables give the same bytes."""
    data = json.dumps(page_data(page), ensure_ascii=False, separators=(",", ":")).translate(ESCAPES)
    before, after = TEMPLATE.read_text(encoding="utf-8").split(PLACE)
    write_text(path, before + PLACE.replace("the data", data) + after)


def page_data(page: Page) -> dict[str, Any]:
    """What page.html reads."""
    labels = list(page.descriptions)
    errors = page.errors.rename(columns={"label": "true class", "label_desc": "true class label_desc"})
    costs = None if page.cost is None else {"columns": list(page.cost), "rows": plain(page.cost.reset_index())}
    return {
        "shown": page.shown,
        "checkpoint": page.checkpoint,
        "labels": labels,
        "classes": class_names(page.descriptions),
        "dev": int(page.confusion.to_numpy().sum()),
        "new": page.new,
        "models": plain(page.models.reset_index()),
        "by_epoch": {
            "epochs": page.by_epoch.index.tolist(),
            "models": dict(zip(page.by_epoch, plain(page.by_epoch.T), strict=True)),
            "constant": list(page.constant),
        },
        "f1": {model: plain(rows[["f1"]].T)[0] for model, rows in page.per_class.groupby(level=0, sort=False)},
        "support": page.confusion.sum(axis=1).tolist(),
        "confusion": plain(page.confusion),
        "reliability": plain(page.reliability),
        "coverage": plain(page.coverage),
        "errors": long_table(errors, labels),
        "cost": costs,
        "calibration": plain(page.calibration.reset_index()),
        "suspicious": long_table(page.suspicious.groupby("reason", sort=False).head(SUSPICIOUS), labels),
    }


def plain(table: pandas.DataFrame) -> list[list[Any]]:
    """The rows as JSON holds them: None for what is missing, shares to DIGITS places."""
    return json.loads(table.to_json(orient="values", double_precision=DIGITS))


def class_names(descriptions: dict[str, str]) -> list[str]:
    """What each class is called: its description, with the label where another has the same, or the label alone."""
    texts = list(descriptions.values())
    return [
        label if not text else f"{text} ({label})" if texts.count(text) > 1 else text
        for label, text in descriptions.items()
    ]


def long_table(table: pandas.DataFrame, labels: list[str]) -> dict[str, Any]:
    """A table with its index; each column with its kind: of what is of a class only the number of the class is kept."""
    numbers = {label: number for number, label in enumerate(labels)}
    table = table.reset_index()
    columns = []
    for name in [name for name in table if not name.endswith("label_desc")]:
        if f"{name} label_desc" in table or (name == "label" and "label_desc" in table):
            table[name] = table[name].map(numbers)
            columns.append((name, "class"))
        elif name.endswith("confidence"):
            columns.append((name, "share"))
        else:
            columns.append((name, "number" if is_numeric_dtype(table[name]) else "text"))
    return {"columns": columns, "rows": plain(table[[name for name, _ in columns]])}
