"""Kills every stage at random moments, really, by SIGKILL, and looks whether it ends as if it had not been.

Reads   sample/tnews/ and sample/tiny-bert-chinese/
Writes  nothing that stays: it works in a temporary folder and prints a line a stage: how many of the kills it survived

    python -m benchmarks.torture        or: make torture

A stage is started again and again, each time killed at a moment drawn from twice as long as it takes undisturbed, so
that about every second start ends by itself, often one that goes on where another was killed. Then every file that it
has left must be that of the undisturbed run, byte for byte, but for the seconds in history.csv; and the next folder.
"""

import csv
import hashlib
import importlib
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

KILLS = 20  # a stage
SEED = 0
SAMPLE = Path(__file__).resolve().parent.parent / "sample"
ROWS = 100  # of each file in sample/tnews/: so few that a stage takes seconds
STAGES = ("prepare_data", "finetune_bert", "train_bilstm", "distill", "predict_test", "report")
CONSTANTS: dict[str, dict[str, object]] = {
    "finetune_bert": {"MODEL_NAME": "tiny-bert-chinese", "EPOCHS": 3, "BATCH_SIZE": 32},
    "train_bilstm": {"EPOCHS": 3, "BATCH_SIZE": 32},
    "distill": {"EPOCHS": 3, "BATCH_SIZE": 32, "AUGMENTATIONS": 1, "EPOCH_SENTENCES": ROWS},
    "bert_to_bilstm.distillation.labelling": {"SHARD": 60},
}
FORK = multiprocessing.get_context("fork")  # with everything imported: the seconds of a start are the stage's own
KILLED = -signal.SIGKILL  # an exit status
UNTOLD = ("seconds", "samples_per_second")  # columns of history.csv


def few_rows(work: Path) -> Path:
    """A folder with the first rows of each file of the sample's corpus."""
    folder = work / "tnews"
    folder.mkdir()
    for path in (SAMPLE / "tnews").glob("*.json"):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / path.name).write_text("".join(lines[:ROWS]), encoding="utf-8")
    return folder


def log_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log")


def run_stage(stage: str, folder: Path) -> None:
    """What a child process does: the stage in the folder, what it prints in a log beside it."""
    os.chdir(folder)
    tempfile.tempdir = str(folder.parent)  # what a killed run leaves there goes with the rest
    sys.stdout = sys.stderr = log = open(log_of(folder), "w", encoding="utf-8")
    for stream in (1, 2):  # what libraries print
        os.dup2(log.fileno(), stream)
    for name, constants in CONSTANTS.items():
        vars(importlib.import_module(name)).update(constants)
    importlib.import_module(stage).main()


def run(stage: str, folder: Path, moment: float | None = None) -> int | None:
    """The exit status of a run of the stage that is killed after `moment` seconds if it has not ended by then."""
    child = FORK.Process(target=run_stage, args=(stage, folder))
    child.start()
    child.join(moment)
    if child.is_alive():
        child.kill()
        child.join()
    return child.exitcode


def new_folder(place: Path, made: dict[str, Path]) -> Path:
    """An empty folder with links to what the earlier stages have made."""
    place.mkdir(parents=True)
    for name, path in made.items():
        (place / name).symlink_to(path)
    return place


def artifacts(folder: Path) -> dict[str, str]:
    """Every file and link under the folder, hidden ones too: a digest of its bytes, or where it leads."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            content = os.readlink(path).encode()
        elif path.name == "history.csv":
            rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
            content = repr([[value for name, value in row.items() if name not in UNTOLD] for row in rows]).encode()
        elif path.is_file():
            content = path.read_bytes()
        else:
            continue
        found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def torture(stage: str, work: Path, made: dict[str, Path], generator: random.Random) -> tuple[int, set[str]]:
    """Kills the stage KILLS times; returns how many of them it survived, and which files were others where it did not.

    Adds what the stage makes to `made`. Raises SystemExit where a run that is not killed fails.
    """
    whole, started = new_folder(work / "undisturbed", made), time.perf_counter()
    finish(run(stage, whole), stage, whole)
    seconds = time.perf_counter() - started
    kills, survived, different = 0, 0, set[str]()
    while kills < KILLS:
        folder, killed = new_folder(work / "killed", made), 0
        while (status := run(stage, folder, generator.uniform(0, 2 * seconds) if kills < KILLS else None)) == KILLED:
            killed, kills = killed + 1, kills + 1
        finish(status, stage, folder)
        others = {name for name, _ in artifacts(folder).items() ^ artifacts(whole).items()}
        survived, different = survived + (0 if others else killed), different | others
        shutil.rmtree(folder)
    made |= {path.name: path for path in whole.iterdir() if not path.is_symlink()}
    return survived, different


def finish(status: int | None, stage: str, folder: Path) -> None:
    """Raises SystemExit, with what the run printed, where it has failed."""
    if status != 0:
        raise SystemExit(f"{stage} failed ({status}):\n{log_of(folder).read_text(encoding='utf-8')}")


def main() -> None:
    for stage in STAGES:
        importlib.import_module(stage)
    generator, whole = random.Random(SEED), True
    with tempfile.TemporaryDirectory() as work:
        made = {"tnews": few_rows(Path(work)), "tiny-bert-chinese": SAMPLE / "tiny-bert-chinese"}
        for stage in STAGES:
            survived, different = torture(stage, Path(work, stage), made, generator)
            whole &= survived == KILLS
            told = f"; other files than undisturbed: {', '.join(sorted(different))}" if different else ""
            print(f"{stage} {survived} of {KILLS}{told}", flush=True)
    if not whole:
        raise SystemExit("a stage that was killed has not ended as if it had not been.")


if __name__ == "__main__":
    main()
