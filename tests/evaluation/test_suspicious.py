"""Rows whose label may be wrong: planted ones are found, and sentences that stand there more than once."""

import random

import torch
from datasets import DatasetDict
from small_set import as_data

from bert_to_bilstm.evaluation.suspicious import BOTH, IN_DEV, NGRAMS, SEVERAL, suspicious
from bert_to_bilstm.models.ngrams import fitted_and_unseen, train_ngrams

LABELS = {0: "100", 1: "103", 2: "109"}
DESCRIPTIONS = {"100": "故事", "103": "体育", "109": "科技"}
CHARACTERS = [chr(code) for code in range(ord("一"), ord("一") + 300)]


def headlines(rows: int) -> tuple[list[str], list[int]]:
    """Eight characters, of which about half tell the class and the others nothing; some headlines are hard."""
    generator = random.Random(0)
    classes = [generator.randrange(3) for _ in range(rows)]
    sentences = [
        "".join(
            generator.choice(CHARACTERS[100 * label :][:100] if generator.random() < 0.6 else CHARACTERS)
            for _ in range(8)
        )
        for label in classes
    ]
    return sentences, classes


def test_of_200_planted_labels_in_4000_rows_most_are_among_the_first_200():
    """As far as the n-gram models see them that have not read the sentence; the teacher is not asked here."""
    sentences, truth = headlines(4000)
    planted = set(random.Random(1).sample(range(4000), 200))
    labels = [(label + 1) % 3 if number in planted else label for number, label in enumerate(truth)]
    model = train_ngrams(sentences, labels, 3)
    _, unseen = fitted_and_unseen(model, sentences, labels)
    data = DatasetDict(
        train=as_data(sentences, labels),
        valid=as_data(["无"], [0]),
    )
    first = suspicious(data, unseen, None, LABELS, DESCRIPTIONS)[:200]
    assert set(first["reason"]) == {NGRAMS}
    found = [row - 1 for row in first.index if row - 1 in planted]
    assert len(found) >= 120
    right = [first.loc[number + 1, "proposed"] == LABELS[truth[number]] for number in found]
    assert sum(right) >= 0.9 * len(right)


def test_what_the_teacher_does_not_contradict_and_what_stands_there_twice():
    data = DatasetDict(
        train=as_data(["甲", "乙", "丙", "丙", "丙", "丁", "己", "己", "庚"], [0, 0, 1, 1, 2, 0, 0, 2, 1]),
        valid=as_data(["丁", "戊", "庚", "庚"], [2, 2, 1, 0]),
    )
    unseen = torch.tensor(
        [[0.0, 9, 0], [0, 9, 0], [0, 9, 0], [0, 9, 0], [0, 0, 9], [9, 0, 0], [9, 0, 0], [0, 0, 9], [0, 9, 0]]
    )
    teacher = torch.tensor(
        [[0.0, 2, 0], [2, 0, 0], [0, 9, 0], [0, 9, 0], [0, 0, 9], [9, 0, 0], [9, 0, 0], [0, 0, 9], [0, 9, 0]]
    )
    table = suspicious(data, unseen, teacher, LABELS, DESCRIPTIONS)
    assert table.reset_index()[["reason", "row", "label", "proposed"]].values.tolist() == [
        [BOTH, 1, "100", "103"],
        [SEVERAL, 5, "109", "103"],  # the two others have the label that is more frequent
        [SEVERAL, 7, "100", "109"],
        [SEVERAL, 8, "109", "100"],
        [IN_DEV, 6, "100", "109"],
    ]
    assert table.loc[1, "proposed label_desc"] == "体育"
