"""Python's multiprocessing: Lock and Value, by the same protocol as the other peers.

lock.py TASK PLACEMENT BATCH; see ../../src/bench/counting.rs for the tasks, and for how two processes meet. Runners are forked; they
are woken by pipes.
"""

import multiprocessing
import os
import sys
import time

WINDOW = 0.04
clock = time.perf_counter_ns


def run(lane, cpu, value, begin, stopped, stage):
    """A runner's life: `stage` is who has arrived, and the sign to stop."""
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    lock = value.get_lock()
    while begin.recv():
        stage[lane] = 1
        while not stage[1 - lane]:
            os.sched_yield()
        count, began = 0, clock()
        while not stage[2]:
            with lock:
                value.value += 1
            count += 1
        stopped.send((count, began, clock()))


def conductor(share, placement):
    cpus = [int(cpu) for cpu in placement.split(":")[1:]] or [None]
    value = multiprocessing.Value("Q", 0)
    stage = multiprocessing.RawArray("i", 3)
    context = multiprocessing.get_context("fork")
    begins, results = [], []
    for lane in (0, 1):
        theirs, begin = context.Pipe(False)
        result, stopped = context.Pipe(False)
        arguments = (lane, cpus[min(lane, len(cpus) - 1)], value, theirs, stopped, stage)
        context.Process(target=run, args=arguments, daemon=True).start()
        begins.append(begin)
        results.append(result)

    def once():
        before = value.value
        stage[0] = stage[1] = stage[2] = 0
        for begin in begins:
            begin.send(True)
        while not (stage[0] and stage[1]):
            time.sleep(1e-4)
        time.sleep(WINDOW)
        stage[2] = 1
        counts, began, ended = zip(*(result.recv() for result in results))
        total = sum(counts)
        if value.value - before != total:
            raise RuntimeError("the counter is not what was counted")
        return round(min(counts) / total * 1e4 if share else total / (max(ended) - min(began)) * 1e9)

    return once


def semaphore(batch):
    return uncontended(batch, multiprocessing.Semaphore(1))


def uncontended(batch, lock=None):
    lock = lock or multiprocessing.Lock()
    acquire, release = lock.acquire, lock.release

    def once():
        start = clock()
        for _ in range(batch):
            acquire()
            release()
        return clock() - start

    return once


def add(batch):
    value = multiprocessing.Value("Q", 0)
    lock = value.get_lock()

    def once():
        start = clock()
        for _ in range(batch):
            with lock:
                value.value += 1
        return clock() - start

    return once


def main():
    task, placement, batch = sys.argv[1:4]
    if task in ("total", "share"):
        once = conductor(task == "share", placement)
    else:
        once = {"uncontended": uncontended, "semaphore": semaphore, "add": add}[task](int(batch))
    once()
    print("ready", flush=True)
    for line in sys.stdin:
        times = int(line.split()[1])
        for _ in range(max(times // 10, 1)):
            once()
        print(*(once() for _ in range(times)), flush=True)


if __name__ == "__main__":
    main()
