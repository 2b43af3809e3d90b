"""What autograd keeps for the backward pass: PyTorch's operations, with sizes in place of tensors.

A method of Tape is one operation. It writes down what the operation's backward formula will read,
and gives the size of its output. A tensor that two operations read is kept once; nothing is kept
where no gradient flows. Parameters are there anyway, and no business of the tape.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(eq=False)
class Value:
    """A tensor's size: rows of `features` numbers of `width` bytes. grad: a gradient reaches it."""

    rows: int
    features: int
    width: int
    grad: bool = False

    @property
    def bytes(self) -> int:
        """Its size in memory."""
        return self.rows * self.features * self.width

    def like(self, **changes: Any) -> "Value":
        """Another tensor of this size, but for the changes."""
        return replace(self, **changes)


@dataclass
class Tape:
    """What is kept.

    fused: as on a GPU, where a dropout mask has one byte for each entry.
    shown: what a norm has put down for the adapter of its block, see methods/stream.py.
    """

    fused: bool = True
    kept: dict[int, Value] = field(default_factory=dict)
    shown: Value | None = None

    @property
    def bytes(self) -> int:
        """All that is kept."""
        return sum(value.bytes for value in self.kept.values())

    def keep(self, *values: Value) -> None:
        """Write tensors down."""
        self.kept |= {id(value): value for value in values}

    def embedding(self, rows: int, dim: int, width: int, trained: Collection[str]) -> Value:
        """Row i of the table for each token i: keeps the tokens, 8 bytes each."""
        if trained:
            self.keep(Value(rows, 1, 8))
        return Value(rows, dim, width, bool(trained))

    def linear(self, x: Value, outputs: int, trained: Collection[str] = ()) -> Value:
        """W x + b: keeps x for the gradient of W; that of x reads W alone, that of b nothing."""
        if "weight" in trained:
            self.keep(x)
        return x.like(features=outputs, grad=x.grad or bool(trained))

    def cast(self, x: Value, width: int) -> Value:
        """To numbers of another width: a copy, and nothing to keep."""
        return x if x.width == width else x.like(width=width)

    def multiply(self, a: Value, b: Value) -> Value:
        """a * b: the gradient of each is the other."""
        if a.grad:
            self.keep(b)
        if b.grad:
            self.keep(a)
        return a.like(width=max(a.width, b.width), grad=a.grad or b.grad)

    def add(self, a: Value, b: Value) -> Value:
        """a + b: nothing to keep."""
        return a.like(grad=a.grad or b.grad)

    def rms_norm(self, x: Value, trained: Collection[str]) -> Value:
        """weight * (x * rsqrt(mean(x^2))), inside with 32 bits at least."""
        wide = self.cast(x, max(4, x.width))
        if x.grad:
            self.keep(wide, wide.like(features=1))  # what is squared and scaled, and the rsqrt
        normal = x.like()
        if trained:
            self.keep(normal)
        return x.like(grad=x.grad or bool(trained))

    def layer_norm(self, x: Value, trained: Collection[str]) -> Value:
        """One operation: keeps x, and of each row the mean and the deviation."""
        if x.grad or trained:
            self.keep(x, x.like(features=2, width=4))
        return x.like(grad=x.grad or bool(trained))

    def rotate(self, x: Value, cos: Value, sin: Value) -> Value:
        """x cos + x' sin: angles have no gradient, so x isn't needed."""
        if x.grad:
            self.keep(cos, sin)
        return x.like()

    def activation(self, x: Value, kind: str) -> Value:
        """silu and gelu keep what goes in, relu and tanh what comes out."""
        y = x.like()
        if x.grad:
            self.keep(y if kind in ("relu", "tanh") else x)
        return y

    def dropout(self, x: Value, p: float) -> Value:
        """Keeps its mask; nothing where p is 0."""
        if not p:
            return x
        if x.grad:
            self.keep(x.like(width=1 if self.fused else x.width))
        return x.like()

    def fused_attention(self, q: Value, k: Value, v: Value, heads: int) -> Value:
        """softmax(q k^T) v in one operation (sdpa, flash): no table of queries times keys.

        Keeps what goes in and out, and the log of the softmax's sum for each head and query.
        """
        out = q.like(grad=q.grad or k.grad or v.grad)
        if out.grad:
            self.keep(q, k, v, out, q.like(features=heads, width=max(4, q.width)))
        return out

    def eager_attention(
        self, q: Value, k: Value, v: Value, heads: int, keys: int, p: float
    ) -> Value:
        """softmax(q k^T) v step by step: the table of queries times keys is kept, for each head.

        keys: how many keys each query sees. p: of the dropout on the probabilities.
        """
        if q.grad:
            self.keep(k)
        if k.grad:
            self.keep(q)
        scores = q.like(features=heads * keys, grad=q.grad or k.grad)
        probabilities = self.dropout(self.activation(scores, "tanh"), p)  # by its output, as tanh
        if v.grad:
            self.keep(probabilities)
        if probabilities.grad:
            self.keep(v)
        return q.like(grad=q.grad or k.grad or v.grad)
