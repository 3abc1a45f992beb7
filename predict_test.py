"""Stage 5 of 5: predicts CLUE's test sets, in the form in which CLUE wants them.

Reads   data/ (stage 1) and the best checkpoint of model3/ (stage 4)
Writes  tnews_predict.json (test.json, to be submitted) and tnews10_predict.json (test1.0.json), one
        {"id": 0, "label": "108"} a line, in the order of the test set

    python predict_test.py
"""

import json
from pathlib import Path

from artifacts import best_checkpoint, load_classifier, load_data, load_labels, quiet_libraries, write_text
from training import predict_logits

MODEL = ""  # any checkpoint directory, the teacher's too, such as "model1/3-0.5681"; "": the best one of model3/
MAX_LENGTH = 128  # tokens
BATCH_SIZE = 256
OUTPUTS = {"test": Path("tnews_predict.json"), "test1.0": Path("tnews10_predict.json")}


def main() -> None:
    quiet_libraries()
    data, labels = load_data(), load_labels()
    splits = [split for split in OUTPUTS if split in data]
    if not splits:
        raise SystemExit("data/ has no test set: put test.json into tnews/ and run python prepare_data.py again.")
    directory = Path(MODEL) if MODEL else best_checkpoint(Path("model3"), "distill.py")
    model, tokenizer = load_classifier(directory, labels)
    for split in splits:
        logits = predict_logits(model, tokenizer, data[split]["sentence"][:], MAX_LENGTH, BATCH_SIZE)
        predictions = [labels[number] for number in logits.argmax(1).tolist()]
        rows = zip(data[split]["id"], predictions, strict=True)
        lines = [json.dumps({"id": number, "label": label}, ensure_ascii=False) + "\n" for number, label in rows]
        write_text(OUTPUTS[split], "".join(lines))
        print(f"{OUTPUTS[split]}: {len(lines):,} predictions of {directory}")


if __name__ == "__main__":
    main()
