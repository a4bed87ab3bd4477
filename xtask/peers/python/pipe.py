"""Python's multiprocessing: Pipe, by the same protocol as the other peers.

pipe.py TASK PLACEMENT SIZE BATCH; see ../../src/bench/traffic.rs for the tasks, parcel.rs for the values. Records are tuples:
what Python encodes fastest. A forked child follows until the parent's end is closed.
"""

import multiprocessing
import os
import sys
import time


def parcel(size):
    if size <= 8:
        return 0x0123456789ABCDEF
    tags = [1, 300, 70_000, 20_000_000, 5, 600, 80_000, 30_000_000]
    record = lambda: (0x01234567, 1234.5, "a name of usual length", list(tags))
    return record() if size <= 64 else [record() for _ in range(size // 64)]


def follow(end, leaders_end, task, size, batch, cpu):
    leaders_end.close()
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    typed = task.endswith(" typed")
    send, receive = (end.send, end.recv) if typed else (end.send_bytes, end.recv_bytes)
    acknowledgement = 1 if typed else bytes(8)
    try:
        while True:
            if task.startswith("round-trip"):
                send(receive())
            else:
                for _ in range(batch):
                    receive()
                send(acknowledgement)
    except (EOFError, ConnectionResetError):
        pass


def main():
    task, placement = sys.argv[1:3]
    size, batch = (int(arg) for arg in sys.argv[3:5])
    cpus = [int(cpu) for cpu in placement.split(":")[1:]]
    if cpus:
        os.sched_setaffinity(0, {cpus[0]})
    end, followers_end = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    cpu = cpus[1] if len(cpus) == 2 else None
    child = context.Process(target=follow, args=(followers_end, end, task, size, batch, cpu), daemon=True)
    child.start()
    followers_end.close()

    typed = task.endswith(" typed")
    send, receive = (end.send, end.recv) if typed else (end.send_bytes, end.recv_bytes)
    message = parcel(size) if typed else bytes(place % 256 for place in range(size))
    times_sent = 1 if task.startswith("round-trip") else batch
    clock = time.perf_counter_ns

    def once():
        start = clock()
        for _ in range(times_sent):
            send(message)
        receive()
        return clock() - start

    once()
    print("ready", flush=True)
    for line in sys.stdin:
        times = int(line.split()[1])
        for _ in range(max(times // 10, 1)):
            once()
        print(*(once() for _ in range(times)), flush=True)
    end.close()
    child.join()


if __name__ == "__main__":
    main()
