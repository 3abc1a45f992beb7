"""Stage 1 of 5: from the raw TNEWS files to normalised sentences, a vocabulary and the student's tokenizer.

Reads   tnews/{labels,train,dev}.json, and tnews/test.json and tnews/test1.0.json where they are; downloads them if
        tnews/ is missing
Writes  data/: the DatasetDict (train, valid: label, sentence; test, test1.0: id, sentence), vocab.txt, label.csv,
        char_table.json, tokenizer/

    python prepare_data.py

TNEWS: Xu et al. 2020, CLUE: A Chinese Language Understanding Evaluation Benchmark, arXiv 2004.05986.
"""

import json
import os
import re
import string
import tempfile
import zipfile
import zlib
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
LONGEST_WORD = 100  # characters
HANLP_TIMEOUT = 1800  # seconds; HanLP's first start downloads some 600 MB
LARGEST = 200_000_000  # bytes that the zip may hold unpacked; TNEWS: 16 million
SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
SPLITS = {"train.json": "train", "dev.json": "valid", "test.json": "test", "test1.0.json": "test1.0"}
NEEDED = ("labels.json", "train.json", "dev.json")
# What neither UTF-8 nor a line of a table can hold: half a surrogate pair, and control characters.
UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def download() -> None:
    """Fetches the public TNEWS zip, over verified TLS, and unpacks it into SOURCE."""
    print(f"{SOURCE}/ is missing: downloading {URL}")
    with tempfile.TemporaryDirectory() as directory:
        archive = Path(directory) / "tnews.zip"
        try:
            torch.hub.download_url_to_file(URL, str(archive))
            files = unpack(archive)
        # Of the zip: damaged, encrypted, packed in a way that is not known here.
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            raise SystemExit(
                f"{URL} could not be downloaded ({error}): unpack the TNEWS zip by hand, so that "
                f"{', '.join(f'{SOURCE}/{name}' for name in NEEDED)} exist."
            ) from None
    with new_directory(SOURCE) as target:
        for name, content in files.items():
            (target / name).write_bytes(content)


def unpack(archive: Path) -> dict[str, bytes]:
    """The files of TNEWS in a zip, by their bare names: nothing in it says where they are written.

    Raises ValueError where one is missing or they are larger than LARGEST, zipfile's own errors where it is damaged.
    """
    with zipfile.ZipFile(archive) as contents:
        members = {Path(member.filename).name: member for member in contents.infolist() if not member.is_dir()}
        if missing := [name for name in NEEDED if name not in members]:
            raise ValueError(f"no {missing[0]} in it")
        members = {name: members[name] for name in (*NEEDED, *SPLITS) if name in members}
        # zipfile unpacks no more of a member than the size that it claims.
        if (size := sum(member.file_size for member in members.values())) > LARGEST:
            raise ValueError(f"{size:,} bytes unpacked")
        return {name: contents.read(member) for name, member in members.items()}


def read_rows(path: Path, fields: Iterable[str]) -> list[tuple[str, dict]]:
    """The objects of a JSON-lines file, or of one JSON array, each having `fields`, and its place in words."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SystemExit(f"{path} is missing: put it there, or remove {SOURCE}/ to have it downloaded.") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SystemExit(f"{path}, line {line}: not UTF-8: convert the file or mend the line.") from None
    except OSError as error:
        raise SystemExit(f"{path} cannot be read ({error.strerror}): make it a readable file.") from None
    is_array = text.lstrip().startswith("[")
    rows = []
    for number, part in enumerate([text] if is_array else text.split("\n"), start=1):
        try:
            value = json.loads(part) if part.strip() else []
        except (ValueError, RecursionError) as error:  # not JSON; a number of too many digits; nested too deep
            line = number + getattr(error, "lineno", 1) - 1
            reason = getattr(error, "msg", error)
            raise SystemExit(f"{path}, line {line}: not JSON ({reason}): mend or remove the line.") from None
        if is_array:
            rows += [(f"{path}, item {place}", row) for place, row in enumerate(value, start=1)]
        elif part.strip():
            rows.append((f"{path}, line {number}", value))
    if not rows:
        raise SystemExit(f"{path} is empty: write one JSON object a line.")
    for place, row in rows:
        if not isinstance(row, dict):
            raise SystemExit(f"{place}: not a JSON object: write {{…}} with {' and '.join(fields)}.")
        for field in fields:
            if field not in row:
                raise SystemExit(f"{place}: no field {field!r}: add it or remove the row.")
            accepted = (str, int) if field in ("label", "id") else str
            if not isinstance(row[field], accepted) or isinstance(row[field], bool):
                raise SystemExit(f"{place}: {field!r} is not text: mend or remove the row.")
            if field != "sentence" and UNWRITABLE.search(str(row[field])):
                raise SystemExit(f"{place}: {field!r} holds {row[field]!a}, which cannot be written: mend the row.")
    return rows


def read_labels() -> pandas.DataFrame:
    """The classes in the order of labels.json: index the original label, columns `label` (0…) and `label_desc`."""
    path = SOURCE / "labels.json"
    rows = read_rows(path, ["label", "label_desc"])
    descriptions: dict[str, str] = {}
    for place, row in rows:
        if str(row["label"]) in descriptions:
            raise SystemExit(f"{place}: label {row['label']} stands there twice: remove one.")
        descriptions[str(row["label"])] = row["label_desc"]
    if len(descriptions) < 2:
        raise SystemExit(f"{path}: one class alone, so that there is nothing to tell apart: add the others.")
    return pandas.DataFrame(
        {"label": range(len(descriptions)), "label_desc": descriptions.values()}, index=list(descriptions)
    )


def read_split(name: str, labels: pandas.DataFrame) -> dict[str, list]:
    """The columns of one file: its sentences as they are, labels as numbers 0… in the order of `labels`."""
    path = SOURCE / name
    if name.startswith("test"):
        rows = read_rows(path, ["id", "sentence"])
        first: dict[int | str, str] = {}
        for place, row in rows:
            number = row["id"]
            if type(number) is not type(rows[0][1]["id"]):
                raise SystemExit(f"{place}: id {number!r} among ids of another kind: make all numbers or all text.")
            if isinstance(number, int) and abs(number) >= 2**63:
                raise SystemExit(f"{place}: id {number} has more than 64 bits: give a smaller one, or text.")
            if number in first:
                raise SystemExit(f"{place}: id {number!r} stands in {first[number]} already: give each row its own.")
            first[number] = place
        columns = {"id": list(first)}
    else:
        rows = read_rows(path, ["label", "sentence"])
        numbers = labels["label"].to_dict()
        for place, row in rows:
            if str(row["label"]) not in numbers:
                raise SystemExit(
                    f"{place}: label {row['label']!r} is not in {SOURCE}/labels.json: add it there or mend the row."
                )
        columns = {"label": [numbers[str(row["label"])] for _, row in rows]}
    return columns | {"sentence": [row["sentence"] for _, row in rows]}


def normalised(columns: dict[str, list], table: CharTable) -> Dataset:
    """The columns with their sentences converted by `table`; half a surrogate pair becomes `?`: UTF-8 has no such."""
    sentences = [table.convert(text).encode("utf-8", "replace").decode("utf-8") for text in columns["sentence"]]
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
    """BERT's tokenization over `vocabulary` with the character table inside; adds no special tokens.

    Longer words than LONGEST_WORD come in parts: WordPiece takes the third power of their length.
    """
    numbers = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(WordPiece(numbers, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD))
    tokenizer.normalizer = normalizers.Sequence([table.normalizer(), normalizers.BertNormalizer()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.FixedLength(LONGEST_WORD)]
    )
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
    if DATA.is_dir() and any(DATA.iterdir()) and not any((DATA / name).exists() for name in ("vocab.txt", "label.csv")):
        raise SystemExit(f"{DATA}/ holds something that this stage did not write: move it away.")
    labels = read_labels()
    needed = [name for name in SPLITS if name in NEEDED or os.path.lexists(SOURCE / name)]
    splits = {SPLITS[name]: read_split(name, labels) for name in needed}
    if untaught := labels.index[~labels["label"].isin(splits["train"]["label"])].tolist():
        print(f"{SOURCE}/train.json has no row of label {', '.join(untaught)}: no model will learn to give it.")
    table = read_char_table()  # after the files: a mistake in them is told before a download of 600 MB
    data = DatasetDict({split: normalised(columns, table) for split, columns in splits.items()})
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
