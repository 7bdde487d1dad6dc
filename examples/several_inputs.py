"""A model with two inputs and two outputs, of different types, asked in every way.

`models/amount.onnx` takes what a piece costs and how many there are, and says what all of them cost
and whether that is much.

Run it with `python examples/several_inputs.py`; it starts a server on this machine if none runs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

import gnomon

MODELS = Path(__file__).resolve().parent / "models"


def main() -> None:
    """Ask with columns named as the inputs, and with columns of other names; undeploy."""
    client = gnomon.Client()
    client.set_current_workspace(client.get_workspace("orders", create_if_not_exist=True))
    amount = client.upload_model("amount", MODELS / "amount.onnx")
    for spec in (*amount.inputs(), *amount.outputs()):
        print(f"{spec.name}: {spec}")
    pipeline = client.build_pipeline("orders").add_model_step(amount).deploy()

    # A dict has an array, or lists, for each input.
    [result] = pipeline.infer(
        {"price": np.array([[9.5], [60.0]], np.float32), "pieces": np.array([[3], [2]])}
    )
    total, much = result.data()
    print(total.tolist(), much.tolist())

    # A frame has a column for each input, and may have more; each output is a column of the answer.
    frame = pd.DataFrame({"price": [9.5, 60.0], "pieces": [3, 2], "order": ["a", "b"]})
    answers = pipeline.infer(frame)
    for order, [costs], [is_much] in zip(
        answers["in.order"], answers["out.total"], answers["out.much"], strict=True
    ):
        print(f"order {order} costs {costs:g}, much: {is_much}")

    # Columns of other names feed the inputs in the order that they are named in.
    amount.configure(tensor_fields=["unit_price", "quantity"])
    pipeline.deploy()
    renamed = frame.rename(columns={"price": "unit_price", "pieces": "quantity"})
    print(pipeline.infer(renamed)["out.total"].str[0].tolist())
    pipeline.undeploy()


if __name__ == "__main__":
    main()
