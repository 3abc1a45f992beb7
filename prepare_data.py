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

import pandas
from datasets import Dataset, DatasetDict
from transformers import PreTrainedTokenizerFast

from bert_to_bilstm.files import new_directory, write_text
from bert_to_bilstm.stages import stage
from bert_to_bilstm.text.char_table import CharTable, builtin_table, hanlp_table
from bert_to_bilstm.text.dataset import DATA
from bert_to_bilstm.text.hanlp import HanLPUnavailable
from bert_to_bilstm.text.tnews import NEEDED, SOURCE, SPLITS, download, read_labels, read_split
from bert_to_bilstm.text.tokenizer import make_tokenizer, make_vocabulary


def normalised(columns: dict[str, list], table: CharTable) -> Dataset:
    """The columns with their sentences converted by `table`; half a surrogate pair becomes `?`: UTF-8 has no such."""
    sentences = [table.convert(text).encode("utf-8", "replace").decode("utf-8") for text in columns["sentence"]]
    return Dataset.from_dict(columns | {"sentence": sentences})


def read_char_table() -> CharTable:
    """HanLP's table, or the built-in one with a line that says so."""
    try:
        return hanlp_table()
    except HanLPUnavailable as reason:
        print(
            f"HanLP could not be started ({reason}); normalising with the built-in table (the same result on 99.7% of "
            "the TNEWS headlines). For HanLP's own, install Java, go online once and run this again."
        )
        return builtin_table()


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
