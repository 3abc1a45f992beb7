"""The package's rooms stand one above the other: no module imports one from a room above its own."""

import ast
import sys

import pytest
from conftest import ROOT

# From the ground up; rooms of one floor do not know each other.
FLOORS = [
    ["memory"],
    ["__init__", "files"],
    ["stages"],
    ["models"],
    ["text"],
    ["outputs"],
    ["training"],
    ["distillation", "evaluation"],
]
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}
MODULES = sorted((ROOT / "bert_to_bilstm").rglob("*.py"))
SCRIPTS = sorted(path.stem for path in ROOT.glob("*.py"))


def imported(source: str) -> list[str]:
    """The modules that a file imports, by their dotted names."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append("." * node.level + (node.module or ""))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    room = path.relative_to(ROOT / "bert_to_bilstm").parts[0].removesuffix(".py")
    for name in imported(path.read_text(encoding="utf-8")):
        assert name.split(".")[0] not in SCRIPTS and not name.startswith("."), f"{path} imports {name}"
        if name.startswith("bert_to_bilstm."):
            other = name.split(".")[1]
            below = FLOOR_OF[other] < FLOOR_OF[room]
            assert other == room or below, f"{path} imports {name}, which stands above or beside it"


@pytest.mark.parametrize("script", SCRIPTS)
def test_stages_do_not_import_each_other(script):
    assert not set(imported((ROOT / f"{script}.py").read_text(encoding="utf-8"))) & set(SCRIPTS)


def test_the_students_file_needs_torch_and_transformers_alone():
    names = {name.split(".")[0] for name in imported((ROOT / "bert_to_bilstm/models/bilstm.py").read_text())}
    assert names - sys.stdlib_module_names == {"torch", "transformers"}
