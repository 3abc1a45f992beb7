"""Stage 4 of 5: the teacher labels the train sentences and whatever else there is, a fresh student learns its logits.

Reads   data/ (stage 1), the best checkpoint of model1/ (stage 2), and the text files in UNLABELLED
Writes  knowledge/ (label: the teacher's logits, sentence, source, hard_label), model3/{epoch}-{accuracy}/ after every
        epoch, the best of them with model.onnx, too; model3/history.csv, model3/history.png, model3/run.json

    python distill.py
    accelerate launch --num_processes 2 distill.py

The method: mean squared error on the teacher's logits, and augmentation, Tang et al. 2019, arXiv 1903.12136; Ba and
Caruana 2014, arXiv 1312.6184. Softened probabilities: Hinton et al. 2015, arXiv 1503.02531.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from datasets import Dataset, DatasetDict
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss
from transformers import get_scheduler, set_seed

from bert_to_bilstm.distillation.labelling import label_sentences
from bert_to_bilstm.distillation.transfer_set import NO_LABEL, as_student_reads, gather_sentences
from bert_to_bilstm.files import file_fingerprint
from bert_to_bilstm.models.bilstm import new_student
from bert_to_bilstm.models.checkpoints import best_checkpoint, load_classifier, load_tokenizer
from bert_to_bilstm.models.initialisation import start_from_teacher
from bert_to_bilstm.outputs.onnx_export import export_onnx
from bert_to_bilstm.stages import stage
from bert_to_bilstm.text.dataset import DATA, STUDENT_TOKENIZER, fingerprint, load_data, load_descriptions, load_labels
from bert_to_bilstm.training.batches import make_loader
from bert_to_bilstm.training.loop import fit
from bert_to_bilstm.training.run import already_done, constants

TEACHERS: list[str] = []  # checkpoint directories, such as "model1/3-0.5681" and "model2/5-0.5278", of BERTs and of
# students alike, their logits averaged; []: model1's best
UNLABELLED: list[str] = []  # text files, one sentence a line, to be labelled and learnt too
AUGMENTATIONS = 0  # tries a train sentence; paper: n_iter 20 for small sets, article: none
P_MASK = 0.1  # chance that a word is masked (the paper's values)
P_POS = 0.1  # chance that a word is replaced by one of its part of speech
P_NGRAM = 0.25  # chance that a run of 1 to 5 words alone is kept
AUGMENTATION_SEED = 42  # apart from SEED: students of several seeds learn from one knowledge/
HANLP_TIMEOUT = 1800  # seconds that HanLP may take for the words of the train sentences
LABELLING_BATCH_SIZE = 256
LOSS = "kl"  # on the softened probabilities; or "mse", on the logits, as paper and article have it
TEMPERATURE = 2.0  # of "kl"
HARD_SHARE = 0.0  # share of the cross-entropy with the true labels, where there are any; paper and article: 0
EMBEDDINGS_FROM_TEACHER = True  # the student's start; article: random
DROPOUT = 0.0  # of the embeddings and of the final states; article: none
AVERAGED_EPOCHS = 0  # last epochs over which the weights are averaged; article: none
MAX_LENGTH = 128  # tokens
BATCH_SIZE = 128  # of all processes together; article: 16
LEARNING_RATE = 1e-3  # peak; article: 1e-4, with Adam
SCHEDULE = "cosine"  # to 0 at the last step; article: "constant"
WARMUP_STEPS = 300
EPOCHS = 15  # article: 20
EPOCH_SENTENCES = 0  # sentences between two checkpoints, 0: all; where others are many, as many as train has suffice
SEED = 42
KNOWLEDGE = Path("knowledge")
OUTPUT = Path("model3")


def find_teachers() -> list[Path]:
    """TEACHERS, or the best of model1. Raises SystemExit where one is no checkpoint directory."""
    teachers = [Path(name) for name in TEACHERS] or [best_checkpoint(Path("model1"), "finetune_bert.py")]
    for teacher in teachers:
        if not (teacher / "model.safetensors").is_file():
            raise SystemExit(f"{teacher}/model.safetensors is missing: name checkpoint directories in TEACHERS.")
    return teachers


def as_training_rows(knowledge: Dataset) -> Dataset:
    """`sentence` as the student reads it; `label`: the teachers' logits and, in the last column, the hard label."""
    return knowledge.map(
        lambda batch: {
            "sentence": as_student_reads(batch["sentence"]),
            "label": [[*row, hard] for row, hard in zip(batch["label"], batch["hard_label"], strict=True)],
        },
        batched=True,
        keep_in_memory=True,
        remove_columns=["source", "hard_label"],
    )


def distillation_loss(loss: str, temperature: float, hard_share: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of logits (batch, classes) against labels (batch, classes + 1): the teacher's logits, the hard label.

    "mse": their mean squared difference. "kl": the divergence of the probabilities at `temperature`, times its square,
    so that the gradients keep their size (Hinton et al. 2015). `hard_share` of it is the cross-entropy with the hard
    labels, where there are any. Raises ValueError for another `loss`.
    """
    if loss not in ("mse", "kl"):
        raise ValueError(f'LOSS = {loss!r}: "mse" or "kl"')

    def compute(logits: Tensor, labels: Tensor) -> Tensor:
        teacher, hard = labels[:, :-1], labels[:, -1].long()
        if loss == "mse":
            soft = mse_loss(logits, teacher)
        else:
            ours, theirs = log_softmax(logits / temperature, dim=1), log_softmax(teacher / temperature, dim=1)
            soft = temperature**2 * kl_div(ours, theirs, reduction="batchmean", log_target=True)
        if not hard_share:
            return soft
        true = cross_entropy(logits, hard, ignore_index=NO_LABEL, reduction="sum") / len(hard)
        return (1 - hard_share) * soft + hard_share * true

    return compute


def origin_of_knowledge(data: DatasetDict, teachers: list[Path]) -> dict[str, object]:
    """What tells one knowledge/ from another. Raises SystemExit where a file in UNLABELLED is missing."""
    for path in UNLABELLED:
        if not Path(path).is_file():
            raise SystemExit(f"{path} in UNLABELLED is missing: name text files of one sentence a line.")
    augmentation = {"iterations": AUGMENTATIONS, "seed": AUGMENTATION_SEED} | probabilities()
    return {
        "teachers": {str(teacher): file_fingerprint(teacher / "model.safetensors") for teacher in teachers},
        "data": fingerprint(data),
        "char_table": file_fingerprint(DATA / "char_table.json"),
        "unlabelled": {path: file_fingerprint(Path(path)) for path in UNLABELLED},
        "augmentation": augmentation if AUGMENTATIONS else {},
        "max_length": MAX_LENGTH,
    }


def probabilities() -> dict[str, float]:
    """What augmentation.Augmenter takes."""
    return {"p_mask": P_MASK, "p_pos": P_POS, "p_ngram": P_NGRAM}


def make_knowledge(data: DatasetDict, teachers: list[Path], origin: dict[str, object]) -> Dataset:
    """The sentences that the constants name, labelled by the teachers; what KNOWLEDGE holds where it is of `origin`."""
    sentences = gather_sentences(data, UNLABELLED, AUGMENTATIONS, probabilities(), AUGMENTATION_SEED, HANLP_TIMEOUT)
    return label_sentences(KNOWLEDGE, origin, sentences, teachers, load_labels(), MAX_LENGTH, LABELLING_BATCH_SIZE)


def distil() -> None:
    data, labels, tokenizer = load_data(), load_labels(), load_tokenizer(STUDENT_TOKENIZER)
    loss_function = distillation_loss(LOSS, TEMPERATURE, HARD_SHARE)
    teachers = find_teachers()
    origin = origin_of_knowledge(data, teachers)
    settings = constants(globals()) | origin
    settings["labels"] = file_fingerprint(DATA / "label.csv")
    settings["tokenizer"] = file_fingerprint(STUDENT_TOKENIZER / "tokenizer.json")
    if already_done(OUTPUT, settings, EPOCHS):
        return
    knowledge = make_knowledge(data, teachers, origin)
    set_seed(SEED)
    train_loader = make_loader(tokenizer, as_training_rows(knowledge), MAX_LENGTH, BATCH_SIZE, SEED, EPOCH_SENTENCES)
    valid_loader = make_loader(tokenizer, data["valid"], MAX_LENGTH, BATCH_SIZE)
    model = new_student(tokenizer, labels, load_descriptions(), DROPOUT)
    if EMBEDDINGS_FROM_TEACHER:
        start_from_teacher(model, tokenizer, *load_classifier(teachers[0], labels))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    schedule = get_scheduler(SCHEDULE, optimizer, WARMUP_STEPS, EPOCHS * len(train_loader))
    fit(
        OUTPUT,
        model,
        tokenizer,
        train_loader,
        valid_loader,
        optimizer,
        schedule,
        loss_function,
        EPOCHS,
        settings,
        AVERAGED_EPOCHS,
    )


def main() -> None:
    with stage(OUTPUT):
        distil()
        export_onnx(best_checkpoint(OUTPUT, "distill.py"))  # of a finished run too, where it is missing


if __name__ == "__main__":
    main()
