"""PagedAdamW: AdamW whose states m and v may be pushed out of memory, and come back when needed.

Dettmers et al. 2023, "QLoRA: Efficient Finetuning of Quantized LLMs", section 3, Paged Optimizers.
The update is that of AdamW (Loshchilov and Hutter 2019); only where the states lie is new.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import AdamW, adamw

from minipeft.quant.pages import Pages

SMALLEST_PAGED = 100_000  # elements, as in bitsandbytes: states of smaller tensors never page


class PagedAdamW(AdamW):
    """torch.optim.AdamW's update and state_dict, with the states of large parameters in pages.

    On a CPU, states of parameters with at least 100,000 elements lie in a memory-mapped file, and
    pages of them are brought into `room` bytes of memory. On a GPU this is bitsandbytes'
    PagedAdamW: states lie in memory that the driver moves between GPU and host as room runs out;
    room, page_bytes and folder mean nothing there.

    Raises ValueError for parameters on several kinds of device, ImportError for parameters on a GPU
    where bitsandbytes isn't installed, and what torch.optim.AdamW raises.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        room: int = 2**26,
        page_bytes: int = 2**21,
        folder: str | Path | None = None,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)
        self._pages = Pages(room, page_bytes, folder)
        self._arenas: dict[Tensor, int] = {}
        self._asked = 0
        kinds = {p.device.type for p in self._parameters()}
        if len(kinds) > 1:
            raise ValueError(
                f"parameters are on {sorted(kinds)}; they must be on one kind of device"
            )
        self._on_gpu = self._of_bitsandbytes() if kinds == {"cuda"} else None

    def pages(self, parameter: Tensor) -> bool:
        """Whether the states of this parameter page; those of small ones never do."""
        return parameter.numel() >= SMALLEST_PAGED and parameter.is_contiguous()

    @property
    def paged(self) -> list[Tensor]:
        """The parameters whose states page."""
        return [parameter for parameter in self._parameters() if self.pages(parameter)]

    @property
    def bytes_in(self) -> int:
        """Bytes of states brought in so far; on a GPU: that the driver was asked for."""
        return self._pages.bytes_in + self._asked

    @property
    def bytes_out(self) -> int:
        """Bytes of states pushed out so far; on a GPU the driver doesn't say: 0."""
        return self._pages.bytes_out

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One update of every parameter that has a gradient. Returns what `closure` returns."""
        if self._on_gpu is not None:
            loss = self._on_gpu.step(closure)
            used = [parameter for parameter in self.paged if parameter.grad is not None]
            self._asked += sum(2 * 4 * parameter.numel() for parameter in used)  # m, v in 32 bits
            return loss
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(group, parameter)
        return loss

    def _update(self, group: dict, parameter: Tensor) -> None:
        if parameter.grad.is_sparse:
            raise RuntimeError("PagedAdamW takes no sparse gradients; torch.optim.SparseAdam does")
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            if not self.pages(parameter):
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        if not self.pages(parameter):
            _adamw(group, parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"], state)
            return
        step, arena = state["step"].clone(), self._arena(parameter)
        weights = parameter.view(-1).split(self._pages.columns(arena))
        gradients = parameter.grad.reshape(-1).split(self._pages.columns(arena))
        for page, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
            m, v = self._pages.fetch(arena, page)[:, : len(weight)]
            state["step"].copy_(step)  # each page takes the same step
            _adamw(group, weight, gradient, m, v, state)

    def _arena(self, parameter: Tensor) -> int:
        """The arena of a parameter's states: m in the first row, v in the second."""
        if parameter not in self._arenas:
            self._arenas[parameter] = self._pages.allocate(2, parameter.numel(), parameter.dtype)
        return self._arenas[parameter]

    def state_dict(self) -> dict[str, Any]:
        """As torch.optim.AdamW gives it, the paged states read in whole."""
        if self._on_gpu is not None:
            return self._on_gpu.state_dict()
        saved = super().state_dict()
        for index, parameter in enumerate(self._parameters()):
            if parameter in self._arenas:
                m, v = self._pages.read(self._arenas[parameter], parameter.numel())
                moments = {"exp_avg": m.view_as(parameter), "exp_avg_sq": v.view_as(parameter)}
                saved["state"][index] = saved["state"][index] | moments
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take in a state_dict of this class or of torch.optim.AdamW.

        Raises ValueError where it doesn't fit the parameters, or has amsgrad or maximize on.
        """
        if self._on_gpu is not None:
            self._on_gpu.load_state_dict(state_dict)
            self.state, self.param_groups = self._on_gpu.state, self._on_gpu.param_groups
            return
        for option in ("amsgrad", "maximize"):
            if any(group.get(option) for group in state_dict["param_groups"]):
                raise ValueError(f"{option}=True in the saved options; PagedAdamW doesn't have it")
        for index, state in state_dict["state"].items():
            if state and not {"step", "exp_avg", "exp_avg_sq"} <= state.keys():
                raise ValueError(f"state {index} has {sorted(state)}: it is no state of AdamW")
        super().load_state_dict(state_dict)
        for parameter in filter(self.pages, self._parameters()):
            state = self.state.get(parameter)
            if not state:
                self._arenas.pop(parameter, None)
                continue
            arena = self._arena(parameter)
            columns = self._pages.columns(arena)
            rows = torch.stack([state.pop("exp_avg").view(-1), state.pop("exp_avg_sq").view(-1)])
            for page, values in enumerate(rows.split(columns, dim=1)):
                self._pages.fetch(arena, page)[:, : values.shape[1]] = values

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _of_bitsandbytes(self) -> torch.optim.Optimizer:
        """bitsandbytes' optimizer, on these very parameter groups and states."""
        try:
            from bitsandbytes.optim import PagedAdamW as Theirs
        except ImportError as error:
            raise ImportError("paged optimizers on a GPU need bitsandbytes: install it") from error
        theirs = Theirs(self._parameters())
        theirs.param_groups, theirs.state = self.param_groups, self.state
        return theirs


def _adamw(
    group: dict, weight: Tensor, gradient: Tensor, m: Tensor, v: Tensor, state: dict
) -> None:
    """PyTorch's own AdamW update, in place, of a parameter or of a page's worth of it."""
    beta1, beta2 = group["betas"]
    adamw(
        [weight],
        [gradient],
        [m],
        [v],
        [],
        [state["step"]],
        foreach=False,
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )
