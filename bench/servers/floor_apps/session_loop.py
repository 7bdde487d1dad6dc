"""Run a model on one row until the time is over: session_loop.py MODEL SECONDS < row."""

import json
import resource
import sys
import time
from array import array

import numpy as np
import onnxruntime


def main() -> None:
    """Warm up, run, print the figures as JSON."""
    model, seconds = sys.argv[1], float(sys.argv[2])
    told = json.load(sys.stdin)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: np.array([told["row"]], dtype=np.float32)}
    expected, wrong = told["expected"], 0
    for _ in range(1_000):
        session.run(None, feed)
    took_ns = array("q")
    cpu_start, start = time.process_time(), time.perf_counter_ns()
    end = start + int(seconds * 1e9)
    before = start
    while before < end:
        (answer,) = session.run(None, feed)
        wrong += abs(answer.item() - expected) > 1e-6
        now = time.perf_counter_ns()
        took_ns.append(now - before)
        before = now
    cpu_s, duration_s = time.process_time() - cpu_start, (before - start) / 1e9
    ordered = np.sort(np.frombuffer(took_ns, dtype=np.int64)) / 1e6
    figures = {
        "runs": len(ordered),
        "duration_s": duration_s,
        "p50_ms": float(ordered[len(ordered) // 2]),
        "p99_ms": float(ordered[int(len(ordered) * 0.99)]),
        "max_ms": float(ordered[-1]),
        "cpu_us": cpu_s / len(ordered) * 1e6,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "wrong": wrong,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
