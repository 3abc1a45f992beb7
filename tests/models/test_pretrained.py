"""Pretrained models of every family: each becomes a teacher, or is refused in a sentence; and what lies beside them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from torch.nn.functional import cross_entropy
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    ElectraConfig,
    ErnieConfig,
    FNetConfig,
    FunnelConfig,
    GPT2Config,
    LongformerConfig,
    MegatronBertConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    XLMRobertaConfig,
    XLNetConfig,
    pipeline,
)

from bert_to_bilstm.models.checkpoints import load_classifier, save_tokenizer
from bert_to_bilstm.models.pretrained import load_pretrained
from bert_to_bilstm.text.char_table import builtin_table

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"今天球队手机股票涨赢卖"]
LABELS = {0: "100", 1: "103", 2: "109"}
SMALL = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SMALL |= {"intermediate_size": 32, "pad_token_id": 0}
OF_512 = {"max_position_embeddings": 514, "pad_token_id": 0}
FAMILIES: dict[str, Callable[[], PreTrainedConfig]] = {
    "ALBERT": lambda: AlbertConfig(**SMALL, embedding_size=8),
    "BERT": lambda: BertConfig(**SMALL),
    "DeBERTa-v2": lambda: DebertaV2Config(**SMALL),
    "ELECTRA": lambda: ElectraConfig(**SMALL, embedding_size=8),
    "ERNIE": lambda: ErnieConfig(**SMALL),
    "Funnel": lambda: FunnelConfig(
        vocab_size=32, block_sizes=[1], d_model=16, n_head=2, d_head=8, d_inner=32, num_decoder_layers=1
    ),
    "GPT-2": lambda: GPT2Config(vocab_size=32, n_embd=16, n_layer=1, n_head=2, n_positions=512),
    "Longformer": lambda: LongformerConfig(**SMALL | OF_512, attention_window=8),
    "Megatron-BERT": lambda: MegatronBertConfig(**SMALL),
    "RoBERTa": lambda: RobertaConfig(**SMALL | OF_512),
    "XLM-R": lambda: XLMRobertaConfig(**SMALL | OF_512),
}
READ_PADDING: dict[str, Callable[[], PreTrainedConfig]] = {
    "FNet": lambda: FNetConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, intermediate_size=32),
    "XLNet": lambda: XLNetConfig(vocab_size=32, d_model=16, n_layer=1, n_head=2, d_inner=32, pad_token_id=0),
}


def write_model(folder: Path, config: PreTrainedConfig, classes: int = 2, pad: bool = True) -> None:
    """A random model with a classification head of `classes` classes and a tokenizer of single characters."""
    torch.manual_seed(0)
    config.num_labels = classes
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    backend = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, "[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"unk_token": "[UNK]", "mask_token": "[MASK]", "eos_token": "[SEP]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **special | ({"pad_token": "[PAD]"} if pad else {}))
    save_tokenizer(tokenizer, folder)


def load(folder: str | Path, bf16: bool = False, max_length: int = 128):
    return load_pretrained(folder, LABELS, {}, builtin_table().normalizer(), max_length, bf16)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_and_reads_raw_text_in_batches(family, scratch):
    config = FAMILIES[family]()
    write_model(Path("model"), config, pad=family != "GPT-2")
    model, tokenizer = load("model")
    batch = tokenizer(["球隊Ａ", "手机股票涨"], truncation=True, padding=True, return_tensors="pt")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    model.train()
    before = [weights.clone() for weights in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    cross_entropy(model(**inputs).logits, torch.tensor([0, 2])).backward()
    optimizer.step()
    assert any((old != new).any() for old, new in zip(before, model.parameters(), strict=True))
    model.eval()
    with torch.inference_mode():  # padding changes nothing, and Traditional text is read as Simplified
        alone = model(**{name: tokenizer(["球队a"], return_tensors="pt")[name] for name in inputs}).logits
        torch.testing.assert_close(model(**inputs).logits[:1], alone, atol=1e-4, rtol=1e-4)
    assert len(tokenizer("今" * 1000, truncation=True)["input_ids"]) == 128


@pytest.mark.parametrize("family", READ_PADDING)
def test_a_model_that_reads_padding_is_refused_in_a_sentence(family, scratch):
    write_model(Path("model"), READ_PADDING[family]())
    with pytest.raises(SystemExit, match=r"model \(\w+\) says something else of a text that is padded: choose another"):
        load("model")


@pytest.mark.parametrize("classes", [2, 3])
def test_a_head_that_is_there_is_replaced_and_that_is_said(classes, scratch, capsys):
    write_model(Path("model"), BertConfig(**SMALL), classes)
    old = BertForSequenceClassification.from_pretrained("model").classifier.weight
    model, _ = load("model")
    assert model.classifier.weight.shape == (3, 16) and (classes != 3 or not torch.equal(model.classifier.weight, old))
    assert "starting at random: classifier.bias, classifier.weight; the rest is pretrained." in capsys.readouterr().out


def test_pickles_beside_safetensors_are_left_alone_and_alone_they_are_not_read(scratch):
    write_model(Path("model"), BertConfig(**SMALL))
    for name in ("pytorch_model.bin", "optimizer.pt"):
        Path("model", name).write_bytes(b"not to be opened")
    load("model")
    Path("model/model.safetensors").unlink()
    with pytest.raises(SystemExit, match=r"model has no model\.safetensors, and optimizer\.pt, a pickle, is not read"):
        load("model")


def test_weights_in_several_files_are_read(scratch):
    write_model(Path("model"), BertConfig(**SMALL))
    model = BertForSequenceClassification.from_pretrained("model")
    shutil.move("model/model.safetensors", "whole.safetensors")
    model.save_pretrained("model", max_shard_size="10KB")
    assert Path("model/model.safetensors.index.json").exists()
    loaded, _ = load("model")
    torch.testing.assert_close(
        loaded.bert.embeddings.word_embeddings.weight, model.bert.embeddings.word_embeddings.weight
    )


@pytest.mark.parametrize("name", ["./berd", "/models/bert", "~/bert", "models/zh/bert"])
def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(name):
    with pytest.raises(SystemExit, match="is no folder: give the path of one with a model in it"):
        load(name)


def test_a_checkpoint_of_a_teacher_takes_raw_text_and_cuts_long_ones_anywhere(finished):
    model, tokenizer = load_classifier(Path("model1/best"))
    raw, normalised = (tokenizer(text)["input_ids"] for text in ("發現 ＮＢＡ", "发现 nba"))
    assert raw == normalised
    elsewhere = AutoTokenizer.from_pretrained("model1/best")
    assert (
        elsewhere("發現 ＮＢＡ")["input_ids"] == raw and elsewhere("[MASK]")["input_ids"][1] == elsewhere.mask_token_id
    )
    classify = pipeline("text-classification", "model1/best", truncation=True)
    assert classify("今天" * 5000)[0]["label"] in model.config.id2label.values()
