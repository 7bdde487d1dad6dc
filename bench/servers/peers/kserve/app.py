"""KServe's Python server, V1 protocol, one worker."""

from kserve import Model as ServedModel
from kserve import ModelServer
from model import Model


class Fraud(ServedModel):
    """Takes `{"instances": [[...]]}`."""

    def __init__(self) -> None:
        super().__init__("fraud")
        self.run = Model()
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):
        return {"predictions": self.run(payload["instances"]).tolist()}


if __name__ == "__main__":
    ModelServer().start([Fraud()])
