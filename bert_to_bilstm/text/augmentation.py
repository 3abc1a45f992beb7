"""The augmentation of Tang et al. 2019 (arXiv 1903.12136, section 3.3): more sentences for the teacher to label.

Every sentence is taken several times. Each of its words is replaced by the mask token, or by a word of the same part of
speech, or stays; then, now and then, only a short run of the words is kept. Repeats are dropped.
"""

import os
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import accumulate

import jieba
import jieba.posseg
from datasets import Dataset

from bert_to_bilstm.text.hanlp import HanLPUnavailable, ask_words

MASK = "[MASK]"
NGRAM_LENGTHS = range(1, 6)  # words; the paper's 1 to 5, each as likely
SENTENCES_PER_PROCESS = 1000  # fewer are not worth the start of another process

Words = list[tuple[str, str]]  # the words of a sentence with their parts of speech


def processes(sentences: int) -> int | None:
    """How many processes `datasets.map` shall share so many sentences out to; None: this one."""
    number = min(os.cpu_count() or 1, sentences // SENTENCES_PER_PROCESS)
    return number if number > 1 else None


def jieba_words(sentences: list[str]) -> list[Words]:
    """The words of each sentence with their parts of speech, by jieba and the dictionary that comes with it."""
    jieba.setLogLevel("WARNING")
    with tempfile.TemporaryDirectory() as directory:
        jieba.dt.tmp_dir = directory  # its cache: by default, what anyone has put into the machine's temporary folder
        jieba.initialize()  # before the processes part

    def cut(batch: dict[str, list]) -> dict[str, list]:
        words = [[(word.word, word.flag) for word in jieba.posseg.cut(sentence)] for sentence in batch["sentence"]]
        return {"words": words}

    rows = Dataset.from_dict({"sentence": sentences})
    cut_rows = rows.map(cut, batched=True, num_proc=processes(len(sentences)), keep_in_memory=True)
    return [[(word, tag) for word, tag in words] for words in cut_rows["words"]]


def tag_words(sentences: list[str], hanlp_timeout: float | None) -> list[Words]:
    """The words of each sentence by HanLP, within `hanlp_timeout` seconds, or by jieba, with a line that says so."""
    if hanlp_timeout is not None:
        try:
            return ask_words(sentences, hanlp_timeout)
        except HanLPUnavailable as reason:
            print(f"HanLP could not be started ({reason}); words and parts of speech are jieba's.")
    return jieba_words(sentences)


class Augmenter:
    """Makes a new sentence of a tagged one.

    The probabilities are the paper's p_mask, p_pos and p_ng. `corpus` gives the words of each part of speech and how
    often they occur: replacements are drawn from that distribution. Raises ValueError for what is no probability.
    """

    def __init__(self, corpus: list[Words], p_mask: float = 0.1, p_pos: float = 0.1, p_ngram: float = 0.25) -> None:
        if min(p_mask, p_pos, p_ngram) < 0 or p_mask + p_pos > 1 or p_ngram > 1:
            raise ValueError(f"not probabilities: p_mask {p_mask}, p_pos {p_pos}, p_ngram {p_ngram}")
        self.p_mask, self.p_pos, self.p_ngram = p_mask, p_pos, p_ngram
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for words in corpus:
            for word, tag in words:
                counts[tag][word] += 1
        self.vocabulary = {tag: (list(count), list(accumulate(count.values()))) for tag, count in counts.items()}

    def __call__(self, words: Words, generator: random.Random) -> tuple[str, str]:
        """The new sentence, and what made it: "ngram", else "mask", else "pos", or "" where nothing changed."""
        result, done = [], set()
        for word, tag in words:
            draw = generator.random()
            if draw < self.p_mask:
                result.append(MASK)
                done.add("mask")
            elif draw < self.p_mask + self.p_pos:
                choices, cumulative = self.vocabulary[tag]
                result += generator.choices(choices, cum_weights=cumulative)
                done.add("pos")
            else:
                result.append(word)
        if generator.random() < self.p_ngram and result:
            length = min(generator.choice(NGRAM_LENGTHS), len(result))
            start = generator.randrange(len(result) - length + 1)
            result = result[start : start + length]
            done.add("ngram")
        return "".join(result), next((name for name in ("ngram", "mask", "pos") if name in done), "")


def augment(tagged: list[Words], iterations: int, augmenter: Augmenter, seed: int) -> Iterator[tuple[str, str]]:
    """New sentences and their sources, from `iterations` tries a sentence; repeats and unchanged ones among them.

    The same in however many processes: every sentence has random numbers of its own.
    """

    def make(batch: dict[str, list], numbers: list[int]) -> dict[str, list]:
        made = []
        for words, number in zip(batch["words"], numbers, strict=True):
            generator = random.Random(seed * 1_000_003 + number)
            made += [augmenter(words, generator) for _ in range(iterations)]
        return {"sentence": [sentence for sentence, _ in made], "source": [source for _, source in made]}

    rows = Dataset.from_dict({"words": [[list(word) for word in words] for words in tagged]}).map(
        make,
        with_indices=True,
        batched=True,
        remove_columns="words",
        num_proc=processes(len(tagged)),
        keep_in_memory=True,
    )
    for batch in rows.iter(batch_size=1000):
        yield from zip(batch["sentence"], batch["source"], strict=True)
