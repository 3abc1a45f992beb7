"""Stage 1 of 5: from the raw TNEWS files to normalised sentences, a vocabulary and the student's tokenizer.

Reads   tnews/{labels,train,dev}.json, and tnews/test.json and tnews/test1.0.json where they are; downloads them if
        tnews/ is missing
Writes  data/: the DatasetDict (train, valid: label, sentence; test, test1.0: id, sentence), vocab.txt, label.csv,
        char_table.json, tokenizer/

    python prepare_data.py

TNEWS: Xu et al. 2020, CLUE: A Chinese Language Understanding Evaluation Benchmark, arXiv 2004.05986.
"""

import json
import string
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas
import torch
from datasets import Dataset, DatasetDict
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import PreTrainedTokenizerFast

from artifacts import DATA, new_directory, write_text
from hanlp_process import HanLPUnavailable
from normalization import CharTable, builtin_table, hanlp_table
from running import stage

SOURCE = Path("tnews")
URL = "https://storage.googleapis.com/cluebenchmark/tasks/tnews_public.zip"
MINIMUM_COUNT = 3  # a token must be seen so often in train to enter the vocabulary (the article's "more than twice")
HANLP_TIMEOUT = 1800  # seconds; HanLP's first start downloads some 600 MB
SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
SPLITS = {"train.json": "train", "dev.json": "valid", "test.json": "test", "test1.0.json": "test1.0"}


def download() -> None:
    """Fetches and unpacks the public TNEWS zip into SOURCE."""
    print(f"{SOURCE}/ is missing: downloading {URL}")
    names = {"labels.json", *SPLITS}
    with tempfile.TemporaryDirectory() as directory:
        archive = Path(directory) / "tnews.zip"
        try:
            torch.hub.download_url_to_file(URL, str(archive))
            contents = zipfile.ZipFile(archive)
        except (OSError, zipfile.BadZipFile) as error:
            raise SystemExit(
                f"{URL} could not be downloaded ({error}): unpack the TNEWS zip by hand, so that "
                f"{SOURCE}/labels.json, {SOURCE}/train.json and {SOURCE}/dev.json exist."
            ) from None
        with contents, new_directory(SOURCE) as target:
            for member in contents.namelist():
                if Path(member).name in names:  # by bare name: nothing is written outside the folder
                    (target / Path(member).name).write_bytes(contents.read(member))


def read_rows(path: Path, fields: Iterable[str]) -> list[tuple[str, dict]]:
    """The objects of a JSON-lines file, or of one JSON array, each having `fields`, and its place in words."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SystemExit(f"{path} is missing: put it there, or remove {SOURCE}/ to have it downloaded.") from None
    except UnicodeDecodeError as error:
        raise SystemExit(f"{path} is not UTF-8 (byte {error.start}): convert it to UTF-8 first.") from None
    except OSError as error:
        raise SystemExit(f"{path} cannot be read ({error.strerror}): make it a readable file.") from None
    is_array = text.lstrip().startswith("[")
    rows = []
    for number, part in enumerate([text] if is_array else text.split("\n"), start=1):
        try:
            value = json.loads(part) if part.strip() else []
        except json.JSONDecodeError as error:
            line = number + error.lineno - 1
            raise SystemExit(f"{path}, line {line}: not JSON ({error.msg}): mend or remove the line.") from None
        if is_array:
            rows += [(f"{path}, item {place}", row) for place, row in enumerate(value, start=1)]
        elif part.strip():
            rows.append((f"{path}, line {number}", value))
    if not rows:
        raise SystemExit(f"{path} is empty: it needs one JSON object a line.")
    for place, row in rows:
        if not isinstance(row, dict):
            raise SystemExit(f"{place}: not a JSON object: write {{…}} with {' and '.join(fields)}.")
        for field in fields:
            if field not in row:
                raise SystemExit(f"{place}: no field {field!r}: add it or remove the row.")
            accepted = (str, int) if field in ("label", "id") else str
            if not isinstance(row[field], accepted) or isinstance(row[field], bool):
                raise SystemExit(f"{place}: {field!r} is not text: mend or remove the row.")
    return rows


def read_labels() -> pandas.DataFrame:
    """The classes in the order of labels.json: index the original label, columns `label` (0…) and `label_desc`."""
    path = SOURCE / "labels.json"
    rows = [row for _, row in read_rows(path, ["label", "label_desc"])]
    labels = pandas.DataFrame(
        {"label": range(len(rows)), "label_desc": [row["label_desc"] for row in rows]},
        index=[str(row["label"]) for row in rows],
    )
    if labels.index.has_duplicates:
        raise SystemExit(f"{path}: label {labels.index[labels.index.duplicated()][0]} stands there twice: remove one.")
    return labels


def read_split(name: str, labels: pandas.DataFrame, table: CharTable) -> Dataset:
    """One file as a Dataset of normalised sentences, labels as numbers 0… in the order of `labels`."""
    path = SOURCE / name
    if name.startswith("test"):
        rows = read_rows(path, ["id", "sentence"])
        columns = {"id": [row["id"] for _, row in rows]}
        if len({type(number) for number in columns["id"]}) > 1:
            raise SystemExit(f"{path}: some ids are numbers and some are text: make them all one kind.")
    else:
        rows = read_rows(path, ["label", "sentence"])
        numbers = labels["label"].to_dict()
        for place, row in rows:
            if str(row["label"]) not in numbers:
                raise SystemExit(
                    f"{place}: label {row['label']!r} is not in {SOURCE}/labels.json: add it there or mend the row."
                )
        columns = {"label": [numbers[str(row["label"])] for _, row in rows]}
    # A lone surrogate cannot be written as UTF-8.
    sentences = [table.convert(row["sentence"]).encode("utf-8", "replace").decode("utf-8") for _, row in rows]
    return Dataset.from_dict(columns | {"sentence": sentences})


def read_char_table() -> CharTable:
    """HanLP's table, or the built-in one with a line that says so."""
    try:
        return hanlp_table(HANLP_TIMEOUT)
    except HanLPUnavailable as reason:
        print(
            f"HanLP could not be started ({reason}); normalising with the built-in table (the same result on 99.7% of "
            "the TNEWS headlines). For HanLP's own, install Java, go online once and run this again."
        )
        return builtin_table()


def make_vocabulary(sentences: Iterable[str]) -> list[str]:
    """BERT's own pre-tokens seen at least MINIMUM_COUNT times, most frequent first, ties by code point.

    Before them the special tokens; among the last, every letter and digit alone and as a `##` piece, so that WordPiece
    can spell any Latin word and any number.
    """
    normalizer, pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for sentence in sentences:
        counts.update(token for token, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(sentence)))
    frequent = sorted((token for token in counts if counts[token] >= MINIMUM_COUNT), key=lambda t: (-counts[t], t))
    single = string.ascii_lowercase + string.digits
    return list(dict.fromkeys([*SPECIAL_TOKENS.values(), *frequent, *single, *("##" + letter for letter in single)]))


def make_tokenizer(vocabulary: list[str], table: CharTable) -> PreTrainedTokenizerFast:
    """BERT's tokenization over `vocabulary` with the character table inside; adds no special tokens."""
    numbers = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(WordPiece(numbers, unk_token="[UNK]", max_input_chars_per_word=10_000))
    tokenizer.normalizer = normalizers.Sequence([table.normalizer(), normalizers.BertNormalizer()])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=[])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=["input_ids", "attention_mask"], **SPECIAL_TOKENS
    )


def describe(data: DatasetDict, labels: pandas.DataFrame, table: CharTable, tokenizer: PreTrainedTokenizerFast) -> str:
    """The table that the script prints."""
    lengths = [len(sentence) for sentence in data["train"]["sentence"]]
    seen = set(data["train"]["sentence"])
    tokens = [token for ids in tokenizer(data["valid"]["sentence"][:])["input_ids"] for token in ids]
    unknown = tokens.count(tokenizer.unk_token_id) / max(1, len(tokens))
    rows = {
        "rows": ", ".join(f"{name} {len(split):,}" for name, split in data.items()),
        "classes": len(labels),
        "train length, characters": f"mean {sum(lengths) / len(lengths):.1f}, max {max(lengths)}",
        "dev sentences also in train": f"{sum(sentence in seen for sentence in data['valid']['sentence']):,}",
        "character table": f"{table.source}, {len(table.table):,} entries",
        "vocabulary": f"{len(tokenizer):,} tokens",
        "[UNK] in dev": f"{unknown:.2%} of tokens",
    }
    return "\n".join(f"{name:<28}{value}" for name, value in rows.items())


def prepare() -> None:
    if not SOURCE.exists():
        download()
    labels = read_labels()
    table = read_char_table()
    needed = [name for name in SPLITS if not name.startswith("test") or (SOURCE / name).exists()]
    data = DatasetDict({SPLITS[name]: read_split(name, labels, table) for name in needed})
    vocabulary = make_vocabulary(data["train"]["sentence"])
    tokenizer = make_tokenizer(vocabulary, table)
    with new_directory(DATA) as target:
        data.save_to_disk(str(target))
        write_text(target / "vocab.txt", "".join(token + "\n" for token in vocabulary))
        labels.to_csv(target / "label.csv", encoding="utf-8", lineterminator="\n")
        write_text(
            target / "char_table.json",
            json.dumps({"source": table.source, "table": table.table}, ensure_ascii=False, indent=0, sort_keys=True),
        )
        tokenizer.save_pretrained(target / "tokenizer")
    print(describe(data, labels, table, tokenizer))


def main() -> None:
    with stage(DATA):
        prepare()


if __name__ == "__main__":
    main()
