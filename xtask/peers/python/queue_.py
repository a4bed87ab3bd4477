"""Python's multiprocessing: Queue, by the same protocol as the other peers.

queue_.py TASK PLACEMENT SIZE BATCH; see ../../src/bench/traffic.rs for the tasks. A forked child follows until the parent ends.
"""

import multiprocessing
import os
import sys
import time


def follow(get, put, task, batch, cpu):
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    while True:
        if task == "round-trip":
            put(get())
        else:
            for _ in range(batch):
                get()
            put(bytes(8))


def main():
    task, placement = sys.argv[1:3]
    size, batch = (int(arg) for arg in sys.argv[3:5])
    cpus = [int(cpu) for cpu in placement.split(":")[1:]]
    if cpus:
        os.sched_setaffinity(0, {cpus[0]})
    there, back = multiprocessing.Queue(), multiprocessing.Queue()
    context = multiprocessing.get_context("fork")
    cpu = cpus[1] if len(cpus) == 2 else None
    child = context.Process(target=follow, args=(there.get, back.put, task, batch, cpu), daemon=True)
    child.start()

    message = bytes(place % 256 for place in range(size))
    times_sent = 1 if task == "round-trip" else batch
    clock, put, get = time.perf_counter_ns, there.put, back.get

    def once():
        start = clock()
        for _ in range(times_sent):
            put(message)
        get()
        return clock() - start

    once()
    print("ready", flush=True)
    for line in sys.stdin:
        times = int(line.split()[1])
        for _ in range(max(times // 10, 1)):
            once()
        print(*(once() for _ in range(times)), flush=True)
    child.kill()


if __name__ == "__main__":
    main()
