"""Gates: what a model must show on the test part before it becomes the champion, read from a file and judged."""

from search.gates.judging import Candidate, Champion, judge
from search.gates.reading import DEFAULT, Gates, read_gates
from search.gates.verdict import Verdict, gates_of, named, passed, summed_up

__all__ = [
    "DEFAULT",
    "Candidate",
    "Champion",
    "Gates",
    "Verdict",
    "gates_of",
    "judge",
    "named",
    "passed",
    "read_gates",
    "summed_up",
]
