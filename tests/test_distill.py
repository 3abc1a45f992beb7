"""Stage 4: its losses, what the student reads, its start, several teachers, and text of the user's own."""

import json
import shutil
from pathlib import Path

import numpy
import pytest
import torch
from datasets import load_from_disk
from tokenizers import Tokenizer, decoders
from tokenizers.models import WordLevel
from torch.nn.functional import cross_entropy
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    PreTrainedTokenizerFast,
)

import distill
from bert_to_bilstm.distillation.labelling import neural_teacher
from bert_to_bilstm.distillation.transfer_set import with_masks_as
from bert_to_bilstm.models import initialisation
from bert_to_bilstm.models.bilstm import new_student
from bert_to_bilstm.models.checkpoints import best_checkpoint, load_classifier
from bert_to_bilstm.models.ngrams import load_ngrams
from bert_to_bilstm.text.dataset import load_labels
from bert_to_bilstm.training.losses import LabelLoss
from bert_to_bilstm.training.prediction import predict_logits
from distill import distillation_loss

HARD = LabelLoss(None, [0], 3)  # every class counts the same
LOGITS = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, 2.0]])
TEACHER = torch.tensor([[2.0, 0.0, -2.0], [0.0, 1.0, 1.0]])


def labels(*hard: int) -> torch.Tensor:
    return torch.cat([TEACHER, torch.tensor(hard, dtype=torch.float).unsqueeze(1)], dim=1)


def test_mean_squared_error_of_the_logits():
    loss = distillation_loss("mse", 1, 0, HARD, LOGITS, labels(0, 1))
    torch.testing.assert_close(loss, torch.tensor([(1 + 0 + 1) / 3, (0.25 + 0.25 + 1) / 3]))


def test_divergence_of_the_softened_probabilities():
    ours, theirs = (
        numpy.exp(x.numpy() / 2) / numpy.exp(x.numpy() / 2).sum(1, keepdims=True) for x in (LOGITS, TEACHER)
    )
    expected = 4 * (theirs * numpy.log(theirs / ours)).sum(1)
    assert distillation_loss("kl", 2, 0, HARD, LOGITS, labels(0, 1)).tolist() == pytest.approx(
        expected.tolist(), rel=1e-5
    )
    assert distillation_loss("kl", 2, 0, HARD, TEACHER, labels(0, 1)).tolist() == pytest.approx([0, 0], abs=1e-6)


def test_the_hard_label_weighs_only_where_there_is_one():
    soft = distillation_loss("mse", 1, 0, HARD, LOGITS, labels(0, 1))
    hard = cross_entropy(LOGITS, torch.tensor([2, 1]), reduction="none")
    both = distillation_loss("mse", 1, 0.25, HARD, LOGITS, labels(2, 1))
    torch.testing.assert_close(both, 0.75 * soft + 0.25 * hard)
    first = distillation_loss("mse", 1, 0.25, HARD, LOGITS, labels(2, -100))
    torch.testing.assert_close(first, torch.stack([both[0], soft[1]]))


def test_student_reads_unk_where_the_teacher_read_mask(finished):
    assert with_masks_as("[UNK]", ["[MASK]天", "今天"]) == ["[UNK]天", "今天"]
    tokenizer = AutoTokenizer.from_pretrained("data/tokenizer")
    assert tokenizer("[UNK]天")["input_ids"][0] == tokenizer.unk_token_id


@pytest.mark.parametrize(("width", "columns"), [(64, 64), (640, 8)])  # of a wider teacher: 8 words, 8 components
def test_students_embeddings_start_as_the_teachers(finished, width, columns, monkeypatch):
    tokenizer = AutoTokenizer.from_pretrained("data/tokenizer")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "天", "今", "nba"]
    teacher_tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)})
    config = BertConfig(
        vocab_size=len(words), hidden_size=width, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    torch.manual_seed(0)
    teacher, student = BertForSequenceClassification(config), new_student(tokenizer, load_labels())
    before = student.embedding.weight.detach().clone()
    monkeypatch.setattr(initialisation, "SHARE", 0.01)
    shared = initialisation.shared_tokens(tokenizer, teacher_tokenizer)
    assert len(shared) == len(words)
    initialisation.start_from_teacher(student, teacher, shared)
    after = student.embedding.weight.detach()
    ours = torch.tensor(tokenizer.convert_tokens_to_ids(words[1:]))
    theirs = teacher.get_input_embeddings().weight.detach()[1:]
    changed = (after != before).any(1)
    assert set(changed.nonzero().flatten().tolist()) == set(ours.tolist())
    # How far any two tokens are from each other is what the teacher says, but for the scale.
    ratio = torch.pdist(after[ours, :columns]) / torch.pdist(theirs)
    assert ratio.std() < 1e-3 * ratio.mean()
    assert (after[ours, columns:] == before[ours, columns:]).all()
    assert not after[tokenizer.pad_token_id].any()


@pytest.fixture
def small_distill(finished, tmp_path, monkeypatch):
    for name, value in {
        "EPOCHS": 1,
        "NGRAM_TEACHER": False,
        "BATCH_SIZE": 32,
        "WARMUP_RATIO": 0.0,
        "KNOWLEDGE": tmp_path / "knowledge",
        "OUTPUT": tmp_path / "model3",
    }.items():
        monkeypatch.setattr(distill, name, value)
    return tmp_path


def test_the_n_gram_model_teaches_with_its_weight(small_distill, monkeypatch):
    for name, value in {"NGRAM_TEACHER": True, "NGRAM_WEIGHT": 0.25, "AUGMENTATIONS": 1}.items():
        monkeypatch.setattr(distill, name, value)
    distill.main()
    knowledge = load_from_disk(str(small_distill / "knowledge"))
    bert = neural_teacher(best_checkpoint(Path("model1"), ""), load_labels())
    rows = knowledge.filter(lambda row: row["source"] != "train")
    sentences = rows["sentence"][:]
    linear = load_ngrams(small_distill / "knowledge" / "ngrams").predict_logits(sentences)
    expected = 0.25 * linear + 0.75 * bert(sentences).log_softmax(1)
    torch.testing.assert_close(torch.tensor(rows["label"][:]), expected, atol=5e-2, rtol=5e-2)  # bf16


def test_several_teachers_logits_are_averaged(small_distill, monkeypatch):
    teachers = sorted(Path("model1").glob("*-*"))[:2]
    monkeypatch.setattr(distill, "TEACHERS", [str(teacher) for teacher in teachers])
    distill.main()
    knowledge = load_from_disk(str(small_distill / "knowledge"))
    logits = [neural_teacher(teacher, load_labels())(knowledge["sentence"][:]) for teacher in teachers]
    mean = (logits[0].log_softmax(1) + logits[1].log_softmax(1)) / 2
    torch.testing.assert_close(torch.tensor(knowledge["label"][:]), mean)


def test_a_student_among_the_teachers_reads_unk_for_mask(small_distill, monkeypatch):
    bert, student = best_checkpoint(Path("model1"), ""), best_checkpoint(Path("model2"), "")
    monkeypatch.setattr(distill, "TEACHERS", [str(bert), str(student)])
    monkeypatch.setattr(distill, "AUGMENTATIONS", 1)
    distill.main()
    knowledge = load_from_disk(str(small_distill / "knowledge"))
    sentences = knowledge["sentence"][:]
    unknown = [sentence.replace("[MASK]", "[UNK]") for sentence in sentences]
    assert unknown != sentences
    berts = predict_logits(*load_classifier(bert), sentences)
    students = predict_logits(*load_classifier(student), unknown)
    mean = (berts.log_softmax(1) + students.log_softmax(1)) / 2
    torch.testing.assert_close(torch.tensor(knowledge["label"][:]), mean, atol=5e-2, rtol=5e-2)  # bf16


def test_students_of_several_seeds_learn_from_one_knowledge(small_distill, monkeypatch, capsys):
    monkeypatch.setattr(distill, "AUGMENTATIONS", 1)
    distill.main()
    monkeypatch.setattr(distill, "SEED", 7)
    monkeypatch.setattr(distill, "OUTPUT", small_distill / "another")
    distill.main()
    assert "used again" in capsys.readouterr().out
    first, second = (best_checkpoint(small_distill / name, "") / "model.safetensors" for name in ("model3", "another"))
    assert first.read_bytes() != second.read_bytes()
    monkeypatch.setattr(distill, "AUGMENTATION_SEED", 7)
    monkeypatch.setattr(distill, "OUTPUT", small_distill / "a third")
    distill.main()
    assert "labelling anew" in capsys.readouterr().out


def test_augmented_and_unlabelled_sentences_are_labelled_and_learnt(small_distill, monkeypatch, tmp_path):
    text = tmp_path / "more.txt"
    text.write_text("球队在NBA的主場贏了\n芯片和软件\n", encoding="utf-8")
    monkeypatch.setattr(distill, "UNLABELLED", [str(text)])
    monkeypatch.setattr(distill, "AUGMENTATIONS", 1)
    monkeypatch.setattr(distill, "EMBEDDINGS_FROM_TEACHER", True)
    monkeypatch.setattr(distill, "LOSS", "kl")
    monkeypatch.setattr(distill, "HARD_LABEL_WEIGHT", 0.1)
    distill.main()
    knowledge = load_from_disk(str(small_distill / "knowledge"))
    assert set(knowledge["source"]) == {"train", "mask", "pos", "ngram", "unlabelled"}
    assert knowledge["sentence"][-2:] == ["球队在nba的主场赢了", "芯片和软件"]
    logits = neural_teacher(best_checkpoint(Path("model1"), ""), load_labels())(knowledge["sentence"][:])
    torch.testing.assert_close(torch.tensor(knowledge["label"][:]), logits)
    run = json.loads((small_distill / "model3/run.json").read_text(encoding="utf-8"))
    assert run["settings"]["unlabelled"].keys() == {str(text)}


def test_a_teacher_that_knows_hardly_a_token_gives_no_embeddings_and_that_is_said(small_distill, monkeypatch, capsys):
    teacher = Path(shutil.copytree(best_checkpoint(Path("model1"), ""), small_distill / "foreign"))
    path = teacher / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    words = content["model"]["vocab"]
    content["model"]["vocab"] = {word if word.startswith("[") else f"x{word}": number for word, number in words.items()}
    path.write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.setattr(distill, "TEACHERS", [str(teacher)])
    distill.main()
    printed = capsys.readouterr().out
    assert f"start at random, since {teacher} knows too few of its tokens: 0 of " in printed


@pytest.mark.parametrize(
    ("pieces", "shared"), [(["▁今", "天"], {"今", "天"}), (["ä»Ĭ", "å¤©"], {"今", "天"}), (["nba", "##x"], {"nba"})]
)
def test_a_token_is_known_by_the_text_that_it_stands_for(pieces, shared, monkeypatch):
    decoder = {"▁": decoders.Metaspace(), "ä": decoders.ByteLevel()}.get(pieces[0][0], decoders.WordPiece())
    backend = Tokenizer(WordLevel({piece: number for number, piece in enumerate(pieces)}, "nba"))
    backend.decoder = decoder
    ours = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"今": 0, "天": 1, "nba": 2}, "nba")))
    numbers = initialisation.shared_tokens(ours, PreTrainedTokenizerFast(tokenizer_object=backend))
    assert {ours.convert_ids_to_tokens(number) for number in numbers} == shared


def test_every_teacher_reads_masks_in_its_own_way_and_who_cannot_gets_none(small_distill, monkeypatch, capsys):
    monkeypatch.setattr(distill, "AUGMENTATIONS", 1)
    teacher = Path(shutil.copytree(best_checkpoint(Path("model1"), ""), small_distill / "blind"))
    settings = json.loads((teacher / "tokenizer_config.json").read_text())
    (teacher / "tokenizer_config.json").write_text(json.dumps(settings | {"mask_token": None}))
    monkeypatch.setattr(distill, "TEACHERS", [str(teacher)])
    distill.main()
    assert f"{teacher} has no token for masks: no word is masked (P_MASK = 0)." in capsys.readouterr().out
    sentences = load_from_disk(str(small_distill / "knowledge"))["sentence"][:]
    assert not any("[MASK]" in sentence for sentence in sentences)
    assert with_masks_as("<mask>", ["[MASK]天"]) == ["<mask>天"]  # as RoBERTa reads it


def test_a_teacher_of_other_data_is_told_and_a_training_is_no_teacher(small_distill, monkeypatch, capsys):
    teacher = best_checkpoint(Path(shutil.copytree("model1", small_distill / "elsewhere")), "")
    run = json.loads((teacher.parent / "run.json").read_text(encoding="utf-8"))
    run["settings"]["data"] = "0123456789abcdef"
    (teacher.parent / "run.json").write_text(json.dumps(run), encoding="utf-8")
    monkeypatch.setattr(distill, "TEACHERS", [str(teacher)])
    distill.main()
    expected = f"{teacher} was trained on other data (other data): it may know what dev asks.\n"
    assert capsys.readouterr().out.startswith(expected)
    monkeypatch.setattr(distill, "TEACHERS", [str(teacher.parent)])
    with pytest.raises(SystemExit, match=r"elsewhere is a training: name a checkpoint in it, such as .*elsewhere/\d-"):
        distill.main()


def test_a_teacher_named_twice_counts_twice(small_distill, monkeypatch, capsys):
    """Also where knowledge/ holds what the same teachers have said, each counted once."""
    first, second = map(str, sorted(Path("model1").glob("*-*"))[:2])
    monkeypatch.setattr(distill, "TEACHERS", [first, second])
    distill.main()
    monkeypatch.setattr(distill, "TEACHERS", [first, first, second])
    monkeypatch.setattr(distill, "OUTPUT", small_distill / "another")
    distill.main()
    knowledge = load_from_disk(str(small_distill / "knowledge"))
    one, two = (
        neural_teacher(Path(path), load_labels())(knowledge["sentence"][:]).log_softmax(1) for path in (first, second)
    )
    torch.testing.assert_close(torch.tensor(knowledge["label"][:]), (2 * one + two) / 3)
