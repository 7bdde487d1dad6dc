"""Ray Serve: one replica behind its proxy."""

import os

from model import Model
from ray import serve

BATCH = int(os.environ["BENCH_BATCH"])


@serve.deployment(num_replicas=1, max_ongoing_requests=512, ray_actor_options={"num_cpus": 0.5})
class Fraud:
    """Takes `{"tensor": [[...]]}`, one row a request."""

    def __init__(self) -> None:
        self.model = Model()

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0.001)
    async def batched(self, rows):
        return self.model(rows).tolist()

    async def __call__(self, request):
        rows = (await request.json())["tensor"]
        if BATCH > 1:
            return {"outputs": [await self.batched(rows[0])]}
        return {"outputs": self.model(rows).tolist()}


if __name__ == "__main__":
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["BENCH_PORT"])})
    serve.run(Fraud.bind(), blocking=True)
