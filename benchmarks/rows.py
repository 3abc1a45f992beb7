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


E5 = {"MODEL_NAME": "../../e5-small-zh", "BATCH_SIZE": 64, "LEARNING_RATE": 1e-4, "EPOCHS": 3}
SLOW = {"LEARNING_RATE": 1e-3}  # half of the students' default
FINAL = SLOW | {"POOLING": "final"}  # at that rate, the article's pooling
HEADLINES = {"UNLABELLED": ["../../headlines.txt"]}  # one's own, a line each
AT_RANDOM = {"NGRAM_WEIGHT": 1.0, "EMBEDDINGS_FROM_TEACHER": False, "EPOCHS": 4}
LARGEST = AT_RANDOM | {"POOLING": "max"}
MORE_TEXT = HEADLINES | {"AUGMENTATIONS": 2, "EPOCHS": 20, "EPOCH_SENTENCES": 53_360}


def taught(teacher: str, knowledge: str, **constants: Any) -> dict[str, Any]:
    """What a student of one teacher and the n-gram model sets."""
    return {"TEACHERS": [teacher], "KNOWLEDGE": Path(knowledge)} | constants


def searched(name: str, knowledge: str, **constants: Any) -> Row:
    """A student of the split `held-out`, of 5 epochs that are all as long as one on train, pooled as the article's."""
    common = FINAL | {"EPOCHS": 5, "EPOCH_SENTENCES": 48_360}
    return Row(name, "distill", taught("teacher-42", knowledge, **common | constants), split="held-out")


ROWS = [
    Row("n-gram baseline", "ngrams"),
    Row("teacher", "finetune_bert", E5, (0, 42)),
    Row("ensemble", "ensemble", {"TEACHERS": ["teacher-0"]}),
    Row("student alone", "train_bilstm", {}, (0, 1, 2)),
    Row("distilled", "distill", taught("teacher-0", "knowledge"), (0, 1, 2)),
    Row("distilled, 256 units", "distill", taught("teacher-0", "knowledge", HIDDEN_SIZE=256), (0, 1)),
    Row("student alone, half the learning rate", "train_bilstm", SLOW, (0, 1, 2)),
    Row("distilled, half the learning rate", "distill", taught("teacher-0", "knowledge", **SLOW), (0, 1, 2)),
    Row("student alone, half the rate, final states", "train_bilstm", FINAL, (0, 1, 2)),
    Row("distilled, half the rate, final states", "distill", taught("teacher-0", "knowledge", **FINAL), (0, 1, 2)),
    # What more takes: epochs, of teacher and students; text.
    Row("teacher of 4 epochs", "finetune_bert", E5 | {"EPOCHS": 4}, (42,)),
    Row("student alone, final states, 15 epochs", "train_bilstm", FINAL | {"EPOCHS": 15}, (42,)),
    Row("distilled from more text", "distill", taught("teacher-0", "knowledge-more", **SLOW, **MORE_TEXT), (0, 1, 2)),
    Row("and twice the rate", "distill", taught("teacher-0", "knowledge-more", **MORE_TEXT), (0, 1)),
    Row("n-gram baseline", "ngrams", split="held-out"),
    Row("teacher", "finetune_bert", E5, (42,), "held-out"),
    Row("ensemble", "ensemble", {"TEACHERS": ["teacher-42"]}, split="held-out"),
    Row("student alone", "train_bilstm", {"EPOCHS": 5}, split="held-out"),
    Row("student alone, half the learning rate", "train_bilstm", SLOW | {"EPOCHS": 5}, split="held-out"),
    searched("train alone", "knowledge"),
    searched("of the n-gram model alone", "knowledge-ngrams", NGRAM_WEIGHT=1.0),
    searched("of the teacher alone", "knowledge-teacher", NGRAM_TEACHER=False),
    searched("of the n-gram model alone, from random embeddings", "knowledge-ngrams", **AT_RANDOM),
    searched("and by the largest values", "knowledge-ngrams", **LARGEST),
    searched("and temperature 2", "knowledge-ngrams", **LARGEST, TEMPERATURE=2.0),
    searched("and true labels, weight 0.3", "knowledge-ngrams", **LARGEST, HARD_LABEL_WEIGHT=0.3),
    searched("and twice the learning rate", "knowledge-ngrams", **LARGEST, LEARNING_RATE=2e-3),
    searched("and four times the learning rate", "knowledge-ngrams", **LARGEST, LEARNING_RATE=4e-3),
    searched("mean squared error", "knowledge", LOSS="mse"),
    searched("and augmentation", "knowledge-augmented", AUGMENTATIONS=1),
    searched("and headlines", "knowledge-headlines", **HEADLINES),
    searched("and both", "knowledge-more", **HEADLINES, AUGMENTATIONS=1),
    searched("and both, dropout 0.3", "knowledge-more", **HEADLINES, AUGMENTATIONS=1, DROPOUT=0.3),
]
