"""LitServe: one worker on the CPU."""

import os

import litserve
import numpy as np
from model import Model

BATCH = int(os.environ["BENCH_BATCH"])


class Fraud(litserve.LitAPI):
    """Takes `{"tensor": [[...]]}`, one row a request."""

    def setup(self, device):
        self.model = Model()

    def decode_request(self, request):
        return np.asarray(request["tensor"], dtype=np.float32)

    def batch(self, inputs):
        return np.concatenate(inputs)

    def predict(self, x):
        return self.model(x)

    def unbatch(self, output):
        return [output[index : index + 1] for index in range(len(output))]

    def encode_response(self, output):
        return {"outputs": output.tolist()}


class Single(Fraud):
    """Without batching LitServe wants no `batch` and no `unbatch`."""

    batch = litserve.LitAPI.batch
    unbatch = litserve.LitAPI.unbatch


if __name__ == "__main__":
    api = Fraud(max_batch_size=BATCH, batch_timeout=0.001) if BATCH > 1 else Single()
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["BENCH_PORT"]),
        num_api_servers=1,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )
