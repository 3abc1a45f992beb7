"""The sample with several seeds: the table of sample/README.md.

    python sample/seeds.py

Reads   sample/tnews/ and sample/tiny-bert-chinese/
Writes  nothing; it works in a temporary folder and prints the best dev accuracy of each model for each seed
"""

import os
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import run  # first, since it puts the repository on the path

from bert_to_bilstm.models.checkpoints import best_checkpoint
from report import MODELS

SEEDS = range(5)


def accuracies(seed: int) -> list[float]:
    """The best dev accuracies of teacher, student alone and distilled student, trained in the working directory."""
    run.set_constants(seed)
    with redirect_stdout(StringIO()):
        for stage in run.STAGES[:4]:
            stage.main()
    return [float(best_checkpoint(directory, name).name.split("-")[1]) for directory, name in MODELS.values()]


def main() -> None:
    rows = []
    print("seed", *MODELS, sep="\t")
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as scratch:
            for name in ("tnews", "tiny-bert-chinese"):
                Path(scratch, name).symlink_to(run.SAMPLE / name)
            os.chdir(scratch)
            rows.append(accuracies(seed))
            os.chdir(run.SAMPLE)
        print(seed, *(f"{accuracy:.4f}" for accuracy in rows[-1]), sep="\t", flush=True)
    print("mean", *(f"{sum(column) / len(column):.4f}" for column in zip(*rows, strict=True)), sep="\t")


if __name__ == "__main__":
    main()
