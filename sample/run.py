"""All five stages and the report on the sample, in minutes and offline, with constants for its size.

    python sample/run.py        or: make sample

Reads   sample/tnews/ and sample/tiny-bert-chinese/
Writes  what the stages write, in sample/; run again, it goes on where it was stopped, or says that it is done
"""

import os
import sys
from pathlib import Path

SAMPLE = Path(__file__).resolve().parent
sys.path.insert(0, str(SAMPLE.parent))
import distill
import finetune_bert
import predict_test
import prepare_data
import report
import train_bilstm

SEED = 0
STAGES = (prepare_data, finetune_bert, train_bilstm, distill, predict_test, report)


def set_constants(seed: int) -> None:
    """The stages' constants for 1,755 headlines."""
    finetune_bert.MODEL_NAME = "tiny-bert-chinese"
    finetune_bert.BATCH_SIZE = 16
    finetune_bert.LEARNING_RATE = 3e-4
    finetune_bert.EPOCHS = 8
    # The students differ in what they learn from and start from: as many steps, the same rate, schedule and dropout.
    train_bilstm.BATCH_SIZE = distill.BATCH_SIZE = 32
    train_bilstm.EPOCHS = distill.EPOCHS = 10
    train_bilstm.WARMUP_RATIO = distill.WARMUP_RATIO = 0.09
    train_bilstm.DROPOUT = distill.DROPOUT = 0.3
    distill.AUGMENTATIONS = 10
    distill.EPOCH_SENTENCES = 1755
    finetune_bert.SEED = train_bilstm.SEED = distill.SEED = distill.AUGMENTATION_SEED = seed


def main() -> None:
    os.chdir(SAMPLE)
    set_constants(SEED)
    for stage in STAGES:
        stage.main()


if __name__ == "__main__":
    main()
