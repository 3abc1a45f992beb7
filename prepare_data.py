"""Stage 1 of 5: from the raw TNEWS files to normalised sentences, a vocabulary and the student's tokenizer.

Reads   tnews/ (SOURCE): train, and where they are labels.json, dev, test, test1.0; downloads TNEWS if it is missing
Writes  data/: the DatasetDict (train, valid: label, sentence, row; test, test1.0: id, sentence; all as written, too),
        vocab.txt, label.csv, char_table.json, tokenizer/

    python prepare_data.py

TNEWS: Xu et al. 2020, CLUE: A Chinese Language Understanding Evaluation Benchmark, arXiv 2004.05986.
"""

from bert_to_bilstm.command_line import begin

if __name__ == "__main__":
    begin("Stage 1 of 5: normalise the sentences, number the labels, collect the vocabulary")

import json
from collections.abc import Sequence
from pathlib import Path

import pandas
from datasets import Dataset, DatasetDict
from transformers import PreTrainedTokenizerFast

from bert_to_bilstm.files import expand, new_directory, refuse_foreign_files, write_text
from bert_to_bilstm.settings import settings_of
from bert_to_bilstm.stages import stage
from bert_to_bilstm.text.char_table import CharTable, builtin_table, hanlp_table
from bert_to_bilstm.text.dataset import DATA, DATA_FILES, digests, load_data
from bert_to_bilstm.text.hanlp import HanLPUnavailable
from bert_to_bilstm.text.tables import SENTENCE_COLUMNS, columns_of
from bert_to_bilstm.text.tnews import (
    MANY,
    SPLITS,
    collect_labels,
    download,
    find_files,
    find_form,
    hold_out,
    number_ids,
    number_rows,
    read_labels,
    read_rows,
    row_of,
)
from bert_to_bilstm.text.tokenizer import (
    MOST_UNKNOWN,
    choose_minimum_count,
    count_tokens,
    make_tokenizer,
    make_vocabulary,
)
from bert_to_bilstm.training.run import different_data, move_away

SOURCE = Path("tnews")  # train and perhaps dev and test, each as .json, .jsonl, .csv, .tsv, .xlsx or .txt, and perhaps
# labels.json: TNEWS, or data of your own
SENTENCE_COLUMN = ""  # what the column of the sentences is called; "": sentence, or text
LABEL_COLUMN = "label"
SEED = 42  # of what is held out of train where there is no dev
MINIMUM_COUNT = 0  # times that a token must stand in train to be in the vocabulary; 0: 3 (article: "more than twice"),
# or 2 where train is so small that much of it would be left out
MODELS = (Path("model1"), Path("model2"), Path("model3"))  # of stages 2 to 4
MAX_LENGTH = 128  # tokens that the students read of a sentence; the longest headline has 145 characters


def normalised(columns: dict[str, list], table: CharTable) -> Dataset:
    """The columns, their sentences as `written`, half a surrogate pair as `?`, and converted by `table`."""
    written = [text.encode("utf-8", "replace").decode("utf-8") for text in columns["sentence"]]
    return Dataset.from_dict(columns | {"sentence": list(map(table.convert, written)), "written": written})


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


def describe(
    data: DatasetDict,
    labels: pandas.DataFrame,
    table: CharTable,
    tokenizer: PreTrainedTokenizerFast,
    minimum_count: int,
) -> str:
    """The table that the script prints."""
    lengths = [len(sentence) for sentence in data["train"]["sentence"]]
    seen = set(data["train"]["sentence"])
    encoded = tokenizer(data["valid"]["sentence"][:])["input_ids"]
    read = [token for ids in encoded for token in ids[:MAX_LENGTH]]
    unknown = read.count(tokenizer.unk_token_id) / max(1, len(read))
    rows = {
        "rows": ", ".join(f"{name} {len(split):,}" for name, split in data.items()),
        "classes": len(labels),
        "train length, characters": f"mean {sum(lengths) / len(lengths):.1f}, max {max(lengths)}",
        "dev sentences also in train": f"{sum(sentence in seen for sentence in data['valid']['sentence']):,}",
        "character table": f"{table.source}, {len(table.table):,} entries",
        "vocabulary": f"{len(tokenizer):,} tokens, minimum count {minimum_count}",
        "[UNK] in dev": f"{unknown:.2%} of tokens",
        f"dev cut at {MAX_LENGTH} tokens": f"{sum(len(ids) > MAX_LENGTH for ids in encoded):,} sentences",
    }
    text = "\n".join(f"{name:<28}{value}" for name, value in rows.items())
    if unknown > MOST_UNKNOWN:
        remedy = "lower MINIMUM_COUNT" if MINIMUM_COUNT else "more sentences in train would teach them"
        text += f"\nThe students will not know {unknown:.0%} of dev's tokens: {remedy}."
    return text


def refuse_others_data() -> None:
    """Raises SystemExit where data/ is not, or not only, what an earlier run of this stage wrote."""
    is_ours = any((DATA / name).exists() for name in ("char_table.json", "tokenizer/tokenizer.json"))
    if DATA.is_dir() and any(DATA.iterdir()) and not is_ours:
        raise SystemExit(f"{DATA}/ holds something that this stage did not write: move it away.")
    refuse_foreign_files(DATA, DATA_FILES)


def columns_to_read(name: str, path: Path) -> dict[str, Sequence[str]]:
    """Field → the names that its column may have, in the file of a split."""
    sentence = columns_of(path, SENTENCE_COLUMN, SENTENCE_COLUMNS)
    if name.startswith("test"):
        return {"id": ["id"], "sentence": sentence}
    return {"label": columns_of(path, LABEL_COLUMN, ["label"]), "sentence": sentence}


def with_text(path: Path, rows: list[tuple[str, dict]]) -> list[tuple[str, dict]]:
    """The labelled rows that have a text; a line names the others. Raises SystemExit where none has."""
    whole = [(place, row) for place, row in rows if row["sentence"].strip()]
    if not whole:
        raise SystemExit(f"{path}: its rows have labels and no text: give them some.")
    if len(whole) < len(rows):
        blank = first_of([str(row_of(place)) for place, row in rows if not row["sentence"].strip()])
        left_out = len(rows) - len(whole)
        print(f"{path}: rows with a label and no text are left out, {left_out:,} of {len(rows):,}: {blank}.")
    return whole


def first_of(names: Sequence[str]) -> str:
    """Some names in a message."""
    return ", ".join(names[:MANY]) + (" …" if len(names) > MANY else "")


def read_source(source: Path) -> tuple[pandas.DataFrame, dict[str, dict[str, list]]]:
    """The classes, and split → its columns; says what it had to make up."""
    files = find_files(source)
    listed = find_form(source, "labels")
    labels = read_labels(listed) if listed else None
    rows = {name: read_rows(path, columns_to_read(name, path)) for name, path in files.items()}
    described = listed or files["train"]
    rows |= {name: with_text(files[name], part) for name, part in rows.items() if not name.startswith("test")}
    if labels is None:
        labels = collect_labels(described, rows["train"])
        names = first_of(labels.index)
        print(f"{source}/ has no labels.json: the classes are the {len(labels)} labels of {described.name}: {names}.")
    splits = {
        SPLITS[name]: number_ids(part) if name.startswith("test") else number_rows(part, labels, described)
        for name, part in rows.items()
    }
    if "valid" not in splits:
        train, splits["valid"] = hold_out(splits["train"], SEED)
        splits = {"train": train} | {name: columns for name, columns in splits.items() if name != "train"}
        print(
            f"{source}/ has no dev: {len(splits['valid']['label']):,} of the {len(rows['train']):,} rows of "
            f"{files['train'].name}, a tenth of each label, are held out and not trained on."
        )
    if untaught := labels.index[~labels["label"].isin(splits["train"]["label"])].tolist():
        print(f"{files['train']} has no row of label {', '.join(untaught)}: no model will learn to give it.")
    if unmeasured := labels.index[~labels["label"].isin(splits["valid"]["label"])].tolist():
        print(
            f"dev has no row of label {', '.join(unmeasured)}: its figures, macro-F1 too, say nothing of that; "
            "a dev file can."
        )
    return labels, splits


def prepare() -> None:
    refuse_others_data()
    source = expand(SOURCE)
    if not source.exists():
        if source.name != "tnews":
            raise SystemExit(f"{source} in SOURCE is not there: name the folder with train in it.")
        download(source)
    if not source.is_dir():
        raise SystemExit(f"{source} in SOURCE is a file: name the folder in which it lies, as train{source.suffix}.")
    labels, splits = read_source(source)
    print(
        f"{source}/: {sum(len(rows['sentence']) for rows in splits.values()):,} rows read; normalising and counting ..."
    )
    table = read_char_table()  # after the files: a mistake in them is told before a download of 600 MB
    data = DatasetDict({split: normalised(columns, table) for split, columns in splits.items()})
    counts = count_tokens(data["train"]["sentence"])
    minimum_count = MINIMUM_COUNT or choose_minimum_count(counts)
    vocabulary = make_vocabulary(counts, minimum_count)
    tokenizer = make_tokenizer(vocabulary, table, MAX_LENGTH)
    with new_directory(DATA, DATA_FILES) as target:
        data.save_to_disk(str(target))
        write_text(target / "vocab.txt", "".join(token + "\n" for token in vocabulary))
        labels.to_csv(target / "label.csv", encoding="utf-8", lineterminator="\n")
        write_text(
            target / "char_table.json",
            json.dumps({"source": table.source, "table": table.table}, ensure_ascii=False, indent=0, sort_keys=True),
        )
        tokenizer.save_pretrained(target / "tokenizer")
    print(describe(data, labels, table, tokenizer, minimum_count))


def refuse_models_of_other_data(expected: dict[str, str]) -> None:
    """Raises SystemExit where later stages would stop, each after the hours of the one before it."""
    others = [path for path in MODELS if different_data(path, expected)]
    if others:
        moves = "; ".join(map(move_away, others))
        raise SystemExit(
            f"{', '.join(f'{path}/' for path in others)}: trained on other data than data/ holds now: move that away "
            f"({moves}) and go on with finetune_bert.py."
        )


def main() -> None:
    settings_of(globals())
    with stage(DATA, then="finetune_bert.py"):
        prepare()
        refuse_models_of_other_data(digests(load_data()))


if __name__ == "__main__":
    main()
