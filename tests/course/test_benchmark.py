"""peft's comparison as lesson 15 reads it: the figures as shipped, and the statistics."""

import math

import pytest
from scipy import stats

from minipeft.course.lessons import benchmark as b

RUNS = b.benchmark()


def test_the_table_is_whole_and_says_where_it_comes_from():
    text = (b.DATA / "peft_method_comparison.csv").read_text(encoding="utf-8")
    assert "5d602fdb" in text and "Apache" in text
    assert len(RUNS) == 63 and len({run.name for run in RUNS}) == 63
    assert [run.accuracy for run in RUNS] == sorted((r.accuracy for r in RUNS), reverse=True)
    lora = b.find("lora/rank32")
    assert (lora.r, lora.alpha, lora.use_rslora, lora.learning_rate) == (32, 64, False, 1e-4)
    assert (lora.accuracy, lora.trained, lora.targets) == (0.47839, 9_175_040, ("q_proj", "v_proj"))
    assert all(abs(round(run.accuracy * 1319) - run.accuracy * 1319) < 0.01 for run in RUNS)


def test_rslora_ran_at_four_times_loras_scale_and_nothing_else_differs():
    rslora, lora = b.find("lora/rank64-rslora"), b.find("lora/rank64")
    assert b.differences(rslora, lora) == {"scale": (8.0, 2.0), "use_rslora": (True, False)}
    assert b.find("adalora/rank32").scale is None and b.find("full-finetuning/lr_0.00001").r is None


def test_prefix_tunings_settings_are_worth_more_than_most_methods():
    shares = [run.accuracy for run in RUNS if run.method == "PREFIX_TUNING"]
    assert (round(min(shares), 3), round(max(shares), 3)) == (0.186, 0.416)


def test_a_standard_error_is_the_spread_of_a_binomial_share():
    for p, n in ((0.47, 1319), (0.05, 200)):
        assert b.standard_error(p, n) == pytest.approx(stats.binom(n, p).std() / n)
    assert b.standard_error(0.47) == pytest.approx(0.0137, abs=5e-5)


@pytest.mark.parametrize(("one", "other", "n"), [(0.51327, 0.47384, 1319), (0.1, 0.2, 150)])
def test_z_is_that_of_two_proportions(one, other, n):
    """Its square is the chi-squared of the table of right and wrong answers."""
    table = [[one * n, (1 - one) * n], [other * n, (1 - other) * n]]
    chi, p, *_ = stats.chi2_contingency(table, correction=False)
    z = b.z_of(one, other, n)
    assert abs(z) == pytest.approx(math.sqrt(chi)) and (z > 0) is (one > other)
    assert b.p_of(z) == pytest.approx(p) and b.z_of(0.0, 0.0) == 0.0


@pytest.mark.parametrize("k", [1, 62, 1953])
def test_bonferronis_bound(k):
    assert b.least_z(k) == pytest.approx(stats.norm.isf(0.025 / k))


def test_what_is_decided():
    pairs = b.decided(RUNS, 1.96)
    assert len(pairs) == sum(
        b.z_of(one.accuracy, other.accuracy) >= 1.96
        for i, one in enumerate(RUNS)
        for other in RUNS[i + 1 :]
    )
    assert all(one.accuracy > other.accuracy for one, other in pairs)
    assert len(b.decided(RUNS, b.least_z(1953))) < len(pairs) < 1953


@pytest.mark.parametrize("cost", ["file_bytes", "memory_max_bytes", "forgetting"])
def test_no_run_on_the_front_is_beaten_and_every_other_is(cost):
    front = b.pareto(RUNS, cost)
    assert front[-1] == RUNS[0] and front[0] == min(RUNS, key=lambda run: getattr(run, cost))
    for run in RUNS:
        better = [
            other
            for other in RUNS
            if other.accuracy >= run.accuracy and getattr(other, cost) <= getattr(run, cost)
        ]
        assert (better == [run]) is (run in front)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: b.standard_error(47), "47"),
        (lambda: b.standard_error(0.47, 0), "questions"),
        (lambda: b.find("lora/rank31"), "lora/rank32"),
        (lambda: b.least_z(0), "comparisons"),
    ],
)
def test_what_is_not_known_is_one_clear_error(call, named):
    with pytest.raises(ValueError, match=named):
        call()
