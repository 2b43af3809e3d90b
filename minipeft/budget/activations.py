"""Activations: what a model's forward pass leaves behind for its backward pass.

The pass of minipeft.models.Llama is written down once more, with sizes for tensors (tape.py): there
it is exact. Other families differ in switches (the norm, the positions, a gate or none, attention
to another stack): there it is an estimate, with GELU and dropout as one operation each, and without
DeBERTa's tables of relative positions.
"""

from minipeft.budget.tape import Tape, Value
from minipeft.budget.training import Training
from minipeft.budget.training_setup import TrainingSetup
from minipeft.budget.tuned import encoder, tuned
from minipeft.shapes.architectures import Architecture
from minipeft.shapes.layer_stack import LayerStack


class Forward:
    """A forward pass. kept: what waits for the backward pass.

    recomputed: bytes of one layer, while it is computed again. width: bytes of an activation.
    fused: as on a GPU, see Tape.
    """

    def __init__(
        self,
        architecture: Architecture,
        training: Training,
        recipe: TrainingSetup,
        width: int,
        fused: bool = True,
    ) -> None:
        self.architecture, self.training, self.recipe = architecture, training, recipe
        self.shape, self.batch, self.width = architecture.shape, recipe.batch, width
        self.fused, self.kept, self.recomputed = fused, Tape(fused), 0
        self.tape = self.kept  # or, while a layer is checkpointed, one for that layer
        self.canonical = getattr(training.model, "canonical", False)
        self.lengths = self.shape.lengths(recipe.length, recipe.answer_length)
        self.prefix = self.virtual = 0
        prompt = training.prompt
        if prompt is not None and prompt.takes == "past_key_values":
            self.prefix = prompt.rows
        elif prompt is not None:
            self.virtual = prompt.rows
            self.lengths = [length + prompt.rows for length in self.lengths]

    def run(self) -> None:
        """From tokens to logits."""
        if self.training.prompt is not None:
            encoder(self.kept, self.training.prompt)
        memory = None
        for stack, length in zip(self.architecture.stacks, self.lengths, strict=True):
            memory = self.through(stack, self.start(stack, length), memory)
        if self.shape.output() is not None:
            self.kept.linear(memory, 1, self.training.trained(self.shape.output()))

    def answers(self) -> tuple[int, int]:
        """How many answers there are, and among how many words or labels each chooses."""
        if self.shape.output() is not None:
            return self.batch * self.lengths[-1], self.shape.vocab_size
        each = {"SEQ_CLS": 1, "TOKEN_CLS": self.lengths[-1], "QUESTION_ANS": self.lengths[-1]}
        return self.batch * each.get(self.shape.task, 0), self.shape.num_labels

    def widest(self) -> int:
        """The bytes of the widest activation: inside the MLP."""
        stacks = zip(self.architecture.stacks, self.lengths, strict=True)
        return max(self.batch * length * stack.inner * self.width for stack, length in stacks)

    def start(self, stack: LayerStack, length: int) -> Value:
        """The embeddings of the tokens, and a soft prompt before them."""
        trained = self.training.trained(self.shape.in_base(self.shape.words))
        rows = self.batch * (length - self.virtual)
        x = self.kept.embedding(rows, stack.hidden, self.width, trained)
        return x.like(rows=self.batch * length, grad=True) if self.virtual else x

    def through(self, stack: LayerStack, x: Value, memory: Value | None) -> Value:
        """All layers of a stack, and its last norm. memory: what the stack before it made."""
        angles = Value(x.rows // self.batch, stack.head_dim, self.width)
        self.angles = angles, angles.like()
        for number in range(stack.layers):
            if self.recipe.checkpointing:
                self.kept.keep(x)
                self.tape = Tape(self.fused)
            y = self.layer(stack, f"{self.shape.in_base(stack.path)}.{number}", x, memory)
            if self.recipe.checkpointing:
                self.tape.kept.pop(id(x), None)  # it waits already
                self.recomputed = max(self.recomputed, self.tape.bytes)
                self.tape = self.kept
            x = y
        return self.norm(stack, self.shape.in_base(stack.last_norm), x) if stack.last_norm else x

    def layer(self, stack: LayerStack, place: str, x: Value, memory: Value | None) -> Value:
        """x + attention(norm(x)), x + attention(norm(x), memory), x + mlp(norm(x))."""
        names = stack.role_names(self.canonical)
        kinds = [("", None), ("cross_", memory)] if "cross_q_proj" in names else [("", None)]
        for (kind, source), norm in zip(kinds, stack.norms, strict=False):
            y = self.norm(stack, f"{place}.{norm}", x)
            y = self.attend(stack, place, kind, y, source or y)
            x = self.tape.add(x, self.tape.dropout(y, stack.dropout))
        y = self.mlp(stack, place, self.norm(stack, f"{place}.{stack.norms[-1]}", x))
        return self.tape.add(x, self.tape.dropout(y, stack.dropout))

    def norm(self, stack: LayerStack, path: str, x: Value) -> Value:
        """A norm, and the tuner that may stand on it."""
        norm = self.tape.rms_norm if stack.rms else self.tape.layer_norm
        return tuned(self.tape, x, norm(x, self.training.trained(path)), self.training.tuner(path))

    def matrix(self, path: str, x: Value, outputs: int) -> Value:
        """A linear layer with its tuner."""
        h = self.tape.linear(x, outputs, self.training.trained(path))
        return tuned(self.tape, x, h, self.training.tuner(path))

    def attend(self, stack: LayerStack, place: str, kind: str, x: Value, source: Value) -> Value:
        """Attention of x to `source`: queries of the one, keys and values of the other."""
        names = stack.role_names(self.canonical)
        paths = [f"{place}.{names[f'{kind}{role}_proj']}" for role in "qkvo"]
        sizes = [stack.shape(f"{kind}{role}_proj")[0] for role in "qkv"]
        if paths[0] == paths[1]:  # GPT-2's: one matrix makes all three
            fused = self.matrix(paths[0], x, sum(sizes))
            q, k, v = (fused.like(features=size) for size in sizes)
        else:
            inputs = (x, source, source)
            q, k, v = map(self.matrix, paths, inputs, sizes)
        if stack.rotary:
            q, k = (self.tape.rotate(value, *self.angles) for value in (q, k))
        if self.prefix:
            rows = self.batch * (k.rows // self.batch + self.prefix)
            k, v = (value.like(rows=rows, grad=True) for value in (k, v))
        k, v = (value.like(features=q.features) for value in (k, v))  # each serves its group
        return self.matrix(paths[3], self.mixed(stack, q, k, v), stack.hidden)

    def mixed(self, stack: LayerStack, q: Value, k: Value, v: Value) -> Value:
        """softmax(q k^T) v of every head."""
        keys = k.rows // self.batch
        if self.recipe.attention == "eager":
            return self.tape.eager_attention(q, k, v, stack.heads, keys, stack.dropout)
        if self.prefix:  # a table says who sees whom, as numbers
            self.tape.keep(Value(q.rows // self.batch, keys, self.width))
        return self.tape.fused_attention(q, k, v, stack.heads)

    def mlp(self, stack: LayerStack, place: str, x: Value) -> Value:
        """down(act(up x)), or down(act(gate x) * up x), and the tuner that may stand on it all."""
        names = stack.role_names(self.canonical)
        path = {role: f"{place}.{names[role]}" for role in names}
        up = self.matrix(path["up_proj"], x, stack.inner)
        if "gate_proj" in path:
            gate = self.matrix(path["gate_proj"], x, stack.inner)
            inner = self.tape.multiply(self.tape.activation(gate, stack.activation), up)
        else:
            inner = self.tape.activation(up, stack.activation)
        y = self.matrix(path["down_proj"], inner, stack.hidden)
        return tuned(self.tape, x, y, self.training.tuner(path["up_proj"].rpartition(".")[0]))
