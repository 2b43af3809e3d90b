"""Diff pruning (Guo et al. 2021) beside its formulas on the dense weights, in plain PyTorch."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import minipeft
from minipeft.core.linear import is_conv1d
from tests.closeness import assert_all_close, assert_close

from .models import FAMILIES, batch, build, logits
from .peers import gradients, scramble, trained_by_us
from .snapshots import assert_unchanged, take

LOUIZOS = {"concrete_lower": -0.1, "concrete_upper": 1.1, "temperature": 2 / 3}
CASES = {"structured": {}, "plain": {"structured": False}, "Louizos": LOUIZOS}


def adapted(
    family: str, dtype: torch.dtype = torch.float64, spread: bool = True, **options
) -> minipeft.PeftModel:
    """With `spread`, random differences, and alphas that leave gates open, shut and between."""
    options = {"target_modules": list(FAMILIES[family].targets), "alpha_init": 0.5} | options
    model = minipeft.get_peft_model(
        build(family, dtype), minipeft.DiffPruningConfig(**options)
    ).eval()
    if spread:
        scramble(trained_by_us(model))
        for tuner in model.adapters["default"].tuners.values():
            with torch.no_grad():
                tuner.gates[0].alpha.mul_(4)
    return model


def alphas(tuner: minipeft.Tuner) -> list[Tensor]:
    return [gate.alpha for gate in tuner.gates]


def gate(alpha: Tensor, u: Tensor | None, config: minipeft.DiffPruningConfig) -> Tensor:
    """Guo et al., section 3.1, with Louizos et al.'s temperature; without noise their eq. 13."""
    if u is None:
        s = 1 / (1 + torch.exp(-alpha))
    else:
        s = 1 / (1 + torch.exp(-(torch.log(u) - torch.log(1 - u) + alpha) / config.temperature))
    stretched = s * (config.concrete_upper - config.concrete_lower) + config.concrete_lower
    return torch.minimum(torch.ones_like(s), torch.maximum(torch.zeros_like(s), stretched))


def called_in_order(model: nn.Module, paths: list[str]) -> list[str]:
    """The layers as the forward pass comes to them: noise is drawn in that order."""
    order: list[str] = []
    hooks = [
        model.get_submodule(path).register_forward_hook(lambda *_, path=path: order.append(path))
        for path in paths
    ]
    logits(model)
    for hook in hooks:
        hook.remove()
    return order


def dense(model: minipeft.PeftModel, family: str, noisy: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits of the plain base with W0 + z * w for W0, and the gradients of what made z * w."""
    base, config = build(family, torch.float64), model.peft_config["default"]
    tuners = model.adapters["default"].tuners
    weights, leaves = {}, {}
    for path in called_in_order(base, list(tuners)):
        w, *own = [values.detach().clone().requires_grad_() for values in tuners[path].parameters()]
        z = torch.ones_like(w)
        for alpha in own:
            z = z * gate(alpha, torch.rand_like(alpha) if noisy else None, config)
        layer = base.get_submodule(path)
        diff = (z * w).T if is_conv1d(layer) else z * w
        weights[f"{path}.weight"] = layer.weight.detach() + diff
        names = [name for name, _ in tuners[path].named_parameters(path)]
        leaves |= dict(zip(names, [w, *own], strict=True))
    answer = functional_call(base, weights, (), batch()).logits
    answer.pow(2).mean().add(answer.sin().mean()).backward()
    return answer.detach(), {name: leaf.grad for name, leaf in leaves.items()}


@pytest.mark.parametrize("noisy", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())
def test_equals_the_formula_on_dense_weights(family, options, noisy):
    """Outputs and every gradient; in training with the same noise from torch's generator."""
    model = adapted(family, **options).train(noisy)
    torch.manual_seed(3)
    expected, their_gradients = dense(model, family, noisy)
    torch.manual_seed(3)
    assert_close(logits(model), expected, "logits")
    torch.manual_seed(3)
    our_gradients = gradients(model, trained_by_us(model))
    assert our_gradients.keys() == their_gradients.keys()
    assert_all_close(our_gradients, their_gradients)


@pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())
def test_the_expected_number_of_nonzeros_is_the_mean_of_many_draws(options):
    """The closed form (Guo et al., sections 3.1 and 3.2) beside gates drawn in numpy."""
    model = adapted("llama", target_modules=[r"q_proj"], layers_to_transform=1, **options)
    config, (tuner,) = model.peft_config["default"], model.adapters["default"].tuners.values()
    generator, draws = np.random.default_rng(0), 4000
    is_open = np.ones((draws, 1, 1), dtype=bool)
    for alpha in alphas(tuner):
        values = alpha.detach().numpy()
        u = generator.uniform(size=(draws, *values.reshape(-1, values.shape[-1]).shape))
        s = 1 / (1 + np.exp(-(np.log(u / (1 - u)) + values) / config.temperature))
        is_open = is_open & (
            s * (config.concrete_upper - config.concrete_lower) + config.concrete_lower > 0
        )
    counts = is_open.sum(axis=(1, 2))
    error = counts.std() / np.sqrt(draws)
    assert abs(tuner.expected_nonzeros().item() - counts.mean()) < 4 * error
    torch.manual_seed(0)
    ours = [tuner.diff(noisy=True).count_nonzero().item() for _ in range(2000)]
    assert abs(np.mean(ours) - counts.mean()) < 6 * error


def test_the_penalty_is_lambda_times_the_expected_nonzeros_of_all_layers():
    model = adapted("bert", sparsity_penalty=0.25)
    tuners = model.adapters["default"].tuners.values()
    expected = sum(tuner.expected_nonzeros() for tuner in tuners)
    assert_close(model.penalty(), 0.25 * expected)
    model.penalty().backward()
    assert all(values.grad.gt(0).all() for tuner in tuners for values in alphas(tuner))


class Planted(nn.Module):
    """A layer whose true weight differs from its own in five entries."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 8)
        self.truth = torch.zeros(8, 12)
        self.truth.view(-1)[torch.tensor([3, 17, 40, 58, 90])] = torch.tensor([1.0, -1, 2, -2, 1])

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def test_training_finds_a_planted_sparse_difference():
    """The penalty shuts the gates of what isn't needed; pruned, five entries are left."""
    torch.manual_seed(0)
    base = Planted()
    x = torch.randn(64, 12)
    y = nn.functional.linear(x, base.layer.weight.detach() + base.truth, base.layer.bias.detach())
    config = minipeft.DiffPruningConfig(target_modules=["layer"], sparsity_penalty=0.003)
    model = minipeft.get_peft_model(base, config).train()
    adapter = model.adapters["default"]
    optimizer = torch.optim.Adam(trained_by_us(model).values(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        ((model(x) - y).pow(2).mean() + model.penalty()).backward()
        optimizer.step()
    (tuner,) = adapter.tuners.values()
    assert tuner.diff().count_nonzero() < 20
    assert minipeft.prune(adapter, keep=5 / 96) == 5
    (tuner,) = adapter.tuners.values()
    assert torch.equal(tuner.diff() != 0, base.truth != 0)
    optimizer = torch.optim.Adam(trained_by_us(model).values(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        (model(x) - y).pow(2).mean().backward()
        optimizer.step()
    assert_close(tuner.diff().detach(), base.truth, rtol=1e-3)
    assert model.get_nb_trainable_parameters()[0] == 5


def test_noise_in_training_alone_and_from_the_seed(family):
    model = adapted(family)
    assert torch.equal(logits(model), logits(model))
    model.train()
    torch.manual_seed(1)
    first, second = logits(model), logits(model)
    assert not torch.allclose(first, second)
    torch.manual_seed(1)
    assert torch.equal(logits(model), first)


@pytest.mark.parametrize("pruned", [False, True])
def test_merged_equals_unmerged_and_unmerge_restores_exactly(family, pruned):
    model = adapted(family)
    if pruned:
        minipeft.prune(model.adapters["default"], keep=0.1)
    answer, before = logits(model), take(model.eval())
    model.train()  # merging takes the gates without noise, whatever the mode
    model.merge_adapter(safe_merge=True)
    assert_close(logits(model.eval()), answer, "merged")
    model.unmerge_adapter()
    assert_unchanged(model, before)
    assert_close(logits(model.merge_and_unload()), answer, "merged for good")


@pytest.mark.parametrize("structured", [True, False])
def test_counts(family, structured):
    """2 in out for each matrix, and 1 with structured; after prune, what it kept."""
    model = adapted(family, structured=structured)
    base = build(family)
    sizes = [base.get_submodule(path).weight.numel() for path in model.adapters["default"].layers]
    trained = 2 * sum(sizes) + structured * len(sizes)
    total = sum(values.numel() for values in base.parameters())
    assert model.get_nb_trainable_parameters() == (trained, total + trained)
    assert trained == sum(values.numel() for values in trained_by_us(model).values())
    k = minipeft.prune(model.adapters["default"], keep=0.005)
    assert k == int(0.005 * sum(sizes))
    assert model.get_nb_trainable_parameters() == (k, total + k)
    assert k == sum(values.numel() for values in trained_by_us(model).values())


def test_prune_keeps_the_largest_of_all_layers(family):
    """The projection on the L0 ball, as numpy sorts; and once more, with fewer."""
    model = adapted(family)
    adapter = model.adapters["default"]
    dense = [tuner.diff().detach().numpy() for tuner in adapter.tuners.values()]
    for keep in (0.2, 0.01):
        k = minipeft.prune(adapter, keep)
        sizes = np.sort(np.abs(np.concatenate([diff.ravel() for diff in dense])))
        for diff, tuner in zip(dense, adapter.tuners.values(), strict=True):
            expected = np.where(np.abs(diff) >= sizes[-k], diff, 0)
            assert np.array_equal(tuner.diff().detach().numpy(), expected)
        assert sum(adapter.config.nonzeros.values()) == k == int(keep * len(sizes))


def test_pruning_what_has_few_nonzeros_keeps_no_zeros():
    model = adapted("llama", spread=False)
    adapter = model.adapters["default"]
    with torch.no_grad():
        adapter.tuners["model.layers.1.mlp.down_proj"].w[2, 3] = 0.5
    assert minipeft.prune(adapter, keep=0.5) == 1
    assert sum(values.numel() for values in trained_by_us(model).values()) == 1
