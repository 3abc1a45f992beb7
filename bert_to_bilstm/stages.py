"""How a stage runs: alone in what it writes, and with one sentence where it is stopped."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import datasets
import torch
import transformers
from accelerate import PartialState
from filelock import FileLock, Timeout
from tqdm import tqdm

from bert_to_bilstm.files import GOES_ON, writing


class Stopped(SystemExit):
    """SIGINT (ctrl-C) or SIGTERM came; its code is the exit status."""


def stop(process: int, number: int, _frame: FrameType | None) -> NoReturn:
    """Ends the block of `stage` in the process that it is in."""
    if os.getpid() != process:  # forked a moment ago, and has not come to leave signals to its parent
        os._exit(128 + number)
    raise Stopped(1 if number == signal.SIGINT else 128 + number)


def quiet_libraries() -> None:
    """Silences the libraries' own progress bars and notes: what the user sees is what the scripts print."""
    datasets.disable_progress_bars()
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()


def print_utf8() -> None:
    """Prints UTF-8 whatever the locale: a label may be in any script. What cannot be written is escaped; where a stream
    was closed by whoever started this, nothing is.
    """
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def output_lost(more: str = "") -> str:
    """Why standard output does not take what is still to be printed, and `more`, such as "Broken pipe" where who read
    it has ended, as head does; empty where it does. Then all that goes nowhere, or the last flush, at exit, would fail.
    """
    try:
        sys.stdout.write(more)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error.strerror or str(error)
    return ""


def wait_until(done: Callable[[], bool]) -> None:
    """Waits for what the first process does, however long: a barrier of the processes fails after some minutes."""
    while not done():
        time.sleep(0.5)
    PartialState(cpu=on_cpu()).wait_for_everyone()


def on_cpu() -> bool:
    """Whether there is neither an NVIDIA GPU nor Apple's; the latter is for one process alone."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return not (torch.cuda.is_available() or (torch.backends.mps.is_available() and not several))


def is_first_process() -> bool:
    """Whether this is the process that writes and prints, of those of `accelerate launch`; a single one is."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def stage(*outputs: Path, then: str = "") -> Iterator[None]:
    """What main() of every stage does its work in.

    Raises SystemExit where another run is writing one of the `outputs`, or standard output cannot be written. SIGINT
    and SIGTERM end the block as an exception does, so that nothing stays half written; exit status 1 and 143. `then`:
    the script to run next.
    """
    print_utf8()
    if "ACCELERATE_MIXED_PRECISION" in os.environ and "RANK" not in os.environ:
        print("accelerate launch started one process; for several give it --multi_gpu, without GPUs too.")
    quiet_libraries()
    state = f"stopped; {GOES_ON}"
    handlers = {number: signal.signal(number, partial(stop, os.getpid())) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with ExitStack() as claims:
            for path in outputs:
                claims.enter_context(claim(path))
            yield
        state = "all else is done"
        if then:
            say(f"next: python {then}")
        sys.stdout.flush()
    except OSError:
        if reason := output_lost("\n"):  # of a stream without a buffer nothing is left that would tell
            raise SystemExit(f"standard output cannot be written ({reason}): {state}.") from None
        raise
    except Stopped:
        note(f"{state}.")
        raise
    finally:
        output_lost()
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """Keeps other runs from writing `path` meanwhile, by a lock on a file beside it: a killed run's is gone with it.

    Raises SystemExit where another run has it. Of several processes the first holds it for all.
    """
    if not is_first_process():
        yield
        return
    lock = FileLock(path.with_name(f".{path.name}.lock"), blocking=False)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
    except Timeout:
        raise SystemExit(f"another run is writing {path}: wait until it has ended, or stop it.") from None
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(lock.lock_file)  # as long as it is ours
        lock.release()


def say(text: str) -> None:
    """Prints `text` once, however many processes there are."""
    if is_first_process():
        tqdm.write(text)  # above a bar, if there is one
        sys.stdout.flush()  # whoever looks into a log file sees it


def note(text: str) -> None:
    """Prints `text` once to standard error, if that can be written: not among what standard output is for."""
    if is_first_process():
        with suppress(OSError):
            print(text, file=sys.stderr, flush=True)


def counted(number: int, noun: str) -> str:
    """Such as "1 row" and "2,000 rows"."""
    return f"{number:,} {noun}" + "s" * (number != 1)


def progress(total: int, what: str, unit: str, **options: Any) -> tqdm:
    """A bar that tells the time left, on a terminal alone: into files go lines, by `say`. `options`: tqdm's."""
    quiet = not is_first_process() or not sys.stderr.isatty()
    return tqdm(total=total, desc=what, unit=f" {unit}", smoothing=0.05, disable=quiet, **options)


def time_left(started: float, done: float) -> str:
    """How long the rest takes, where the share `done` of all took the time since `started` (time.perf_counter's)."""
    seconds = (time.perf_counter() - started) * (1 - done) / done
    return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"
