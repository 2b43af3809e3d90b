"""The layers of a transformer: equal ones, one after the other, by the roles of their matrices."""

from dataclasses import dataclass

from minipeft.shapes.meta_model import Conv1D, Parts, RMSNorm, layer_norm, linear


@dataclass(frozen=True)
class LayerStack:
    """Equal transformer layers, one after the other.

    path: of the list of layers. last_norm: of the norm after them, if any.
    names: role -> name inside a layer; the roles are q_proj, k_proj, v_proj, o_proj, gate_proj,
    up_proj and down_proj, with "cross_" before those that read another stack. Roles of one name
    are one fused matrix. norms: the names of the norms.
    biased: the roles that have a bias. rms: the norms have no bias and no mean to subtract.
    """

    path: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    names: dict[str, str]
    norms: tuple[str, ...]
    biased: frozenset[str] = frozenset()
    rms: bool = False
    causal: bool = False
    rotary: bool = False
    conv1d: bool = False
    last_norm: str | None = None
    activation: str = "gelu"
    dropout: float = 0.0

    def shape(self, role: str) -> tuple[int, int]:
        """(out, in) of the matrix in this role."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (queries, self.hidden),
            "k_proj": (keys, self.hidden),
            "v_proj": (keys, self.hidden),
            "o_proj": (self.hidden, queries),
            "gate_proj": (self.inner, self.hidden),
            "up_proj": (self.inner, self.hidden),
            "down_proj": (self.hidden, self.inner),
        }[role.removeprefix("cross_")]

    def parts(self, canonical: bool) -> Parts:
        """Every matrix and norm of every layer, under the family's names or the canonical ones."""
        for number in range(self.layers):
            for name, roles in self.matrices(canonical).items():
                outputs = sum(self.shape(role)[0] for role in roles)
                inputs = self.shape(roles[0])[1]
                if self.conv1d and not canonical:
                    matrix = Conv1D(outputs, inputs)
                else:
                    matrix = linear(outputs, inputs, bias=roles[0] in self.biased)
                yield f"{self.path}.{number}.{name}", matrix
            for name in self.norms:
                norm = RMSNorm if self.rms else layer_norm
                yield f"{self.path}.{number}.{name}", norm(self.hidden)

    def role_names(self, canonical: bool) -> dict[str, str]:
        """Role -> name inside a layer; self.query is canonically self.q_proj."""
        if not canonical:
            return self.names
        places = {role: name.rpartition(".") for role, name in self.names.items()}
        return {r: place + dot + r.removeprefix("cross_") for r, (place, dot, _) in places.items()}

    def matrices(self, canonical: bool) -> dict[str, list[str]]:
        """Name inside a layer -> the roles that this matrix plays."""
        found: dict[str, list[str]] = {}
        for role, name in self.role_names(canonical).items():
            found.setdefault(name, []).append(role)
        return found
