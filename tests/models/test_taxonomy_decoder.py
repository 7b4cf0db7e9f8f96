"""The decoder of system C against its description, one image, one class and one word at a time."""

import pytest
import torch
from recurrent_step import lstm_step

from lesion.errors import SettingError
from lesion.models.heads import heads

ISIC2018 = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
MAP = torch.randn(3, 8, 2, 3, generator=torch.Generator().manual_seed(0))
TAXONOMIES = ["auto", "isic2018_three_levels_akiec_benign"]


def decoder(classes=ISIC2018, **settings):
    torch.manual_seed(0)
    small = {"hidden": 5, "embedding": 4, "reduction": 2} | settings
    head = heads["taxonomy_decoder"].build(8, classes, **small).eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return head


def layer(module, x):
    return x @ module.weight.T + module.bias


def look(head, tokens, state):
    """What is seen of tokens (L, C) and the weights of the places."""
    eye = head.look
    if eye.squeeze is not None:
        squeezed = sum(layer(eye.squeeze[0], x).clamp_min(0) for x in (tokens.mean(dim=0), tokens.max(dim=0)[0]))
        gate = torch.sigmoid(layer(eye.expand, torch.tanh(squeezed + layer(eye.query, state))))
        tokens = torch.stack([token * gate for token in tokens])
    scores = [layer(eye.score, torch.tanh(token + layer(eye.place, state))) for token in tokens]
    weights = torch.softmax(torch.cat(scores), dim=0)
    return sum(w * token for w, token in zip(weights, tokens, strict=True)), weights


def reference(head, image, words):
    """Logits of every step and the weights of the places, along the path `words`, of one map (C, H, W)."""
    tokens = image.flatten(1).T
    c, h = torch.tanh(layer(head.start[1], tokens.mean(dim=0))).chunk(2)
    before, logits, weights = torch.zeros(4), [], []
    for word in words:
        seen, weight = look(head, tokens, torch.cat([c, h]))
        h, c = lstm_step(torch.cat([seen, before]), h, c, head.cell)
        logits.append(layer(head.read[1], torch.cat([c, h])))
        weights.append(weight)
        before = head.embedding.weight[word]
    return torch.stack(logits), torch.stack(weights)


@pytest.mark.parametrize("taxonomy", TAXONOMIES)
@pytest.mark.parametrize("channel_attention", [True, False])
def test_it_is_what_system_c_describes(taxonomy, channel_attention):
    head = decoder(taxonomy=taxonomy, channel_attention=channel_attention)
    with torch.no_grad():
        scores = head(MAP)
        likely, looks = scores.argmax(dim=1), head.attention
        for number, name in enumerate(ISIC2018):
            words = head.taxonomy.path(name)
            logits = head.spell(MAP, torch.full((3,), number))
            for index, image in enumerate(MAP):
                expected, weights = reference(head, image, words)
                torch.testing.assert_close(logits[index], expected, rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(head.attention[index].flatten(1), weights)
                log_p = expected.log_softmax(dim=1)[range(len(words)), list(words)].sum()
                torch.testing.assert_close(scores[index, number], log_p, rtol=1e-4, atol=1e-5)
                if likely[index] == number:
                    torch.testing.assert_close(looks[index].flatten(1), weights)


def test_each_image_is_led_along_its_own_path():
    head = decoder()
    labels = torch.tensor([0, 4, 6])
    together = head.spell(MAP, labels)
    apart = [head.spell(MAP[i : i + 1], labels[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(apart))


def test_greedy_decoding_takes_the_likeliest_word_of_each_step():
    head = decoder(taxonomy=TAXONOMIES[1])
    words = head.decode(MAP)
    assert words.shape == (3, 3)
    for image, spelled, looks in zip(MAP, words.tolist(), head.attention, strict=True):
        logits, weights = reference(head, image, spelled)
        assert logits.argmax(dim=1).tolist() == spelled
        torch.testing.assert_close(looks.flatten(1), weights)


def test_shared_beginnings_are_computed_once():
    head, rows = decoder(taxonomy=TAXONOMIES[1]), []
    head.cell.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    head(MAP)
    assert rows == [3 * 1, 3 * 2, 3 * 4]


def test_the_order_of_the_classes_is_the_tasks_own():
    torch.testing.assert_close(decoder(ISIC2018[::-1])(MAP).flip(1), decoder()(MAP))


def test_words_of_a_task_that_no_taxonomy_knows():
    with pytest.raises(SettingError, match="no taxonomy is known for the classes rest, melanoma; known: "):
        decoder(("rest", "melanoma"))


def test_its_tables_are_no_weights():
    assert not [name for name in decoder().state_dict() if name in ("paths", "beginnings", "examples")]
