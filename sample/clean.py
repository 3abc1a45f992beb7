"""Removes what `make sample` made in sample/, and nothing else: a file of the user's beside it stays, and is named.

python sample/clean.py        or: make clean
"""

import sys
from pathlib import Path

SAMPLE = Path(__file__).resolve().parent
sys.path.insert(0, str(SAMPLE.parent))
import predict_test
import report
from bert_to_bilstm.distillation.labelling import KNOWLEDGE_FILES, SHARDS_FILES
from bert_to_bilstm.files import foreign_files, remove_files
from bert_to_bilstm.models.checkpoints import CHECKPOINT_FILES
from bert_to_bilstm.text.dataset import DATA_FILES

TRAINING_FILES = (
    *("run.json", "history.csv", "history.png", "best", "state-[0-9]*/state.pt"),
    *(f"[0-9]*-[01].[0-9]*/{name}" for name in CHECKPOINT_FILES),
)
MADE = {
    "data": DATA_FILES,
    "model1": TRAINING_FILES,
    "model2": TRAINING_FILES,
    "model3": TRAINING_FILES,
    "knowledge": KNOWLEDGE_FILES,
    "knowledge-shards": SHARDS_FILES,
    "report": report.WRITTEN,
}


def main() -> None:
    for name, files in MADE.items():
        remove_files(SAMPLE / name, files)
        for path in foreign_files(SAMPLE / name, files):
            print(f"{path} is not of make sample: it stays.")
    for path in (*predict_test.OUTPUTS.values(), predict_test.SUBMISSION):
        (SAMPLE / path).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
