"""Files from elsewhere: nothing in them is run, nothing is written where they say, and none is too large."""

import json
import os
import pickle
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import webbrowser
import zipfile
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from datasets import load_from_disk

import finetune_bert
import prepare_data
from bert_to_bilstm.models.bilstm import BiLSTMForSequenceClassification
from bert_to_bilstm.models.checkpoints import PICKLES, best_checkpoint, load_classifier
from bert_to_bilstm.text import tnews
from bert_to_bilstm.text.dataset import load_data
from bert_to_bilstm.training.run import Run

MARKER = Path("it-was-run")
CODE = f"from pathlib import Path\nPath({str(MARKER)!r}).touch()\n"


class Bomb:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple:
        return exec, (CODE,)


@pytest.fixture
def checkpoint(finished_run: Path, scratch: Path) -> Path:
    """A copy of the best student, in an empty working directory."""
    return Path(shutil.copytree(best_checkpoint(finished_run / "model3", ""), scratch / "model"))


@pytest.fixture
def data(finished_run: Path, scratch: Path) -> Path:
    """A copy of data/ and of the teacher's start, in an empty working directory."""
    for name in ("data", "bert"):
        shutil.copytree(finished_run / name, scratch / name)
    return scratch


# Model directories


def test_the_bomb_would_go_off(scratch):
    pickle.loads(pickle.dumps(Bomb()))
    assert MARKER.exists()


@pytest.mark.parametrize("suffix", PICKLES)
def test_a_pickle_beside_the_weights_is_not_opened(checkpoint, suffix):
    (checkpoint / f"pytorch_model{suffix}").write_bytes(pickle.dumps(Bomb()))
    load_classifier(checkpoint)
    assert not MARKER.exists()


def test_a_pickle_in_place_of_the_weights_is_refused(data):
    Path("bert/pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    Path("bert/model.safetensors").unlink()
    with pytest.raises(SystemExit, match=r"bert has no model\.safetensors, and pytorch_model\.bin, a pickle"):
        finetune_bert.main()
    assert not MARKER.exists()


def test_a_pickle_by_the_name_of_safe_weights_is_refused(checkpoint):
    (checkpoint / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(SystemExit, match="holds no readable model"):
        load_classifier(checkpoint)
    assert not MARKER.exists()


def test_the_code_in_a_students_checkpoint_is_not_run(checkpoint):
    (checkpoint / "bilstm.py").write_text(CODE)
    model, _ = load_classifier(checkpoint)
    assert type(model) is BiLSTMForSequenceClassification and not MARKER.exists()


FOREIGN = {
    "model_type": "foreign",
    "auto_map": {
        "AutoConfig": "foreign.Config",
        "AutoModelForSequenceClassification": "foreign.Model",
        "AutoTokenizer": ["foreign.Tokenizer", None],
    },
}


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_that_a_model_brings_is_not_run_and_no_question_is_asked(checkpoint, monkeypatch, name):
    (checkpoint / "foreign.py").write_text(CODE)
    settings = json.loads((checkpoint / name).read_text()) | FOREIGN | {"tokenizer_class": "Tokenizer"}
    (checkpoint / name).write_text(json.dumps(settings))
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # to "do you wish to run the custom code?"
    if name == "config.json":
        with pytest.raises(SystemExit, match="holds no readable"):
            load_classifier(checkpoint)
    else:  # tokenizer.json is read, whatever stands beside it
        load_classifier(checkpoint)
    assert not MARKER.exists()


def test_a_pretrained_model_that_brings_its_own_code_is_refused_without_a_question(data, monkeypatch):
    Path("bert/foreign.py").write_text(CODE)
    settings = json.loads(Path("bert/config.json").read_text()) | FOREIGN
    Path("bert/config.json").write_text(json.dumps(settings))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(SystemExit, match="bert could not be loaded"):
        finetune_bert.main()
    assert not MARKER.exists()


def test_the_state_of_a_stopped_run_runs_nothing(scratch):
    Path("out/state-1").mkdir(parents=True)
    torch.save({"model": Bomb()}, "out/state-1/state.pt")
    with pytest.raises(SystemExit, match=r"out/state-1/state\.pt cannot be read \(UnpicklingError\)"):
        Run(Path("out"), {}).resume(torch.nn.Linear(1, 1), None, None)
    assert not MARKER.exists()


# Data sets


def test_code_beside_the_rows_is_not_run(data):
    for name in ("data/data.py", "data/train/train.py", "data/train/dataset.py", "data/valid/valid.py"):
        Path(name).write_text(CODE)
    for path in Path("data").glob("*/dataset_info.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"builder_name": "train", "dataset_name": "train"}))
    assert len(load_data()["train"]) == 150
    assert not MARKER.exists()


# The zip


def archive(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], leave_out: str = "") -> None:
    """A zip of tnews/, which is removed, and `members`; prepare_data downloads it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
        for source in sorted(Path("tnews").iterdir()):
            if source.name != leave_out:
                file.write(source, source.name)
    shutil.rmtree("tnews")


@pytest.fixture
def public_zip(small_tnews: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the zip is to lie that prepare_data downloads."""
    monkeypatch.setattr(tnews, "URL", (small_tnews / "public.zip").as_uri())
    return small_tnews / "public.zip"


def test_names_in_the_zip_lead_nowhere(public_zip):
    link = zipfile.ZipInfo("dev.json/../train.json")
    link.external_attr = 0o120777 << 16  # a symbolic link
    outside = Path(public_zip.parent.parent, "train.json")
    archive(
        public_zip,
        ("../train.json", b"outside"),
        (f"{public_zip.parent}/labels.json", b"outside"),
        (link, b"/etc/passwd"),
        ("tnews/.ssh/authorized_keys", b"outside"),
    )
    prepare_data.main()
    assert load_from_disk("data")["train"].num_rows == 150
    assert not outside.exists() and not Path("labels.json").exists()
    names = {"labels.json", "train.json", "dev.json", "test.json", "test1.0.json"}
    assert {path.name for path in Path("tnews").iterdir()} == names
    assert not any(path.is_symlink() for path in Path("tnews").iterdir())


def overwritten(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def cut(path: Path) -> None:
    archive(path)
    path.write_bytes(path.read_bytes()[:3000])


def damaged(path: Path) -> None:
    archive(path)
    overwritten(path, path.read_bytes()[600:640], bytes(40))


def encrypted(path: Path) -> None:
    """Bit 0 of the flags is set in each member's own head and in the list at the end."""
    archive(path)
    overwritten(path, b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\x01\0")
    overwritten(path, b"PK\x03\x04\x14\0\0\0", b"PK\x03\x04\x14\0\x01\0")


def packed_in_an_unknown_way(path: Path) -> None:
    archive(path)
    overwritten(path, b"\x14\0\0\0\x08\0", b"\x14\0\0\0\x63\0")


def bomb(path: Path) -> None:
    """Three hundred megabytes in three hundred kilobytes."""
    archive(path, ("test1.0.json", bytes(300_000_000)), leave_out="test1.0.json")
    assert path.stat().st_size < 400_000


SPOILED_ZIPS = {
    bomb: "300,",
    partial(archive, leave_out="dev.json"): r"no dev\.json in it",
    cut: "not a zip file",
    damaged: "",
    encrypted: "encrypted",
    packed_in_an_unknown_way: "compression",
}


@pytest.mark.parametrize(("make", "message"), SPOILED_ZIPS.items())
def test_a_zip_that_cannot_be_trusted_is_not_unpacked(public_zip, make, message):
    make(public_zip)
    with pytest.raises(
        SystemExit, match=f"could not be downloaded .*{message}.*: unpack the TNEWS zip by hand"
    ) as stop:
        prepare_data.main()
    assert "\n" not in stop.value.code
    assert [path.name for path in Path().iterdir()] == ["public.zip"]


def test_a_server_without_a_trusted_certificate_is_not_asked(small_tnews, monkeypatch):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    archive(Path("public.zip"))
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out certificate.pem -subj /CN=localhost"
    subprocess.run(command.split(), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("certificate.pem", "key.pem")
    with HTTPServer(("localhost", 0), SimpleHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(tnews, "URL", f"https://localhost:{server.server_port}/public.zip")
        with pytest.raises(SystemExit, match=r"could not be downloaded .*CERTIFICATE_VERIFY_FAILED"):
            prepare_data.main()
        server.shutdown()
    assert not Path("tnews").exists()


# What the stages leave outside the working directory


def test_pyhanlps_damage_stays_in_its_own_process(small_tnews, java_stub):
    context, browser, timeout = ssl._create_default_https_context, webbrowser.open, socket.getdefaulttimeout()
    prepare_data.main()
    assert json.loads(Path("data/char_table.json").read_text(encoding="utf-8"))["source"] == "HanLP"
    assert ssl._create_default_https_context is context is ssl.create_default_context
    assert (webbrowser.open, socket.getdefaulttimeout()) == (browser, timeout)
    assert not {"pyhanlp", "jpype", "_jpype"} & set(sys.modules)
    if Path("/proc/self/maps").exists():  # the libraries in this process
        assert "libjvm" not in Path("/proc/self/maps").read_text()


STAGES = """
import sys
sys.path.insert(0, {root!r})
import distill, finetune_bert, predict_test, prepare_data, report, train_bilstm
finetune_bert.MODEL_NAME = "bert"
finetune_bert.EPOCHS = train_bilstm.EPOCHS = distill.EPOCHS = distill.AUGMENTATIONS = 1
train_bilstm.HIDDEN_SIZE = distill.HIDDEN_SIZE = 128
for stage in (prepare_data, finetune_bert, train_bilstm, distill, predict_test, report):
    stage.main()
"""


@pytest.mark.slow
def test_nothing_is_written_outside_the_working_directory(finished_run, tmp_path):
    for name in ("home", "hub", "temporary", "work"):
        (tmp_path / name).mkdir()
    for name in ("tnews", "bert"):
        shutil.copytree(finished_run / name, tmp_path / "work" / name)
    places = {"HOME": "home", "HF_HOME": "hub", "TMPDIR": "temporary"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MPL", "HF_"))}
    environment |= {name: str(tmp_path / place) for name, place in places.items()} | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", STAGES.format(root=str(ROOT))]
    result = subprocess.run(
        command, cwd=tmp_path / "work", env=environment, capture_output=True, text=True, timeout=900
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "work" / "report" / "comparison.png").exists()
    left = [path for place in places.values() for path in (tmp_path / place).rglob("*") if path.is_file()]
    # matplotlib keeps a list of the machine's fonts
    assert {path.relative_to(tmp_path).parts[:3] for path in left} <= {("home", ".cache", "matplotlib")}
