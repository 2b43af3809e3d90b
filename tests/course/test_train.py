"""The loop is compared with one written out in plain PyTorch."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minipeft import AdaLoraConfig, LoraConfig, get_peft_model
from minipeft.course import History, evaluate, train
from minipeft.course.lab.history import Interrupted
from tests.closeness import assert_all_close

VOCABULARY, LENGTH = 11, 7
SGD = {"optimizer": torch.optim.SGD, "learning_rate": 0.5}


class Model(nn.Module):
    """Two layers: enough for a loss to fall."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 8)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, VOCABULARY)

    def forward(self, input_ids):
        return self.head(self.drop(self.embed(input_ids)))  # (batch, length, vocabulary)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Model()
    model.drop.p = 0.0
    return model


@pytest.fixture
def batches():
    torch.manual_seed(1)
    ids = [torch.randint(VOCABULARY, (4, LENGTH)) for _ in range(3)]
    labels = [i.clone() for i in ids]
    labels[0][:, 4:] = -100  # padding
    labels[1][2] = -100
    return list(zip(ids, labels, strict=True))


def plain_loss(model, ids, labels):
    """Token by token, with probabilities written out."""
    total, count = 0.0, 0
    for row, wanted in zip(model(ids).log_softmax(-1), labels, strict=True):
        for position in range(LENGTH - 1):
            if wanted[position + 1] != -100:
                total = total - row[position, wanted[position + 1]]
                count += 1
    return total, count


def test_evaluate_is_the_mean_over_counted_tokens(model, batches):
    sums = [plain_loss(model, *batch) for batch in batches]
    wanted = sum(total.item() for total, _ in sums) / sum(count for _, count in sums)
    assert evaluate(model, batches) == pytest.approx(wanted, rel=1e-5)


def test_evaluate_leaves_modes_and_gradients_alone(model, batches):
    model.train()
    model.drop.eval()
    evaluate(model, batches)
    assert model.training and not model.drop.training and model.head.weight.grad is None


def test_train_equals_a_loop_written_out(model, batches):
    torch.manual_seed(0)
    twin = Model()
    twin.load_state_dict(model.state_dict())
    twin.drop.p = 0.0
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.5)
    losses = []
    for step in range(5):
        for group in optimizer.param_groups:
            group["lr"] = 0.5 * min(1, (step + 1) / 3) * (1 - 0.9 * step / 5)
        total, count = plain_loss(twin, *batches[step % 3])
        optimizer.zero_grad()
        (total / count).backward()
        nn.utils.clip_grad_norm_(twin.parameters(), 0.2)
        optimizer.step()
        losses.append((total / count).item())
    history = train(model, batches, steps=5, warmup=3, clip=0.2, **SGD)
    assert history.losses == pytest.approx(losses, rel=1e-5)
    assert_all_close(model.state_dict(), twin.state_dict())


def test_default_optimizer_learns_and_counts(model, batches):
    history = train(model, batches, steps=60, learning_rate=0.05, test=batches, evaluate_every=20)
    assert history.last < 0.7 * history.first
    assert [step for step, _ in history.evaluations] == [0, 20, 40, 60]
    assert history.evaluations[-1][1] == evaluate(model, batches)
    counted = [(labels[:, 1:] != -100).sum().item() for _, labels in batches]
    assert history.tokens == 20 * sum(counted)
    assert history.seconds > 0


def test_seconds_end_it(model, batches):
    assert train(model, batches, seconds=0.05).steps >= 1


def test_mode_learning_rate_and_gradients_are_left_as_they_were(model, batches):
    model.eval()
    model.head.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    train(model, batches, steps=3, optimizer=optimizer)
    assert (model.training, model.drop.training, model.head.training) == (False, False, True)
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert all(p.grad is None for p in model.parameters())


def test_dropout_is_on_while_training_and_off_while_evaluating(model, batches):
    model.drop.p = 0.5
    seen = []
    model.drop.register_forward_hook(lambda module, *_: seen.append(module.training))
    train(model.eval(), batches, steps=2, test=batches[:1])
    assert seen == [False, True, True, False]


def test_trains_an_adapter_and_leaves_the_base_alone(model, batches):
    before = {name: p.clone() for name, p in model.state_dict().items()}
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["head"]))
    history = train(adapted, batches, steps=40, learning_rate=0.05)
    assert history.last < history.first
    after = adapted.unload().state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_method_s_penalty_is_minimized_but_not_counted_and_its_ranks_move(model, batches):
    config = AdaLoraConfig(init_r=4, target_r=1, total_step=6, deltaT=6, target_modules=["head"])
    adapted = get_peft_model(model, config)
    twin, losses = copy.deepcopy(adapted), []
    optimizer = torch.optim.SGD([p for p in twin.parameters() if p.requires_grad], lr=0.5)
    for step in range(1, 7):
        total, count = plain_loss(twin, *batches[step % 3 - 1])
        optimizer.zero_grad()
        (total / count + twin.penalty()).backward()
        optimizer.step()
        twin.update_and_allocate(step)
        losses.append((total / count).item())
    history = train(adapted, batches, steps=6, warmup=0, decay=False, clip=math.inf, **SGD)
    assert history.losses == pytest.approx(losses, rel=1e-5)
    assert_all_close(adapted.state_dict(), twin.state_dict())
    assert adapted.peft_config["default"].rank_pattern["head.lora_E"].count(True) == 1


def test_an_optimizer_made_too_early_is_refused(model, batches):
    early = torch.optim.AdamW(model.parameters())
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["head"]))
    with pytest.raises(ValueError, match=r"does not hold 2 of 2 .*lora_.*after get_peft_model"):
        train(adapted, batches, steps=1, optimizer=early)


def test_an_optimizer_of_another_model_is_refused(model, batches):
    mixed = torch.optim.AdamW([*model.parameters(), *Model().parameters()])
    with pytest.raises(ValueError, match="not in the model"):
        train(model, batches, steps=1, optimizer=mixed)


def test_nothing_to_train_is_refused(model, batches):
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to train: all 187 parameters of Model"):
        train(model, batches, steps=1)


@pytest.mark.parametrize(
    ("length", "says"),
    [
        ({}, "steps=100"),
        ({"steps": 0}, "steps=0"),
        ({"steps": -3}, "steps=-3"),
        ({"seconds": 0.0}, "seconds=0"),
        ({"seconds": math.nan}, "seconds=nan"),
    ],
)
def test_bad_length(model, batches, length, says):
    with pytest.raises(ValueError, match=says):
        train(model, batches, **length)


def test_bad_batches(model, batches):
    with pytest.raises(ValueError, match="are empty"):
        train(model, [], steps=1)
    with pytest.raises(ValueError, match="ran out"):
        train(model, iter(batches), steps=4)
    silent = [(batches[0][0], torch.full((4, LENGTH), -100))]
    with pytest.raises(ValueError, match="step 1 has no counted token"):
        train(model, silent, steps=1)
    with pytest.raises(ValueError, match="no counted token"):
        evaluate(model, silent)
    with pytest.raises(ValueError, match="no counted token"):
        evaluate(model, [])


def test_non_finite_loss_names_the_step_and_changes_nothing(model, batches):
    good = train(model, batches, steps=2)
    assert good.steps == 2
    with torch.no_grad():
        model.head.bias[0] = math.nan
    before = model.embed.weight.clone()
    with pytest.raises(FloatingPointError, match="nan at step 1"):
        train(model, batches, steps=2)
    assert torch.equal(model.embed.weight, before)
    assert model.training


def test_output_objects_with_logits_are_understood(model, batches):
    class Output:
        def __init__(self, logits):
            self.logits = logits

    class Wrapped(Model):
        def forward(self, input_ids):
            return Output(super().forward(input_ids))

    wrapped = Wrapped().eval()
    wrapped.load_state_dict(model.state_dict())
    assert evaluate(wrapped, batches) == evaluate(model, batches)


def test_silent_where_nobody_watches(model, batches, capsys):
    train(model, batches, steps=3)
    assert capsys.readouterr() == ("", "")


def test_history_survives_saving(model, batches, tmp_path):
    history = train(model, batches, steps=12, test=batches)
    history.save(tmp_path / "run.json")
    assert History.load(tmp_path / "run.json") == history
    assert str(history).startswith("12 steps, training loss ")
    assert "held-out" in repr(history)


def test_smoothed_is_a_running_mean():
    history = History(losses=[4.0, 2.0, 0.0, 6.0])
    assert history.smoothed(1) == [3.0, 2.0, pytest.approx(8 / 3), 3.0]


def test_loss_is_the_one_of_pytorch(model, batches):
    ids, labels = batches[2]
    logits = model(ids)[:, :-1].transpose(1, 2)  # (batch, vocabulary, length - 1)
    assert evaluate(model, [(ids, labels)]) == pytest.approx(
        F.cross_entropy(logits, labels[:, 1:]).item(), rel=1e-5
    )


def test_an_interrupted_run_is_kept_and_leaves_the_model_usable(model, batches):
    class Stopping:
        def __iter__(self):
            yield from batches[:2]
            raise KeyboardInterrupt

    model.eval()
    with pytest.raises(Interrupted, match=r"Stopped after 2 steps.*History\.latest") as stopped:
        train(model, Stopping(), steps=10)
    assert History.latest.steps == 2
    assert len(stopped.value._render_traceback_()) == 1
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
