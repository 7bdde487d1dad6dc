"""Another model for a running pipeline: same URL, no answer lost, and back again.

A challenger that did well in the shadow of the champion takes its place, with the old champion in
its own shadow, while callers ask without a pause.

Run it with `python examples/swap_in_place.py`; it starts a server on this machine if none runs.
"""

from __future__ import annotations

import threading
from collections import Counter

import gnomon
from gnomon import samples


class Caller(threading.Thread):
    """Asks one question again and again, and counts by whom it was answered."""

    def __init__(self, pipeline: gnomon.Pipeline) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.answers: Counter[str] = Counter()
        self.over = threading.Event()

    def run(self) -> None:
        """Ask until `over`."""
        while not self.over.is_set():
            [result] = self.pipeline.infer_from_file(samples.smoke_test_path(), shadow_wait_ms=0)
            name, _ = result.model()
            self.answers[f"{name} says {result.data()[0].item():.4f}"] += 1


def main() -> None:
    """Deploy a champion, swap it, swap it back, undeploy."""
    client = gnomon.Client()
    client.set_current_workspace(client.get_workspace("swaps", create_if_not_exist=True))
    champion = client.upload_model(samples.CHAMPION, samples.champion_path())
    boosted = client.upload_model(samples.BOOSTED, samples.challenger_paths()[samples.BOOSTED])
    pipeline = client.build_pipeline("fraud-check")
    pipeline.add_shadow_deploy(champion, [boosted]).deploy()
    url = pipeline.url()

    caller = Caller(client.get_pipeline("fraud-check"))
    caller.start()
    try:
        # The challenger becomes the champion. A step goes as a whole: also its challengers.
        pipeline.replace_with_shadow_deploy(0, boosted, [champion]).deploy()
        print("now:", pipeline.infer_from_file(samples.smoke_test_path())[0].model()[0])

        # And back, to the champion alone.
        pipeline.replace_with_model_step(0, champion).deploy()
        print("now:", pipeline.infer_from_file(samples.smoke_test_path())[0].model()[0])
    finally:
        caller.over.set()
        caller.join()

    # Nobody got an error, and every answer is that of the model that it names.
    for answer in sorted(caller.answers):
        print(answer)
    print("same URL:", pipeline.url() == url)
    pipeline.undeploy()


if __name__ == "__main__":
    main()
