#!/usr/bin/env python3
"""A client for Martlet, written from Protocol.md alone. Nothing but Python's standard library.

    client.py HOST:PORT [TOPIC]

It makes the topic, writes records under a producer id, sends one batch twice to see that it is stored once, reads everything
back with the four checks of Protocol.md section 7, and looks an offset up by time. It ends with "ok", or with what was wrong.
"""

import socket
import struct
import sys

# Operations (section 4) and errors (section 9).
HELLO, METADATA, CREATE_TOPIC, PRODUCE, FETCH, LIST_OFFSETS, INIT_PRODUCER = 1, 4, 10, 20, 21, 22, 24
TOPIC_EXISTS = 36
REPLY, MAGIC, DURABLE, BY_TIME = 0x8000, 0x4D52544C, 2, 2


# --- Section 5: CRC-32C, varints, batches -------------------------------------------------------

def crc_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC_TABLE = crc_table()


def crc32c(data, running=0):
    crc = running ^ 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def varint(number):
    rest = ((number << 1) ^ (number >> 63)) & 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while rest >= 0x80:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def read_varint(data, at):
    raw, shift = 0, 0
    while True:
        byte = data[at]
        at += 1
        raw |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return (raw >> 1) ^ -(raw & 1), at


def run(data):
    return varint(-1) if data is None else varint(len(data)) + data


def encode_batch(records, producer=(-1, -1), sequence=-1):
    """records: (time, key, value), key and value bytes or None."""
    base = records[0][0]
    body = b""
    for index, (time, key, value) in enumerate(records):
        record = b"\0" + varint(time - base) + varint(index) + run(key) + run(value) + varint(0)
        body += varint(len(record)) + record
    newest = max(record[0] for record in records)
    covered = struct.pack(
        ">hiqqqhii", 0, len(records) - 1, base, newest, *producer, sequence, len(records)) + body
    return struct.pack(">qiibI", 0, 9 + len(covered), -1, 2, crc32c(covered)) + covered


def decode_run(data, at):
    length, at = read_varint(data, at)
    return (None, at) if length < 0 else (data[at:at + length], at + length)


def decode_records(batch):
    """Yields (offset, time, key, value)."""
    base_offset, = struct.unpack(">q", batch[0:8])
    base_time, = struct.unpack(">q", batch[27:35])
    count, = struct.unpack(">i", batch[57:61])
    at = 61
    for _ in range(count):
        length, at = read_varint(batch, at)
        end = at + length
        at += 1
        time_delta, at = read_varint(batch, at)
        offset_delta, at = read_varint(batch, at)
        key, at = decode_run(batch, at)
        value, at = decode_run(batch, at)
        at = end  # headers are not shown
        yield base_offset + offset_delta, base_time + time_delta, key, value


# --- Sections 1 to 3: fields, frames, the connection --------------------------------------------

def text(string):
    data = string.encode()
    return struct.pack(">H", len(data)) + data


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        values = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return values if len(values) > 1 else values[0]

    def bytes(self, count):
        self.at += count
        return self.data[self.at - count:self.at]

    def text(self):
        return self.bytes(self.take("H")).decode()

    def array(self, item):
        return [item(self) for _ in range(self.take("I"))]


class Refused(Exception):
    def __init__(self, code, message):
        super().__init__(f"error {code}: {message}")
        self.code = code


class Client:
    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host.strip("[]"), int(port)), timeout=30)
        self.correlation = 0
        hello = struct.pack(">IHHQ", MAGIC, 1, 1, 0) + text("client.py") + text("1") + text("") + b"\0\0"
        reply = self.call(HELLO, hello)
        self.version, self.features = reply.take("HQ")
        self.broker = reply.text()

    def receive(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise ConnectionError("the broker closed the connection")
            data += piece
        return data

    def call(self, operation, message):
        """Sends a request, waits for its reply, and returns a reader of what follows its error."""
        self.correlation += 1
        self.socket.sendall(
            struct.pack(">IHHQ", 12 + len(message), operation, 1, self.correlation) + message)
        size, answered, _, correlation = struct.unpack(">IHHQ", self.receive(16))
        assert answered == operation | REPLY and correlation == self.correlation
        reply = Reader(self.receive(size - 12))
        code, message = reply.take("H"), reply.text()
        if code:
            raise Refused(code, message)
        return reply

    def topic(self, name, partitions):
        """Makes the topic if it is not there, and returns its id."""
        try:
            self.call(CREATE_TOPIC, text(name) + struct.pack(">iIB", partitions, 0, 0))
        except Refused as refusal:
            if refusal.code != TOPIC_EXISTS:
                raise
        reply = self.call(METADATA, struct.pack(">I", 1) + text(name) + struct.pack(">I", 0))
        assert reply.take("I") == 1
        code, message = reply.take("H"), reply.text()
        if code:
            raise Refused(code, message)
        return reply.bytes(16)

    def init_producer(self):
        return self.call(INIT_PRODUCER, struct.pack(">qh", -1, -1)).take("qh")

    def produce(self, topic, partition, batch):
        """Returns (base offset, whether it was there already)."""
        reply = self.call(
            PRODUCE,
            struct.pack(">BII", DURABLE, 30_000, 1) + topic
            + struct.pack(">iI", partition, len(batch)) + batch)
        assert reply.take("I") == 1
        code, message = reply.take("H"), reply.text()
        if code:
            raise Refused(code, message)
        offset, _, _, duplicate, left_out = reply.take("qiBBI")
        # Records that the topic had already, by their message ids.
        for _ in range(left_out):
            reply.take("iq")
        return offset, duplicate == 1

    def fetch(self, topic, partition, offset):
        """Returns (records from `offset` on, next offset, high watermark)."""
        reply = self.call(
            FETCH,
            struct.pack(">IIIBI", 200, 1, 1 << 20, 0, 1) + topic
            + struct.pack(">iqIi", partition, offset, 1 << 20, 0)
            + struct.pack(">H16x", 0))  # of no group
        assert reply.take("I") == 1
        reply.take("I")
        code, message = reply.take("H"), reply.text()
        high_watermark, _, start, end = reply.take("qqII")
        gaps = reply.array(lambda item: item.take("qq"))
        damaged = reply.array(lambda item: item.take("qq"))
        size = reply.take("I")
        if code:
            raise Refused(code, f"{message} gaps {gaps}, damaged {damaged}")
        records, position = check(reply.bytes(size), offset, start, end, gaps)
        for lower, upper in gaps:
            if lower <= position < upper:
                position = upper
        return records, position, high_watermark

    def offset_at(self, topic, partition, time):
        reply = self.call(
            LIST_OFFSETS, struct.pack(">I", 1) + topic + struct.pack(">iBq", partition, BY_TIME, time))
        assert reply.take("I") == 1
        code, message = reply.take("H"), reply.text()
        if code:
            raise Refused(code, message)
        return reply.take("qqi")[0]


# --- Section 7: the four checks ------------------------------------------------------------------

def check(data, position, start, end, gaps):
    records, chain, is_first = [], start, True
    while data:
        base, length, _, magic = struct.unpack(">qiib", data[:17])
        batch, data = data[:12 + length], data[12 + length:]
        assert magic == 2 and length >= 49 and len(batch) == 12 + length, "the batch is not whole"
        assert crc32c(batch[21:]) == struct.unpack(">I", batch[17:21])[0], "the CRC does not hold"
        chain = crc32c(batch[:17], chain)
        last, = struct.unpack(">i", batch[23:27])
        for lower, upper in gaps:
            if lower <= position < upper <= base:
                position = upper
        assert base == position or (is_first and base < position <= base + last), "an offset is missing"
        records += [record for record in decode_records(batch) if record[0] >= position]
        position, is_first = base + last + 1, False
    assert chain == end, "the chain of prefixes does not hold"
    return records, position


def main():
    if len(sys.argv) < 2 or ":" not in sys.argv[1]:
        sys.exit(__doc__)
    client = Client(sys.argv[1])
    name = sys.argv[2] if len(sys.argv) > 2 else "from-python"
    topic = client.topic(name, 1)
    producer = client.init_producer()
    print(f"broker {client.broker}, topic {topic.hex()}, producer {producer[0]}")

    start, sequence, sent = 1_357_020_900_000, 0, []
    for number in range(3):
        batch = [(start + 1000 * number + i, b"key", b"value %d" % (10 * number + i)) for i in range(10)]
        encoded = encode_batch(batch, producer, sequence)
        offset, duplicate = client.produce(topic, 0, encoded)
        assert not duplicate
        again = client.produce(topic, 0, encoded)
        assert again == (offset, True), "a batch that is sent twice is stored once"
        sequence += len(batch)
        sent += [(offset + i, *record) for i, record in enumerate(batch)]

    read, position, high_watermark = [], sent[0][0], None
    while high_watermark is None or position < high_watermark:
        records, position, high_watermark = client.fetch(topic, 0, position)
        read += records
    assert read[:len(sent)] == sent, "what is read is what was sent"
    print(f"{len(sent)} records written and read, offsets {sent[0][0]} to {sent[-1][0]}")
    middle = client.offset_at(topic, 0, start + 1000)
    assert middle <= sent[10][0], "the offset by time"
    print("ok")


if __name__ == "__main__":
    main()
