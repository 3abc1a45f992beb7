"""Rows of train whose label may be wrong: for people to look at, nothing is changed.

A row is looked at by models that have not been trained on it, as in Northcutt et al. 2021, Confident Learning, arXiv
1911.00068; the teacher, which has, must agree.
"""

from collections import Counter

import pandas
import torch
from datasets import DatasetDict
from torch import Tensor

BOTH, NGRAMS = "both models contradict", "n-gram model contradicts"
SEVERAL, IN_DEV = "another label as often in train", "another label in dev"


def suspicious(
    data: DatasetDict, unseen: Tensor, teacher: Tensor | None, labels: dict[int, str], descriptions: dict[str, str]
) -> pandas.DataFrame:
    """A row a `reason` and train row, counted as in the file that stage 1 read: the `sentence` as it is written there,
    its `label`, what is `proposed`, with which `confidence`, and how many `times likelier` that is than the label.

    First those whose label the n-gram models that have not seen the sentence (`unseen`, logits (sentence, class) of
    train) and the `teacher`, if there is one, think less likely than one and the same other, the surest first; then the
    sentences that train holds as often with another label, or more often, which is proposed; then those to which dev
    gives another label, which is proposed.
    """
    train = data["train"]
    table = train.select_columns(["row", "written", "sentence"]).to_pandas()
    table["label"] = [labels[number] for number in train["label"]]
    given = torch.tensor(train["label"][:])
    models = [logits.log_softmax(1) for logits in (unseen, teacher) if logits is not None]
    mean = torch.stack(models).mean(0)
    proposed = mean.argmax(1)
    margins = torch.stack([of(model, proposed) - of(model, given) for model in models])
    found = table.assign(
        reason=NGRAMS if teacher is None else BOTH,
        proposed=[labels[number] for number in proposed.tolist()],
        confidence=of(mean.softmax(1), proposed).numpy(),
        **{"times likelier": margins.mean(0).exp().numpy()},
    )[(margins > 0).all(0).numpy()]
    found = found.sort_values("times likelier", ascending=False, kind="stable")
    several = table[table.groupby("sentence")["label"].transform("nunique") > 1]
    counts = {sentence: Counter(sorted(given)) for sentence, given in several.groupby("sentence")["label"]}
    rivals = [rival(counts[row.sentence], row.label) for row in several.itertuples()]
    several = several.assign(reason=SEVERAL, proposed=rivals).dropna(subset="proposed")
    several = several.sort_values("sentence", kind="stable")
    dev: dict[str, list[str]] = {}
    for sentence, number in zip(data["valid"]["sentence"], data["valid"]["label"], strict=True):
        dev.setdefault(sentence, []).append(labels[number])
    in_dev = table[[row.label not in dev.get(row.sentence, [row.label]) for row in table.itertuples()]]
    in_dev = in_dev.assign(reason=IN_DEV, proposed=[dev[sentence][0] for sentence in in_dev["sentence"]])
    result = pandas.concat([found, several, in_dev]).set_index("row").drop(columns="sentence")
    result = result.rename(columns={"written": "sentence"})
    for name in ("label", "proposed"):
        result.insert(result.columns.get_loc(name) + 1, f"{name} label_desc", result[name].map(descriptions))
    return result


def rival(counts: Counter[str], label: str) -> str | None:
    """The most frequent of the other labels, if it is as frequent as `label` at least."""
    other, times = (counts - Counter({label: counts[label]})).most_common(1)[0]
    return other if times >= counts[label] else None


def of(values: Tensor, classes: Tensor) -> Tensor:
    """Of each row of `values` (sentence, class) that of its class."""
    return values.gather(1, classes.unsqueeze(1)).squeeze(1)
