"""The n-gram model: logistic regression on TF-IDF of character and word n-grams. The baseline, and a teacher.

It is trained in seconds, and what it knows is not what a BERT knows: the two together are better than either. Sublinear
TF-IDF and linear models for text: Joachims 1998, Text Categorization with Support Vector Machines.
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
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
from tqdm import tqdm

from bert_to_bilstm.files import first_line, new_directory, write_text
from bert_to_bilstm.stages import is_first_process

MINIMUM_COUNT = 2  # sentences in which an n-gram must stand
C = 3.0  # inverse of the regularisation's strength, chosen on headlines held out of train
FOLDS = 5
TOGETHER = 20_000  # sentences whose features are in memory at a time
ABSENT = -12.0  # the log-odds of a class that train does not have
WORDS = ("characters", "words")  # the two vocabularies, as their files are called


@dataclass
class NgramClassifier:
    """`vectorizers`: of characters, of words. `weights` (classes, n-grams), `bias` (classes,)."""

    vectorizers: list[TfidfVectorizer]
    weights: np.ndarray
    bias: np.ndarray

    def predict_logits(self, sentences: list[str]) -> Tensor:
        """Log-probabilities (sentence, class) in fp32. Classes are told one against all others, then normalised."""
        pieces = [sentences[start : start + TOGETHER] for start in range(0, len(sentences), TOGETHER)]
        logits = [log_probabilities(features(self.vectorizers, piece), self.weights, self.bias) for piece in pieces]
        return torch.cat(logits) if logits else torch.empty(0, len(self.bias))

    def save(self, directory: Path) -> None:
        """Writes weights.safetensors, and the n-grams in the order of the weights' columns as JSON."""
        with new_directory(directory) as target:
            idf = {name: one.idf_.astype(np.float32) for name, one in zip(WORDS, self.vectorizers, strict=True)}
            save_file(idf | {"weights": self.weights, "bias": self.bias}, target / "weights.safetensors")
            for name, one in zip(WORDS, self.vectorizers, strict=True):
                ngrams = one.get_feature_names_out().tolist()
                write_text(target / f"{name}.json", json.dumps(ngrams, ensure_ascii=False, indent=0))


def load_ngrams(directory: Path) -> NgramClassifier:
    """What `save` wrote. Raises SystemExit where it is missing or damaged."""
    try:
        arrays = load_file(directory / "weights.safetensors")
        vectorizers = []
        for name, vectorizer in zip(WORDS, make_vectorizers(1), strict=True):
            ngrams = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
            vectorizer.set_params(vocabulary={ngram: number for number, ngram in enumerate(ngrams)})
            vectorizer.idf_ = arrays[name]
            vectorizers.append(vectorizer)
        if arrays["weights"].shape != (len(arrays["bias"]), sum(len(arrays[name]) for name in WORDS)):
            raise ValueError("weights and n-grams do not match")
        return NgramClassifier(vectorizers, arrays["weights"], arrays["bias"])
    except Exception as error:  # safetensors raises its own kinds
        raise SystemExit(
            f"{directory}/ holds no readable n-gram model ({first_line(error)}): run python distill.py again."
        ) from None


def train_ngrams(sentences: list[str], labels: list[int], classes: int) -> NgramClassifier:
    """Trains the model on sentences and their labels 0…"""
    vectorizers = fit_vectorizers(sentences)
    with tqdm(total=classes, desc="n-gram model", disable=not is_first_process()) as bar:
        return NgramClassifier(
            vectorizers, *fit_classes(features(vectorizers, sentences), np.array(labels), classes, bar)
        )


def train_logits(model: NgramClassifier, sentences: list[str], labels: list[int]) -> Tensor:
    """What the model has to say of the sentences on which it was trained: log-probabilities (sentence, class).

    Of these it is far too sure. They are the mean of what it says and of what another says that was trained on four
    other fifths of the sentences; one that stands there twice is in one fifth.
    """
    rows, truth, classes = features(model.vectorizers, sentences), np.array(labels), len(model.bias)
    fitted = log_probabilities(rows, model.weights, model.bias)
    unseen = fitted.clone()
    folds = list(split(sentences))
    with tqdm(total=len(folds) * classes, desc="n-gram model, folds", disable=not is_first_process()) as bar:
        for learnt, left_out in folds:
            fold = fit_classes(rows[learnt], truth[learnt], classes, bar)
            unseen[torch.from_numpy(left_out)] = log_probabilities(rows[left_out], *fold)
    return ((fitted + unseen) / 2).log_softmax(1)


def split(sentences: list[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The numbers of the sentences in four fifths and in the other, FOLDS times; none where there are too few."""
    if len(set(sentences)) >= FOLDS:
        yield from GroupKFold(FOLDS, shuffle=True, random_state=0).split(sentences, groups=sentences)


def make_vectorizers(minimum_count: int) -> list[TfidfVectorizer]:
    """Of runs of 1 to 3 characters, and of 1 or 2 words as jieba cuts them."""
    settings = {"min_df": minimum_count, "sublinear_tf": True, "dtype": np.float32}
    with tempfile.TemporaryDirectory() as directory:
        segmenter = jieba.Tokenizer()
        segmenter.tmp_dir = directory  # its cache: by default, what anyone has put into the machine's temporary folder
        jieba.setLogLevel("WARNING")
        segmenter.initialize()
    return [
        TfidfVectorizer(analyzer="char", ngram_range=(1, 3), **settings),
        TfidfVectorizer(tokenizer=segmenter.lcut, token_pattern=None, ngram_range=(1, 2), **settings),
    ]


def fit_vectorizers(sentences: list[str]) -> list[TfidfVectorizer]:
    """Learns the n-grams and how rare they are. Raises SystemExit where the sentences hold no text."""
    for minimum_count in (MINIMUM_COUNT, 1):
        try:
            return [vectorizer.fit(without_masks(sentences)) for vectorizer in make_vectorizers(minimum_count)]
        except ValueError:  # no n-gram is so frequent
            continue
    raise SystemExit("the train sentences hold no text: mend the data and run python prepare_data.py again.")


def without_masks(sentences: list[str]) -> list[str]:
    """Masks are for models that have learnt to read them."""
    return [sentence.replace("[MASK]", " ") for sentence in sentences]


def features(vectorizers: list[TfidfVectorizer], sentences: list[str]) -> csr_matrix:
    """(sentence, n-gram), the rows of each kind of n-gram of length 1."""
    return hstack([vectorizer.transform(without_masks(sentences)) for vectorizer in vectorizers], format="csr")


def fit_classes(rows: csr_matrix, truth: np.ndarray, classes: int, bar: tqdm) -> tuple[np.ndarray, np.ndarray]:
    """`weights` (classes, n-grams) and `bias` (classes,) of one logistic regression a class: it against all others."""
    weights, bias = np.zeros((classes, rows.shape[1]), np.float32), np.full(classes, ABSENT, np.float32)
    for number in range(classes):
        positive = truth == number
        if positive.all():
            bias[number] = -ABSENT
        elif positive.any():
            model = LogisticRegression(C=C, solver="liblinear", dual=True, tol=0.01, random_state=0)
            model.fit(rows, positive)
            weights[number], bias[number] = model.coef_[0], model.intercept_[0]
        bar.update()
    return weights, bias


def log_probabilities(rows: csr_matrix, weights: np.ndarray, bias: np.ndarray) -> Tensor:
    odds = torch.from_numpy(np.asarray(rows @ weights.T + bias, np.float32))
    return torch.nn.functional.logsigmoid(odds).log_softmax(1)
