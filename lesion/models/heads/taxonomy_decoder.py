"""The hierarchical decoder of system C: it spells the diagnosis, word by word, and looks anew before each word.

Barata, Celebi & Marques 2021, doi:10.1016/j.patcog.2020.107413. The state [c, h] of an LSTM decides which channels and
which places are looked at; what is seen there and the word before are its next input. One softmax over all words of the
taxonomy stands at every step, and nothing is masked.

Classes are had from it in full: log p(class) = Σ_t log p(word_t | words before), each class along its own path.
Beginnings that classes share are computed once. Paths that are no class take some of the probability; a softmax over
the classes gives it back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lesion.models.heads.parts import Dropout, Reduction, Units, classifier, heads, remember, tokens_of
from lesion.models.heads.state_attention import StateAttention
from lesion.taxonomy import Taxonomy, find_taxonomy


@heads.register
def taxonomy_decoder(
    channels: int,
    classes: Sequence[str],
    *,
    taxonomy: str = "auto",
    hidden: Units = 512,
    embedding: Units = 50,
    channel_attention: bool = True,
    reduction: Reduction = 8,
    dropout: Dropout = 0.5,
    attention_dropout: Dropout = 0.2,
) -> nn.Module:
    """The diagnosis spelled along a taxonomy by an LSTM with attention to channels and places (Barata et al. 2021).

    taxonomy: a name, a file, or `auto`, which goes by the classes (see `lesion.taxonomy`). hidden: width of c and of h.
    embedding: of a word. channel_attention: whether channels are weighed, through a bottleneck of channels /
    `reduction`. dropout: of the mean place, the LSTM's input and the state that is read; attention_dropout: of what
    places are judged by. Raises SettingError when a class has no path.
    """
    narrow = max(1, channels // reduction) if channel_attention else 0
    attention = StateAttention(channels, 2 * hidden, narrow, attention_dropout)
    return TaxonomyDecoder(channels, classes, find_taxonomy(taxonomy, classes), attention, hidden, embedding, dropout)


class TaxonomyDecoder(nn.Module):
    """(N, C, H, W) → log p(class) up to a constant per image, (N, classes).

    `attention` (N, steps, H, W) holds the places' weights of the last pass: along the right path after `spell`, the
    greedy one after `decode`, the most probable class's after all others.
    """

    attention: torch.Tensor | None = None
    paths: torch.Tensor  # (classes, steps): the words of each class
    beginnings: torch.Tensor  # (steps, classes): which distinct beginning a class has before a step
    examples: torch.Tensor  # (steps, classes): a class for each beginning, padded

    def __init__(
        self,
        channels: int,
        classes: Sequence[str],
        taxonomy: Taxonomy,
        look: StateAttention,
        hidden: int,
        embedding: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.taxonomy = taxonomy
        paths = taxonomy.paths(classes)
        beginnings, examples, self.counts = _tree(paths)
        for name, table in {"paths": paths, "beginnings": beginnings, "examples": examples}.items():
            self.register_buffer(name, torch.from_numpy(table), persistent=False)
        self.start = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, 2 * hidden), nn.Tanh())
        self.look = look
        self.embedding = nn.Embedding(len(taxonomy.words), embedding)
        self.dropout = nn.Dropout(dropout)
        self.cell = nn.LSTMCell(channels + embedding, hidden)
        self.read = nn.Sequential(nn.Dropout(dropout), classifier(2 * hidden, taxonomy.words))
        remember(self.cell)

    def forward(self, features: torch.Tensor) -> torch.Tensor:  # noqa: D102
        tokens = tokens_of(features)  # (N, L, C)
        state = self._begin(tokens)
        total = tokens.new_zeros(tokens.shape[0], len(self.paths))
        looks = []
        for step, (count, at) in enumerate(zip(self.counts, self.beginnings, strict=True)):
            before = None
            if step:
                example = self.examples[step, :count]  # a class for each of the distinct beginnings
                state = state[:, self.beginnings[step - 1, example]]
                before = self.paths[example, step - 1].expand(tokens.shape[0], -1)
            state, logits, look = self._step(tokens, state, before)
            total = total + logits.log_softmax(dim=2)[:, at, self.paths[:, step]]
            looks.append(look[:, at])  # (N, classes, L)
        likely = total.detach().argmax(dim=1)
        each = torch.arange(tokens.shape[0], device=tokens.device)
        self._keep([look[each, likely] for look in looks], features)
        return total

    def spell(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Logits (N, steps, words), the right word before each step given (teacher forcing); labels (N,) of classes."""
        words = self.paths[labels.to(self.paths.device)]  # (N, steps)
        return self._along(features, lambda step, _: words[:, step])[0]

    def decode(self, features: torch.Tensor) -> torch.Tensor:
        """The likeliest word at each step given those before it, (N, steps). It need not be the path of a class."""
        return self._along(features, lambda _, logits: logits.argmax(dim=1))[1]

    def _along(
        self, features: torch.Tensor, choose: Callable[[int, torch.Tensor], torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Follow one path an image; `choose` gives its word (N,) from the step and its logits (N, words)."""
        tokens = tokens_of(features)
        state, before = self._begin(tokens), None
        spelled, words, looks = [], [], []
        for step in range(self.paths.shape[1]):
            state, logits, look = self._step(tokens, state, before)
            before = choose(step, logits[:, 0])[:, None]
            spelled.append(logits)
            words.append(before)
            looks.append(look[:, 0])
        self._keep(looks, features)
        return torch.cat(spelled, dim=1), torch.cat(words, dim=1)

    def _begin(self, tokens: torch.Tensor) -> torch.Tensor:
        state: torch.Tensor = self.start(tokens.mean(dim=1))[:, None]  # (N, 1, 2 hidden): [c, h]
        return state

    def _step(
        self, tokens: torch.Tensor, state: torch.Tensor, before: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One word of P paths: state (N, P, 2 hidden), words before (N, P) → state, logits (N, P, words), look."""
        seen, look = self.look(tokens, state)
        nothing = seen.new_zeros(*seen.shape[:2], self.embedding.embedding_dim)
        word = nothing if before is None else self.embedding(before)
        given = self.dropout(torch.cat([seen, word], dim=2)).flatten(0, 1)
        c, h = state.flatten(0, 1).chunk(2, dim=1)
        h, c = self.cell(given, (h.contiguous(), c.contiguous()))
        state = torch.cat([c, h], dim=1).view(*seen.shape[:2], -1)
        return state, self.read(state), look

    def _keep(self, looks: list[torch.Tensor], features: torch.Tensor) -> None:
        rows, sides = (features.shape[0], len(looks)), features.shape[2:]
        self.attention = torch.stack(looks, dim=1).detach().view(*rows, *sides)


def _tree(paths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], list[int]]:
    """What paths (classes, steps) share: `beginnings`, `examples`, and how many distinct beginnings each step has."""
    steps, classes = paths.shape[1], len(paths)
    beginnings, examples = np.zeros((steps, classes), np.int64), np.zeros((steps, classes), np.int64)
    counts = []
    for step in range(steps):
        before = [tuple(path[:step]) for path in paths.tolist()]
        distinct = list(dict.fromkeys(before))
        beginnings[step] = [distinct.index(words) for words in before]
        examples[step, : len(distinct)] = [before.index(words) for words in distinct]
        counts.append(len(distinct))
    return beginnings, examples, counts
