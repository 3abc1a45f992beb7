"""HanLP, asked through pyhanlp in a process of its own: for its character table, and for words and parts of speech.

It needs a Java runtime and, at its first start, a download of some 600 MB. pyhanlp switches off TLS verification, opens
browsers and exits the interpreter; none of that may reach the process that asks.

Run as a script, `python hanlp.py QUESTION INPUT OUTPUT`, this module is the child process: both files are JSON.

HanLP: https://github.com/hankcs/HanLP (Apache-2.0).
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

TIMEOUT = 1800  # seconds; HanLP's first start downloads some 600 MB
# Every UTF-16 unit that is a character by itself; NUL ends a string in half of the libraries on the way.
CHARACTERS = [chr(code) for code in range(1, 0x10000) if not 0xD800 <= code <= 0xDFFF]


class HanLPUnavailable(Exception):
    """HanLP could not be asked; the message says why, in one line."""


def ask_char_table() -> dict[str, str]:
    """The characters that `CharTable.convert` changes, and what it makes of them.

    Raises HanLPUnavailable where there is no Java, no HanLP data and no way to get them, or TIMEOUT passes.
    """
    return ask("char_table", None)


def ask_words(sentences: list[str]) -> list[list[tuple[str, str]]]:
    """The words of each sentence with their parts of speech, by `HanLP.segment`. Raises HanLPUnavailable as above."""
    return [[tuple(word) for word in words] for words in ask("words", sentences)]


def ask(question: str, value: object) -> Any:
    """The child's answer to the `question` about `value`."""
    with tempfile.TemporaryDirectory() as directory:
        given, answer = Path(directory) / "given.json", Path(directory) / "answer.json"
        try:
            given.write_text(json.dumps(value), encoding="utf-8")
            child = subprocess.run(
                [sys.executable, str(Path(__file__).resolve()), question, str(given), str(answer)],
                timeout=TIMEOUT,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                cwd=directory,
                env=os.environ | {"PYTHONIOENCODING": "utf-8"},
            )
        except subprocess.TimeoutExpired:
            raise HanLPUnavailable(f"no answer within {TIMEOUT:.0f} s") from None
        except OSError as error:
            raise HanLPUnavailable(str(error)) from None
        if child.returncode != 0 or not answer.exists():
            last_words = child.stderr.decode("utf-8", "replace").strip().splitlines()
            raise HanLPUnavailable(last_words[-1].strip() if last_words else f"exit status {child.returncode}")
        return json.loads(answer.read_text(encoding="utf-8"))


def import_pyhanlp() -> ModuleType:
    """The module pyhanlp. Importing it starts a Java machine and may download HanLP first."""
    import socket
    import ssl
    import webbrowser

    socket.setdefaulttimeout(30)  # seconds; a silent server must not hold us for ever
    for name in ("open", "open_new", "open_new_tab"):
        setattr(webbrowser, name, lambda *_, **__: False)
    # pyhanlp switches verification off by this name
    ssl._create_unverified_context = ssl.create_default_context  # type: ignore[assignment]

    import pyhanlp

    return pyhanlp


def main(question: str, given: Path, answer: Path) -> None:
    pyhanlp = import_pyhanlp()
    if question == "char_table":
        convert = pyhanlp.JClass("com.hankcs.hanlp.dictionary.other.CharTable").convert
        table = {character: str(convert(character)) for character in CHARACTERS}
        result: object = {old: new for old, new in table.items() if old != new}
    else:
        sentences = json.loads(given.read_text(encoding="utf-8"))
        segment = pyhanlp.HanLP.segment
        result = [[(str(term.word), str(term.nature)) for term in segment(sentence)] for sentence in sentences]
    answer.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
