"""Conditions that mark rows as anomalies, in every answer and in the log.

Written as polars expressions, or as text in the manner of SQL. They travel as data: nothing of them
is run as code by the server.

Run it with `python examples/validations.py`; it starts a server on this machine if none runs. It
needs polars.
"""

from __future__ import annotations

import pandas as pd
import polars as pl

import gnomon
from gnomon import samples


def main() -> None:
    """Mark payments, read the log of those that are marked, change a condition, undeploy."""
    client = gnomon.Client()
    client.set_current_workspace(client.get_workspace("validations", create_if_not_exist=True))
    champion = client.upload_model(samples.CHAMPION, samples.champion_path())

    pipeline = client.build_pipeline("fraud-marked").add_model_step(champion)
    pipeline.add_validations(
        fraud=pl.col("out.dense_1").list.get(0) >= samples.THRESHOLD,
        unsure="out.dense_1[1] BETWEEN 0.2 AND 0.4",  # lists count from 1 here
        large="in.tensor[29] > 2",
    )
    pipeline.deploy()

    rows, _ = samples.held_out()
    answers = pipeline.infer(pd.DataFrame({"tensor": rows.tolist()}))
    for name in ("fraud", "large", "unsure"):
        print(f"{name}: {answers[f'anomaly.{name}'].sum()} of {len(answers)} payments")
    print("payments with an anomaly:", (answers["anomaly.count"] > 0).sum())

    # One by one, as payments come: the log of those that were marked.
    for row in rows[:50]:
        pipeline.infer({"tensor": [row.tolist()]})
    marked = pipeline.logs(limit=50, valid=False).to_pandas()
    print("marked in the log:", (marked["anomaly.count"] > 0).all())

    # A condition is changed as a step is: the same URL, and no request fails.
    pipeline.replace_with_validations(1, fraud=f"out.dense_1[1] >= {2 * samples.THRESHOLD}")
    pipeline.deploy()
    answers = pipeline.infer(pd.DataFrame({"tensor": rows.tolist()}))
    print(f"fraud, with twice the threshold: {answers['anomaly.fraud'].sum()}")
    pipeline.undeploy()


if __name__ == "__main__":
    main()
