"""Why this answer: what its probability loses where a character is left out.

Occlusion: Zeiler and Fergus 2014, arXiv 1311.2901; of text: Li, Monroe and Jurafsky 2016, arXiv 1612.08220.
"""

from collections.abc import Callable, Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

SHOWN = 3  # characters, words or numbers
LEAST = 0.01  # what is lost less is not shown
TOGETHER = 200  # sentences at a time


def carried_by(
    probabilities: Callable[[list[str]], np.ndarray], tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str]
) -> list[str]:
    """For each sentence what carried its answer and how much of the probability is lost without it: `股 0.31, 涨 0.05`.

    `probabilities`: sentences → (sentence, class). Left out is a token at a time: a character, a word of Latin letters,
    a number.
    """
    result: list[str] = []
    for start in range(0, len(sentences), TOGETHER):
        part = list(sentences[start : start + TOGETHER])
        spans = [sorted({span for span in row if span[1] > span[0]}) for row in offsets(tokenizer, part)]
        shorter = [text[:first] + text[last:] for text, row in zip(part, spans, strict=True) for first, last in row]
        whole = probabilities(part)
        without = iter(probabilities(shorter) if shorter else [])
        for text, row, chances in zip(part, spans, whole, strict=True):
            answer = chances.argmax()
            lost = [(float(chances[answer] - next(without)[answer]), text[first:last]) for first, last in row]
            most = sorted(lost, key=lambda one: -one[0])[:SHOWN]
            result.append(", ".join(f"{token} {loss:.2f}" for loss, token in most if loss >= LEAST))
    return result


def offsets(tokenizer: PreTrainedTokenizerBase, sentences: list[str]) -> list[list[tuple[int, int]]]:
    """Where each token begins and ends in its sentence."""
    return tokenizer(sentences, truncation=True, return_offsets_mapping=True)["offset_mapping"]
