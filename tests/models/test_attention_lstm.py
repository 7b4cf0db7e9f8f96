"""The head of system B against its description, one image and one place at a time."""

import torch
from recurrent_step import lstm_step

from lesion.models.heads import heads

CLASSES = ("benign", "SK", "MEL")
MAP = torch.randn(4, 10, 3, 2, generator=torch.Generator().manual_seed(0))


def reference(head, image):
    """Logits and the weights of the places (L,) of one map (C, H, W)."""
    weighed = head.channel_attention(image[None])[0]  # has a test of its own
    tokens = [weighed[:, row, column] for row in range(3) for column in range(2)]
    mean = sum(tokens) / 6
    h, c = torch.tanh(mean @ head.start.weight.T + head.start.bias).chunk(2)
    outputs = []
    for token in tokens:
        h, c = lstm_step(token, h, c, head.lstm, "_l0")
        outputs.append(h)
    values = [token @ head.values.weight.T + head.values.bias for token in tokens]
    weights = [torch.softmax(torch.stack([output @ value for value in values]), dim=0) for output in outputs]
    found = [sum(w * value for w, value in zip(row, values, strict=True)) for row in weights]
    context = sum(found) / 6
    hidden, last = head.classify[0][0], head.classify[-1]
    between = (torch.cat([context, mean]) @ hidden.weight.T + hidden.bias).clamp_min(0)
    return between @ last.weight.T + last.bias, sum(weights) / 6


def test_it_is_what_system_b_describes():
    torch.manual_seed(0)
    head = heads["attention_lstm"].build(10, CLASSES, hidden=5, units=7, reduction=2).eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    logits = head(MAP)
    for image, row, look in zip(MAP, logits, head.attention, strict=True):
        expected, weights = reference(head, image)
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(look.flatten(), weights)
    assert head.attention.shape == (4, 1, 3, 2)
    assert not head.attention.requires_grad


def test_an_lstm_begins_by_remembering():
    lstm = heads["attention_lstm"].build(10, CLASSES, hidden=4).lstm
    bias = lstm.bias_ih_l0 + lstm.bias_hh_l0
    assert bias.tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8
    recurrent = lstm.weight_hh_l0
    torch.testing.assert_close(recurrent.T @ recurrent, torch.eye(4))
