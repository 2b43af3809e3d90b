"""What lesson 16 computes, against PyTorch, transformers, torchvision's pages and scikit-learn."""

import matplotlib.pyplot as plt
import pytest
import torch
import transformers
from sklearn.datasets import load_digits
from torch import nn

from minipeft.course.lab.pictures import lesson_16 as pictures
from minipeft.course.lessons import digits, vision_recorded
from minipeft.course.lessons.patches import Grid, counted_by_torch, multiplications
from minipeft.models.vit import ViT, ViTConfig
from scripts import sweep_vision

LARGE = {"num_hidden_layers": 24, "hidden_size": 1024, "intermediate_size": 4096}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def split():
    return digits.Digits(seed=0)


@pytest.fixture(scope="module")
def base(split):
    return digits.pretrained(split, steps=20)


@pytest.mark.parametrize(
    ("image", "patch", "patches", "entries"),
    [(32, 16, 4, 25), (224, 16, 196, 38_809), (224, 14, 256, 66_049), (8, 2, 16, 289)],
)
def test_the_grids_of_quizzes(image, patch, patches, entries):
    grid = Grid(image, patch)
    assert (grid.patches, grid.entries, grid.lost) == (patches, entries, 0)


@pytest.mark.parametrize(("image", "patch"), [(224, 16), (64, 8), (384, 32)])
def test_tokens_are_those_of_transformers(image, patch):
    config = transformers.ViTConfig(image_size=image, patch_size=patch)
    with torch.device("meta"):
        table = transformers.models.vit.modeling_vit.ViTEmbeddings(config)
    assert table.position_embeddings.shape[1] == Grid(image, patch).tokens


def test_what_fits_no_patch_is_lost_as_in_a_convolution():
    seen = nn.functional.unfold(torch.ones(1, 1, 30, 30), 8, stride=8)
    assert Grid(30, 8).patches == seen.shape[-1] and Grid(30, 8).lost == 6


@pytest.mark.parametrize(
    ("image", "patch", "name"), [(8, 9, "patch=9"), (0, 1, "image"), (8, 1.5, "patch")]
)
def test_grids_that_cannot_be(image, patch, name):
    with pytest.raises(ValueError, match=name):
        Grid(image, patch)


@pytest.mark.parametrize(("sizes", "billions"), [({}, 17.56), (LARGE, 61.55)])
def test_multiplications_are_torchvisions_gflops(sizes, billions):
    """Its pages of vit_b_16 and vit_l_16 print these, at 224 pixels and 1,000 classes."""
    config = ViTConfig(num_labels=1000, num_attention_heads=16 if sizes else 12, **sizes)
    total = sum(multiplications(config, Grid(224, 16)).values())
    assert total / 1e9 == pytest.approx(billions, abs=0.005)
    assert total == counted_by_torch(config)


@pytest.mark.parametrize(("image", "patch", "channels"), [(32, 4, 1), (48, 16, 3), (8, 8, 2)])
def test_multiplications_are_pytorchs(image, patch, channels):
    config = ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
        image_size=image, patch_size=patch, num_channels=channels, num_labels=5,
    )  # fmt: skip
    found = sum(multiplications(config, Grid(image, patch)).values())
    assert found == counted_by_torch(config)


def test_images_are_scikit_learns(split):
    images, labels = digits.digits()
    raw = load_digits()
    assert images.shape == (1797, 1, 8, 8) and images.min() == -1 and images.max() == 1
    torch.testing.assert_close((images[:, 0] + 1) * 8, torch.tensor(raw.images).float())
    assert labels.tolist() == raw.target.tolist()


def test_no_image_is_used_twice(split):
    parts = [split.old_train, split.old_test, split.new_validation, split.new_test, split.few(80)]
    assert sum(len(labels) for _, labels in parts) == 1797
    rows = torch.cat([images.flatten(1) for images, _ in parts])
    whole = digits.digits()[0].flatten(1)
    assert torch.equal(rows.sum(0), whole.sum(0)) and len(rows) == len(whole)
    few, more = split.few(5)[0], split.few(20)[0]
    assert {tuple(row.flatten().tolist()) for row in few} <= {
        tuple(row.flatten().tolist()) for row in more
    }
    assert split.few(5)[1].bincount().tolist() == [5] * digits.NEW
    assert not torch.equal(digits.Digits(1).old_test[0], split.old_test[0])


@pytest.mark.parametrize("count", [0, 81])
def test_no_more_images_than_there_are(split, count):
    with pytest.raises(ValueError, match=f"count={count}"):
        split.few(count)


@pytest.mark.parametrize("method", digits.METHODS)
def test_each_method_moves_what_it_trains(split, base, method):
    before = {name: w.clone() for name, w in base.state_dict().items()}
    model = digits.adapted(base, method, seed=3)
    start = digits.body(model)(split.old_test[0][:4])
    torch.testing.assert_close(start, base.vit(split.old_test[0][:4]))
    assert digits.size(model, base) < 1e-6
    digits.fit(model, *split.few(5), rate=1e-2, seed=0, steps=3)
    assert (digits.size(model, base) > 1e-3) == (method != "head")
    assert all(torch.equal(w, before[name]) for name, w in base.state_dict().items())
    kept = digits.old_accuracy(model, base.classifier, split)
    if method == "head":
        assert kept == digits.accuracy(base, *split.old_test)


def test_size_is_a_norm_over_the_whole_body(base):
    model = digits.adapted(base, "full", seed=0)
    with torch.no_grad():
        for parameter in model.vit.parameters():
            parameter *= 1.25
    assert digits.size(model, base) == pytest.approx(0.25, rel=1e-4)


def test_an_unknown_method_is_named(base):
    with pytest.raises(ValueError, match=r"'hed'.*'head'"):
        digits.adapted(base, "hed", seed=0)


def test_without_positions_the_order_is_not_seen(split):
    model = digits.pretrained(split, steps=5, positions=False)
    assert not model.vit.embeddings.position_embeddings.any()
    image = split.old_test[0][:1]
    swapped = torch.cat([image[..., 4:, :], image[..., :4, :]], dim=2)  # the halves change places
    torch.testing.assert_close(model(image), model(swapped), rtol=1e-4, atol=1e-5)


def test_recorded_runs_are_those_that_the_script_asks_for():
    runs, wanted = vision_recorded.recorded_runs("vision"), sweep_vision.wanted()
    asked = [{key: run[key] for key in ("method", "count", "rate", "seed")} for run in runs]
    assert len(asked) == len(wanted) and all(settings in wanted for settings in asked)


@pytest.mark.parametrize("method", sweep_vision.RATES)
def test_the_script_makes_what_is_shipped(split, base, method, monkeypatch):
    monkeypatch.setattr(sweep_vision, "STEPS", 1)
    monkeypatch.setattr(sweep_vision, "bases", lambda seed: (split, base))
    settings = {"method": method, "count": 5, "rate": sweep_vision.RATES[method][0], "seed": 0}
    made = sweep_vision.run(**settings)
    runs = vision_recorded.recorded_runs("vision")
    (shipped,) = [run for run in runs if settings.items() <= run.items()]
    assert made.keys() == shipped.keys() and made["trained"] == shipped["trained"]


@pytest.mark.parametrize("method", digits.METHODS)
def test_recorded_counts_are_those_of_the_models(base, method):
    counted = digits.trained(digits.adapted(base, method, 0))
    runs = vision_recorded.recorded_runs("vision")
    assert {run["trained"] for run in runs if run["method"] == method} == {counted}


def test_the_rate_is_chosen_on_validation_images_alone():
    for count in vision_recorded.counts():
        for points in vision_recorded.adaptations(count).values():
            chosen = vision_recorded.best(points)
            assert chosen.validation >= max(point.validation for point in points) - 1e-3
            low, mean, high = chosen.new
            assert low <= mean <= high and str(chosen).startswith(chosen.method)
    with pytest.raises(ValueError, match="no sweep with 21 images"):
        vision_recorded.adaptations(21)


def test_pictures_say_what_they_show(split):
    image = split.old_test[0][0, 0]
    patches = nn.functional.unfold(image[None, None], 2, stride=2)[0].T
    assert "17 tokens" in pictures.tokens_picture(image, patches, 3)[1]
    alt, data = pictures.grid_picture(image, Grid(225, 16), ViTConfig(num_labels=1000))[1:]
    assert "14 x 14 = 196 patches, 1 pixels left over" in alt and data["patches"] == 196
    counts = vision_recorded.counts()
    best = {
        count: {m: vision_recorded.best(p) for m, p in vision_recorded.adaptations(count).items()}
        for count in counts
    }
    alt, data = pictures.learned_picture(best)[1:]
    assert f"{data['full'][-1]:.2f} with {counts[-1]}" in alt
    rows = vision_recorded.adaptations(20)
    alt, data = pictures.forgotten_picture(rows, vision_recorded.before()[1])[1:]
    assert f"{data['old, lora'][-1]:.2f} at {rows['lora'][-1].rate:g}" in alt


def test_the_vit_of_the_digits_is_small():
    model = ViT(ViTConfig(**digits.SIZES, num_labels=digits.OLD))
    assert sum(p.numel() for p in model.parameters()) == 39_414
