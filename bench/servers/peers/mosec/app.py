"""mosec: a Rust front, one worker process; orjson in and out."""

import os

import orjson
from model import Model
from mosec import Server, Worker

BATCH = int(os.environ["BENCH_BATCH"])


class Fraud(Worker):
    """Takes `{"tensor": [[...]]}`, one row a request."""

    def __init__(self):
        self.model = Model()

    def deserialize(self, data):
        return orjson.loads(data)["tensor"]

    def serialize(self, data):
        return orjson.dumps({"outputs": data})

    def forward(self, data):
        if BATCH == 1:
            return self.model(data).tolist()
        answers = self.model([row for rows in data for row in rows]).tolist()
        return [[answer] for answer in answers]


if __name__ == "__main__":
    server = Server()
    # 1 ms is the shortest wait that mosec takes.
    server.append_worker(Fraud, num=1, max_batch_size=BATCH, max_wait_time=1 if BATCH > 1 else 0)
    server.run()
