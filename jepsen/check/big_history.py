"""A large history without fault: 64 partitions, 64 clients that send one record or read up to five
at a time, and a client that reads all in the end."""

import random

PARTITIONS = 64
CLIENTS = 64


def write(directory, operations):
    chance = random.Random(1)
    logs = [[] for _ in range(PARTITIONS)]
    sequences = [[0] * PARTITIONS for _ in range(CLIENTS)]
    positions = [[0] * PARTITIONS for _ in range(CLIENTS)]
    names = [f"{directory}/{client}.log" for client in range(CLIENTS + 1)]
    files = [open(name, "w", encoding="ascii") for name in names]
    for client, file in enumerate(files):
        file.write(f"1 {client} 0 ok start topic=t\n")
    now = 1000
    draw = chance.random
    for number in range(1, operations + 1):
        now += 100
        client, partition = int(draw() * CLIENTS), int(draw() * PARTITIONS)
        log = logs[partition]
        if draw() < 0.5:
            sequence = sequences[client][partition]
            sequences[client][partition] += 1
            files[client].write(
                f"{now} {client} {number} invoke send p={partition} v={sequence}+1\n"
                f"{now + 50} {client} {number} ok send p={partition} v={sequence}+1 o={len(log)}\n"
            )
            log.append((client, sequence))
        else:
            at = positions[client][partition]
            some = log[at : at + 5]
            if some:
                runs = ",".join(f"{at + n}/{c}:{s}+1" for n, (c, s) in enumerate(some))
                files[client].write(f"{now} {client} {number} ok poll p={partition} r={runs}\n")
                positions[client][partition] = at + len(some)
    for partition, log in enumerate(logs):
        for at in range(0, len(log), 256):
            runs = ",".join(f"{at + n}/{c}:{s}+1" for n, (c, s) in enumerate(log[at : at + 256]))
            now += 1
            files[-1].write(f"{now} {CLIENTS} {now} ok poll p={partition} final=1 r={runs}\n")
        files[-1].write(f"{now} {CLIENTS} 0 ok final p={partition} from=0 end={len(log)}\n")
    for file in files:
        file.close()
