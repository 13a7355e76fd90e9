"""`/classify`: one of two labels, drawn from the prompt."""

import msgspec

from sim import vectors
from sim.embeddings import Answer
from sim.pooled import PooledRequest, job_of, usage
from sim.server import Connection, HttpRequest
from sim.site import Answering, Site


def classify(site: Site, request: HttpRequest, connection: Connection) -> Answering:
    """Answer `/classify`."""
    body = site.read(PooledRequest, request)
    job = job_of(site, request, "classify-", body.model, body.prompts())

    def answer() -> None:
        data = []
        for index, prompt in enumerate(job.prompts):
            first = 0.5 + vectors.vector(prompt, site.settings.sim_seed)[0] / 2
            label = "LABEL_0" if first >= 0.5 else "LABEL_1"
            data.append({"index": index, "label": label, "probs": [first, 1 - first], "num_classes": 2})
        whole = Answer(id=job.id, created=job.created, model=job.model, data=data, usage=usage(job))
        connection.send(200, msgspec.json.encode(whole))

    return site.pool(job, request, answer, connection)
