"""The knowledge: sentences of several sources, and what the teachers say of them.

Both steps work in pieces and leave each piece on disk, so that memory does not grow with the number of sentences and a
run that was stopped goes on. All of it stands in `{knowledge}-shards/` until the whole takes its place as `knowledge/`.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import Dataset, DatasetDict, Features, Value, concatenate_datasets
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from artifacts import load_char_table, load_classifier, load_rows, new_directory, read_json, write_text
from augmentation import MASK, Augmenter, augment, tag_words
from batching import fast_bf16
from bilstm import BiLSTMForSequenceClassification
from running import claim
from training import predict_logits, say

SHARD = 20_000  # sentences labelled between two savings
NO_LABEL = -100  # what torch's cross-entropy passes over
FEATURES = Features({"sentence": Value("string"), "source": Value("string"), "hard_label": Value("int64")})


def read_unlabelled(path: Path) -> Iterator[str]:
    """The lines of a text file. Raises SystemExit, naming file and line, where it cannot be read."""
    number = 0
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except OSError as error:
        raise SystemExit(f"{path} in UNLABELLED cannot be read ({error.strerror}): name a text file.") from None
    except UnicodeDecodeError:
        raise SystemExit(f"{path}, line {number}: not UTF-8: convert the file or mend the line.") from None


def gather_sentences(
    data: DatasetDict,
    unlabelled: list[str],
    iterations: int,
    augmenter_settings: dict[str, float],
    seed: int,
    hanlp_timeout: float,
) -> Iterator[dict[str, object]]:
    """What the teacher is to label: `sentence`, `source` (train, mask, pos, ngram, unlabelled), `hard_label`.

    Train as it is, then from `iterations` tries a sentence the augmented ones, then the lines of the `unlabelled`
    files, normalised; of the latter two none that stands in train or dev or came before, none that is empty or masks
    alone.
    """
    for row in data["train"]:
        yield {"sentence": row["sentence"], "source": "train", "hard_label": row["label"]}
    table = load_char_table()
    known = {digest(sentence) for split in ("train", "valid") for sentence in data[split]["sentence"]}

    def is_new(sentence: str) -> bool:
        if not sentence.replace(MASK, "").strip() or (number := digest(sentence)) in known:
            return False
        known.add(number)
        return True

    if iterations:
        tagged = tag_words(data["train"]["sentence"][:], hanlp_timeout if table.source == "HanLP" else None)
        for sentence, source in augment(tagged, iterations, Augmenter(tagged, **augmenter_settings), seed):
            if is_new(sentence):
                yield {"sentence": sentence, "source": source, "hard_label": NO_LABEL}
    for path in unlabelled:
        for line in read_unlabelled(Path(path)):
            sentence = table.convert(line.replace(MASK, "").strip())  # `[` would become 《
            if is_new(sentence):
                yield {"sentence": sentence, "source": "unlabelled", "hard_label": NO_LABEL}


def digest(sentence: str) -> int:
    """64 bits that stand for a sentence: a set of them is small."""
    return int.from_bytes(hashlib.blake2b(sentence.encode(), digest_size=8).digest(), "big")


def load_teacher(directory: Path, labels: dict[int, str]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of a checkpoint directory and its tokenizer, ready to label.

    Where the hardware is fast at bf16 the weights are bf16 too, which saves autocast's casts: a third more sentences a
    second. The logits differ from those in fp32 by 4e-5 in the mean square, where their variance is 3.7.
    """
    model, tokenizer = load_classifier(directory, labels)
    return (model.bfloat16() if fast_bf16() else model), tokenizer


def label_sentences(
    knowledge: Path,
    origin: dict[str, object],
    sentences: Iterator[dict[str, object]],
    teachers: list[Path],
    labels: dict[int, str],
    max_length: int,
    batch_size: int,
) -> Dataset:
    """`sentences` with the mean of the teachers' logits in the column `label`; made only if `knowledge` is not that.

    `origin` tells the teachers and the sentences apart from others; it is kept as `origin.json`. Raises SystemExit
    where a teacher cannot be loaded, `knowledge` is damaged, not ours or written by another run, or the disk is full.
    """
    models = [load_teacher(teacher, labels) for teacher in teachers]
    earlier = read_json(knowledge / "origin.json")
    if earlier == origin:
        rows = load_rows(knowledge, f"remove {knowledge}/ to label anew")
        say(f"{knowledge}/ is of these teachers and these sentences: used again.")
        return rows
    if knowledge.exists() and (earlier is None or not knowledge.is_dir()):
        raise SystemExit(f"{knowledge} has no readable origin.json, so it is not known to be ours: move it away.")
    if knowledge.exists():
        say(f"{knowledge}/ is of other teachers or other sentences: labelling anew.")
    with claim(knowledge):
        make_knowledge(knowledge, origin, sentences, models, max_length, batch_size)
    return load_rows(knowledge, f"remove {knowledge}/ to label anew")


def make_knowledge(
    knowledge: Path,
    origin: dict[str, object],
    sentences: Iterator[dict[str, object]],
    teachers: list[tuple[PreTrainedModel, PreTrainedTokenizerBase]],
    max_length: int,
    batch_size: int,
) -> None:
    """Gathers the sentences, labels them part by part, and puts the parts together; goes on where a run stopped."""
    main = PartialState().is_main_process
    shards = knowledge.with_name(f"{knowledge.name}-shards")
    anew = f"remove {shards}/ to label anew"
    PartialState().wait_for_everyone()
    if main and read_json(shards / "origin.json") != origin:
        with new_directory(shards) as target:
            number = 0
            while chunk := list(islice(sentences, SHARD)):
                Dataset.from_list(chunk, FEATURES).save_to_disk(str(target / f"sentences-{number:06}"))
                number += 1
            write_text(target / "origin.json", json.dumps(origin, indent=2))
    PartialState().wait_for_everyone()
    labelled = []
    for part in sorted(shards.glob("sentences-*")):
        labelled.append(part.with_name(part.name.replace("sentences", "labelled")))
        if not labelled[-1].exists():
            rows = load_rows(part, anew)
            logits = mean_logits(teachers, rows["sentence"][:], max_length, batch_size)
            if main:
                with new_directory(labelled[-1]) as target:
                    rows.add_column("label", list(logits.numpy())).save_to_disk(str(target))
    PartialState().wait_for_everyone()
    if main:
        with new_directory(knowledge) as target:
            concatenate_datasets([load_rows(part, anew) for part in labelled]).save_to_disk(str(target))
            write_text(target / "origin.json", json.dumps(origin, indent=2))
        shutil.rmtree(shards)
    PartialState().wait_for_everyone()


def mean_logits(
    teachers: list[tuple[PreTrainedModel, PreTrainedTokenizerBase]],
    sentences: list[str],
    max_length: int,
    batch_size: int,
) -> torch.Tensor:
    """The mean over the teachers of their logits (sentences, classes). A student among them reads as students do."""
    logits = []
    for model, tokenizer in teachers:
        read = as_student_reads(sentences) if isinstance(model, BiLSTMForSequenceClassification) else sentences
        logits.append(predict_logits(model, tokenizer, read, max_length, batch_size))
    return torch.stack(logits).mean(0)


def as_student_reads(sentences: list[str]) -> list[str]:
    """`[UNK]` where BERT sees `[MASK]`, which a student has never learnt."""
    return [sentence.replace(MASK, "[UNK]") for sentence in sentences]
