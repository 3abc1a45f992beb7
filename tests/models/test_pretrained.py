"""Pretrained models of every family: each becomes a teacher, or is refused in a sentence; and what lies beside them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
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
    GPT2Tokenizer,
    LongformerConfig,
    MegatronBertConfig,
    MPNetConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Tokenizer,
    RobertaConfig,
    T5Config,
    XLMRobertaConfig,
    XLNetConfig,
    pipeline,
)

from bert_to_bilstm.models.bilstm import drop_out
from bert_to_bilstm.models.checkpoints import load_classifier, model_fingerprint, save_tokenizer
from bert_to_bilstm.models.pretrained import find_pretrained, load_pretrained
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
    "GPT-2": lambda: GPT2Config(vocab_size=300, n_embd=16, n_layer=1, n_head=2, n_positions=512),
    "Longformer": lambda: LongformerConfig(**SMALL | OF_512, attention_window=8),
    "Megatron-BERT": lambda: MegatronBertConfig(**SMALL),
    "MPNet": lambda: MPNetConfig(**SMALL | OF_512 | {"pad_token_id": 1}),
    "Qwen2": lambda: Qwen2Config(**SMALL | {"vocab_size": 300, "num_key_value_heads": 2, "pad_token_id": None}),
    "RoBERTa": lambda: RobertaConfig(**SMALL | OF_512 | {"pad_token_id": 1}),
    "T5": lambda: T5Config(
        vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0, eos_token_id=3
    ),
    "XLM-R": lambda: XLMRobertaConfig(**SMALL | OF_512),
}
READ_PADDING: dict[str, Callable[[], PreTrainedConfig]] = {
    "FNet": lambda: FNetConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, intermediate_size=32),
    "XLNet": lambda: XLNetConfig(vocab_size=32, d_model=16, n_layer=1, n_head=2, d_inner=32, pad_token_id=0),
}


def write_model(folder: Path, config: PreTrainedConfig, classes: int = 2) -> None:
    """A random model with a classification head of `classes` classes, and a tokenizer."""
    torch.manual_seed(0)
    config.num_labels = classes
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    if kind := {"gpt2": GPT2Tokenizer, "qwen2": Qwen2Tokenizer}.get(config.model_type):
        # of bytes, in which each stands as a letter; no token for padding, none for what is unknown
        letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
        tokens = letters | {"<|endoftext|>": len(letters)}
        kind(vocab=tokens, merges=[], pad_token=None, unk_token=None, padding_side="left").save_pretrained(folder)
    else:
        save_tokenizer(tokenizer_of_characters(), folder)


def tokenizer_of_characters() -> PreTrainedTokenizerBase:
    backend = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, "[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"unk_token": "[UNK]", "mask_token": "[MASK]", "eos_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", **special)


def load(folder: str | Path, max_length: int = 128) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    return load_pretrained(folder, LABELS, {}, builtin_table().normalizer(), max_length, bf16=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_and_its_checkpoint_says_the_same(family, scratch):
    write_model(Path("model"), FAMILIES[family]())
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
    model.save_pretrained("saved")
    save_tokenizer(tokenizer, Path("saved"))
    loaded, loaded_tokenizer = load_classifier(Path("saved"))
    again = loaded_tokenizer(["球隊Ａ", "手机股票涨"], truncation=True, padding=True, return_tensors="pt")
    assert again.keys() == inputs.keys()
    torch.testing.assert_close(loaded(**again).logits, model(**inputs).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["MPNet", "RoBERTa"])
def test_of_514_positions_512_tokens_are_read(family, scratch):
    write_model(Path("model"), FAMILIES[family]())
    model, tokenizer = load("model", max_length=1000)
    batch = tokenizer(["今" * 1000], truncation=True, return_tensors="pt")
    assert batch["input_ids"].shape[1] == 512
    model(**batch)


def test_a_decoder_that_has_no_token_for_padding_is_padded_on_the_right(scratch, capsys):
    write_model(Path("model"), FAMILIES["Qwen2"]())
    _, tokenizer = load("model")
    assert tokenizer(["今", "今天球队"], padding=True)["attention_mask"][0] == [1] * 3 + [0] * 9  # bytes
    assert "elsewhere than here, load it by PreTrainedTokenizerFast" in capsys.readouterr().out


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


@pytest.mark.parametrize("changed", [{"vocab_size": 40}, {"max_position_embeddings": 64}, {"intermediate_size": 64}])
def test_weights_of_another_shape_than_the_configurations_are_not_drawn_at_random(changed, scratch):
    write_model(Path("model"), BertConfig(**SMALL))
    path = Path("model/config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(
        SystemExit, match=r"model has weights of another model than its config\.json says: copy it again"
    ):
        load("model")


def test_pickles_beside_safetensors_are_left_alone_and_alone_they_are_not_read(scratch):
    write_model(Path("model"), BertConfig(**SMALL))
    Path("model/optimizer.pt").write_bytes(b"not to be opened")
    Path("model/pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\n")  # not pulled, nor needed
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


@pytest.mark.parametrize("name", ["./berd", "/models/bert", "~/bert", "models/zh/bert", "models/berd"])
def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(name, scratch):
    Path("models").mkdir()
    with pytest.raises(SystemExit, match="is no folder: give the path of one with a model in it"):
        load(name)


def test_a_name_on_the_hub_is_loaded_from_its_cache(scratch, monkeypatch):
    snapshot = Path("hub/models--someone--bert/snapshots/1234")
    write_model(snapshot, BertConfig(**SMALL))
    Path("hub/models--someone--bert/refs").mkdir()
    Path("hub/models--someone--bert/refs/main").write_text("1234")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(Path("hub").absolute()))
    assert find_pretrained("someone/bert").samefile(snapshot)
    assert load("someone/bert")[0].config.model_type == "bert"
    with pytest.raises(SystemExit, match="someone/berd could not be loaded from the hub"):
        load("someone/berd")


def test_the_fingerprint_of_a_model_is_of_what_it_answers_by(scratch):
    write_model(Path("model"), BertConfig(**SMALL))
    before = model_fingerprint(Path("model"))
    Path("model/README.md").write_text("mine")
    shutil.copytree("model", "elsewhere")
    assert model_fingerprint(Path("model")) == model_fingerprint(Path("elsewhere")) == before
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        shutil.copytree("model", f"with-another-{name}")
        with open(f"with-another-{name}/{name}", "ab") as file:
            file.write(b" ")
        assert model_fingerprint(Path(f"with-another-{name}")) != before


def test_a_checkpoint_of_a_teacher_takes_raw_text_and_cuts_long_ones_anywhere(finished):
    model, tokenizer = load_classifier(Path("model1/best"))
    raw, normalised = (tokenizer(text)["input_ids"] for text in ("發現 ＮＢＡ", "发现 nba"))
    assert raw == normalised
    elsewhere = AutoTokenizer.from_pretrained("model1/best")
    assert (
        elsewhere("發現 ＮＢＡ")["input_ids"] == raw and elsewhere("[MASK]")["input_ids"][1] == elsewhere.mask_token_id
    )
    assert len(Tokenizer.from_file("model1/best/tokenizer.json").encode("今天" * 5000)) == 128  # outside transformers
    classify = pipeline("text-classification", "model1/best", truncation=True)
    assert classify("今天" * 5000)[0]["label"] in model.config.id2label.values()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["BERT", "ELECTRA", "ERNIE", "RoBERTa", "XLM-R"])
def test_of_the_last_layer_the_first_token_alone_is_computed_to_the_same_logits_and_gradients(
    family, attention, scratch
):
    config = FAMILIES[family]()
    config.num_hidden_layers, config.hidden_dropout_prob, config.attention_probs_dropout_prob = 2, 0.0, 0.0
    config.initializer_range = 0.2  # what is left out shows
    write_model(Path("model"), config)
    model, tokenizer = load("model")
    model.set_attn_implementation(attention)
    plain = AutoModelForSequenceClassification.from_config(model.config, attn_implementation=attention)
    plain.load_state_dict(model.state_dict())
    widths = []
    model.base_model.encoder.layer[-1].output.register_forward_hook(lambda *called: widths.append(called[2].shape[1]))
    batch = tokenizer(["球队", "今天手机股票涨"], padding=True, return_tensors="pt")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    for one in (model, plain):
        one.train()
        cross_entropy(one(**inputs).logits, torch.tensor([0, 2])).backward()
    assert widths == [1]
    torch.testing.assert_close(model(**inputs).logits, plain(**inputs).logits)
    for (name, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        if theirs.grad is not None:  # a pooler that nothing reads
            torch.testing.assert_close(ours.grad, theirs.grad, msg=name)


def test_a_bert_that_reads_no_token_ahead_stays_as_it_is(scratch):
    write_model(Path("model"), BertConfig(**SMALL, is_decoder=True))
    model, tokenizer = load("model")
    model.set_attn_implementation("sdpa")
    plain = AutoModelForSequenceClassification.from_config(model.config, attn_implementation="sdpa").eval()
    plain.load_state_dict(model.state_dict())
    inputs = {"input_ids": tokenizer(["今天手机股票涨"], return_tensors="pt")["input_ids"]}
    torch.testing.assert_close(model.eval()(**inputs).logits, plain(**inputs).logits, atol=1e-7, rtol=0)


def test_the_head_is_in_fp32_where_layers_of_the_model_are_as_wide_as_there_are_classes(scratch):
    config = FAMILIES["XLM-R"]()
    config.hidden_size, config.num_attention_heads = 3, 1
    write_model(Path("model"), config)
    model, tokenizer = load("model")
    with torch.autocast("cpu", torch.bfloat16):
        assert model(**tokenizer(["今天"], return_tensors="pt")).logits.dtype == torch.float32


def test_a_bert_without_layers_is_loaded(scratch):
    write_model(Path("model"), BertConfig(**SMALL | {"num_hidden_layers": 0}))
    model, tokenizer = load("model")
    assert model(**tokenizer(["今天"], return_tensors="pt")).logits.shape == (1, 3)


def test_the_last_layers_attention_is_dropped_out_where_it_trains(scratch):
    config = BertConfig(**SMALL, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5)
    write_model(Path("model"), config)
    model, tokenizer = load("model")
    inputs = tokenizer(["今天手机股票涨"], return_tensors="pt")
    assert model.eval()(**inputs).logits.equal(model(**inputs).logits)
    assert not model.train()(**inputs).logits.equal(model(**inputs).logits)


@pytest.mark.parametrize("chance", [0.0, 0.999_999, 1.0])
def test_any_chance_of_dropout_is_that_of_torch(chance):
    dropped = drop_out(torch.ones(100_000), chance)
    assert (dropped == 0).float().mean().item() == pytest.approx(chance, abs=1e-3)


def test_a_teacher_drops_out_its_share_where_it_trains(scratch):
    write_model(Path("model"), BertConfig(**SMALL))
    model, _ = load("model")
    states = torch.ones(100, 20, 16)
    dropped = model.train().bert.embeddings.dropout(states)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert model.eval().bert.embeddings.dropout(states).equal(states)
