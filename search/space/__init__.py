"""The space file: what a search may try, said once, checked before a GPU is booked.

>>> import pathlib, tempfile
>>> from optuna.trial import FixedTrial
>>> text = '''
... data: isic2017
... objective: mean_auc
... budget: {trials: 8, epochs: 4}
... space:
...   image_size: 64
...   loss:
...     choice:
...       cross_entropy:
...       focal: {gamma: {float: [0.5, 3.0]}}
... '''
>>> with tempfile.TemporaryDirectory() as folder:
...     path = pathlib.Path(folder, "small.yaml")
...     _ = path.write_text(text)
...     space = load(path)
>>> [str(branch) for branch in space.branches()]
['loss cross_entropy', 'loss focal']
>>> space.sample(FixedTrial({"loss": "focal", "loss.focal.gamma": 1.5}))
{'image_size': 64, 'loss': 'focal', 'loss.focal.gamma': 1.5}

The pages of this package, from the text up: `yaml_tree` (text → nodes with places), `chains` (lists of steps → names),
`inherit` (``extends``), `overrides` (``--set``), `values` (nodes → `domains`), `components` (nodes → parts of a
`tree`), `balance`, `points` (``start_with``), `reader` (all of a file), `space` (what a study uses), `checking` (every
branch tried out, on `paper`).
"""

from __future__ import annotations

from search.errors import Mistake, SpaceError
from search.space.checking import CheckReport, Problem, check, check_space
from search.space.domains import Choice, Domain, Fixed, FloatRange, IntRange
from search.space.inherit import family
from search.space.overrides import Given
from search.space.reader import load
from search.space.space import Asha, Budget, Space, difference
from search.space.tree import Branch, Option, Parameter, Part, Settings, Tree
from search.space.vocabulary import Vocabulary

__all__ = [
    "Asha",
    "Branch",
    "Budget",
    "CheckReport",
    "Choice",
    "Domain",
    "Fixed",
    "FloatRange",
    "Given",
    "IntRange",
    "Mistake",
    "Option",
    "Parameter",
    "Part",
    "Problem",
    "Settings",
    "Space",
    "SpaceError",
    "Tree",
    "Vocabulary",
    "check",
    "check_space",
    "difference",
    "family",
    "load",
]
