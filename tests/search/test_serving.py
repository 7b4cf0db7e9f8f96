"""A model taken elsewhere: behind HTTP, where the printed example request is sent as it stands; as weights."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lesion import onnx
from lesion.predictor import Predictor
from lesion.rules import OperatingPoint, Rules
from search.cli import main
from search.commands.serving import example_request
from search.logged_model import logged

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_models import CLASSES, member


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(shutil.which("curl") is None, reason="the example request is made with curl")
def test_the_example_request_is_answered_with_what_predict_says(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)).resize((60, 50)).save(
        tmp_path / "photo.jpg"
    )
    rules = Rules(1.4, (1.0, 2.0, 1.0), OperatingPoint(("melanoma",), 0.1, 0.9, 0.9, 0.5, 100, 20))
    Predictor((member(),), CLASSES, views=2, rules=rules).save(tmp_path / "model")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "search.cli", "serve", "model", "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = server.stdout.readline() + server.stdout.readline()
            request = re.search(r"echo .*", said)
            assert request, said
            done = subprocess.run(["bash", "-c", request[0]], cwd=tmp_path, capture_output=True, text=True, check=True)
        finally:
            server.send_signal(signal.SIGINT)
            code = server.wait(60)
    assert code == 0
    (answer,) = json.loads(done.stdout)["predictions"]
    expected = Predictor.load(tmp_path / "model").predict_files([tmp_path / "photo.jpg"]).to_frame().iloc[0].to_dict()
    assert answer["decision"] == expected["decision"]
    assert answer["flagged"] == expected["flagged"]
    for name in ("confidence", "entropy", *(f"p_{label}" for label in CLASSES)):
        assert answer[name] == pytest.approx(expected[name], abs=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_served_model_is_told_of_the_people_it_asks_for(tmp_path: Path) -> None:
    import mlflow.pyfunc
    from mlflow.pyfunc.scoring_server import invocations

    pixels = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    photo = tmp_path / "photo.png"
    Image.fromarray(pixels).save(photo)
    asks, silent = (Predictor((member(metadata=name),), CLASSES) for name in ("concatenate", "none"))
    for name, predictor in (("asks", asks), ("silent", silent)):
        folder = predictor.save(tmp_path / name)
        mlflow.pyfunc.save_model(path=str(tmp_path / f"served-{name}"), **logged(folder))
    content = base64.b64encode(photo.read_bytes()).decode()

    def answered(name: str, **known: object) -> list[float]:
        model = mlflow.pyfunc.load_model(str(tmp_path / f"served-{name}"))
        request = json.dumps({"dataframe_records": [{"image": content, **known}]})
        answer = invocations(request, "application/json", model, model.metadata.get_input_schema())
        assert answer.status == 200, answer.response
        (row,) = json.loads(answer.response)["predictions"]
        return [row[f"p_{label}"] for label in CLASSES]

    people = pd.DataFrame({"age": [71.0], "sex": ["male"], "site": ["face"]})
    told, nobody = asks.predict([photo], people)[0], asks.predict([photo])[0]
    assert not np.allclose(told, nobody)
    np.testing.assert_allclose(answered("asks", age=71, sex="male", site="face"), told, atol=1e-6)
    np.testing.assert_allclose(answered("asks"), nobody, atol=1e-6)
    np.testing.assert_allclose(answered("asks", age=None, sex=None), nobody, atol=1e-6)
    women = asks.predict([photo], people.assign(age=np.nan, sex="female", site="unknown"))[0]
    np.testing.assert_allclose(answered("asks", sex="female"), women, atol=1e-6)
    np.testing.assert_allclose(answered("silent"), silent.predict([photo])[0], atol=1e-6)
    schemas = {
        name: mlflow.models.get_model_info(str(tmp_path / f"served-{name}")).signature.inputs.input_names()
        for name in ("asks", "silent")
    }
    assert schemas == {"asks": ["image", "age", "sex", "site"], "silent": ["image"]}
    assert '"age": 45, "sex": "female", "site": "back"}]}\' | curl' in example_request("http://x", people=True)


@pytest.mark.slow
def test_a_model_becomes_one_file_that_is_compared_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    monkeypatch.chdir(tmp_path)
    model = Predictor((member(size=32),), CLASSES, views=4)
    model.save(tmp_path / "model")
    assert main(["export", "model", "--onnx", "model.onnx", "--views", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == "model.onnx"
    assert told["bytes"] == Path("model.onnx").stat().st_size
    assert max(told["difference"], told["logit_difference"]) <= 1e-4
    assert (told["preprocessing"]["decoded_to"], told["preprocessing"]["then_to"]) == ([32, 32], [32])
    photos = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), np.uint8)
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    shown = (photos / np.float32(255)).transpose(0, 3, 1, 2).astype(np.float32)
    (found,) = session.run(None, {"images": shown})
    np.testing.assert_allclose(found, replace(model, views=2).predict(list(photos)), atol=1e-4)

    # A graph of other weights, as a fault of the exporter would write it, is found out and not kept.
    other, traced = onnx.Exported(Predictor((member(1, size=32),), CLASSES)).eval(), onnx._trace
    monkeypatch.setattr(onnx, "_trace", lambda network, names, path: traced(other, names, path))
    before = Path("model.onnx").read_bytes()
    assert main(["export", "model", "--onnx", "model.onnx", "--views", "1"]) == 1
    assert "more than 0.0001" in " ".join(capsys.readouterr().err.split())
    assert Path("model.onnx").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.onnx"]


def test_a_member_s_backbone_is_written_and_the_next_command_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Predictor((member(0), member(1)), CLASSES).save(tmp_path / "model")
    assert main(["export", "model", "--backbone", "new/mine.safetensors", "--member", "2"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "squeezenet1_1 of member 2 of 2, trained at 32 pixels" in said
    assert "--set backbone.squeezenet1_1.weights=new/mine.safetensors" in said
    first = load_file("new/mine.safetensors")["features.0.weight"]
    assert torch.equal(first, member(1).model.backbone.state_dict()["stages.0.0.weight"])
    assert main(["export", "model", "--backbone", "none/mine.safetensors", "--member", "3"]) == 2
    assert "has 2 members" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
