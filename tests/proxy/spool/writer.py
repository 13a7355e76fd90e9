"""A process that writes to a spool as fast as it can, until it is killed. Says what it opened and closed."""

import sys
import time
from pathlib import Path
from typing import Any

from contracts.clock import utc_now
from contracts.events import RequestData, UsageData
from proxy.recorder import SpoolRecorder
from proxy.spool import adoption
from proxy.spool.header import Header


def main(home: str, epoch: str, segment: int) -> None:
    spool = adoption.create(Path(home), Header("weighbridge/x", epoch, 1), 200 * segment, segment)
    recorder = SpoolRecorder(spool, allow_when_full=False)
    now = utc_now()
    common: dict[str, Any] = {
        "producer": recorder.producer,
        "epoch": epoch,
        "sequence": 1,
        "tenant": "ten_a",
        "instance": "x",
    }
    while recorder.full() is None:
        request_id = recorder.new_request_id()
        place: dict[str, Any] = {
            "request_id": request_id,
            "endpoint": "/v1/completions",
            "received_at": now,
            "admitted_at": now,
        }
        recorder.decided(RequestData(decision="admitted", **common, **place), now)
        usage = UsageData(outcome="completed", accuracy="exact", **common, **place)
        usage.output_tokens = 5
        if spool.last_sequence % 2:
            recorder.progressed(request_id, usage, now)
        print("opened", request_id, flush=True)
        if spool.last_sequence % 3:
            recorder.closed(usage, now)
            print("closed", request_id, flush=True)
        group = spool.group(time.monotonic()) if spool.last_sequence % 50 < 2 else None
        if group is not None:
            group.sync()
            spool.durable(group)
    print("full", flush=True)
    time.sleep(60)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
