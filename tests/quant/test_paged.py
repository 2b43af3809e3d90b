"""PagedAdamW against torch.optim.AdamW, to the bit, and what pages when."""

import copy

import pytest
import torch
from torch import nn

from minipeft.quant import PagedAdamW
from minipeft.quant.pages import Pages
from tests.closeness import assert_close
from tests.core.snapshots import assert_says

SMALLEST_PAGED = 100_000  # as in bitsandbytes
KIB = 1024
SMALL_ROOM = {"room": 192 * KIB, "page_bytes": 64 * KIB}  # three pages at a time


def parameters(dtype=torch.float32):
    """Two that page, one on each side of the boundary, one that isn't trained, a tiny one."""
    torch.manual_seed(0)
    shapes = [(300, 401), (SMALLEST_PAGED,), (SMALLEST_PAGED - 1,), (400, 300), (7,)]
    values = [nn.Parameter(torch.randn(shape).to(dtype)) for shape in shapes]
    values[3].requires_grad_(False)
    return values


def train(optimizer, values, steps=4, first=0):
    for step in range(first, first + steps):
        torch.manual_seed(100 + step)
        for parameter in values:
            if parameter.requires_grad:
                parameter.grad = torch.randn_like(parameter)
        if step == 1:
            values[1].grad = None  # a parameter that was not used in a step
        optimizer.step()


def groups(values):
    return [
        {"params": values[:2], "lr": 0.03, "weight_decay": 0.3},
        {"params": values[2:], "betas": (0.7, 0.9), "eps": 1e-4, "weight_decay": 0.0},
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, SMALL_ROOM, {"room": 1000, "page_bytes": 1000}])
def test_the_update_is_adamws(dtype, options):
    ours, theirs = parameters(dtype), parameters(dtype)
    train(PagedAdamW(groups(ours), **options), ours)
    train(torch.optim.AdamW(groups(theirs)), theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)


def test_defaults_are_adamws():
    ours, theirs = PagedAdamW(parameters()), torch.optim.AdamW(parameters())
    assert ours.defaults == theirs.defaults


def test_a_schedule_moves_the_rate():
    ours, theirs = parameters(), parameters()
    for values, kind in ((ours, PagedAdamW), (theirs, torch.optim.AdamW)):
        optimizer = kind(values, lr=0.1)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        for step in range(3):
            train(optimizer, values, 1, step)
            schedule.step()
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("kinds", [(PagedAdamW, PagedAdamW), (PagedAdamW, 0), (0, PagedAdamW)])
def test_training_goes_on_from_a_saved_state(kinds):
    """Ours into ours, ours into PyTorch's, PyTorch's into ours: the same as without a break."""
    before, after = (kind or torch.optim.AdamW for kind in kinds)
    unbroken = parameters()
    reference = torch.optim.AdamW(groups(unbroken))
    train(reference, unbroken, 6)
    values = parameters()
    first = before(groups(values))
    train(first, values, 3)
    saved = copy.deepcopy(first.state_dict())
    second = after(groups(values))
    second.load_state_dict(saved)
    train(second, values, 3, first=3)
    for mine, other in zip(values, unbroken, strict=True):
        assert torch.equal(mine, other)
    mine, other = second.state_dict(), reference.state_dict()
    assert mine["state"].keys() == other["state"].keys()
    for index, state in other["state"].items():
        assert mine["state"][index].keys() == state.keys()
        for name, tensor in state.items():
            assert torch.equal(mine["state"][index][name], tensor)


def test_only_large_parameters_page():
    values = parameters()
    optimizer = PagedAdamW(values)
    assert [optimizer.pages(p) for p in values] == [True, True, False, True, False]
    assert [id(p) for p in optimizer.paged] == [id(values[i]) for i in (0, 1, 3)]
    train(optimizer, values, 1)
    assert "exp_avg" not in optimizer.state[values[0]]
    assert "exp_avg" in optimizer.state[values[2]]


def test_most_lora_matrices_never_page():
    """A (8, 4096) has 32,768 elements; only ranks from 25 up reach 100,000."""
    for rank, expected in ((8, False), (16, False), (24, False), (25, True), (64, True)):
        parameter = nn.Parameter(torch.empty(rank, 4096))
        assert PagedAdamW([parameter]).pages(parameter) == expected


def test_what_fits_moves_once():
    values = parameters()
    optimizer = PagedAdamW(values)
    train(optimizer, values, 1)
    moved = optimizer.bytes_in
    assert moved >= sum(2 * values[i].nbytes for i in (0, 1))
    train(optimizer, values, 3, first=2)
    assert (optimizer.bytes_in, optimizer.bytes_out) == (moved, 0)


def test_what_does_not_fit_moves_every_step():
    """Pages visited in a circle, more than fit: the one unused for longest is the next wanted."""
    parameter = nn.Parameter(torch.randn(2**17))
    optimizer = PagedAdamW([parameter], **SMALL_ROOM)  # 16 pages of m and v, room for 3
    states = 2 * parameter.nbytes
    for step in range(1, 4):
        parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        assert optimizer.bytes_in == step * states
        assert optimizer.bytes_out == step * states - SMALL_ROOM["room"]


def test_pages_are_an_arena_and_some_room():
    pages = Pages(room=64, page_bytes=32)
    arena = pages.allocate(2, 10, torch.float32)
    assert pages.columns(arena) == 4
    for page in range(3):
        assert torch.equal(pages.fetch(arena, page), torch.zeros(2, 4))
        pages.fetch(arena, page).add_(page + 1)
    assert pages.resident_bytes == 64 and pages.bytes_in == 96 and pages.bytes_out == 32
    expected = torch.tensor([1.0, 1, 1, 1, 2, 2, 2, 2, 3, 3]).expand(2, -1)
    assert torch.equal(pages.read(arena, 10), expected)
    pages.fetch(arena, 1)  # used again: page 2 is now the oldest
    pages.fetch(arena, 0)
    assert pages.bytes_out == 64 and torch.equal(pages.read(arena, 10), expected)


def test_files_go_with_the_optimizer(tmp_path):
    values = parameters()
    optimizer = PagedAdamW(values, folder=tmp_path)
    train(optimizer, values, 1)
    assert len([file for file in tmp_path.rglob("*") if file.is_file()]) == 2
    del optimizer
    assert not list(tmp_path.iterdir())


def test_closure_and_transposed_parameters():
    """A parameter that is no single run of memory isn't cut into pages."""
    ours = nn.Parameter(torch.randn(400, 300, generator=torch.manual_seed(1)).T)
    theirs = nn.Parameter(torch.randn(400, 300, generator=torch.manual_seed(1)).T)
    for parameter, kind in ((ours, PagedAdamW), (theirs, torch.optim.AdamW)):
        optimizer = kind([parameter])

        def closure(parameter=parameter, optimizer=optimizer):
            optimizer.zero_grad()
            loss = parameter.square().sum()
            loss.backward()
            return loss

        before = parameter.detach().square().sum()
        assert_close(optimizer.step(closure).detach(), before)
    assert torch.equal(ours, theirs)


def test_bad_options():
    with pytest.raises(ValueError) as error:
        PagedAdamW(parameters(), room=1000, page_bytes=2000)
    assert_says(error, "room=1000", "page_bytes=2000")
    with pytest.raises(ValueError) as error:
        PagedAdamW(parameters(), lr=-1.0)
    assert_says(error, "-1.0")
    with pytest.raises(ValueError) as error:
        PagedAdamW([nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2, device="meta"))])
    assert_says(error, "cpu", "meta")


def test_bad_states():
    values = parameters()
    optimizer = PagedAdamW(values)
    train(optimizer, values, 1)
    before = copy.deepcopy(optimizer.state_dict())
    saved = torch.optim.AdamW(values, amsgrad=True).state_dict()
    with pytest.raises(ValueError) as error:
        optimizer.load_state_dict(saved)
    assert_says(error, "amsgrad")
    saved = copy.deepcopy(before)
    saved["state"][0].pop("exp_avg")
    with pytest.raises(ValueError) as error:
        optimizer.load_state_dict(saved)
    assert_says(error, "state 0", "exp_avg_sq")
    for index, state in optimizer.state_dict()["state"].items():
        for name, tensor in state.items():
            assert torch.equal(tensor, before["state"][index][name])


def test_a_full_disk_is_named(monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("minipeft.quant.pages.shutil.disk_usage", lambda folder: usage)
    values = parameters()
    with pytest.raises(OSError) as error:
        train(PagedAdamW(values), values, 1)
    assert_says(error, "1000 bytes", "folder")


def test_no_sparse_gradients():
    embedding = nn.Embedding(10, 4, sparse=True)
    optimizer = PagedAdamW(embedding.parameters())
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError) as error:
        optimizer.step()
    assert_says(error, "sparse")


@pytest.mark.gpu
def test_on_a_gpu_it_is_bitsandbytes():
    import bitsandbytes

    ours = [nn.Parameter(p.detach().cuda(), p.requires_grad) for p in parameters()]
    theirs = [nn.Parameter(p.detach().cuda(), p.requires_grad) for p in parameters()]
    optimizer = PagedAdamW(groups(ours))
    train(optimizer, ours)
    train(bitsandbytes.optim.PagedAdamW(groups(theirs)), theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)
    assert optimizer.bytes_in == 8 * (4 * ours[0].numel() + 3 * ours[1].numel())
    again = PagedAdamW(groups(ours))
    again.load_state_dict(optimizer.state_dict())
    again.param_groups[0]["lr"] = 0.0  # as a schedule does
    before = ours[0].clone()
    train(again, ours, 1, first=4)
    assert torch.equal(ours[0], before) and again.state[ours[0]]["step"] == 5
