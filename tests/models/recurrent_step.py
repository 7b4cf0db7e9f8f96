"""One step of an LSTM written out (Hochreiter & Schmidhuber 1997, with a forget gate), for the tests of heads."""

import torch


def lstm_step(x, h, c, cell, layer=""):
    gates = x @ getattr(cell, f"weight_ih{layer}").T + h @ getattr(cell, f"weight_hh{layer}").T
    gates = gates + getattr(cell, f"bias_ih{layer}") + getattr(cell, f"bias_hh{layer}")
    i, f, g, o = gates.chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c
