"""Two models in a row: the first scores a payment, the second decides on the score.

The second is three operations that would otherwise be code around the server: `decision.onnx`,
which `models/make_small.py` made. A challenger watches the first one only.

Run it with `python examples/chain.py`; it starts a server on this machine if none runs.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import gnomon
from gnomon import samples

MODELS = Path(__file__).resolve().parent / "models"


def main() -> None:
    """Build the chain, ask it, look at the challenger, undeploy."""
    client = gnomon.Client()
    client.set_current_workspace(client.get_workspace("chains", create_if_not_exist=True))
    champion = client.upload_model(samples.CHAMPION, samples.champion_path())
    boosted = client.upload_model(samples.BOOSTED, samples.challenger_paths()[samples.BOOSTED])
    decision = client.upload_model("decision", MODELS / "decision.onnx")
    decision.configure(tensor_fields=["dense_1"])  # what the champion gives feeds its input

    pipeline = client.build_pipeline("fraud-decision")
    pipeline.add_shadow_deploy(champion, [boosted])
    pipeline.add_model_step(decision)
    pipeline.deploy()
    print("steps:", len(pipeline.steps()))

    rows, labels = samples.held_out()
    answers = pipeline.infer(pd.DataFrame({"tensor": rows.tolist()}))
    flagged = answers["out.flagged"].str[0].astype(bool)
    print(f"{flagged.sum()} of {len(flagged)} payments are flagged, "
          f"{(flagged & (labels == 1)).sum()} of them are frauds")  # fmt: skip
    print("points of the first three:", [int(points) for [points] in answers["out.points"][:3]])

    # The challenger saw what the champion saw; what it says stands beside the decision.
    challenger = answers[f"out_{samples.BOOSTED}.variable"].str[0] >= samples.THRESHOLD
    print(f"the challenger would flag {challenger.sum()}")

    # The better model takes the first step; the second is fed by another output then.
    decision.configure(tensor_fields=["variable"])
    pipeline.replace_with_model_step(0, boosted).deploy()
    answers = pipeline.infer(pd.DataFrame({"tensor": rows.tolist()}))
    print(f"now {answers['out.flagged'].str[0].sum()} are flagged")
    pipeline.undeploy()


if __name__ == "__main__":
    main()
