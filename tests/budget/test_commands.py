"""`python -m minipeft count` and `memory`."""

import json
import subprocess
import sys

import pytest

import minipeft
from minipeft.__main__ import main
from minipeft.budget import memory_budget

COUNT = ["count", "llama-7b", "--method", "lora", "--r", "8", "--targets", "q_proj,v_proj"]


def test_count_command(capsys):
    assert main(COUNT) == 0
    assert capsys.readouterr().out.endswith(
        "trainable params: 4,194,304 || all params: 6,742,609,920 || trainable%: 0.0622\n"
    )
    assert main([*COUNT, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["trainable"], found["total"]) == (4_194_304, 6_742_609_920)
    assert len(found["by_module"]) == 64


@pytest.mark.parametrize(
    ("options", "trained"),
    [
        (["--method", "full"], 6_738_415_616),
        (["--method", "dora", "--r", "8", "--targets", "q_proj,v_proj"], 4_194_304 + 64 * 4096),
        (["--method", "adalora", "--r", "8", "--targets", "q_proj"], 32 * 8 * 8193),
        (["--method", "vera", "--r", "256", "--targets", "all-linear"], 1_417_216),
        (["--method", "ia3"], 614_400),
        (["--method", "prefix", "--tokens", "20"], 5_242_880),
        (["--method", "prompt", "--tokens", "20"], 81_920),
        (["--method", "houlsby", "--r", "64"], 64 * (2 * 4096 * 64 + 64 + 4096)),
        (["--method", "partial", "--set", "norms=true"], 65 * 4096),
        (["--method", "bitfit", "--targets", "o_proj"], 32 * 4096),
        (["--method", "lora", "--targets", "q_proj", "--set", "bias=all"], 32 * 8 * 8192),
    ],
)
def test_every_method_from_the_command_line(options, trained, capsys):
    assert main(["count", "llama-7b", *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trainable"] == trained


def test_memory_command(capsys):
    command = ["memory", "llama-7b", *COUNT[2:], "--quantization", "nf4_double", "--json"]
    assert main([*command, "--checkpointing", "--fits", "24 GB"]) == 0
    found = json.loads(capsys.readouterr().out)
    recipe = {"quantization": "nf4_double", "checkpointing": True}
    config = minipeft.LoraConfig(r=8, target_modules=["q_proj", "v_proj"])
    assert found["rows"] == memory_budget("llama-7b", config, **recipe).rows
    assert found["fit"]["fits"] is True
    assert main(["memory", "llama-7b", "--fits", "24 GB"]) == 1
    out = capsys.readouterr().out
    assert "does not fit into 24.00 GB = 22.35 GiB" in out
    assert main(["memory", "llama-7b", "--generation"]) == 0
    assert "key/value cache" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["count", "lama-7b"], "nearest: 'llama-7b'"),
        (["count", "llama-7b", "--method", "lroa"], "nearest: 'lora'"),
        (["count", "llama-7b", "--method", "ia3", "--r", "3"], "--r 3 means nothing"),
        (["count", "llama-7b", "--r", "3"], "--r 3 means nothing"),
        (["count", "llama-7b", "--targets", "q_proj"], "full fine-tuning has no options"),
        (["count", "llama-7b", "--method", "lora", "--set", "rang=3"], "no option 'rang'"),
        (["count", "llama-7b", "--method", "lora", "--set", "r"], "must be NAME=VALUE"),
        (["count", "nowhere/config.json"], "nowhere"),
        (["memory", "llama-7b", "--optimizer", "adam"], "optimizer='adam'"),
        (["memory", "llama-7b", "--fits", "much"], "room='much' is no size"),
    ],
)
def test_wrong_commands(arguments, message, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert not printed.out


def test_help_imports_no_command():
    code = "import sys, minipeft.__main__ as m\ntry: m.main(['--help'])\nexcept SystemExit: pass\n"
    code += "print([n for n in sys.modules if n.startswith(('minipeft.budget', 'minipeft.grad'))])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "[]", result.stdout + result.stderr
