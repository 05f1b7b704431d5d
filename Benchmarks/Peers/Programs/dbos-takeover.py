"""Kills a process of DBOS in the middle of a workflow and starts it again at once, KILLS times.

dbos-takeover.py URL KILLS

Writes a line for each time: "takeover", and the milliseconds from the kill to the next step that was recorded. With
"worker EXECUTOR begin|recover" behind the URL it is that process: it says of each step that it executes itself when that
was recorded.
"""

import random
import subprocess
import sys
import time

STEPS = 200
STEPS_BEFORE = 5
# What a step takes at most, in seconds.
LONGEST = 0.01


def worker(url, executor, mode):
    from dbos import DBOS

    DBOS(
        config={
            "name": "takeover",
            "system_database_url": url,
            "executor_id": executor,
            "run_admin_server": False,
            "log_level": "ERROR",
        }
    )
    executed = set()

    @DBOS.step()
    def step(number):
        time.sleep(random.uniform(0, LONGEST))
        executed.add(number)
        return number

    @DBOS.workflow()
    def chain():
        for number in range(STEPS):
            step(number)
            # One that was recorded before is not executed.
            if number in executed:
                print("step", time.time_ns(), flush=True)
        print("done", flush=True)

    DBOS.launch()
    if mode == "begin":
        chain()
    else:
        # What it left behind goes on in another thread. Until this process is killed.
        time.sleep(60)


def start(url, executor, mode):
    return subprocess.Popen(
        [sys.executable, __file__, url, "worker", executor, mode], stdout=subprocess.PIPE, text=True
    )


def next_step(process):
    """When the next one was recorded."""
    words = process.stdout.readline().split()
    if len(words) != 2 or words[0] != "step":
        sys.exit(f"a worker said {words} where a step was due")
    return int(words[1])


def takeover(url, executor):
    first = start(url, executor, "begin")
    for _ in range(STEPS_BEFORE):
        next_step(first)
    moment = time.time_ns()
    first.kill()
    # Another one can only be started by who knows of the end of the first.
    first.wait()
    second = start(url, executor, "recover")
    after = next_step(second)
    for line in second.stdout:
        if line.strip() == "done":
            break
    second.kill()
    second.wait()
    return (after - moment) / 1e6


if sys.argv[2] == "worker":
    worker(sys.argv[1], *sys.argv[3:])
else:
    for number in range(int(sys.argv[2])):
        # Each of its own: the next process is not to find what the one before has left.
        print("takeover %.3f" % takeover(sys.argv[1], f"executor-{number}"), flush=True)
