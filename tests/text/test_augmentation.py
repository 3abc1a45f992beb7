"""The paper's augmentation: what each part does, how often, and that nothing comes twice."""

import os
import random
from collections import Counter
from pathlib import Path

import pytest
from datasets import load_from_disk

import prepare_data
from bert_to_bilstm.distillation.transfer_set import gather_transfer_set
from bert_to_bilstm.text import augmentation
from bert_to_bilstm.text.augmentation import MASK, Augmenter, augment, tag_words

CORPUS = [
    [("球队", "n"), ("赢", "v"), ("了", "u"), ("比赛", "n"), ("!", "x")],
    [("手机", "n"), ("卖", "v"), ("完", "v"), ("了", "u"), ("?", "x")],
    [("球队", "n"), ("卖", "v"), ("手机", "n")],
]
TAGS = {word: tag for words in CORPUS for word, tag in words}


def make(p_mask: float, p_pos: float, p_ngram: float, times: int, words: int = 0) -> list[tuple[str, str]]:
    augmenter, generator = Augmenter(CORPUS, p_mask, p_pos, p_ngram), random.Random(0)
    return [augmenter(CORPUS[words], generator) for _ in range(times)]


def test_words_and_tags():
    assert tag_words(["我喜欢北京!"], None) == [[("我", "r"), ("喜欢", "v"), ("北京", "ns"), ("!", "x")]]


def test_without_any_chance_nothing_changes():
    assert make(0, 0, 0, 20) == [("球队赢了比赛!", "")] * 20


def test_masking_replaces_whole_words_as_often_as_asked():
    results = make(0.1, 0, 0, 4000)
    masks = sum(sentence.count(MASK) for sentence, _ in results) / (4000 * 5)
    assert masks == pytest.approx(0.1, abs=0.01)
    assert all((source == "mask") == (MASK in sentence) for sentence, source in results)


def test_replacement_keeps_the_part_of_speech_and_follows_the_corpus():
    drawn = Counter()
    for sentence, source in make(0, 1, 0, 3000, words=2):
        assert source == "pos"
        first, verb, last = sentence[:2], sentence[2:-2], sentence[-2:]
        assert (TAGS[first], TAGS[verb], TAGS[last]) == ("n", "v", "n")
        drawn[first] += 1
    assert drawn["球队"] / 3000 == pytest.approx(2 / 5, abs=0.03)  # 2 of the 5 nouns of the corpus
    assert drawn["比赛"] / 3000 == pytest.approx(1 / 5, abs=0.03)


def test_ngrams_are_runs_of_one_to_five_words():
    words = [word for word, _ in CORPUS[0]]
    runs = {"".join(words[start:end]): end - start for start in range(5) for end in range(start + 1, 6)}
    results = make(0, 0, 1, 3000)
    assert {source for _, source in results} == {"ngram"}
    lengths = Counter(runs[sentence] for sentence, _ in results)
    assert all(lengths[length] / 3000 == pytest.approx(1 / 5, abs=0.03) for length in range(1, 6))
    kept = sum(source == "ngram" for _, source in make(0, 0, 0.25, 4000)) / 4000
    assert kept == pytest.approx(0.25, abs=0.02)


def test_wrong_probabilities_are_refused():
    with pytest.raises(ValueError, match="not probabilities"):
        Augmenter(CORPUS, 0.6, 0.5, 0)


def test_as_many_sentences_as_tries_and_the_same_again_with_the_same_seed():
    tagged = CORPUS * 10
    augmenter = Augmenter(tagged)
    made = list(augment(tagged, 5, augmenter, seed=1))
    assert len(made) == 5 * len(tagged)
    assert {source for _, source in made} == {"", "mask", "pos", "ngram"}
    assert list(augment(tagged, 5, augmenter, seed=1)) == made != list(augment(tagged, 5, augmenter, seed=2))


def test_two_processes_make_what_one_makes(monkeypatch):
    tagged = CORPUS * 10
    one = list(augment(tagged, 2, Augmenter(tagged), seed=1))
    sentences = ["今天买手机", "球队赢了比赛", "为什么手机卖完了?"]
    words = tag_words(sentences, hanlp=False)
    monkeypatch.setattr(augmentation, "PIECE", 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert list(augment(tagged, 2, Augmenter(tagged), seed=1)) == one
    assert tag_words(sentences, hanlp=False) == words


def test_words_are_jiebas_or_hanlps_and_never_silently_the_others():
    assert tag_words(["北京"], hanlp=False) == [[("北京", "ns")]]
    with pytest.raises(SystemExit, match="HanLP, which normalised data/, could not be started"):
        tag_words(["北京"], hanlp=True)


SETTINGS = {"p_mask": 0.1, "p_pos": 0.1, "p_ngram": 0.25}


def test_gathered_sentences_are_new_and_come_once(small_tnews):
    prepare_data.main()
    data = load_from_disk("data")
    dev = data["valid"]["sentence"][0]
    Path("more.txt").write_text(f"\ufeff發現新的標題\n\n{dev}\n  发现新的标题 \n", encoding="utf-8")
    rows = list(gather_transfer_set(data, ["more.txt"], 20, SETTINGS, 1))
    train = rows[: len(data["train"])]
    assert [row["sentence"] for row in train] == data["train"]["sentence"][:]
    assert [row["hard_label"] for row in train] == data["train"]["label"][:]
    added = [row["sentence"] for row in rows[len(train) :]]
    assert len(added) == len(set(added)) > 1000
    assert not set(added) & {*data["train"]["sentence"], *data["valid"]["sentence"]}
    assert all(sentence.replace(MASK, "").strip() for sentence in added)
    assert {row["source"] for row in rows} == {"train", "mask", "pos", "ngram", "unlabelled"}
    assert [row["sentence"] for row in rows if row["source"] == "unlabelled"] == ["发现新的标题"]
    assert {row["hard_label"] for row in rows[len(train) :]} == {-100}


def test_nothing_of_dev_is_in_an_augmented_sentence(small_tnews):
    lines = Path("tnews/dev.json").read_text(encoding="utf-8").splitlines()
    marked = [line.replace('"sentence": "', '"sentence": "龘') for line in lines]
    Path("tnews/dev.json").write_text("\n".join(marked), encoding="utf-8")
    prepare_data.main()
    data = load_from_disk("data")
    assert all("龘" in sentence for sentence in data["valid"]["sentence"])
    assert not any("龘" in row["sentence"] for row in gather_transfer_set(data, [], 20, SETTINGS, 1))
