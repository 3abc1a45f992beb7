"""The transfer set: the sentences of several sources that the teachers label and the student learns."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from datasets import DatasetDict, Features, Value

from bert_to_bilstm.stages import say
from bert_to_bilstm.text.augmentation import MASK, Augmenter, augment, tag_words
from bert_to_bilstm.text.dataset import load_char_table
from bert_to_bilstm.text.unlabelled import read_unlabelled
from bert_to_bilstm.training.losses import NO_LABEL

FEATURES = Features({"sentence": Value("string"), "source": Value("string"), "hard_label": Value("int64")})


def gather_transfer_set(
    data: DatasetDict,
    unlabelled: Sequence[str | Path],
    augmentations: int,
    probabilities: dict[str, float],
    seed: int,
) -> Iterator[dict[str, object]]:
    """What the teachers are to label: `sentence`, `source` (train, mask, pos, ngram, unlabelled), `hard_label`.

    Train as it is, then the augmented ones from so many tries a sentence, then the sentences of the `unlabelled` files,
    normalised; of the latter two none that stands in train or dev or came before, none that is empty or masks alone.
    `probabilities`: what Augmenter takes. The first sentence taken from a file is printed: it shows what is learnt.
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

    if augmentations:
        tagged = tag_words(data["train"]["sentence"][:], hanlp=table.source == "HanLP")
        for sentence, source in augment(tagged, augmentations, Augmenter(tagged, **probabilities), seed):
            if is_new(sentence):
                yield {"sentence": sentence, "source": source, "hard_label": NO_LABEL}
    for path in unlabelled:
        taken = 0
        for text in read_unlabelled(path):
            sentence = table.convert(text.replace(MASK, "").strip())  # `[` would become 《
            if is_new(sentence):
                if not taken:
                    say(f"{path}: the first sentence taken is {sentence[:60]!r}.")
                taken += 1
                yield {"sentence": sentence, "source": "unlabelled", "hard_label": NO_LABEL}
        if not taken:
            say(f"{path}: no sentence taken, all of them stand in train or dev or came before.")


def digest(sentence: str) -> int:
    """64 bits that stand for a sentence: a set of them is small."""
    return int.from_bytes(hashlib.blake2b(sentence.encode(), digest_size=8).digest(), "big")


def with_masks_as(token: str | None, sentences: list[str]) -> list[str]:
    """The sentences as a model reads them whose token for masks is another; a student's is that for the unknown."""
    return [sentence.replace(MASK, token or " ") for sentence in sentences]
