"""Record batches by an independent implementation, kafka-python: written and read.

golden.py write DIRECTORY     writes every sample as NAME.bin and what is in it as NAME.json
golden.py compare ONE OTHER   counts the files that are the same in both directories
golden.py read DIRECTORY      reads every NAME.bin and compares with NAME.json
"""

import json
import pathlib
import sys

from kafka.record.default_records import DefaultRecordBatch
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

NOW = 1_700_000_000_000
INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)


def record(timestamp=NOW, key=None, value=None, headers=()):
    return {
        "timestamp": timestamp,
        "key": key,
        "value": value,
        "headers": [{"key": k, "value": v} for k, v in headers],
    }


def pattern(count, step=7):
    return bytes((index * step) & 0xFF for index in range(count))


def samples():
    """Name, producer (id, epoch, sequence), transactional, records."""
    nobody = (-1, -1, -1)
    yield "single", nobody, False, [record(key=b"key", value=b"value")]
    yield "nulls", nobody, False, [
        record(),
        record(key=b""),
        record(value=b""),
        record(key=b"", value=b""),
        record(key=b"tombstone"),
    ]
    yield "headers", nobody, False, [
        record(value=b"v", headers=[("traceparent", b"00-abc-def-01"), ("empty", b""), ("null", None)]),
        record(value=b"v", headers=[("", b"\x00\xff"), ("schlüssel", "wert".encode()), ("鍵🔑", None)]),
        record(value=b"v", headers=[("same", b"1"), ("same", b"2")]),
        record(value=b"v", headers=[(f"h{index}", pattern(index)) for index in range(64)]),
    ]
    yield "lengths", nobody, False, [
        record(key=pattern(key), value=pattern(value, 3))
        for key, value in [(63, 64), (64, 63), (1, 8191), (8192, 1), (10_000, 10_000)]
    ]
    yield "offsets", nobody, False, [
        record(timestamp=NOW + index, value=bytes([index & 0xFF])) for index in range(200)
    ]
    yield "times", nobody, False, [
        record(timestamp=NOW + delta)
        for sign in (1, -1)
        for delta in [sign * step for step in (0, 1, 63, 64, 65, 8191, 8192, 2**20, 2**31, 2**33, 2**40)]
    ]
    yield "times-max", nobody, False, [record(timestamp=t) for t in (0, INT64_MAX, -1, 1)]
    yield "times-min", nobody, False, [record(timestamp=t) for t in (-1, INT64_MIN, INT64_MAX - 1)]
    yield "before-1970", nobody, False, [record(timestamp=t) for t in (-5, -1_000_000, -1)]
    yield "producer", (4711, 3, 1_000), False, [record(value=b"a"), record(value=b"b")]
    yield "producer-max", (INT64_MAX, 2**15 - 1, 2**31 - 1), False, [record(value=b"a")]
    yield "producer-zero", (0, 0, 0), False, [record(value=b"a")]
    yield "transactional", (4711, 0, 0), True, [record(value=b"a")]


def build(producer, transactional, records):
    builder = MemoryRecordsBuilder(
        magic=2,
        compression_type=0,
        batch_size=2**30,
        transactional=transactional,
        producer_id=producer[0],
        producer_epoch=producer[1],
        base_sequence=producer[2],
    )
    for item in records:
        headers = [(header["key"], header["value"]) for header in item["headers"]]
        if builder.append(item["timestamp"], item["key"], item["value"], headers) is None:
            raise ValueError("the record does not fit")
    builder.close()
    return bytes(builder.buffer())


def describe(data):
    """What kafka-python reads out of a batch, as JSON can say it."""
    stored = MemoryRecords(data)
    batch = stored.next_batch()
    if not isinstance(batch, DefaultRecordBatch) or stored.next_batch() is not None:
        raise ValueError("not exactly one batch")
    if batch.size_in_bytes != len(data) or not batch.validate_crc():
        raise ValueError("the length or the checksum is wrong")
    header = {
        "baseOffset": batch.base_offset,
        "leaderEpoch": batch.leader_epoch,
        "checksum": batch.crc,
        "attributes": batch.attributes,
        "lastOffsetDelta": batch.last_offset_delta,
        "baseTimestamp": batch.first_timestamp,
        "maxTimestamp": batch.max_timestamp,
        "producerID": batch.producer_id,
        "producerEpoch": batch.producer_epoch,
        "baseSequence": batch.base_sequence,
        "recordCount": batch.records_count,
    }
    records = [
        {
            "offset": item.offset,
            "timestamp": item.timestamp,
            "key": item.key,
            "value": item.value,
            "headers": [{"key": key, "value": value} for key, value in item.headers],
        }
        for item in batch
    ]
    text = json.dumps({"header": header, "records": records}, default=bytes.hex)
    return json.loads(text)


def write(directory):
    directory.mkdir(parents=True, exist_ok=True)
    count = 0
    for name, producer, transactional, records in samples():
        data = build(producer, transactional, records)
        description = json.dumps(describe(data), indent=1, ensure_ascii=False)
        (directory / f"{name}.bin").write_bytes(data)
        (directory / f"{name}.json").write_text(description + "\n", encoding="utf-8")
        count += 1
    return count, 0


def compare(one, other):
    passed = failed = 0
    names = {p.name for d in (one, other) for p in d.iterdir() if p.suffix in (".bin", ".json")}
    for name in sorted(names):
        pair = [d / name for d in (one, other)]
        if all(p.exists() for p in pair) and pair[0].read_bytes() == pair[1].read_bytes():
            passed += 1
        else:
            failed += 1
            print(f"differs: {name}", file=sys.stderr)
    return passed, failed


def read(directory):
    passed = failed = 0
    for path in sorted(directory.glob("*.bin")):
        expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        try:
            got = describe(path.read_bytes())
        except Exception as error:  # Whatever kafka-python throws, this batch failed.
            got = repr(error)
        if got == expected:
            passed += 1
        else:
            failed += 1
            print(f"{path.name}: expected {expected}, got {got}", file=sys.stderr)
    return passed, failed


def main():
    command, *directories = sys.argv[1:]
    action = {"write": write, "compare": compare, "read": read}[command]
    passed, failed = action(*map(pathlib.Path, directories))
    print(passed, failed)


main()
