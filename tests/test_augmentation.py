"""The paper's augmentation: what each part does, how often, and that nothing comes twice."""

import random
from collections import Counter

import pytest

from augmentation import MASK, Augmenter, augment, tag_words

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
    assert tag_words(["我喜欢北京!"]) == [[("我", "r"), ("喜欢", "v"), ("北京", "ns"), ("!", "x")]]


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


def test_new_sentences_are_new_and_come_once_and_again_with_the_same_seed():
    sentences = ["今天买手机", "球队赢了比赛", "为什么手机卖完了?", "球队"]
    made = augment(sentences, 60, 0.1, 0.1, 0.25, seed=1)
    texts = [sentence for sentence, _ in made]
    assert len(texts) == len(set(texts)) > 30
    assert not set(texts) & set(sentences)
    assert all(text.replace(MASK, "") for text in texts)
    assert {source for _, source in made} == {"mask", "pos", "ngram"}
    assert augment(sentences, 60, 0.1, 0.1, 0.25, seed=1) == made != augment(sentences, 60, 0.1, 0.1, 0.25, seed=2)
