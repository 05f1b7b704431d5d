"""Runs workflows of DBOS in threads of this process for a while, and writes one line of JSON.

dbos-load.py URL CALLERS WARMUP SECONDS steps|workflows

"steps": each thread runs a workflow of steps that do nothing, and what is counted are steps. "workflows": each thread
starts workflows of one such step one after the other, and what is counted are workflows, from start to result.
"""

import math
import sys
import threading
import time

from dbos import DBOS

url, callers, warmup, seconds, mode = sys.argv[1:]
callers, warmup, seconds = int(callers), float(warmup), float(seconds)

DBOS(
    config={
        "name": "load",
        "system_database_url": url,
        "sys_db_pool_size": callers + 20,
        "run_admin_server": False,
        "log_level": "ERROR",
    }
)

latencies = [[] for _ in range(callers)]
begin = end = math.inf


def note(caller, start):
    """Counts what was done in time. Returns the moment."""
    done = time.monotonic()
    if begin <= done < end:
        latencies[caller].append((done - start) * 1e6)
    return done


@DBOS.step()
def step(number):
    return number


@DBOS.workflow()
def steps(caller):
    moment, number = time.monotonic(), 0
    while moment < end:
        step(number)
        number += 1
        moment = note(caller, moment)


@DBOS.workflow()
def one_step(number):
    return step(number)


def work(caller):
    if mode == "steps":
        steps(caller)
        return
    moment = time.monotonic()
    while moment < end:
        one_step(caller)
        moment = note(caller, moment)


def at(share, values):
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else 0


DBOS.launch()
begin = time.monotonic() + warmup
end = begin + seconds
threads = [threading.Thread(target=work, args=(caller,)) for caller in range(callers)]
for thread in threads:
    thread.start()
time.sleep(max(0, begin - time.monotonic()))
print("measuring", flush=True)
for thread in threads:
    thread.join()
values = sorted(value for part in latencies for value in part)
print(
    '{"operations":%d,"seconds":%f,"p50":%.1f,"p99":%.1f,"p999":%.1f,"most":%.1f}'
    % (len(values), seconds, at(0.5, values), at(0.99, values), at(0.999, values), at(1, values)),
    flush=True,
)
DBOS.destroy()
