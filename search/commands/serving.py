"""``lesion-search serve | export``: a model behind HTTP, and a model as its folder or as one ONNX file."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lesion.errors import LesionError
from search.commands.options import again, begins_anew, command, json_option, whole, workspace_option
from search.commands.predict import model_of
from search.commands.ui import shown_host

if TYPE_CHECKING:
    from lesion.predictor import Predictor
    from search.commands.options import Commands


def add(commands: Commands) -> None:
    """The commands that take a model elsewhere."""
    _add_serve(commands)
    _add_export(commands)


def _add_serve(commands: Commands) -> None:
    parser = command(
        commands, "serve", serve,
        "Answer requests for judgements over HTTP with MLflow's server, until Ctrl-C, and print an example request. It "
        "listens on this machine alone unless --host says otherwise; it has no passwords.",
        "models:/isic2017@champion",
        "model/ --port 8080",
    )  # fmt: skip
    parser.add_argument("model", metavar="MODEL", help="a registered model or a model's folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=whole, default=5001, help="port to listen on (default 5001)")
    workspace_option(parser)


def _add_export(commands: Commands) -> None:
    parser = command(
        commands, "export", export,
        "Write a model as a folder, which predict takes where there is neither registry nor MLflow. Or as one ONNX "
        "file, for runtimes without PyTorch: all members and views are in it, any number of photos goes through, its "
        "metadata say how a photo is made ready, and it is compared with PyTorch first. Or write the backbone of one "
        "member as a file of weights, which another search can start from.",
        "models:/isic2017@champion --folder model/",
        "models:/isic2017@champion --onnx isic2017.onnx",
        "model/ --onnx model.onnx --views 1",
        "models:/isic2018@champion --backbone isic2018.safetensors",
    )  # fmt: skip
    begins_anew(parser)
    parser.add_argument("model", metavar="MODEL", help="a registered model or a model's folder")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--folder", type=Path, metavar="DIR", help="write everything to this folder, which is made")
    what.add_argument("--onnx", type=Path, metavar="FILE", help="write everything to this file")
    what.add_argument(
        "--backbone", type=Path, metavar="FILE", help="write one member's backbone to this file, a .safetensors"
    )
    parser.add_argument("--member", type=whole, default=1, metavar="N", help="whose backbone (default 1, the first)")
    parser.add_argument("--views", type=int, choices=(1, 2, 4, 8), help="flips and turns (default: the model's)")
    workspace_option(parser)
    json_option(parser)


def serve(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C (0), or until the server ends by itself (1)."""
    from search.display import console, say  # noqa: PLC0415 - heavy imports wait until they are needed
    from search.servers import answers, require_free, serving, tail  # noqa: PLC0415

    require_free(args.host, args.port)
    url = f"http://{shown_host(args.host)}:{args.port}"
    with _servable(args) as (folder, asks):
        log = folder.with_name("server.log")
        words = [
            sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(folder), "--env-manager", "local",
            "--host", args.host, "--port", str(args.port), "--workers", "1",
        ]  # fmt: skip
        # MLflow starts a command by its name, which stands beside our Python.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        with serving(words, log, {"PATH": path}) as server:
            with console(stderr=True).status("starting MLflow's server"):
                started = answers(server, f"{url}/ping")
            if started:
                say(f"{args.model} answers at {url}/invocations   (Ctrl-C ends it)", example_request(url, asks))
                if asks:
                    say("the model asks for age, sex and site: what a request leaves out is unknown to it", stderr=True)
                server.wait()
            if server.stopped:
                return 0
            say("MLflow's server ended by itself; the end of its log:", *tail(log), stderr=True)
    return 1


def example_request(url: str, people: bool = False) -> str:
    """A command that sends a photo to the server at `url`; with `people`, and whom it is of."""
    who = ', "age": 45, "sex": "female", "site": "back"' if people else ""
    image = '{"dataframe_records": [{"image": "\'"$(base64 -w0 photo.jpg)"\'"' + who + "}]}"
    return f"echo '{image}' | curl -s {url}/invocations -H 'Content-Type: application/json' -d @-"


def export(args: argparse.Namespace) -> int:
    """``export``."""
    from dataclasses import replace  # noqa: PLC0415

    from lesion.onnx import export_onnx, preprocessing  # noqa: PLC0415
    from lesion.predictor import Predictor  # noqa: PLC0415
    from search.basis import other_views  # noqa: PLC0415
    from search.display import console, print_json, say  # noqa: PLC0415

    predictor = Predictor.load(model_of(args))
    if args.backbone:
        return _export_backbone(args, predictor)
    if args.views:
        say(*filter(None, [other_views(predictor, args.views)]), style="yellow", stderr=True)
        predictor = replace(predictor, views=args.views)
    if args.folder:
        return _export_folder(args, predictor)
    with console(stderr=True).status("reading the model") as spinner:
        worst = export_onnx(predictor, args.onnx, spinner.update)
    size = args.onnx.stat().st_size
    if args.json:
        facts = {
            "file": str(args.onnx),
            "bytes": size,
            "difference": worst.probability,
            "logit_difference": worst.logit,
        }
        print_json({**facts, "preprocessing": preprocessing(predictor)})
        return 0
    say(
        f"{args.onnx}: {size / 1e6:.1f} MB, {len(predictor.members)} members, {predictor.views} views; "
        f"onnxruntime is within {worst.probability:.1g} of PyTorch, logits within {worst.logit:.1g}"
    )
    say(*(f"  {what}: {how}" for what, how in preprocessing(predictor).items() if how is not None), style="dim")
    return 0


def _export_folder(args: argparse.Namespace, predictor: Predictor) -> int:
    from search.display import print_json, say  # noqa: PLC0415

    size = sum(file.stat().st_size for file in predictor.save(args.folder).iterdir())
    if args.json:
        print_json({"folder": str(args.folder), "bytes": size})
        return 0
    say(f"{args.folder}: {size / 1e6:.1f} MB, {len(predictor.members)} members, {predictor.views} views")
    say(f"next: {again(args, 'predict', str(args.folder), 'PHOTO')}", style="dim")
    return 0


def _export_backbone(args: argparse.Namespace, predictor: Predictor) -> int:
    from lesion.models.transfer import save_backbone  # noqa: PLC0415
    from search.display import print_json, say  # noqa: PLC0415
    from search.starts import learnt_by  # noqa: PLC0415

    members = predictor.members
    if not 1 <= args.member <= len(members):
        raise LesionError(f"--member {args.member}: {args.model} has {len(members)} members, counted from 1")
    member = members[args.member - 1]
    args.backbone.parent.mkdir(parents=True, exist_ok=True)
    learnt = learnt_by(predictor.provenance)
    name, tensors = member.settings["backbone"], save_backbone(member.model, args.backbone, learnt)
    if args.json:
        print_json({"file": str(args.backbone), "backbone": name, "tensors": tensors, "data": predictor.data})
        return 0
    say(
        f"{args.backbone}: {name} of member {args.member} of {len(members)}, trained at "
        f"{member.settings['image_size']} pixels",
        f"next: lesion-search run SPACE --set backbone={name} --set backbone.{name}.weights={args.backbone}",
    )
    return 0


@contextmanager
def _servable(args: argparse.Namespace) -> Iterator[tuple[Path, bool]]:
    """The model in a new folder as MLflow keeps models, and whether it asks for people."""
    import mlflow.pyfunc  # noqa: PLC0415

    from search.logged_model import PEOPLE, logged  # noqa: PLC0415

    kept = logged(model_of(args))
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "model"
        mlflow.pyfunc.save_model(path=str(place), **kept)
        yield place, PEOPLE.keys() <= set(kept["signature"].inputs.input_names())
