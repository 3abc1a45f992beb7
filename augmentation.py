"""The augmentation of Tang et al. 2019 (arXiv 1903.12136, section 3.3): more sentences for the teacher to label.

Every sentence is taken several times. Each of its words is replaced by the mask token, or by a word of the same part of
speech, or stays; then, now and then, only a short run of the words is kept. Repeats are dropped.
"""

import random
from collections import Counter, defaultdict
from itertools import accumulate

import jieba
import jieba.posseg

MASK = "[MASK]"
NGRAM_LENGTHS = range(1, 6)  # words; the paper's 1 to 5, each as likely


def tag_words(sentences: list[str]) -> list[list[tuple[str, str]]]:
    """The words of each sentence with their parts of speech, by jieba and the dictionary that comes with it."""
    jieba.setLogLevel("WARNING")
    return [[(word.word, word.flag) for word in jieba.posseg.cut(sentence)] for sentence in sentences]


class Augmenter:
    """Makes a new sentence of a tagged one.

    The probabilities are the paper's p_mask, p_pos and p_ng. `corpus` gives the words of each part of speech and how
    often they occur: replacements are drawn from that distribution.
    """

    def __init__(
        self, corpus: list[list[tuple[str, str]]], p_mask: float = 0.1, p_pos: float = 0.1, p_ngram: float = 0.25
    ) -> None:
        if min(p_mask, p_pos, p_ngram) < 0 or p_mask + p_pos > 1 or p_ngram > 1:
            raise ValueError(f"not probabilities: p_mask {p_mask}, p_pos {p_pos}, p_ngram {p_ngram}")
        self.p_mask, self.p_pos, self.p_ngram = p_mask, p_pos, p_ngram
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for words in corpus:
            for word, tag in words:
                counts[tag][word] += 1
        self.vocabulary = {tag: (list(count), list(accumulate(count.values()))) for tag, count in counts.items()}

    def __call__(self, words: list[tuple[str, str]], generator: random.Random) -> tuple[str, str]:
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
        if generator.random() < self.p_ngram:
            length = min(generator.choice(NGRAM_LENGTHS), len(result))
            start = generator.randrange(len(result) - length + 1)
            result = result[start : start + length]
            done.add("ngram")
        return "".join(result), next((name for name in ("ngram", "mask", "pos") if name in done), "")


def augment(
    sentences: list[str], iterations: int, p_mask: float, p_pos: float, p_ngram: float, seed: int
) -> list[tuple[str, str]]:
    """New sentences and their sources, from `iterations` tries a sentence.

    None of them is one of `sentences`, stands there twice, or consists of masks alone.
    """
    tagged = tag_words(sentences)
    augmenter = Augmenter(tagged, p_mask, p_pos, p_ngram)
    seen, result = set(sentences), []
    for number in range(iterations):
        generator = random.Random(seed * 1_000_003 + number)
        for words in tagged:
            sentence, source = augmenter(words, generator)
            if sentence not in seen and sentence.replace(MASK, "").strip():
                seen.add(sentence)
                result.append((sentence, source))
    return result
