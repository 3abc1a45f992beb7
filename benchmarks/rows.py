"""The rows of `make ablation`: what each sets in its script. Everything else is the script's default.

A run is called after its row and its seed, with `-` for a space; TEACHERS names runs, whose last checkpoints teach.
Paths are as seen from the folder of a split, ablation/dev/.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """Models trained alike but for the seed, and on which split."""

    name: str
    script: str  # of the stages; or "ngrams", "ensemble": nothing but a linear model is trained
    constants: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    split: str = "dev"

    def run(self, seed: int) -> str:
        """The folder of its run in that of its split."""
        return f"{self.name.replace(' ', '-')}-{seed}"


SEEDS = (42,)  # the one of `make tnews`
E5 = {"MODEL_NAME": "../../e5-small-zh", "BATCH_SIZE": 64, "LEARNING_RATE": 1e-4, "EPOCHS": 4}
TEACHERS = ["teacher-42"]

ROWS = [
    Row("n-gram baseline", "ngrams"),
    Row("teacher", "finetune_bert", E5, seeds=(42,)),
    Row("ensemble", "ensemble", {"TEACHERS": TEACHERS}),
    Row("student alone", "train_bilstm", {}, SEEDS),
    Row("distilled", "distill", {"TEACHERS": TEACHERS, "KNOWLEDGE": Path("knowledge")}, SEEDS),
]
