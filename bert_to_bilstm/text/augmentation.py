"""The augmentation of Tang et al. 2019 (arXiv 1903.12136, section 3.3): more sentences for the teacher to label.

Every sentence is taken several times. Each of its words is replaced by the mask token, or by a word of the same part of
speech, or stays; then, now and then, only a short run of the words is kept. Repeats are dropped.
"""

import multiprocessing
import os
import random
import signal
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate, chain

import jieba
import jieba.posseg

from bert_to_bilstm.text.hanlp import HanLPUnavailable, ask_words

MASK = "[MASK]"
NGRAM_LENGTHS = range(1, 6)  # words; the paper's 1 to 5, each as likely
PIECE = 1000  # sentences that a process takes at a time

Words = list[tuple[str, str]]  # the words of a sentence with their parts of speech


def in_processes(function: Callable, pieces: list) -> Iterator:
    """What `function` returns for each of the `pieces`, in order, by a process a core where there are enough of them.

    The processes know what this one had in memory when they started, and take no notice of Ctrl-C: this one ends them.
    """
    number = min(os.cpu_count() or 1, len(pieces))
    if number == 1 or "fork" not in multiprocessing.get_all_start_methods():
        yield from map(function, pieces)
        return
    with multiprocessing.get_context("fork").Pool(number, leave_signals_to_the_parent) as pool:
        yield from pool.imap(function, pieces)


def leave_signals_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def in_pieces(values: list) -> list[list]:
    return [values[start : start + PIECE] for start in range(0, len(values), PIECE)]


def jieba_words(sentences: list[str]) -> list[Words]:
    """The words of each sentence with their parts of speech, by jieba and the dictionary that comes with it."""
    jieba.setLogLevel("WARNING")
    with tempfile.TemporaryDirectory() as directory:
        jieba.dt.tmp_dir = directory  # its cache: by default, what anyone has put into the machine's temporary folder
        jieba.initialize()  # before the processes part
    return list(chain.from_iterable(in_processes(cut, in_pieces(sentences))))


def cut(sentences: list[str]) -> list[Words]:
    return [[(word.word, word.flag) for word in jieba.posseg.cut(sentence)] for sentence in sentences]


def tag_words(sentences: list[str], hanlp: bool) -> list[Words]:
    """The words of each sentence by HanLP, or by jieba. Raises SystemExit where HanLP is wanted and cannot be had."""
    if not hanlp:
        return jieba_words(sentences)
    try:
        return ask_words(sentences)
    except HanLPUnavailable as reason:
        raise SystemExit(
            f"HanLP, which normalised data/, could not be started ({reason}): mend that, or run python prepare_data.py "
            "again, which then does without it."
        ) from None


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
    numbered = in_pieces(list(enumerate(tagged)))
    yield from chain.from_iterable(in_processes(partial(make_sentences, augmenter, iterations, seed), numbered))


def make_sentences(
    augmenter: Augmenter, iterations: int, seed: int, numbered: list[tuple[int, Words]]
) -> list[tuple[str, str]]:
    made = []
    for number, words in numbered:
        generator = random.Random(seed * 1_000_003 + number)
        made += [augmenter(words, generator) for _ in range(iterations)]
    return made
