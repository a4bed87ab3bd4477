"""Python's multiprocessing: Process over a start method, by the same protocol as the other peers.

spawn.py TASK PLACEMENT METHOD, where METHOD is fork, forkserver or spawn; see ../../src/bench/protocol.rs.
The fork server is warm: a first child is started and joined before any figure.
"""

import multiprocessing
import os
import sys
import time

# Exec'd children import this file anew: the earliest place of theirs to move to their processor.
if "BENCH_CHILD_CPU" in os.environ:
    os.sched_setaffinity(0, {int(os.environ["BENCH_CHILD_CPU"])})


def nothing():
    pass


def nothing_over_there(cpu):
    """For `fork`, whose children import nothing."""
    os.sched_setaffinity(0, {cpu})


def value(connection):
    connection.send(42)


def value_over_there(connection, cpu):
    os.sched_setaffinity(0, {cpu})
    connection.send(42)


def main():
    task, placement, method = sys.argv[1:4]
    context = multiprocessing.get_context(method)
    cpus = [int(cpu) for cpu in placement.split(":")[1:]]
    if cpus:
        os.sched_setaffinity(0, {cpus[-1]})  # the server's place, inherited by what is started first
    apart = method == "fork" and len(cpus) == 2
    clock = time.perf_counter_ns
    process = context.Process

    if method == "forkserver":
        # Warms the server where it belongs.
        first = process(target=nothing)
        first.start()
        first.join()
    if cpus:
        os.sched_setaffinity(0, {cpus[0]})

    def empty():
        return process(target=nothing_over_there, args=(cpus[1],)) if apart else process(target=nothing)

    def join():
        start = clock()
        child = empty()
        child.start()
        child.join()
        return clock() - start

    def start():
        begin = clock()
        child = empty()
        child.start()
        took = clock() - begin
        child.join()
        return took

    receiver, sender = context.Pipe(False)

    def start_and_value():
        start = clock()
        if apart:
            child = process(target=value_over_there, args=(sender, cpus[1]))
        else:
            child = process(target=value, args=(sender,))
        child.start()
        receiver.recv()
        took = clock() - start
        child.join()
        return took

    once = {"join": join, "start": start, "value": start_and_value}[task]
    once()
    print("ready", flush=True)
    for line in sys.stdin:
        times = int(line.split()[1])
        for _ in range(max(times // 10, 1)):
            once()
        print(*(once() for _ in range(times)), flush=True)


if __name__ == "__main__":
    main()
