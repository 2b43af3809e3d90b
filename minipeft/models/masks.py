"""Who may look at whom: causal order, a remembered past, and padding, in one table."""

import torch
from torch import Tensor


def visible_keys(
    length: int, past: int, attention_mask: Tensor | None, device: torch.device
) -> Tensor | None:
    """True where a query sees a key; (batch or 1, 1, length, past + length).

    Query i stands at place past + i. It sees key j where j <= past + i and attention_mask[:, j]
    is not 0, (batch, past + length). A row of padding may see nothing: attention gives 0 there.

    None where no table is needed: plain causal attention, and one token that sees everything.
    """
    if attention_mask is None and (past == 0 or length == 1):
        return None
    key = torch.arange(past + length, device=device)
    visible = key <= key[past:, None]  # (length, past + length)
    if attention_mask is None:
        return visible[None, None]
    return visible & attention_mask.to(device, torch.bool)[:, None, None, :]
