"""What benchmarks write of a GPU is what lesson 11 shows once it is there."""

import json
from dataclasses import asdict

from benchmarks.record import Row, counted, timed
from minipeft.course.lessons import gpu


def test_a_record_is_shown_with_its_device(tmp_path, monkeypatch):
    rows = [
        counted("QLoRA step's peak memory, 65B", 41 * 10**9, 48 * 10**9, "48 GB", 1.0, None),
        timed("QLoRA step", {"ours": [0.25] * 3, "peft": [0.5] * 3}, "peft"),
        Row("QLoRA step, 13B", "48 GB", note="it doesn't fit"),
    ]
    record = {
        "machine": {"device": "NVIDIA Example"},
        "versions": {"torch": "2.13.0", "bitsandbytes": "0.50"},
        "parts": {"qlora_memory": [asdict(row) for row in rows]},
    }
    (tmp_path / "gpu.json").write_text(json.dumps(record), encoding="utf-8")
    monkeypatch.setattr(gpu, "DATA", tmp_path)
    assert gpu.recorded() == [
        "Recorded on NVIDIA Example, torch 2.13.0, bitsandbytes 0.50:",
        "QLoRA step's peak memory, 65B: 41.00 GB, 48 GB 48.00 GB",
        "QLoRA step: 250 ms, peft 500 ms",
        "QLoRA step, 13B: it doesn't fit",
    ]
