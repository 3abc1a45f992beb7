"""The pages: what they name exists, README.md is short, and both languages tell the same."""

import re
from pathlib import Path

import pytest
from conftest import ROOT

LANGUAGES = [ROOT / "README.md", ROOT / "docs/README.zh.md"]
PAGES = [*LANGUAGES, ROOT / "CONTRIBUTING.md", ROOT / "sample/README.md", ROOT / "benchmarks/README.md"]
BLOCK = re.MULTILINE | re.DOTALL
PAGES += sorted(path for path in (ROOT / "docs").glob("*.md") if path not in PAGES)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def commands(text: str) -> list[str]:
    """The lines of the shell blocks, without comments, and the commands within the text."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, BLOCK)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`((?:make |[./\w]*python |cd )[^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=BLOCK))
    return [line for line in [*lines, *inline] if line and not line.startswith("#")]


def figures(text: str) -> list[str]:
    """Every number of two digits or more outside of code blocks and addresses, in order."""
    prose = re.sub(r"^```.*?^```|https?://\S+|`[^`]*`", "", text, flags=BLOCK)
    return re.findall(r"\d[\d,.]*\d", prose)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_target_and_script_in_a_command_exists(path):
    targets = set(re.findall(r"^(\w+):", read(ROOT / "Makefile"), re.MULTILINE))
    for command in commands(read(path)):
        assert all(target in targets for target in re.findall(r"\bmake (\w+)", command)), command
        for script in re.findall(r"(?<![\w./])[\w/]+\.py\b", command):
            there = script.replace("model3/best/", "bert_to_bilstm/outputs/")  # whence it is copied
            assert (ROOT / there).exists(), command


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_linked_file_exists(path):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", read(path))
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", LANGUAGES, ids=name_of)
def test_every_constant_that_it_names_stands_in_a_script(path):
    scripts = [*ROOT.glob("*.py"), *ROOT.glob("sample/*.py"), *ROOT.glob("benchmarks/*.py")]
    defined = set(re.findall(r"^([A-Z][A-Z_]+)\b.* = ", "\n".join(map(read, scripts)), re.MULTILINE))
    named = set(re.findall(r"`([A-Z][A-Z_]{3,})\b", read(path)))
    assert named and named <= defined


@pytest.mark.parametrize("path", LANGUAGES, ids=name_of)
def test_it_can_be_read_in_one_sitting(path):
    assert len(read(path).splitlines()) <= 150


def test_both_languages_have_the_same_commands_and_figures():
    english, chinese = map(read, LANGUAGES)
    assert {"make sample", "make tnews"} <= set(commands(english))
    assert commands(english) == commands(chinese)
    assert figures(english) == figures(chinese)
