"""Sizes and dropouts of the heads of systems B and C when nothing is set, and where a training pass drops."""

import pytest
import torch
import torch.nn.functional as F

from lesion.models.heads import heads

ISIC2018 = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
N, CHANNELS, PLACES, WORDS = 3, 64, 6, 9
MAPS = torch.randn(N, CHANNELS, 2, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 3, 6])


@pytest.fixture
def dropped(monkeypatch):
    """Every dropout: the shape that it is given and its p, 0 where it lets all pass."""
    calls, real = [], F.dropout

    def recording(given, p=0.5, training=True, inplace=False):
        calls.append((tuple(given.shape), p if training else 0.0))
        return real(given, p, training, inplace)

    monkeypatch.setattr(F, "dropout", recording)
    return calls


def test_the_decoder_of_system_c_has_its_sizes():
    head = heads["taxonomy_decoder"].build(CHANNELS, ISIC2018)
    assert head.start[1].weight.shape == (2 * 512, CHANNELS)
    assert head.embedding.weight.shape == (WORDS, 50)
    assert (head.cell.input_size, head.cell.hidden_size) == (CHANNELS + 50, 512)
    assert head.read[1].weight.shape == (WORDS, 2 * 512)
    assert head.look.squeeze[0].weight.shape == (CHANNELS // 8, CHANNELS)
    assert head.look.query.weight.shape == (CHANNELS // 8, 2 * 512)
    assert head.look.place.weight.shape == (CHANNELS, 2 * 512)


def test_the_decoder_of_system_c_drops_the_mean_place_its_input_and_its_state(dropped):
    head = heads["taxonomy_decoder"].build(CHANNELS, ISIC2018)
    mean, places = (N, CHANNELS), (N, 1, PLACES, CHANNELS)
    given, state = (N, 1, CHANNELS + 50), (N, 1, 2 * 512)
    head.train().spell(MAPS, LABELS)
    step = [(places, 0.2), (given, 0.5), (state, 0.5)]
    assert dropped == [(mean, 0.5), *step, *step]
    dropped.clear()
    head.eval().spell(MAPS, LABELS)
    assert {p for _, p in dropped} == {0.0}


def test_the_decoder_drops_as_much_as_is_set(dropped):
    head = heads["taxonomy_decoder"].build(CHANNELS, ISIC2018, dropout=0.3, attention_dropout=0.1)
    head.train()(MAPS)
    assert [p for _, p in dropped] == [0.3, 0.1, 0.3, 0.3, 0.1, 0.3, 0.3]


def test_the_head_of_system_b_drops_what_its_relu_layer_gives(dropped):
    head = heads["attention_lstm"].build(CHANNELS, ISIC2018).train()
    assert (head.lstm.input_size, head.lstm.hidden_size) == (CHANNELS, 512)
    assert head.start.weight.shape == (1024, CHANNELS)
    assert head.values.weight.shape == (512, CHANNELS)
    assert head.channel_attention.bottleneck[0].weight.shape == (CHANNELS // 8, CHANNELS)
    assert head.classify[0][0].weight.shape == (512, 512 + CHANNELS)
    head(MAPS)
    assert dropped == [((N, 512), 0.5)]


def test_the_dense_head_drops_what_its_relu_layer_gives(dropped):
    heads["dense"].build(CHANNELS, ISIC2018).train()(MAPS)
    assert dropped == [((N, 256), 0.5)]
