"""A worker's gates: one into the queue of each of its upstreams."""

from proxy.plain import Plain
from proxy.queue.gate import Gate
from proxy.queue.shared import Bells, Lock, open_board


class Gates:
    """Those of one worker process."""

    def __init__(self, settings: Plain, worker: int, boards: tuple[int, ...], bells: tuple[int, ...]) -> None:
        """`worker`: from 0; `boards` and `bells`: open files, see `shared.Shared`."""
        length, patience = settings.queue_length, settings.queue_timeout
        self._bells = Bells(bells, worker) if len(bells) > 1 else None
        if self._bells is None:  # without others, neither a map nor its lock is needed
            self.all = [Gate.alone(settings.capacity, length, patience) for _ in boards]
        else:
            self.all = [
                Gate(open_board(file, len(bells), length), patience, worker, Lock(file), self._bells) for file in boards
            ]

    def listen(self) -> None:
        """Hear other workers, for as long as the running loop runs."""
        if self._bells is not None:
            self._bells.listen(self._look)

    def _look(self) -> None:
        for gate in self.all:
            gate.look()
