r"""Plain Optuna in one process, with our trainer: trial after trial, no Ray, no MLflow, no checkpoints.

    python benchmarks/plain_optuna.py isic2017 --workspace workspace \
        --weights ../shared/weights/mobilenet_v2_imagenet_features.pth

`study.optimize` over the settings of `fixed_settings.py`, enqueued; each trial has all cores. Prints trials an hour and
the scores.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import optuna
from fixed_settings import BACKBONES, CHOICES, SEED, common, points

from lesion.data.packed import open_data
from lesion.training import Training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="packed data set: its name in the workspace, or a path")
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    parser.add_argument("--backbone", default="mobilenet_v2", choices=BACKBONES)
    parser.add_argument("--weights", default="none", help="file of ImageNet weights")
    parser.add_argument("--size", type=int, default=128, help="pixels a side of what the model sees")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    start = time.perf_counter()
    data = open_data(arguments.workspace, arguments.data)

    def objective(trial: optuna.Trial) -> float:
        drawn = {path: trial.suggest_categorical(path, values) for path, values in CHOICES.items()}
        settings = common(arguments.weights, arguments.size, arguments.backbone) | drawn
        training = Training(settings, data, split="official", epochs=arguments.epochs, seed=SEED)
        for epoch in range(arguments.epochs):
            score = training.step()["mean_auc"]
            trial.report(score, epoch)
        return score

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=SEED))
    for point in points(arguments.trials):
        study.enqueue_trial(point)
    study.optimize(objective, n_trials=arguments.trials)
    seconds = time.perf_counter() - start
    scores = [trial.value for trial in study.trials]
    if arguments.json:
        print(json.dumps({"seconds": seconds, "scores": scores}))
    else:
        print(f"{3600 * len(scores) / seconds:.1f} trials an hour; mean_auc " + " ".join(f"{s:.3f}" for s in scores))


if __name__ == "__main__":
    main()
