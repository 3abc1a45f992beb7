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


E5 = {"MODEL_NAME": "../../e5-small-zh", "BATCH_SIZE": 64, "LEARNING_RATE": 1e-4, "EPOCHS": 4}
E5_SHORTER = E5 | {"EPOCHS": 3}  # as good on all headlines, better on new ones
TAUGHT = {"TEACHERS": ["teacher-42"]}
TAUGHT_SHORTER = {"TEACHERS": ["teacher-of-3-epochs-42"]}
HEADLINES = {"UNLABELLED": ["../../headlines.txt"]}  # one's own, a line each


def searched(name: str, knowledge: str, **constants: Any) -> Row:
    """A student of the split `held-out`, of 5 epochs that are all as long as one on train."""
    more = TAUGHT_SHORTER | {"KNOWLEDGE": Path(knowledge), "EPOCHS": 5, "EPOCH_SENTENCES": 48_360} | constants
    return Row(name, "distill", more, split="held-out")


ROWS = [
    Row("n-gram baseline", "ngrams"),
    Row("teacher", "finetune_bert", E5, (42,)),
    Row("teacher of 3 epochs", "finetune_bert", E5_SHORTER, (42,)),
    Row("ensemble", "ensemble", TAUGHT),
    Row("ensemble of 3 epochs", "ensemble", TAUGHT_SHORTER),
    Row("student alone", "train_bilstm", {}, (42,)),
    Row("distilled", "distill", TAUGHT | {"KNOWLEDGE": Path("knowledge")}, (42,)),
    Row(
        "distilled from more text",
        "distill",
        TAUGHT_SHORTER
        | HEADLINES
        | {"AUGMENTATIONS": 2, "KNOWLEDGE": Path("knowledge-more"), "EPOCHS": 20, "EPOCH_SENTENCES": 53_360},
    ),
    Row("n-gram baseline", "ngrams", split="held-out"),
    Row("teacher of 3 epochs", "finetune_bert", E5_SHORTER, (42,), "held-out"),
    Row("ensemble of 3 epochs", "ensemble", TAUGHT_SHORTER, split="held-out"),
    searched("train alone", "knowledge"),
    searched("and headlines", "knowledge-headlines", **HEADLINES),
    searched("and both", "knowledge-more", **HEADLINES, AUGMENTATIONS=1),
    searched("and both, dropout 0.3", "knowledge-more", **HEADLINES, AUGMENTATIONS=1, DROPOUT=0.3),
]
