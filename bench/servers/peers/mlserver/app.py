"""MLServer: a runtime of its own kind, in the server's process (parallel_workers 0)."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from model import Model


class Fraud(MLModel):
    """Takes the Open Inference Protocol."""

    async def load(self) -> bool:
        self.run = Model()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("output", self.run(rows))]
        )
