"""All stages on a small generated set, with a tiny random BERT as the teacher.

It shows that the stages fit together, not what distillation is worth: the sentences are random words of each class.
"""

import json
import random
from pathlib import Path

import torch
from datasets import Dataset
from safetensors.torch import save_file
from transformers import BertConfig, BertForPreTraining, BertTokenizer, PreTrainedModel, PreTrainedTokenizerBase

import distill
import finetune_bert
import predict_test
import prepare_data
import report
import train_bilstm
from bert_to_bilstm.models.checkpoints import load_classifier
from bert_to_bilstm.models.ngrams import make_segmenter
from bert_to_bilstm.stages import on_cpu
from bert_to_bilstm.text.dataset import load_labels

make_segmenter()  # takes seconds; all that fork from a process with this module have it
train_bilstm.HIDDEN_SIZE = distill.HIDDEN_SIZE = 128  # enough for so small a set
CLASSES = {"100": "news_story", "103": "news_sports", "109": "news_tech"}
WORDS = {
    "100": "妈妈 爱情 回忆 童年 邻居 眼泪 婚礼 老家",
    "103": "球队 比赛 教练 冠军 NBA 进球 联赛 主场",
    "109": "手机 芯片 软件 iPhone 算法 网络 机器人 5G",
}
COMMON = "今天 2018年 为什么 怎么 看待 终于 大家 真的 ， ？ ！ 中国 一个 發現"


def write_tnews(folder: Path, train: int = 50, dev: int = 20, test: int = 10) -> None:
    """A data set in TNEWS form, `train`, `dev` and `test` rows a class; no file ends in a newline."""
    generator = random.Random(0)

    def rows(count: int) -> list[dict]:
        result = []
        for number in range(count):
            label = list(CLASSES)[number % len(CLASSES)]
            # a word of the class, and one of any class to make it less easy
            words = [generator.choice(WORDS[label].split()), generator.choice(" ".join(WORDS.values()).split())]
            words += generator.sample(COMMON.split(), generator.choice([1, 2, 4]))
            sentence = "".join(generator.sample(words, len(words)))
            result.append({"label": label, "label_desc": CLASSES[label], "sentence": sentence, "keywords": ""})
        return result

    def write(name: str, objects: list[dict]) -> None:
        lines = [json.dumps(value, ensure_ascii=False) for value in objects]
        folder.joinpath(name).write_text("\n".join(lines), encoding="utf-8")

    folder.mkdir(parents=True)
    write("labels.json", [{"label": label, "label_desc": description} for label, description in CLASSES.items()])
    write("train.json", rows(train * len(CLASSES)))
    write("dev.json", rows(dev * len(CLASSES)))
    for name in ("test.json", "test1.0.json"):
        texts = [row["sentence"] for row in rows(test * len(CLASSES))]
        write(name, [{"id": number, "sentence": text, "keywords": ""} for number, text in enumerate(texts)])


def as_data(sentences: list[str], labels: list[int]) -> Dataset:
    """Rows as stage 1 leaves them."""
    rows = list(range(1, len(sentences) + 1))
    return Dataset.from_dict({"label": labels, "sentence": sentences, "row": rows, "written": sentences})


def write_bert(folder: Path, vocabulary: list[str]) -> None:
    """A random BERT in the layout in which bert-base-chinese is published.

    That is: `gamma` and `beta` for the layer norms, both pretraining heads, the decoder tied to the embeddings and left
    out, a configuration of 2018, and vocab.txt beside tokenizer.json.
    """
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128
    )
    weights = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in BertForPreTraining(config).state_dict().items()
        if not name.startswith("cls.predictions.decoder.")
    }
    published = {
        "architectures": ["BertForMaskedLM"],
        "attention_probs_dropout_prob": 0.1,
        "directionality": "bidi",
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": config.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": config.intermediate_size,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "model_type": "bert",
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "pad_token_id": 0,
        "pooler_fc_size": 768,
        "pooler_num_attention_heads": 12,
        "pooler_num_fc_layers": 3,
        "pooler_size_per_head": 128,
        "pooler_type": "first_token_transform",
        "type_vocab_size": 2,
        "vocab_size": len(vocabulary),
    }
    folder.mkdir(parents=True)
    save_file(
        {name: value.contiguous() for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    BertTokenizer(vocab={token: number for number, token in enumerate(vocabulary)}).save_pretrained(folder)
    for name, settings in {
        "config.json": published,
        "tokenizer_config.json": {"do_lower_case": False, "model_max_length": 512},
    }.items():
        folder.joinpath(name).write_text(json.dumps(settings, indent=2), encoding="utf-8")
    folder.joinpath("vocab.txt").write_text("".join(token + "\n" for token in vocabulary), encoding="utf-8")


def load_as_trained(checkpoint: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """On a CPU a BERT is trained with another attention than it predicts with, which in bf16 decides near ties."""
    model, tokenizer = load_classifier(checkpoint, load_labels())
    if on_cpu():
        model.set_attn_implementation("eager")
    return model, tokenizer


def run_stages() -> None:
    """All stages in the working directory, with constants for so small a set."""
    prepare_data.main()
    if not Path("bert").exists():
        write_bert(Path("bert"), Path("data/vocab.txt").read_text(encoding="utf-8").splitlines())
    finetune_bert.MODEL_NAME, finetune_bert.LEARNING_RATE, finetune_bert.BATCH_SIZE = "bert", 1e-3, 16
    finetune_bert.EPOCHS = 8
    train_bilstm.BATCH_SIZE = distill.BATCH_SIZE = 16
    train_bilstm.EPOCHS = distill.EPOCHS = 3
    train_bilstm.WARMUP_RATIO = distill.WARMUP_RATIO = 0.1
    for stage in (finetune_bert, train_bilstm, distill, predict_test, report):
        stage.main()
