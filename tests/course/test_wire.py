"""What travels in a training: counted, predicted, recorded; lesson 17 reads it."""

import gc

import pytest
import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard

from minipeft.budget import ARCHITECTURES
from minipeft.course.lab.pictures import lesson_17 as pictures
from minipeft.course.lessons import layouts, replica, wire
from minipeft.course.tasks import task
from scripts import sweep_wire

BATCH = task("instruction", batch_size=8, batches=1, test_batches=1).train[0]


@pytest.fixture
def pretended(request):
    """A process group whose other processes are pretended: PyTorch's own backend for tests."""
    dist.init_process_group("fake", rank=0, world_size=request.param)
    yield request.param
    gc.collect()
    dist.destroy_process_group()


@pytest.mark.parametrize("pretended", [2, 4, 8], indirect=True)
@pytest.mark.parametrize("method", layouts.METHODS)
@pytest.mark.parametrize("layout", ["FSDP2", "FSDP2 once"])
def test_fsdp2_hands_over_what_is_predicted(layout, method, pretended):
    model = replica.beginner(method)
    predicted = layouts.step_of(layout, layouts.sizes_of(model, replica.blocks_of(model)))
    for part in (*replica.blocks_of(model), model):
        fully_shard(part, **({} if layout == "FSDP2" else {"reshard_after_forward": False}))
    assert wire.held(model) == sum(p.nbytes for p in model.parameters()) // pretended
    with wire.Collectives() as seen:
        replica.part_loss(model, BATCH, 0, pretended).backward()
    by_operation = {}
    for parcel in predicted:
        by_operation.setdefault(parcel.operation, 0)
        by_operation[parcel.operation] += parcel.handed
    assert seen.handed == by_operation


def test_every_run_that_the_script_would_make_is_recorded_and_as_predicted():
    runs = wire.recorded()
    wanted = [(p, s) for p in sweep_wire.PROCESSES for s in sweep_wire.SETTINGS]
    assert [(run.processes, run.setting) for run in runs] == wanted
    for run in runs:
        arriving = sum(layouts.predicted(run.setting, run.processes).values())
        padded = "FSDP2" in run.setting and run.processes == 3  # 3 divides few dimensions
        assert arriving <= run.arrived <= (1.03 if padded else 1.01) * arriving


def test_two_processes_do_again_what_was_recorded(tmp_path):
    again = wire.run(tmp_path, "FSDP2 lora")["FSDP2 lora"]
    recorded = next(r for r in wire.recorded() if (r.processes, r.setting) == (2, "FSDP2 lora"))
    assert again.handed == recorded.handed and again.held == recorded.held
    if again.arrived is not None:
        assert again.arrived == pytest.approx(recorded.arrived, rel=0.01)


def test_a_process_that_fails_is_told():
    with pytest.raises(RuntimeError, match="layout='DPP' is not known"):
        wire.torchrun("minipeft.course.lessons.replica", "nowhere", "DPP lora", processes=1)


def test_parts_of_a_batch_add_up_to_its_mean_loss():
    model = replica.beginner("full")
    with torch.no_grad():
        whole = replica.part_loss(model, BATCH, 0, 1)
        parts = [replica.part_loss(model, BATCH, k, 3) for k in range(3)]
    assert float(sum(parts) / 3) == pytest.approx(float(whole), rel=1e-6)  # the loss has 32 bits


def test_operations_bring_what_the_nccl_tests_say():
    """nccl-tests, doc/PERFORMANCE.md, "Summary": the factors of the bus bandwidth."""
    factors = {"all-reduce": 2 * 7 / 8, "all-gather": 7 / 8, "reduce-scatter": 7 / 8}
    for operation, factor in factors.items():
        assert layouts.arriving(operation, 1000, 8) == 1000 * factor
    assert layouts.arriving("reduce-scatter", 1000, 8, "gloo") == 1000 * 2 * 7 / 8
    for wrong in (("all-to-all", 1, 2), ("all-reduce", 1, 2, "mpi")):
        with pytest.raises(ValueError, match="choose from"):
            layouts.arriving(*wrong)


def test_full_fine_tuning_sends_half_as_much_again_under_fsdp2():
    """ZeRO (Rajbhandari et al. 2020) says so of its third stage, gathers of all weights counted."""
    sizes = layouts.Sizes((0, 0), (100, 0), 100)
    assert layouts.total("FSDP2", sizes, 8) == 1.5 * layouts.total("DDP", sizes, 8)


def test_published_sizes_are_the_models():
    """Llama-2-7B has 6,738,415,616 parameters (its config); r = 8 on all seven is 19,988,480."""
    full, lora, qlora = (layouts.published("llama-2-7b", m) for m in layouts.METHODS)
    assert sum(full.trained) == full.gradients == 2 * 6_738_415_616
    assert sum(lora.frozen) == 2 * 6_738_415_616 and lora.gradients == 4 * 19_988_480
    assert qlora.frozen[0] == 6_476_005_376 / 2  # its matrices, half a byte each
    with pytest.raises(ValueError, match="choose from"):
        layouts.published("llama-2-7b", "dora")
    assert "llama-2-70b" in ARCHITECTURES


def test_a_card_holds_by_the_conventions():
    """QLoRA, section 1: more than 780 GB for 65B in 12 bytes a parameter (783.4 exactly)."""
    assert sum(layouts.on_a_card("llama-65b", "full").values()) / 1e9 == pytest.approx(
        783.4, abs=0.1
    )
    weights = layouts.on_a_card("llama-7b", "qlora", training=False)["weights"]
    adapter = 4 * 19_988_480
    assert weights - adapter == pytest.approx(3_865_591_808, rel=1e-6)  # 4.127 bits, 16 outside
    halves = layouts.on_a_card("llama-7b", "lora", cards=2)
    assert 2 * sum(halves.values()) == sum(layouts.on_a_card("llama-7b", "lora").values())


def test_pictures_say_what_they_show():
    steps = [[[1, 1], [1, 1]], [[1, 2], [2, 1]], [[2, 2], [2, 2]]]
    _, alt, data = pictures.ring_picture(steps)
    assert "After step 1 each" in alt and data["finished chunks after each step"] == [0, 2, 4]
    parts = {
        "DDP lora": {"gradients": 1e6},
        "FSDP2 lora": {"frozen weights": 3e6, "gradients": 1e6},
    }
    _, alt, _ = pictures.arrivals_picture(parts, {"DDP lora": 1e6, "FSDP2 lora": 4e6})
    assert "FSDP2 lora 4.00 MB, 75% of it frozen" in alt
    runs = [r for r in wire.recorded() if r.setting == "DDP lora"]
    _, alt, data = pictures.growth_picture(runs, {"DDP lora": [1e6, 2e6]}, runs[0])
    assert "with 8 processes: DDP lora 1.52" in alt and len(data["DDP lora"]) == 4
    arriving = {layout: [1e9, 2e9] for layout in layouts.LAYOUTS}
    _, alt, _ = pictures.layouts_picture([2, 8], arriving, "a model, lora")
    assert "DDP 2, FSDP2 2" in alt and "1.6, 1.6, 1.6 s" in alt
