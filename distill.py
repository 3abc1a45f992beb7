"""Stage 4 of 5: the teacher labels the train sentences and whatever else there is, a fresh student learns its logits.

Reads   data/ (stage 1), the best checkpoint of model1/ (stage 2), and the text files in UNLABELLED
Writes  knowledge/ (label: the teacher's logits, sentence, source, hard_label), model3/{epoch}-{accuracy}/ after every
        epoch, the best of them with model.onnx, too; model3/best (a link), model3/history.csv, model3/history.png,
        model3/run.json

    python distill.py
    accelerate launch --multi_gpu --num_processes 2 distill.py

The method: mean squared error on the teacher's logits, and augmentation, Tang et al. 2019, arXiv 1903.12136; Ba and
Caruana 2014, arXiv 1312.6184. Softened probabilities: Hinton et al. 2015, arXiv 1503.02531.
"""

from bert_to_bilstm.command_line import begin

if __name__ == "__main__":
    begin("Stage 4 of 5: store the teacher's logits, teach them to a fresh student")

from collections import Counter
from functools import partial
from pathlib import Path

import torch
from datasets import Dataset, DatasetDict
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, mse_loss
from transformers import get_scheduler, set_seed

from bert_to_bilstm.distillation.labelling import SHARD, Ensemble, label_transfer_set, neural_teacher, ngram_teacher
from bert_to_bilstm.distillation.transfer_set import gather_transfer_set, with_masks_as
from bert_to_bilstm.files import expand
from bert_to_bilstm.models.bilstm import new_student
from bert_to_bilstm.models.checkpoints import (
    check_weights,
    load_classifier,
    load_tokenizer,
    model_fingerprint,
)
from bert_to_bilstm.models.initialisation import shared_tokens, start_from_teacher
from bert_to_bilstm.models.ngrams import train_ngrams
from bert_to_bilstm.outputs.onnx_export import export_best
from bert_to_bilstm.settings import settings_of
from bert_to_bilstm.stages import say, stage
from bert_to_bilstm.text.dataset import STUDENT_TOKENIZER, digests, load_data, load_descriptions, load_labels
from bert_to_bilstm.text.unlabelled import unlabelled_fingerprint
from bert_to_bilstm.training.batches import make_loader
from bert_to_bilstm.training.loop import fit
from bert_to_bilstm.training.losses import NO_LABEL, LabelLoss
from bert_to_bilstm.training.run import Run, different_data, trained_checkpoint

TEACHERS: list[str] = []  # checkpoint directories, such as "model1/3-0.5681" and "model2/5-0.5278", of BERTs and of
# students alike, an ensemble; []: model1's best
NGRAM_TEACHER = True  # whether a linear model of n-grams, trained in seconds, teaches too; article: no
NGRAM_WEIGHT = 0.5  # of its log-probabilities in the ensemble's mean; the others share the rest
UNLABELLED: list[str | Path] = []  # files to be labelled and learnt too: text, one sentence a line; JSON, CSV, TSV
# or Excel with a column `sentence` or `text`; any of them as .gz
AUGMENTATIONS = 0  # tries a train sentence; paper: n_iter 20 for small sets, article: none
P_MASK = 0.1  # chance that a word is masked (the paper's values)
P_POS = 0.1  # chance that a word is replaced by one of its part of speech
P_NGRAM = 0.25  # chance that a run of 1 to 5 words alone is kept
AUGMENTATION_SEED = 42  # apart from SEED: students of several seeds learn from one knowledge/
LOSS = "kl"  # on the softened probabilities; or "mse", on the logits, as paper and article have it
TEMPERATURE = 1.0  # of "kl"
HARD_LABEL_WEIGHT = 0.0  # of the cross-entropy with the true label, where there is one; paper and article: 0
EMBEDDINGS_FROM_TEACHER = True  # the student's initialisation; article: random
HIDDEN_SIZE = 512  # units of each direction, as the article; fewer answer sooner and know less
POOLING = "max"  # of each unit over the tokens; article: "final", the states after the last one
DROPOUT = 0.1  # of the embeddings and of what the pooling keeps; article: none
BATCH_SIZE = 128  # of all processes together; article: 16
LEARNING_RATE = 2e-3  # peak; article: 1e-4, with Adam
SCHEDULE = "cosine"  # to 0 at the last step; or "linear", "constant_with_warmup" or, as the article, "constant"
WARMUP_RATIO = 0.05  # of all steps, from 0; article: none
WEIGHT_DECAY = 0.01  # of AdamW
EPOCHS = 8  # article: 20
EPOCH_SENTENCES = 0  # sentences between two checkpoints, 0: all; where others are many, as many as train has suffice
CLASS_WEIGHTS = None  # of the n-gram model and the hard labels; "balanced": every class counts the same
KEEP_CHECKPOINTS = 0  # the best ones that stay, beside the last; 0: all
SEED = 42
KNOWLEDGE = Path("knowledge")
OUTPUT = Path("model3")


def find_teachers(data: DatasetDict) -> list[Path]:
    """TEACHERS, of which a line names those of other data, or the best of model1.

    Raises SystemExit where one is no checkpoint directory.
    """
    expected, named = digests(data), [expand(Path(teacher)) for teacher in TEACHERS]
    for teacher in named:
        if not teacher.is_dir():
            raise SystemExit(f"{teacher} in TEACHERS is not there: name checkpoint directories.")
    best = () if TEACHERS else (trained_checkpoint(Path("model1"), "finetune_bert.py", expected, finished=True),)
    teachers = [*named, *best]
    for teacher in teachers:
        check_weights(teacher)
        if different := different_data(teacher.parent, expected):
            say(f"{teacher} was trained on other data (other {' and '.join(different)}): it may know what dev asks.")
    return teachers


def origin_of_knowledge(data: DatasetDict, teachers: list[Path]) -> dict[str, object]:
    """What tells one knowledge/ from another. Raises SystemExit where a file in UNLABELLED cannot be read."""
    augmentation = {"tries": AUGMENTATIONS, "seed": AUGMENTATION_SEED} | probabilities(teachers)
    return {
        "teachers": {
            str(teacher): model_fingerprint(teacher) + (f", {times} times" if times > 1 else "")
            for teacher, times in Counter(teachers).items()
        },
        "ngrams": NGRAM_WEIGHT if NGRAM_TEACHER else None,
        "ngrams_class_weights": CLASS_WEIGHTS if NGRAM_TEACHER else None,
        **{name: digest for name, digest in digests(data).items() if name in ("data", "char_table")},
        "unlabelled": {str(path): unlabelled_fingerprint(path) for path in UNLABELLED},
        "augmentation": augmentation if AUGMENTATIONS else {},
    }


def probabilities(teachers: list[Path]) -> dict[str, float]:
    """What augmentation.Augmenter takes. Where a teacher cannot read masks there are none, and a line says so."""
    blind = [path for path in teachers if load_tokenizer(path).mask_token is None]
    if blind and AUGMENTATIONS and P_MASK:
        say(f"{blind[0]} has no token for masks: no word is masked (P_MASK = 0).")
    return {"p_mask": 0 if blind else P_MASK, "p_pos": P_POS, "p_ngram": P_NGRAM}


def load_ensemble(data: DatasetDict, paths: list[Path]) -> Ensemble:
    """The teachers: the checkpoints, and the n-gram model, trained here, which takes seconds."""
    labels, train = load_labels(), data["train"]
    share = (1 - NGRAM_WEIGHT * NGRAM_TEACHER) / len(paths)
    teachers = [(share, neural_teacher(path, labels)) for path in paths]
    if not NGRAM_TEACHER:
        return Ensemble(teachers)
    say(f"The n-gram model learns the {len(train):,} train sentences, then five times four fifths of them.")
    ngrams = train_ngrams(train["sentence"][:], train["label"][:], len(labels), CLASS_WEIGHTS)
    return Ensemble([(NGRAM_WEIGHT, ngram_teacher(ngrams, train, CLASS_WEIGHTS)), *teachers], ngrams)


def store_logits(data: DatasetDict, teachers: list[Path], origin: dict[str, object]) -> Dataset:
    """The transfer set with the teachers' logits: what KNOWLEDGE holds where it is of that `origin`, or made there."""
    chances = probabilities(teachers)
    transfer_set = gather_transfer_set(data, UNLABELLED, AUGMENTATIONS, chances, AUGMENTATION_SEED)
    return label_transfer_set(KNOWLEDGE, origin, transfer_set, partial(load_ensemble, data, teachers))


def distillation_loss(
    loss: str, temperature: float, hard_label_weight: float, hard_loss: LabelLoss, logits: Tensor, labels: Tensor
) -> Tensor:
    """The loss (batch,) of logits (batch, classes) against labels (batch, classes + 1): the teacher's logits, the hard
    label.

    "mse": the mean squared difference of the logits. "kl": the divergence of the probabilities at `temperature`, times
    its square, so that the gradients keep their size (Hinton et al. 2015). `hard_label_weight` of it is `hard_loss`,
    the cross-entropy with the hard label, where there is one.
    """
    teacher, hard = labels[:, :-1], labels[:, -1].long()
    if loss == "mse":
        soft = mse_loss(logits, teacher, reduction="none").mean(1)
    else:
        ours, theirs = log_softmax(logits / temperature, dim=1), log_softmax(teacher / temperature, dim=1)
        soft = temperature**2 * kl_div(ours, theirs, reduction="none", log_target=True).sum(1)
    if not hard_label_weight:
        return soft
    mixed = (1 - hard_label_weight) * soft + hard_label_weight * hard_loss(logits, hard)
    return torch.where(hard == NO_LABEL, soft, mixed)


def find_shared_tokens(teacher: Path) -> dict[int, int]:
    """The tokens whose embeddings the student takes over, if it is to; says how many those are."""
    if not EMBEDDINGS_FROM_TEACHER:
        return {}
    tokenizer = load_tokenizer(STUDENT_TOKENIZER)
    shared = shared_tokens(tokenizer, load_tokenizer(teacher))
    start = f"from {teacher}'s" if shared else f"at random, since {teacher} knows too few of its tokens"
    say(f"The student's embeddings start {start}: {len(shared):,} of {len(tokenizer):,} tokens are taken over.")
    return shared


def learn(run: Run, data: DatasetDict, knowledge: Dataset, teacher: Path, shared: dict[int, int]) -> None:
    set_seed(SEED)
    tokenizer, labels, valid = load_tokenizer(STUDENT_TOKENIZER), load_labels(), data["valid"]
    targets = torch.empty(len(knowledge), len(labels) + 1)  # the teacher's logits, the hard label
    for part, rows in zip(targets.split(SHARD), knowledge.with_format("torch").iter(SHARD), strict=True):
        part[:, :-1], part[:, -1] = rows["label"], rows["hard_label"]
    sentences = knowledge.select_columns("sentence").with_transform(  # not all in memory at a time
        lambda rows: {"sentence": with_masks_as(tokenizer.unk_token, rows["sentence"])}
    )
    train_loader = make_loader(tokenizer, sentences["sentence"], targets, BATCH_SIZE, SEED, EPOCH_SENTENCES)
    del knowledge, sentences  # mapped into memory
    valid_loader = make_loader(tokenizer, valid["sentence"], valid["label"], BATCH_SIZE)
    model = new_student(tokenizer, labels, load_descriptions(), DROPOUT, POOLING, HIDDEN_SIZE)
    if shared:
        start_from_teacher(model, load_classifier(teacher, labels)[0], shared)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    steps = EPOCHS * len(train_loader)
    schedule = get_scheduler(SCHEDULE, optimizer, round(WARMUP_RATIO * steps), steps)
    hard_loss = LabelLoss(CLASS_WEIGHTS, data["train"]["label"][:], len(labels))
    loss_function = partial(distillation_loss, LOSS, TEMPERATURE, HARD_LABEL_WEIGHT, hard_loss)
    fit(run, model, tokenizer, train_loader, valid_loader, optimizer, schedule, loss_function)


def main() -> None:
    settings = settings_of(globals())
    with stage(OUTPUT, then="predict_test.py"):
        data = load_data()
        teachers = find_teachers(data)
        origin = origin_of_knowledge(data, teachers)
        run = Run(OUTPUT, settings | digests(data) | origin, KEEP_CHECKPOINTS)
        if not run.is_finished():
            shared = find_shared_tokens(teachers[0])  # before the labelling, which takes its time
            learn(run, data, store_logits(data, teachers, origin), teachers[0], shared)
        export_best(OUTPUT, data["valid"])


if __name__ == "__main__":
    main()
