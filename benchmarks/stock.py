"""What a user would write from the documentation: Ray Tune, OptunaSearch, MLflow's callback and a folder of images.

    python benchmarks/stock.py ../shared/data/isic2017 --weights ../shared/weights/mobilenet_v2_imagenet_features.pth

A function trainable as in Ray's PyTorch guide (a report and a checkpoint each epoch), torchvision's `ImageFolder`
decoded by Pillow in workers that persist from epoch to epoch, albumentations as its manual composes them, float32. The
settings are those of `fixed_settings.py`, given to OptunaSearch as points to evaluate. It does what ours does and no
more: the frozen layers stay in evaluation mode, which is faster than leaving them as the guides do, and trials run one
a core, Ray's default. Prints trials an hour from the start of Ray to its last result, and the scores.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import tempfile
import time
from pathlib import Path

import albumentations as A
import mlflow
import numpy as np
import ray
import torch
from albumentations.pytorch import ToTensorV2
from fixed_settings import BACKBONES, CHOICES, SEED, common, points
from PIL import Image
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.search.optuna import OptunaSearch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.utils.data import DataLoader
from torchvision import models
from torchvision.datasets import ImageFolder

from lesion.data.archives import images, members, read
from lesion.models.backbones import structure

LAST = ("classifier.", "fc.")
"""How names of weights of a last layer begin."""
PARTS = {"train": "Training", "validation": "Validation"}


class Augment:
    """albumentations on what Pillow has decoded."""

    def __init__(self, size: int, *, training: bool) -> None:
        drawn = [A.D4(p=1.0), A.ColorJitter((0.8, 1.2), (0.8, 1.2), (0.8, 1.2), (-0.02, 0.02), p=1.0)]
        self.transform = A.Compose([A.Resize(size, size), *(drawn if training else []), A.Normalize(), ToTensorV2()])

    def __call__(self, photo: Image.Image) -> torch.Tensor:  # noqa: D102
        return self.transform(image=np.asarray(photo))["image"]


def train(
    config: dict, folder: str, backbone: str, weights: str, frozen: int, *, size: int, epochs: int, batch: int,
    workers: int,
) -> None:  # fmt: skip
    """The trainable: one trial; the first `frozen` modules of the network do not learn."""
    torch.manual_seed(SEED)
    parts = {part: ImageFolder(f"{folder}/{part}", Augment(size, training=part == "train")) for part in PARTS}
    loading = {"batch_size": batch, "num_workers": workers, "persistent_workers": workers > 0}
    batches = DataLoader(parts["train"], shuffle=True, drop_last=len(parts["train"]) >= batch, **loading)
    held_out = DataLoader(parts["validation"], **loading)
    counts = np.bincount(parts["train"].targets)
    # Not len(dataset.classes): cloudpickle would take the name for torch.classes, which cannot be sent to a worker.
    model = network(backbone, weights, len(counts), config["head.linear.dropout"])
    still = list(model.features[:frozen]) if backbone == "mobilenet_v2" else []
    for module in still:
        module.requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=config["optimizer.adamw.lr"], weight_decay=config["optimizer.adamw.weight_decay"]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, cosine(epochs * len(batches), len(batches)))
    balanced = torch.tensor(len(parts["train"]) / (len(counts) * counts), dtype=torch.float32)
    criterion = nn.CrossEntropyLoss(weight=balanced if config["loss"] == "weighted_cross_entropy" else None)
    for epoch in range(1, epochs + 1):
        model.train()
        for module in still:
            module.eval()  # or their statistics would drift
        for photos, labels in batches:
            optimizer.zero_grad()
            criterion(model(photos), labels).backward()
            optimizer.step()
            schedule.step()
        score = mean_auc(model, held_out)
        with tempfile.TemporaryDirectory() as place:
            state = {"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, Path(place) / "checkpoint.pt")
            tune.report({"mean_auc": score, "epoch": epoch}, checkpoint=tune.Checkpoint.from_directory(place))


def network(backbone: str, weights: str, classes: int, dropout: float) -> nn.Module:
    """MobileNetV2 or ResNet-18 with a new last layer."""
    if backbone == "mobilenet_v2":
        model = models.mobilenet_v2(num_classes=classes, dropout=dropout)
    else:
        model = models.resnet18()
        model.fc = nn.Sequential(nn.Dropout(dropout), nn.Linear(model.fc.in_features, classes))
    if weights != "none":
        state = torch.load(weights, weights_only=True)
        body = {name: tensor for name, tensor in state.items() if not name.startswith(LAST)}
        missing, unexpected = model.load_state_dict(body, strict=False)
        if unexpected or not all(name.startswith(LAST) for name in missing):
            raise ValueError(f"{weights} holds other weights than those of a {backbone}")
    return model


def cosine(steps: int, warmup: int) -> object:
    """Factor of the learning rate by step: an epoch of warm-up, then half a cosine."""
    rise = min(warmup, steps // 2)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))

    return factor


@torch.inference_mode()
def mean_auc(model: nn.Module, batches: DataLoader) -> float:
    """Mean of the AUC of melanoma and of keratosis, each against the rest."""
    model.eval()
    shown = [(model(photos).softmax(dim=1), labels) for photos, labels in batches]
    probabilities = torch.cat([each for each, _ in shown]).numpy()
    labels = torch.cat([each for _, each in shown]).numpy()
    known = batches.dataset.class_to_idx
    judged = [known["melanoma"], known["seborrheic_keratosis"]]
    return float(np.mean([roc_auc_score(labels == index, probabilities[:, index]) for index in judged]))


def unpack(source: Path, folder: Path) -> None:
    """The photos of the official zips or folders as `ImageFolder` wants them: part/class/image.jpg."""
    for part, official in PARTS.items():
        place = source / f"ISIC-2017_{official}_Data"
        place = place if place.is_dir() else place.with_suffix(".zip")
        found = {member.id: member for member in images(members(place))}
        with (source / f"ISIC-2017_{official}_Part3_GroundTruth.csv").open(newline="") as table:
            for row in csv.DictReader(table):
                told = [name for name in ("melanoma", "seborrheic_keratosis") if float(row[name])]
                member = found[row["image_id"]]
                file = folder / part / (told or ["nevus"])[0] / Path(member.name).name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(read(member))


def search(arguments: argparse.Namespace, folder: Path, scratch: Path) -> list[float]:
    """Run the search; scores of its trials after their last epoch."""
    settings = common(arguments.weights, arguments.size, arguments.backbone)
    ends, _ = structure("mobilenet_v2", arguments.size)
    trainable = tune.with_parameters(
        train,
        folder=str(folder),
        backbone=arguments.backbone,
        weights=arguments.weights if arguments.weights == "none" else str(Path(arguments.weights).absolute()),
        frozen=ends[-1 - BACKBONES["mobilenet_v2"]],
        size=arguments.size,
        epochs=arguments.epochs,
        batch=settings["batch_size"],
        workers=arguments.workers,
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": arguments.cpus}),
        param_space={path: tune.choice(values) for path, values in CHOICES.items()},
        tune_config=tune.TuneConfig(
            metric="mean_auc",
            mode="max",
            num_samples=arguments.trials,
            max_concurrent_trials=max(1, int(os.cpu_count() / arguments.cpus)),
            search_alg=OptunaSearch(points_to_evaluate=points(arguments.trials), seed=SEED),
        ),
        run_config=tune.RunConfig(
            name="stock",
            storage_path=str(scratch / "ray"),
            verbose=0,
            callbacks=[MLflowLoggerCallback(tracking_uri=f"sqlite:///{scratch}/mlflow.db", experiment_name="stock")],
        ),
    )
    results = tuner.fit()
    if results.errors:
        raise results.errors[0]
    return [result.metrics["mean_auc"] for result in results]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with the zips of ISIC 2017, or with train/ and validation/")
    parser.add_argument("--backbone", default="mobilenet_v2", choices=BACKBONES)
    parser.add_argument("--weights", default="none", help="file of ImageNet weights")
    parser.add_argument("--size", type=int, default=128, help="pixels a side of what the model sees")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--cpus", type=float, default=1, help="cores of a trial")
    parser.add_argument("--workers", type=int, default=1, help="processes of a trial that decode and augment")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder = arguments.source
        if not (folder / "train").is_dir():
            unpack(arguments.source, folder := scratch / "images")
        mlflow.set_tracking_uri(f"sqlite:///{scratch}/mlflow.db")
        start = time.perf_counter()
        ray.init("local", num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False)
        scores = search(arguments, folder, scratch)
        seconds = time.perf_counter() - start
        ray.shutdown()
    if arguments.json:
        print(json.dumps({"seconds": seconds, "scores": scores}))
    else:
        print(f"{3600 * len(scores) / seconds:.1f} trials an hour; mean_auc " + " ".join(f"{s:.3f}" for s in scores))


if __name__ == "__main__":
    main()
