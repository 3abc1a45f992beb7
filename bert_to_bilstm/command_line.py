"""What a script does before its imports, which take seconds: it says what it is, and takes Ctrl-C in one line.

Uses Python's own modules alone.
"""

import os
import re
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import NoReturn

NEEDED = ("torch", "transformers", "datasets", "accelerate", "pandas")  # if these are there, the others are


def begin(title: str, takes_arguments: bool = False) -> None:
    """Prints `title`, but where the argument is `-`: who pipes text through wants nothing else.

    Raises SystemExit for arguments where there are none to give, where a package is missing, and for `-` where there is
    nothing to read or write.
    """
    signal.signal(signal.SIGINT, leave)
    script = Path(sys.argv[0])
    if sys.argv[1:] and not takes_arguments:
        raise SystemExit(f"{script.name} takes no arguments: {remedy(script, sys.argv[1])}.")
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise SystemExit(
            f"the package {missing[0]} is not installed for {sys.executable}: run .venv/bin/python {script.name}, or "
            f"{sys.executable} -m pip install -r requirements.txt."
        )
    if sys.argv[1:] == ["-"] and None in (sys.stdin, sys.stdout):  # closed by whoever started this
        raise SystemExit(f"standard input or output is closed: python {script.name} - < headlines.txt gives lines.")
    if sys.argv[1:] != ["-"] and os.environ.get("RANK", "0") == "0":
        print(f"{title}; loading the libraries ...", file=sys.stderr, flush=True)


def remedy(script: Path, argument: str) -> str:
    """What to do in place of giving an argument such as `--epochs=99`."""
    constant = argument.lstrip("-").split("=")[0].replace("-", "_").upper()
    if constant and re.search(rf"^{re.escape(constant)}\b.* = ", script.read_text(encoding="utf-8"), re.MULTILINE):
        return f"set {constant} at the top of it"
    return "its settings are the constants at the top of it"


def leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """Ends the process at once. During imports an exception could be lost in a library, and nothing is written yet."""
    os.write(2, b"stopped.\n")
    os._exit(1)
