"""A shadow deployment from beginning to end, with the models that gnomon ships.

A champion that scores card transactions for fraud is in use. Two challengers want its place. Here
they run in its shadow: the champion answers, the challengers watch, everything is kept.

Run it with `python examples/shadow_deployment.py`; it starts a server on this machine if none runs.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

import gnomon
from gnomon import samples


def deploy(client: gnomon.Client) -> gnomon.Pipeline:
    """Upload the three models and deploy them as champion and challengers."""
    workspace = client.get_workspace("fraud", create_if_not_exist=True)
    client.set_current_workspace(workspace)
    champion = client.upload_model(samples.CHAMPION, samples.champion_path())
    challengers = [
        client.upload_model(name, path) for name, path in samples.challenger_paths().items()
    ]
    pipeline = client.build_pipeline("fraud-check")
    pipeline.add_shadow_deploy(champion, challengers)
    return pipeline.deploy()


def decisions(column: pd.Series) -> np.ndarray:
    """Turn a column of scores into decisions, at the threshold that the samples document."""
    return np.array([score[0] for score in column]) >= samples.THRESHOLD


def main() -> None:
    """Deploy, ask, compare, undeploy."""
    client = gnomon.Client()
    pipeline = deploy(client)

    # One transaction. The answer is the champion's; what the challengers say stands beside it.
    [result] = pipeline.infer_from_file(samples.smoke_test_path())
    print("champion:", result.data()[0].item())
    for label, outputs in sorted(result.shadow_data().items()):
        elapsed_us = result.challengers[label].elapsed_ns / 1000
        print(f"{label}: {outputs[0].item()} in {elapsed_us:.0f} us")

    # Two thousand transactions whose truth is known, as a frame: one row in, one row out.
    rows, labels = samples.held_out()
    answers = pipeline.infer(pd.DataFrame({"tensor": rows.tolist()}))
    truth = labels.astype(bool)
    champion = decisions(answers["out.dense_1"])
    for label in samples.challenger_paths():
        challenger = decisions(answers[f"out_{label}.variable"])
        better = int(((challenger == truth) & (champion != truth)).sum())
        worse = int(((challenger != truth) & (champion == truth)).sum())
        print(f"{label}: differs on {(champion != challenger).mean():.2%} of the transactions,")
        print(f"    right where the champion is wrong {better} times, the reverse {worse} times")

    # All of it was kept: an entry for each model and request, and one row for each input row.
    print(len(pipeline.logs()), "log entries")
    print(pipeline.logs().to_pandas().shape, "rows and columns")
    pipeline.undeploy()


if __name__ == "__main__":
    main()
