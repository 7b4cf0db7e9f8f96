"""One trial's science: data, models, losses, training, metrics. Works without Ray, Optuna and MLflow."""
