"""The supervisor with small parts: what dies returns, what depends on it too, and nothing is left behind."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial

import psutil
import pytest

from embedded import child
from embedded.parts import Part, Probe
from embedded.supervisor import PartFailedError, StoppedError, Supervisor
from tests.servers import ROOT, free_port, wait_until

SERVE = """
import signal, socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    listener.accept()[0].close()
"""
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
)


def part(name, code=SERVE, *, needs=(), port=None):
    port = port or free_port()
    return Part(name, name, (sys.executable, "-c", code, str(port)), Probe(port), needs=needs)


def alive(pid):
    """Say whether a process runs; one that has ended and that nobody has waited for does not."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@contextmanager
def watching(supervisor):
    """Watch in a thread; the end of the block ends it and all parts."""
    thread = threading.Thread(target=supervisor.watch)
    thread.start()
    try:
        yield
    finally:
        supervisor.request_stop()
        thread.join()
        supervisor.stop()


def test_what_dies_returns_and_the_new_pid_is_announced(tmp_path):
    announced = []
    supervisor = Supervisor(tmp_path, lambda: announced.append(supervisor.pids()))
    supervisor.start([part("a"), part("b")])
    before = supervisor.pids()
    with watching(supervisor):
        os.kill(before["a"][0], signal.SIGKILL)
        wait_until(lambda: announced, 120, "the announcement")
        assert announced[-1]["a"] != before["a"]
        assert announced[-1]["b"] == before["b"]
    assert not any(alive(pid) for pids in announced[-1].values() for pid in pids)


def test_what_needs_the_memory_of_another_ends_with_it_and_returns_after_it(tmp_path):
    announced = []
    supervisor = Supervisor(tmp_path, lambda: announced.append(supervisor.pids()))
    supervisor.start([part("broker")])
    supervisor.start([part("reader", needs=("broker",)), part("other")])
    before = supervisor.pids()
    with watching(supervisor):
        os.kill(before["broker"][0], signal.SIGKILL)
        wait_until(lambda: announced, 120, "the announcement")
        now = announced[-1]
        assert now["broker"] != before["broker"]
        assert now["reader"] != before["reader"]
        assert now["other"] == before["other"]


def _is_deaf(log):
    return "deaf" in log.read_text()


def test_parts_end_in_reverse_order_and_the_deaf_are_killed(tmp_path, monkeypatch):
    """Both are deaf, so that their ends lie a whole grace apart, whoever watches and how seldom."""
    monkeypatch.setattr("embedded.supervisor.GRACE_SECONDS", 1.5)
    supervisor = Supervisor(tmp_path, lambda: None)
    for name in ("first", "deaf"):
        supervisor.start([Part(name, name, (sys.executable, "-c", STUBBORN))])
        log = tmp_path / f"{name}.log"
        wait_until(partial(_is_deaf, log), 120, "the part to be deaf")
    pids = supervisor.pids()
    ended = []

    def note(name, pid):
        psutil.wait_procs([psutil.Process(pid)])
        ended.append(name)

    threads = [threading.Thread(target=note, args=(name, pid)) for name, (pid,) in pids.items()]
    for thread in threads:
        thread.start()
    monkeypatch.setattr("embedded.supervisor.SAY_AFTER_SECONDS", 0.1)
    waited_for: list[list[str]] = []
    supervisor.stop(waited_for.append)
    assert waited_for == [["deaf"], ["first"]], "whoever waits is told for whom, once"
    for thread in threads:
        thread.join()
    assert ended == ["deaf", "first"]


def test_a_part_that_cannot_start_is_named_with_its_last_words(tmp_path):
    supervisor = Supervisor(tmp_path, lambda: None)
    wrong = part("wrong", "import sys; sys.exit('no such setting')")
    with pytest.raises(PartFailedError, match=r"wrong did not start: no such setting .*wrong\.log"):
        supervisor.start([wrong])
    supervisor.stop()


def test_wrong_use_is_not_tried_again(tmp_path):
    supervisor = Supervisor(tmp_path, lambda: None)
    code = "import sys; print('try', flush=True); sys.exit(2)"
    with pytest.raises(PartFailedError) as raised:
        supervisor.start([part("wrong", code)])
    assert raised.value.status == 2
    assert (tmp_path / "wrong.log").read_text().count("try") == 1
    supervisor.stop()


def test_a_command_runs_to_its_end(tmp_path):
    supervisor = Supervisor(tmp_path, lambda: None)
    supervisor.run_once(Part("ok", "ok", (sys.executable, "-c", "print('done')")))
    assert (tmp_path / "ok.log").read_text() == "done\n"
    with pytest.raises(PartFailedError, match="failed: broken"):
        supervisor.run_once(Part("bad", "bad", (sys.executable, "-c", "raise SystemExit('broken')")))


def test_a_stop_while_starting_is_heeded(tmp_path):
    supervisor = Supervisor(tmp_path, lambda: None)
    threading.Timer(0.5, supervisor.request_stop).start()
    with pytest.raises(StoppedError):
        supervisor.start([part("never", "import time; time.sleep(600)")])
    supervisor.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's PR_SET_PDEATHSIG")
def test_parts_die_with_a_supervisor_that_is_killed(tmp_path):
    code = f"""
import sys
from functools import partial
from pathlib import Path
from tests.embedded.test_supervisor import part
from embedded.supervisor import Supervisor
supervisor = Supervisor(Path({str(tmp_path)!r}), lambda: None)
supervisor.start([part("a")])
print(supervisor.pids()["a"][0], flush=True)
supervisor.watch()
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        owner.kill()
    wait_until(lambda: not alive(pid), 120, "the part to die")


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")
def test_the_pids_of_workers_are_known_and_announced_when_they_change(tmp_path):
    code = f"""
import subprocess, sys
def worker(): return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
first = worker()
import threading
threading.Thread(target=lambda: (first.wait(), worker()), daemon=True).start()
{SERVE}"""
    announced: list[dict[str, list[int]]] = []
    supervisor = Supervisor(tmp_path, lambda: announced.append(supervisor.pids()))
    supervisor.start([part("parent", code)])
    parent, worker = supervisor.pids()["parent"]
    with watching(supervisor):
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: announced and len(announced[-1]["parent"]) == 2, 120, "the announcement")
    assert announced[-1]["parent"][0] == parent
    assert announced[-1]["parent"][1] != worker
    wait_until(lambda: not alive(announced[-1]["parent"][1]), 120, "the worker to end with its parent")


def test_logs_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(child, "LOG_BYTES", 1000)
    log = tmp_path / "part.log"
    chatter = Part(
        "part", "part", (sys.executable, "-c", "import time\nwhile True: print('x' * 99, flush=True); time.sleep(.001)")
    )
    running = child.Child(chatter, log)
    try:
        for _ in range(5):
            wait_until(lambda: log.stat().st_size > 2000, 120, "the log to grow")
            child.keep_small(log)
            assert log.stat().st_size < 2000
    finally:
        running.kill()
    assert set(log.read_text()) <= {"x", "\n"}
    assert log.with_suffix(".log.1").exists()


def test_a_folder_with_the_name_of_a_package_is_not_taken_for_it(tmp_path, monkeypatch):
    (tmp_path / "proxy").mkdir()
    (tmp_path / "proxy" / "__init__.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    supervisor = Supervisor(tmp_path, lambda: None)
    supervisor.run_once(Part("a", "a", (sys.executable, "-c", "import proxy")))


def test_what_a_part_leaves_behind_is_ended_with_it(tmp_path):
    sleeper = "[sys.executable, '-c', 'import time; time.sleep(600)']"
    code = f"import subprocess, sys; print(subprocess.Popen({sleeper}).pid, flush=True)"
    supervisor = Supervisor(tmp_path, lambda: None)
    supervisor.run_once(Part("parent", "parent", (sys.executable, "-c", code)))
    orphan = int((tmp_path / "parent.log").read_text())
    wait_until(lambda: not alive(orphan), 120, "the orphan to end")
