"""The n-gram model: logistic regression on TF-IDF of character and word n-grams. The baseline, and a teacher.

It is trained in seconds, and what it knows is not what a BERT knows: the two together are better than either. Linear
models of TF-IDF: Joachims 1998, Text Categorization with Support Vector Machines; one class against all others, in the
dual: Yu, Huang and Lin 2011, Dual coordinate descent methods for logistic regression.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jieba
import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from torch import Tensor
from torch.nn.functional import logsigmoid

from bert_to_bilstm.files import first_line, new_directory, write_text
from bert_to_bilstm.stages import progress, say

MINIMUM_COUNT = 2  # sentences in which an n-gram must stand
LARGEST = 500_000  # n-grams of each kind, the most frequent ones: memory stays flat from some 200,000 sentences on
C = 3.0  # inverse of the regularisation's strength, chosen on headlines held out of train
FOLDS = 5
FITTED_WEIGHT = 0.5  # in the logits of the train sentences; the rest: of a model that has not seen the sentence
TOGETHER = 5_000  # sentences whose features are in memory at a time
ABSENT = -12.0  # the log-odds of a class that train does not have
KINDS = ("characters", "words")  # the two vocabularies, as their files are called


@dataclass
class NgramClassifier:
    """`vectorizers`: of characters, of words. `weights` (n-grams, classes), `bias` (classes,)."""

    vectorizers: list[TfidfVectorizer]
    weights: np.ndarray
    bias: np.ndarray

    def predict_logits(self, sentences: list[str]) -> Tensor:
        """Log-probabilities (sentence, class) in fp32."""
        logits = torch.empty(len(sentences), len(self.bias))
        for start in with_bar(range(0, len(sentences), TOGETHER), "n-gram model, predicting", "parts"):
            rows = features(self.vectorizers, sentences[start : start + TOGETHER])
            logits[start : start + TOGETHER] = log_probabilities(rows, self.weights, self.bias)
        return logits

    def save(self, directory: Path) -> None:
        """Writes weights.safetensors, and the n-grams in the order of the weights' rows as JSON."""
        with new_directory(directory) as target:
            arrays = {"weights": self.weights, "bias": self.bias}
            for kind, vectorizer in zip(KINDS, self.vectorizers, strict=True):
                arrays[kind] = vectorizer.idf_
                ngrams = vectorizer.get_feature_names_out().tolist()
                write_text(target / f"{kind}.json", json.dumps(ngrams, ensure_ascii=False, indent=0))
            save_file(arrays, target / "weights.safetensors")


def load_ngrams(directory: Path) -> NgramClassifier:
    """What `save` wrote. Raises SystemExit where it is missing or damaged."""
    try:
        arrays = load_file(directory / "weights.safetensors")
        vectorizers = make_vectorizers()
        for kind, vectorizer in zip(KINDS, vectorizers, strict=True):
            ngrams = json.loads((directory / f"{kind}.json").read_text(encoding="utf-8"))
            vectorizer.set_params(vocabulary={ngram: number for number, ngram in enumerate(ngrams)})
            vectorizer.idf_ = arrays[kind]  # as many as n-grams, or it raises
        if arrays["weights"].shape != (sum(len(arrays[kind]) for kind in KINDS), len(arrays["bias"])):
            raise ValueError("weights and n-grams do not match")
        return NgramClassifier(vectorizers, arrays["weights"], arrays["bias"])
    except Exception as error:  # safetensors raises its own kinds
        raise SystemExit(
            f"{directory}/ holds no readable n-gram model ({first_line(error)}): move it away and run distill.py."
        ) from None


def train_ngrams(
    sentences: list[str], labels: list[int], classes: int, class_weights: str | None = None
) -> NgramClassifier:
    """Trains the model on sentences and their labels 0…; `class_weights`: None or "balanced".

    Raises SystemExit where the sentences hold no text.
    """
    vectorizers, rows = fit_vectorizers(sentences)
    bar = with_bar(range(classes), "n-gram model", "classes")
    return NgramClassifier(vectorizers, *fit_classes(rows, np.array(labels), bar, class_weights))


def train_logits(
    model: NgramClassifier, sentences: list[str], labels: list[int], class_weights: str | None = None
) -> Tensor:
    """What the model has to say of the sentences on which it was trained: log-probabilities (sentence, class).

    Of these it is far too sure: see `mixed`.
    """
    return mixed(*fitted_and_unseen(model, sentences, labels, class_weights))


def mixed(fitted: Tensor, unseen: Tensor) -> Tensor:
    """FITTED_WEIGHT of what the model says of its train sentences, the rest of what those say that have not seen them:
    log-probabilities (sentence, class)."""
    return (FITTED_WEIGHT * fitted + (1 - FITTED_WEIGHT) * unseen).log_softmax(1)


def fitted_and_unseen(
    model: NgramClassifier, sentences: list[str], labels: list[int], class_weights: str | None = None
) -> tuple[Tensor, Tensor]:
    """Log-probabilities (sentence, class) of the train sentences, by the model and by those that have not seen them.

    The latter are trained on four other fifths of the sentences; one that stands there twice is in one fifth.
    """
    read = with_bar(sentences, "n-gram model, reading", "sentences")
    rows, truth = features(model.vectorizers, read), np.array(labels)
    fitted = log_probabilities(rows, model.weights, model.bias)
    unseen = fitted.clone()
    for number, (learnt, left_out) in enumerate(split(sentences), start=1):
        bar = with_bar(range(len(model.bias)), f"n-gram model, fold {number}/{FOLDS}", "classes")
        fold = fit_classes(rows[learnt], truth[learnt], bar, class_weights)
        unseen[torch.from_numpy(left_out)] = log_probabilities(rows[left_out], *fold)
    return fitted, unseen


def split(sentences: list[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The numbers of the sentences in four fifths and in the other, FOLDS times; none where there are too few."""
    if len(set(sentences)) >= FOLDS:
        yield from GroupKFold(FOLDS, shuffle=True, random_state=0).split(sentences, groups=sentences)


@cache
def make_segmenter() -> jieba.Tokenizer:
    """jieba with the dictionary that comes with it, not with what anyone has put into the machine's temporary folder,
    where it looks for its cache by default."""
    jieba.setLogLevel("WARNING")
    segmenter = jieba.Tokenizer()
    with tempfile.TemporaryDirectory() as directory:
        segmenter.tmp_dir = directory
        segmenter.initialize()
    return segmenter


def make_vectorizers() -> list[TfidfVectorizer]:
    """Of runs of 1 to 3 characters, and of 1 or 2 words as jieba cuts them."""
    settings = {"min_df": MINIMUM_COUNT, "max_features": LARGEST, "sublinear_tf": True, "dtype": np.float32}
    return [
        TfidfVectorizer(analyzer="char", ngram_range=(1, 3), **settings),
        TfidfVectorizer(tokenizer=make_segmenter().lcut, token_pattern=None, ngram_range=(1, 2), **settings),
    ]


def fit_vectorizers(sentences: list[str]) -> tuple[list[TfidfVectorizer], csr_matrix]:
    """Learns the n-grams and how rare they are; the features of `sentences` are with them."""
    vectorizers, rows = make_vectorizers(), []
    for kind, vectorizer in zip(KINDS, vectorizers, strict=True):
        texts = without_masks(sentences)
        try:
            rows.append(vectorizer.fit_transform(with_bar(texts, f"n-grams of {kind}", "sentences")))
        except ValueError:  # none left
            say(f"n-gram model: no n-gram of {kind} stands in {MINIMUM_COUNT} sentences: taking those in one.")
            try:
                rows.append(vectorizer.set_params(min_df=1).fit_transform(texts))
            except ValueError:
                raise SystemExit("data/: the train sentences hold no text: give the rows of train some.") from None
    return vectorizers, hstack(rows, format="csr")


def features(vectorizers: list[TfidfVectorizer], sentences: Iterable[str]) -> csr_matrix:
    """(sentence, n-gram), the rows of each kind of n-gram of length 1."""
    texts = without_masks(sentences)
    return hstack([vectorizer.transform(texts) for vectorizer in vectorizers], format="csr")


def without_masks(sentences: Iterable[str]) -> list[str]:
    """Masks are for models that have learnt to read them."""
    return [sentence.replace("[MASK]", " ") for sentence in sentences]


def fit_classes(
    rows: csr_matrix, truth: np.ndarray, classes: Iterable[int], class_weights: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """`weights` (n-grams, classes) and `bias` (classes,) of one logistic regression a class: it against all others."""
    weights, bias = [], []
    for number in classes:
        positive = truth == number
        if positive.any() and not positive.all():
            model = LogisticRegression(
                C=C, solver="liblinear", dual=True, tol=0.01, class_weight=class_weights, random_state=0
            ).fit(rows, positive)
            weights.append(model.coef_[0].astype(np.float32))
            bias.append(model.intercept_[0])
        else:
            weights.append(np.zeros(rows.shape[1], np.float32))
            bias.append(-ABSENT if positive.any() else ABSENT)
    return np.stack(weights, axis=1), np.array(bias, np.float32)


def log_probabilities(rows: csr_matrix, weights: np.ndarray, bias: np.ndarray) -> Tensor:
    """The probabilities of one class against all others, so divided that they add up to 1; their logarithms."""
    return logsigmoid(torch.from_numpy(rows @ weights + bias)).log_softmax(1)


def with_bar(values: Sequence, what: str, unit: str) -> Iterator:
    """The values, with a bar where they take longer than a second."""
    with progress(len(values), what, unit, delay=1, leave=False) as bar:
        for value in values:
            yield value
            bar.update()
