"""Gradient checkpointing: remember each layer's input alone, and compute the rest again.

    memory of activations: layers * one hidden state + what one layer needs inside,
    for one more forward pass of time

Source: Chen et al. 2016, "Training deep nets with sublinear memory cost" (section 3).
"""

from torch.utils.checkpoint import checkpoint


class GradientCheckpointing:
    """A switch for a model and for the modules in it that run layers; names are transformers'."""

    gradient_checkpointing = False

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs=None) -> None:
        """From now on, while the model is in training mode, compute its layers twice.

        Raises:
            ValueError: a setting other than `{"use_reentrant": False}`, which is what is built.
        """
        if (gradient_checkpointing_kwargs or {}) not in ({}, {"use_reentrant": False}):
            raise ValueError(
                f"gradient_checkpointing_kwargs={gradient_checkpointing_kwargs!r} is not built "
                "here; choose {'use_reentrant': False} or None"
            )
        self._switch(True)

    def gradient_checkpointing_disable(self) -> None:
        """Remember everything again."""
        self._switch(False)

    def _switch(self, on: bool) -> None:
        for module in self.modules():
            if isinstance(module, GradientCheckpointing):
                module.gradient_checkpointing = on

    def run_layer(self, layer, x, *inputs, cache=None):
        """`layer(x, *inputs, cache)`, remembered or computed again as the switch says.

        When computed again, a layer sees a copy of the cache each time, or else the second pass
        would find the keys of the first one in it. So the past is read, and nothing is added.
        """
        if not (self.gradient_checkpointing and self.training):
            return layer(x, *inputs, cache)

        def block(x):
            return layer(x, *inputs, None if cache is None else cache.copy())

        return checkpoint(block, x, use_reentrant=False)
