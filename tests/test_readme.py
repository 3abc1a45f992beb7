"""README.md and README.zh.md: what they name exists, and both tell the same."""

import re
from pathlib import Path

import pytest
from conftest import ROOT

LANGUAGES = ["README.md", "README.zh.md"]
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in LANGUAGES}


def commands(text: str) -> list[str]:
    """The lines of the shell blocks, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def figures(text: str) -> list[str]:
    """Every number of two digits or more outside of code blocks and addresses, in order."""
    prose = re.sub(r"^```.*?^```|https?://\S+|`[^`]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\d[\d,.]*\d", prose)


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_target_and_script_in_a_command_exists(name):
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    found = commands(TEXTS[name])
    assert {"make sample", "make test"} <= set(found)
    for command in found:
        assert all(target in targets for target in re.findall(r"\bmake (\w+)", command)), command
        assert all((ROOT / script).exists() for script in re.findall(r"[\w/]+\.py\b", command)), command


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_linked_file_exists(name):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", TEXTS[name])
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_link_inside_the_page_has_its_heading(name):
    headings = re.findall(r"^#+ (.*)$", TEXTS[name], re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXTS[name])) <= anchors


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_constant_that_it_names_stands_in_a_script(name):
    scripts = [*ROOT.glob("*.py"), *ROOT.glob("sample/*.py"), *ROOT.glob("benchmarks/*.py")]
    defined = set(re.findall(r"^([A-Z][A-Z_]+)\b.* = ", "\n".join(map(Path.read_text, scripts)), re.MULTILINE))
    named = set(re.findall(r"`([A-Z][A-Z_]{3,})\b", TEXTS[name])) - {"[UNK]", "[MASK]"}
    assert named and named <= defined


def test_both_languages_have_the_same_commands_and_figures():
    english, chinese = TEXTS.values()
    assert commands(english) == commands(chinese)
    assert figures(english) == figures(chinese)
