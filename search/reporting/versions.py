"""Which version of a registered model a promotion became, as MLflow tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from search.errors import first_line
from search.moves import aliases_of
from search.openings import KEY_LETTERS
from search.registered import CHAMPION, KEY, STUDY, Registry
from search.verdicts import STOPPED, judgements_of
from search.workspace import Workspace


@dataclass(frozen=True)
class RegisteredAs:
    """A version of a model, whether it is its champion, and what its newest judgement said; `judged` "" for none."""

    model: str
    number: int
    champion: bool
    judged: str

    @property
    def name(self) -> str:
        """The version, and whether it is the champion.

        >>> RegisteredAs("lesions", 2, True, "passed").name
        'lesions version 2, champion'
        """
        return f"{self.model} version {self.number}{', champion' if self.champion else ''}"

    @property
    def in_short(self) -> str:
        """As much as a link has room for.

        >>> RegisteredAs("lesions", 3, False, "stopped by ece").in_short
        'version 3 (stopped)'
        """
        what = ["champion"] if self.champion else []
        what += [STOPPED] if self.judged.startswith(STOPPED) else []
        return f"version {self.number}" + (f" ({', '.join(what)})" if what else "")


def versions_by_promotion(
    place: Workspace, study: str, tracking_uri: str | None = None
) -> tuple[Mapping[str, tuple[RegisteredAs, ...]], str]:
    """The versions that promotions of a study became, by the promotion's key; and why that is not known, or empty.

    One promotion may be registered under several names.
    """
    try:
        registry = Registry(tracking_uri or place.tracking_uri, place.artifacts)
        found: dict[str, tuple[RegisteredAs, ...]] = {}
        champions: dict[str, int | None] = {}
        for each in registry.client.search_model_versions(f"tags.`{STUDY}` = '{study}'"):
            if KEY not in each.tags:
                continue
            if each.name not in champions:
                champions[each.name] = aliases_of(registry, each.name).get(CHAMPION)
            number, judgements = int(each.version), judgements_of(each.tags)
            told = judgements[-1].told if judgements else ""
            version = RegisteredAs(each.name, number, champions[each.name] == number, told)
            key = each.tags[KEY][:KEY_LETTERS]
            found[key] = (*found.get(key, ()), version)
    except Exception as problem:  # whatever MLflow raises, the evidence is on disk
        return {}, f"MLflow does not say which versions promotions of {study} are: {first_line(problem)}"
    return found, ""
