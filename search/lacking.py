"""Packages that searches and the registry need and that an installation for judging photos leaves out, told in words.

`lesion/requirements.txt` is such an installation: a command that needs more says what is missing, not where it was
looked for. Any other module that is not found is a mistake of ours and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Mapping

NEEDED_FOR: Mapping[str, str] = {
    "fsspec": "data sets at an address",
    "jinja2": "reports",
    "mlflow": "runs and registered models (models:/…)",
    "optuna": "studies",
    "packaging": "machines of a cluster",
    "plotly": "reports",
    "ray": "searches",
    "sklearn": "splits and balancing",
    "sqlalchemy": "the databases of studies and of MLflow",
}
"""What is kept in each, or done with it, by the name that is imported."""
TAKE_FOLDERS = ("predict", "explain", "export")
"""Commands that need none of these packages where the model is a folder."""


def lacking(error: ModuleNotFoundError, command: str) -> str | None:
    """What to say of `error` in `command`; None where the module is none of these packages, or only a part of one."""
    if error.name is None or error.name not in NEEDED_FOR:
        return None
    lines = [
        f"{error.name} is not installed here: it is needed for {NEEDED_FOR[error.name]}",
        "'pip install lesion-search', or 'pip install .' where its source is, installs what is missing",
    ]
    if command in TAKE_FOLDERS:
        lines.append(f"{command} needs none of it for a model's folder, as 'lesion-search export --folder' writes one")
    return "\n".join(lines)
