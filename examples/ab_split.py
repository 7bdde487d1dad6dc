"""An A/B test: two models share the requests, and every answer says whose it is.

A share by chance; the same customer always to the same model; and a model of its own for a region.

Run it with `python examples/ab_split.py`; it starts a server on this machine if none runs.
"""

from __future__ import annotations

import json
from collections import Counter

import pandas as pd

import gnomon
from gnomon import samples

REQUESTS = 600


def answered_by(answers: pd.DataFrame) -> list[str]:
    """Return the name of the model that answered each row."""
    return [json.loads(text)["name"] for [text] in answers["out._model_split"]]


def payments(count: int) -> pd.DataFrame:
    """Return payments of 30 customers in two regions."""
    rows, _ = samples.held_out()
    return pd.DataFrame(
        {
            "tensor": rows[:count].tolist(),
            "customer": [f"customer-{number % 30}" for number in range(count)],
            "region": ["eu" if number % 3 else "us" for number in range(count)],
        }
    )


def main() -> None:
    """Split by chance, by customer, by region; undeploy."""
    client = gnomon.Client()
    client.set_current_workspace(client.get_workspace("ab-test", create_if_not_exist=True))
    champion = client.upload_model(samples.CHAMPION, samples.champion_path())
    boosted = client.upload_model(samples.BOOSTED, samples.challenger_paths()[samples.BOOSTED])
    frame = payments(REQUESTS)

    # By chance: three requests of four for the champion. A request has one model.
    pipeline = client.build_pipeline("fraud-ab")
    pipeline.add_random_split([(3, champion), (1, boosted)]).deploy()
    counts: Counter[str] = Counter()
    for number in range(REQUESTS):
        answers = pipeline.infer(frame[number : number + 1])
        counts.update(answered_by(answers))
    share = counts[samples.CHAMPION] / REQUESTS
    print(f"the champion answered about three of four: {0.65 < share < 0.85}")

    # By customer: whoever was answered by a model is answered by it again.
    pipeline.replace_with_random_split(0, [(1, champion), (1, boosted)], hash_key="customer")
    pipeline.deploy()
    models: dict[str, set[str]] = {}
    for number in range(90):
        answers = pipeline.infer(frame[number : number + 1])
        models.setdefault(frame["customer"][number], set()).update(answered_by(answers))
    print("models a customer:", Counter(map(len, models.values())))
    print("customers a model:", sorted(Counter(name for [name] in models.values())))

    # By region: rows of one frame go to the models of their regions, which take and give the same.
    forest = client.upload_model(samples.FOREST, samples.challenger_paths()[samples.FOREST])
    pipeline.replace_with_key_split(0, boosted, "region", {"us": forest}).deploy()
    regions = Counter(zip(frame["region"], answered_by(pipeline.infer(frame[:9])), strict=False))
    for (region, name), count in sorted(regions.items()):
        print(f"{region}: {count} payments answered by {name}")
    pipeline.undeploy()


if __name__ == "__main__":
    main()
