"""What holds for any input, tried on hundreds that hypothesis makes up: readers, tokenizer, batching, augmentation,
and the submission.
"""

import io
import json
import random
import re
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import prepare_data
from bert_to_bilstm.outputs.clue import write_submission
from bert_to_bilstm.text.augmentation import MASK, Augmenter, augment
from bert_to_bilstm.text.char_table import CharTable, builtin_table
from bert_to_bilstm.text.dataset import load_data, load_descriptions, load_labels
from bert_to_bilstm.text.tables import SUFFIXES, encoding_of
from bert_to_bilstm.text.tnews import read_rows
from bert_to_bilstm.text.tokenizer import count_tokens, make_tokenizer, make_vocabulary
from bert_to_bilstm.text.unlabelled import read_unlabelled
from bert_to_bilstm.training.batches import LengthGroupedBatches, make_loader
from predict_test import read_batches
from prepare_data import normalised

settings.register_profile("tests", max_examples=100, deadline=None, derandomize=True)
settings.load_profile("tests")

any_text = st.text(st.characters(), max_size=50)  # lone surrogates, NUL, unassigned ones too
chinese = st.text(st.sampled_from("今天發現ＮＢＡ，為什麼？iphone 2018年【】①働"), max_size=30)
writable = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)

COLUMNS = {"id": ["id"], "sentence": ["sentence"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For files that one example after another writes."""
    return tmp_path_factory.mktemp("properties")


@pytest.fixture(scope="module")
def table() -> CharTable:
    return builtin_table()


@pytest.fixture(scope="module")
def tokenizer(table):
    return make_tokenizer(make_vocabulary(count_tokens(["今天发现nba,为什么?iphone 2018年"]), 1), table, 512)


# Readers


@given(
    rows=st.lists(st.fixed_dictionaries({"id": st.integers() | any_text, "sentence": any_text}), min_size=1),
    ascii_only=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\n\n", "\n \n"]),
    form=st.sampled_from(["lines", "array"]),
    mark=st.sampled_from(["utf-8", "utf-8-sig"]),
)
def test_rows_are_read_as_they_were_written(folder, rows, ascii_only, end, form, mark):
    rows = [row | {"id": row["id"] if isinstance(row["id"], int) else "x"} for row in rows]
    if not ascii_only:  # a lone surrogate can stand in a file as an escape alone
        rows = [row | {"sentence": row["sentence"].encode("utf-8", "replace").decode()} for row in rows]
    objects = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
    text = end.join(objects) if form == "lines" else f"[{(',' + end).join(objects)}]"
    path = folder / "rows.json"
    path.write_text(text, encoding=mark, newline="")
    assert [row for _, row in read_rows(path, COLUMNS)] == rows


@given(content=st.binary(max_size=200) | st.text(st.sampled_from('[]{}",:\\0u d8 id sentence\n\r')).map(str.encode))
@settings(max_examples=200)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_file_gives_rows_or_one_sentence(folder, suffix, content):
    path = folder / f"any{suffix}"
    path.write_bytes(content)
    try:
        rows = read_rows(path, COLUMNS)
    except SystemExit as stop:
        assert stop.code.startswith(str(path)) and "\n" not in stop.code
    else:
        assert rows and all(isinstance(row["sentence"], str) for _, row in rows)


@given(labels=st.lists(writable, min_size=60, max_size=60, unique=True))
@settings(max_examples=3, database=None, suppress_health_check=[HealthCheck.data_too_large])
def test_any_labels_go_through_stage_1_as_they_are(folder, labels):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("tnews").mkdir(exist_ok=True)
        rows = [{"label": label, "label_desc": label[::-1], "sentence": "今天"} for label in labels]
        for name in ("labels.json", "train.json", "dev.json"):
            Path("tnews", name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        prepare_data.main()
        assert load_labels() == dict(enumerate(labels))
        assert load_descriptions() == {label: label[::-1] for label in labels}
        assert load_data()["valid"]["label"][:] == list(range(60))


class Pipe(io.BytesIO):
    """A stream that gives its bytes in pieces of any size, as a pipe does."""

    def __init__(self, content: bytes, sizes: list[int]) -> None:
        super().__init__(content)
        self.sizes = iter(sizes)

    def read1(self, size: int = -1, /) -> bytes:
        return super().read1(next(self.sizes, size))


@given(
    lines=st.lists(st.binary(max_size=8).map(lambda line: line.replace(b"\n", b"")) | chinese.map(str.encode)),
    data=st.data(),
)
@settings(max_examples=300)
def test_standard_input_is_read_line_by_line_up_to_a_bad_one(lines, data):
    content = b"\n".join(lines)
    sizes = data.draw(st.lists(st.integers(1, 9)))
    read, stopped = [], ""
    try:
        for batch in read_batches(Pipe(content, sizes)):
            read += batch
    except SystemExit as stop:
        stopped = stop.code
    expected = []
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n") if content else [], start=1):
        try:
            expected.append(line.decode("utf-8-sig" if number == 1 else "utf-8").strip())
        except UnicodeDecodeError:
            assert stopped.startswith(f"standard input, line {number}: not UTF-8")
            break
    else:
        assert not stopped
    assert read == expected


@given(
    content=st.binary(max_size=100).map(lambda content: content.translate(None, b"\t{[_,;:"))
)  # no records, no pointer
def test_unlabelled_text_is_read_whole_or_its_bad_line_named(folder, content):
    path = folder / "more.txt"
    path.write_bytes(content)
    try:
        read = list(read_unlabelled(path))
    except SystemExit as stop:
        if stop.code.startswith(f"{path} in UNLABELLED holds no sentence"):
            assert not content.decode(encoding_of(path)).strip()
            return
        line, told = re.match(r"(\d+): (not UTF-8|neither UTF-8 nor GB18030):", stop.code.split(", line ")[1]).groups()
        for encoding in ["utf-8", "gb18030"][: 1 + told.startswith("neither")]:
            with pytest.raises(UnicodeDecodeError):
                content.split(b"\n")[int(line) - 1].decode(encoding)
        b"\n".join(content.split(b"\n")[: int(line) - 1]).decode(encoding)  # it is the first one
    else:
        lines = re.split("\r\n|\r|\n", content.decode(encoding_of(path)))
        assert read == [line.strip() for line in lines if line.strip()]


# Characters and tokens


@given(text=any_text)
def test_normalising_keeps_the_length_and_gives_what_utf_8_can_hold(table, text):
    [sentence] = normalised({"sentence": [text]}, table)["sentence"]
    assert len(sentence) == len(text)
    sentence.encode("utf-8")


@given(entries=st.dictionaries(st.characters(), st.characters(), max_size=30), text=any_text)
def test_the_fixed_point_of_any_table_is_at_rest(entries, text):
    rest = CharTable("any", CharTable("any", entries).fixed_point())
    assert rest.convert(rest.convert(text)) == rest.convert(text)


@given(texts=st.lists(any_text | chinese, min_size=1), length=st.integers(1, 60))
def test_any_text_has_at_least_one_token_and_no_more_than_asked(tokenizer, texts, length):
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    tokenizer.model_max_length = length
    for batch in make_loader(tokenizer, texts, range(len(texts)), batch_size=7):
        counts = batch["attention_mask"].sum(1)
        assert counts.min() >= 1 and counts.max() <= length
        assert 0 <= batch["input_ids"].min() and batch["input_ids"].max() < len(tokenizer)
        assert (batch["input_ids"][batch["attention_mask"] == 0] == tokenizer.pad_token_id).all()


@given(text=chinese | st.text(st.characters(exclude_categories=["Cs", "M"])))
def test_the_tokenizer_normalises_by_itself(tokenizer, table, text):
    assert tokenizer(text)["input_ids"] == tokenizer(table.convert(text))["input_ids"]


# Batches


@given(
    lengths=st.lists(st.integers(1, 130), min_size=1, max_size=300),
    batch_size=st.integers(1, 40),
    seed=st.none() | st.integers(0, 100),
)
def test_every_sentence_is_in_one_batch_of_an_epoch(lengths, batch_size, seed):
    batches = LengthGroupedBatches(torch.tensor(lengths), batch_size, seed)
    batches.epoch = 3
    drawn = list(batches)
    assert sorted(number for batch in drawn for number in batch) == list(range(len(lengths)))
    assert len(drawn) == len(batches)
    assert max(map(len, drawn)) <= batch_size


@given(size=st.integers(1, 60), epoch_size=st.integers(1, 150), epochs=st.integers(1, 6))
def test_epochs_of_any_size_take_every_sentence_as_often_as_any_other(size, epoch_size, epochs):
    batches = LengthGroupedBatches(torch.ones(size, dtype=torch.long), 8, 1, epoch_size)
    counts = torch.zeros(size, dtype=torch.long)
    for epoch in range(1, epochs + 1):
        batches.epoch = epoch
        numbers = torch.tensor([number for batch in batches for number in batch])
        assert len(numbers) == epoch_size
        counts += numbers.bincount(minlength=size)
        assert counts.max() - counts.min() <= 1


@given(texts=st.lists(chinese, min_size=1), batch_size=st.integers(1, 9), data=st.data())
def test_a_loader_gives_every_label_once_beside_its_sentence(tokenizer, texts, batch_size, data):
    tokenizer.model_max_length = 64
    seed = data.draw(st.none() | st.integers(0, 9))
    seen = {}
    for batch in make_loader(tokenizer, texts, range(len(texts)), batch_size, seed):
        for ids, mask, label in zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True):
            assert label.item() not in seen
            seen[label.item()] = ids[mask.bool()].tolist()
    expected = [tokenizer(text)["input_ids"] or [tokenizer.unk_token_id] for text in texts]
    assert seen == dict(enumerate(expected))


# Augmentation

words = st.lists(st.tuples(st.sampled_from(["球队", "赢", "了", "NBA", "!"]), st.sampled_from("nvux")), max_size=12)
probability = st.floats(0, 0.5)


@given(
    corpus=st.lists(words, min_size=1, max_size=6),
    chances=st.tuples(probability, probability, probability),
    seed=st.integers(),
)
def test_augmented_sentences_are_made_of_the_corpus(corpus, chances, seed):
    augmenter = Augmenter(corpus, *chances)
    same_tag = {}
    for word, tag in (pair for sentence in corpus for pair in sentence):
        same_tag.setdefault(tag, set()).add(word)
    for sentence in corpus:
        made, source = augmenter(sentence, random.Random(seed))
        assert augmenter(sentence, random.Random(seed)) == (made, source)
        lengths = {len(sentence)} if source != "ngram" else set(range(1, min(5, len(sentence)) + 1))
        # every run of words of such a length, each word masked, as it was, or of the same part of speech
        runs = [sentence[start : start + length] for length in lengths for start in range(len(sentence) - length + 1)]
        assert any(spells(made, [{MASK, *same_tag[tag]} for _, tag in run]) for run in runs)
        if source == "":
            assert made == "".join(word for word, _ in sentence)


def spells(text: str, choices: list[set[str]]) -> bool:
    """Whether `text` is one word of each of the `choices`, in order."""
    rests = {text}
    for words in choices:
        rests = {rest.removeprefix(word) for rest in rests for word in words if rest.startswith(word)}
    return "" in rests


@given(corpus=st.lists(words, min_size=1, max_size=5), iterations=st.integers(0, 4), seed=st.integers(0, 9))
@settings(max_examples=20)
def test_as_many_augmented_sentences_as_asked_for(corpus, iterations, seed):
    made = list(augment(corpus, iterations, Augmenter(corpus), seed))
    assert len(made) == iterations * len(corpus)
    assert {source for _, source in made} <= {"", "mask", "pos", "ngram"}


# The submission


@given(files=st.dictionaries(st.sampled_from(["a.json", "b.json"]), writable, min_size=1))
def test_the_zip_holds_what_was_put_into_it(folder, files):
    write_submission(folder / "submission.zip", files)
    with zipfile.ZipFile(folder / "submission.zip") as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name).decode() for name in archive.namelist()} == files
