"""The sample with several seeds: the table of sample/README.md.

    python sample/seeds.py

Reads   sample/tnews/ and sample/tiny-bert-chinese/
Writes  nothing; it works in a temporary folder and prints the best dev accuracy of each model for each seed
"""

import os
import shutil
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import run  # first, since it puts the repository on the path
import torch

from bert_to_bilstm.models.checkpoints import best_checkpoint
from bert_to_bilstm.text.dataset import load_data
from report import MODELS, find_ngrams

SEEDS = range(5)


def accuracies(seed: int) -> list[float]:
    """The dev accuracy of the n-gram model, and the best of teacher, student alone and distilled student."""
    run.set_constants(seed)
    with redirect_stdout(StringIO()):
        for stage in run.STAGES[:4]:
            stage.main()
    data = load_data()
    ngrams, _ = find_ngrams(data)  # stage 4 has trained it
    right = ngrams.predict_logits(data["valid"]["sentence"][:]).argmax(1) == torch.tensor(data["valid"]["label"][:])
    best = [float(best_checkpoint(directory, name).name.split("-")[1]) for directory, name in MODELS.values()]
    return [right.float().mean().item(), *best]


def main() -> None:
    rows = []
    print("seed", "n-gram model", *MODELS, sep="\t")
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as scratch:
            for name in ("tnews", "tiny-bert-chinese"):
                shutil.copytree(run.SAMPLE / name, Path(scratch, name))
            os.chdir(scratch)
            rows.append(accuracies(seed))
            os.chdir(run.SAMPLE)
        print(seed, *(f"{accuracy:.4f}" for accuracy in rows[-1]), sep="\t", flush=True)
    print("mean", *(f"{sum(column) / len(column):.4f}" for column in zip(*rows, strict=True)), sep="\t")


if __name__ == "__main__":
    main()
