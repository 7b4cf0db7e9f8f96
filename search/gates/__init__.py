"""Gates: what a model must show on the test part before it becomes the champion, read from a file and judged."""

from search.gates.judging import Candidate, Champion, Verdict, gates_of, judge, named, passed, summed_up
from search.gates.reading import DEFAULT, Gates, read_gates

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
