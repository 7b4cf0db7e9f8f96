"""Heads: from a feature map to class logits.

A head is built from the channels of the map and the names of the classes and maps (N, channels, H, W) to
logits (N, classes), so that every head goes on every backbone that yields a map, of whatever size.

A head with attention keeps the maps of its last forward pass, (N, steps, H, W), detached, as `attention`: where it
looked. A head that spells classes as words (`taxonomy_decoder`) has `taxonomy` and ``spell(features, labels)``, the
logits (N, steps, words) with the right word given at each step.
"""

from lesion.models.heads import attention_lstm, channel_attention, pooled, taxonomy_decoder
from lesion.models.heads.parts import heads

__all__ = ["attention_lstm", "channel_attention", "heads", "pooled", "taxonomy_decoder"]
