"""Gates: what a model must show on the test part before it becomes the champion, read from a file and judged."""

from search.gates.judging import Candidate, Champion, Verdict, judge, passed
from search.gates.reading import DEFAULT, Gates, read_gates

__all__ = ["DEFAULT", "Candidate", "Champion", "Gates", "Verdict", "judge", "passed", "read_gates"]
